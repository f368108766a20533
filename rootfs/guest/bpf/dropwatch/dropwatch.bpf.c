/* The tracepoint skb:kfree_skb: a packet that is thrown away, and who does it.
 *
 * It has a reason since c504e5c2f964 (v5.17), which older kernels' BTF does not know: asked
 * for by types of our own that CO-RE matches by their names up to "___".
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "dropwatch.h"

enum skb_drop_reason___ours {
	NO_REASON,
};

struct trace_event_raw_kfree_skb___ours {
	enum skb_drop_reason___ours reason;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct where);
	__type(value, __u64);
} drops SEC(".maps");

__u64 full; /* drops at places for which the map had no room */

SEC("tp/skb/kfree_skb")
int dropped(struct trace_event_raw_kfree_skb *ctx)
{
	struct trace_event_raw_kfree_skb___ours *newer = (void *)ctx;
	struct where where = {.location = (__u64)ctx->location};
	__u64 one = 1, *known;

	if (bpf_core_field_exists(newer->reason))
		where.reason = newer->reason;
	known = bpf_map_lookup_elem(&drops, &where);
	if (known)
		__sync_fetch_and_add(known, 1);
	else if (bpf_map_update_elem(&drops, &where, &one, BPF_NOEXIST))
		__sync_fetch_and_add(&full, 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
