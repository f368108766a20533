/* The functions that send RSTs: tcp_send_active_reset() for a socket that aborts,
 * tcp_v4_send_reset() and tcp_v6_send_reset() as the answer to a segment.
 *
 * Their first two arguments are the same in all kernels; a third came in 6.10.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "rstwho.h"

#define AF_INET 2
#define AF_INET6 10

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

__u64 lost; /* RSTs for which there was no room */

static struct rst *begin(struct pt_regs *ctx, bool active)
{
	struct rst *rst = bpf_ringbuf_reserve(&events, sizeof(*rst), 0);

	if (!rst) {
		__sync_fetch_and_add(&lost, 1);
		return NULL;
	}
	__builtin_memset(rst, 0, sizeof(*rst));
	rst->active = active;
	rst->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(rst->comm, sizeof(rst->comm));
	rst->stack_size = bpf_get_stack(ctx, rst->stack, sizeof(rst->stack), 0);
	return rst;
}

SEC("kprobe/tcp_send_active_reset")
int BPF_KPROBE(active, struct sock *sk)
{
	struct rst *rst = begin(ctx, true);

	if (!rst)
		return 0;
	rst->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	/* inet_sport and not skc_num, which is 0 once the port was given back. */
	rst->sport = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	rst->dport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (rst->family == AF_INET6) {
		BPF_CORE_READ_INTO(&rst->src, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&rst->dst, sk, __sk_common.skc_v6_daddr);
	} else {
		BPF_CORE_READ_INTO(&rst->src, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO(&rst->dst, sk, __sk_common.skc_daddr);
	}
	bpf_ringbuf_submit(rst, 0);
	return 0;
}

/* The segment that is refused: the RST goes the other way. */
static int passive(struct pt_regs *ctx, struct sk_buff *skb, int family)
{
	struct rst *rst = begin(ctx, false);
	struct tcphdr tcp = {};
	void *head, *ip;

	if (!rst)
		return 0;
	rst->family = family;
	head = BPF_CORE_READ(skb, head);
	ip = head + BPF_CORE_READ(skb, network_header);
	bpf_probe_read_kernel(&tcp, sizeof(tcp), head + BPF_CORE_READ(skb, transport_header));
	rst->sport = bpf_ntohs(tcp.dest);
	rst->dport = bpf_ntohs(tcp.source);
	if (family == AF_INET6) {
		bpf_probe_read_kernel(rst->src, 16, &((struct ipv6hdr *)ip)->daddr);
		bpf_probe_read_kernel(rst->dst, 16, &((struct ipv6hdr *)ip)->saddr);
	} else {
		bpf_probe_read_kernel(rst->src, 4, &((struct iphdr *)ip)->daddr);
		bpf_probe_read_kernel(rst->dst, 4, &((struct iphdr *)ip)->saddr);
	}
	bpf_ringbuf_submit(rst, 0);
	return 0;
}

SEC("kprobe/tcp_v4_send_reset")
int BPF_KPROBE(passive4, struct sock *sk, struct sk_buff *skb)
{
	return passive(ctx, skb, AF_INET);
}

SEC("kprobe/tcp_v6_send_reset")
int BPF_KPROBE(passive6, struct sock *sk, struct sk_buff *skb)
{
	return passive(ctx, skb, AF_INET6);
}

char LICENSE[] SEC("license") = "GPL";
