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

#define AF_INET	 2
#define AF_INET6 10

/* A socket's own and its peer's address, as on the wire; room for IPv6 in both. */
static void sock_addresses(struct sock *sk, int family, unsigned char (*own)[16],
			   unsigned char (*peer)[16])
{
	if (family == AF_INET6) {
		BPF_CORE_READ_INTO(own, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(peer, sk, __sk_common.skc_v6_daddr);
	} else {
		bpf_core_read(own, 4, &sk->__sk_common.skc_rcv_saddr);
		bpf_core_read(peer, 4, &sk->__sk_common.skc_daddr);
	}
}

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
