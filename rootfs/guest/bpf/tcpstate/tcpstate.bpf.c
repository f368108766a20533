/* The tracepoint sock:inet_sock_set_state, and since when each socket has been in its state;
 * beside it the RSTs that a socket sends and gets, which end it without a word.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "tcpstate.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64);
	__type(value, __u64);
} since SEC(".maps");

#define EVENT struct change
#include "../events.bpf.h"

static int rst_sent(struct pt_regs *ctx, struct sock *sk, struct sk_buff *skb, int family);
#include "../rst.bpf.h"

static __always_inline struct change *begin(const void *sock, enum tcpstate_kind kind, __u64 now)
{
	struct change *change = event_begin();

	if (!change)
		return NULL;
	change->kind = kind;
	change->sock = (__u64)sock;
	change->ns = now;
	change->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(change->comm, sizeof(change->comm));
	return change;
}

SEC("tp/sock/inet_sock_set_state")
int changed(struct trace_event_raw_inet_sock_set_state *ctx)
{
	__u64 sock = (__u64)ctx->skaddr, now = bpf_ktime_get_ns(), *began;
	struct change *change;

	if (ctx->protocol != IPPROTO_TCP)
		return 0;
	began = bpf_map_lookup_elem(&since, &sock);
	change = begin(ctx->skaddr, CHANGED, now);
	if (change) {
		change->lasted = began ? now - *began : -1;
		change->before = ctx->oldstate;
		change->after = ctx->newstate;
		change->family = ctx->family;
		change->sport = ctx->sport;
		change->dport = ctx->dport;
		bpf_probe_read_kernel(change->src, 16, ctx->saddr_v6);
		bpf_probe_read_kernel(change->dst, 16, ctx->daddr_v6);
		if (ctx->family == AF_INET) {
			bpf_probe_read_kernel(change->src, 4, ctx->saddr);
			bpf_probe_read_kernel(change->dst, 4, ctx->daddr);
		}
		event_end(ctx, change);
	}
	if (ctx->newstate == TCP_CLOSE) /* the address may be another socket's next */
		bpf_map_delete_elem(&since, &sock);
	else
		bpf_map_update_elem(&since, &sock, &now, BPF_ANY);
	return 0;
}

static int reset(struct pt_regs *ctx, struct sock *sk, enum tcpstate_kind kind)
{
	struct change *change = begin(sk, kind, bpf_ktime_get_ns());
	int state;

	if (!change)
		return 0;
	change->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	/* skc_num is 0 once the port was given back; a small socket has nothing else. */
	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		change->sport = BPF_CORE_READ(sk, __sk_common.skc_num);
	else
		change->sport = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	change->dport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	sock_addresses(sk, change->family, &change->src, &change->dst);
	change->stack_size = bpf_get_stack(ctx, change->stack, sizeof(change->stack), 0);
	event_end(ctx, change);
	return 0;
}

static int rst_sent(struct pt_regs *ctx, struct sock *sk, struct sk_buff *skb, int family)
{
	if (!sk) /* the answer to a segment that belongs to no socket: see rstwho */
		return 0;
	return reset(ctx, sk, SENT);
}

SEC("kprobe/tcp_reset")
int BPF_KPROBE(received, struct sock *sk)
{
	return reset(ctx, sk, RECEIVED);
}

char LICENSE[] SEC("license") = "GPL";
