/* Each RST before it is built: who decides on it, and by which way it came to that. */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "rstwho.h"

#define EVENT struct rst
#include "../events.bpf.h"

static int rst_sent(struct pt_regs *ctx, struct sock *sk, struct sk_buff *skb, int family);
#include "../rst.bpf.h"

/* A socket's own decision: the RST says what the socket knows. */
static void of_sock(struct rst *rst, struct sock *sk)
{
	/* inet_sport and not skc_num, which is 0 once the port was given back. */
	rst->sport = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	rst->dport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	sock_addresses(sk, rst->family, &rst->src, &rst->dst);
}

/* The answer to a segment: the RST goes the other way. */
static void of_segment(struct rst *rst, struct sk_buff *skb)
{
	struct tcphdr tcp = {};
	void *head = BPF_CORE_READ(skb, head), *ip = head + BPF_CORE_READ(skb, network_header);

	bpf_probe_read_kernel(&tcp, sizeof(tcp), head + BPF_CORE_READ(skb, transport_header));
	rst->sport = bpf_ntohs(tcp.dest);
	rst->dport = bpf_ntohs(tcp.source);
	if (rst->family == AF_INET6) {
		bpf_probe_read_kernel(rst->src, 16, &((struct ipv6hdr *)ip)->daddr);
		bpf_probe_read_kernel(rst->dst, 16, &((struct ipv6hdr *)ip)->saddr);
	} else {
		bpf_probe_read_kernel(rst->src, 4, &((struct iphdr *)ip)->daddr);
		bpf_probe_read_kernel(rst->dst, 4, &((struct iphdr *)ip)->saddr);
	}
}

static int rst_sent(struct pt_regs *ctx, struct sock *sk, struct sk_buff *skb, int family)
{
	struct rst *rst = event_begin();

	if (!rst)
		return 0;
	rst->active = !skb;
	rst->family = family;
	rst->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(rst->comm, sizeof(rst->comm));
	rst->stack_size = bpf_get_stack(ctx, rst->stack, sizeof(rst->stack), 0);
	if (skb)
		of_segment(rst, skb);
	else
		of_sock(rst, sk);
	event_end(ctx, rst);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
