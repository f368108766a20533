/* The tracepoint sock:inet_sock_set_state, and since when each socket has been in its state. */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "tcpstate.h"

#define AF_INET 2

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64);
	__type(value, __u64);
} since SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

__u64 lost;

SEC("tp/sock/inet_sock_set_state")
int changed(struct trace_event_raw_inet_sock_set_state *ctx)
{
	__u64 sock = (__u64)ctx->skaddr, now = bpf_ktime_get_ns(), *began;
	struct change *change;

	if (ctx->protocol != IPPROTO_TCP)
		return 0;
	began = bpf_map_lookup_elem(&since, &sock);
	change = bpf_ringbuf_reserve(&events, sizeof(*change), 0);
	if (change) {
		change->sock = sock;
		change->ns = now;
		change->lasted = began ? now - *began : -1;
		change->before = ctx->oldstate;
		change->after = ctx->newstate;
		change->family = ctx->family;
		change->pid = bpf_get_current_pid_tgid() >> 32;
		change->sport = ctx->sport;
		change->dport = ctx->dport;
		bpf_probe_read_kernel(change->src, 16, ctx->saddr_v6);
		bpf_probe_read_kernel(change->dst, 16, ctx->daddr_v6);
		if (ctx->family == AF_INET) {
			bpf_probe_read_kernel(change->src, 4, ctx->saddr);
			bpf_probe_read_kernel(change->dst, 4, ctx->daddr);
		}
		bpf_get_current_comm(change->comm, sizeof(change->comm));
		bpf_ringbuf_submit(change, 0);
	} else {
		__sync_fetch_and_add(&lost, 1);
	}
	if (ctx->newstate == TCP_CLOSE) /* the address may be another socket's next */
		bpf_map_delete_elem(&since, &sock);
	else
		bpf_map_update_elem(&since, &sock, &now, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
