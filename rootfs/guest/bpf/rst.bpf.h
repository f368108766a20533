/* The functions that send RSTs: tcp_send_active_reset() for a socket that aborts,
 * tcp_v4_send_reset() and tcp_v6_send_reset() as the answer to a segment.
 *
 * Their first two arguments are the same in all kernels; a third came in 6.10. Included after
 *
 *	static int rst_sent(struct pt_regs *ctx, struct sock *sk, struct sk_buff *skb, int family);
 *
 * which is called for each: with the socket alone for an active one; with the segment that is
 * refused for a passive one, where sk may be NULL and the RST goes the other way.
 */
#ifndef RST_BPF_H
#define RST_BPF_H
#include <bpf/bpf_tracing.h>

#define AF_INET 2
#define AF_INET6 10

SEC("kprobe/tcp_send_active_reset")
int BPF_KPROBE(active, struct sock *sk)
{
	return rst_sent(ctx, sk, NULL, BPF_CORE_READ(sk, __sk_common.skc_family));
}

SEC("kprobe/tcp_v4_send_reset")
int BPF_KPROBE(passive4, struct sock *sk, struct sk_buff *skb)
{
	return rst_sent(ctx, sk, skb, AF_INET);
}

SEC("kprobe/tcp_v6_send_reset")
int BPF_KPROBE(passive6, struct sock *sk, struct sk_buff *skb)
{
	return rst_sent(ctx, sk, skb, AF_INET6);
}
#endif
