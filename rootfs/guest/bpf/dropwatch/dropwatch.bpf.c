/* The tracepoint skb:kfree_skb: a packet that is thrown away, and who does it; and RSTs, by which
 * the kernel throws away a whole connection.
 *
 * It has a reason since c504e5c2f964 (v5.17), which older kernels' BTF does not know: asked
 * for by types of our own that CO-RE matches by their names up to "___".
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "../count.bpf.h"
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

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1024);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, DROPWATCH_DEPTH * sizeof(__u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __s64); /* a stack's id, or -errno */
	__type(value, __u64);
} rsts SEC(".maps");

__u64 full; /* drops at places for which the map had no room */

SEC("tp/skb/kfree_skb")
int dropped(struct trace_event_raw_kfree_skb *ctx)
{
	struct trace_event_raw_kfree_skb___ours *newer = (void *)ctx;
	struct where where = { .location = (__u64)ctx->location };

	if (bpf_core_field_exists(newer->reason))
		where.reason = newer->reason;
	if (count_one(&drops, &where))
		__sync_fetch_and_add(&full, 1);
	return 0;
}

static int rst_sent(struct pt_regs *ctx, struct sock *sk, struct sk_buff *skb, int family)
{
	__s64 stack = bpf_get_stackid(ctx, &stacks, 0);

	count_one(&rsts, &stack);
	return 0;
}
#include "../rst.bpf.h"

char LICENSE[] SEC("license") = "GPL";
