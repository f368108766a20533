/* Counts at raw_syscalls:sys_enter, a tracepoint that every system call passes; and at the
 * functions that send RSTs, to tell which call it was that sent one.
 *
 * A close() sends its RST after sys_exit, on the way back to user mode, where the last reference
 * to the file is put (kernel/task_work.c): so the call is a task's last, not one that is not over.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "../count.bpf.h"
#include "syscount.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct who);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32); /* thread */
	__type(value, struct who);
} last SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct rst);
	__type(value, __u64);
} rsts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1024);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, SYSCOUNT_DEPTH * sizeof(__u64));
} stacks SEC(".maps");

/* The kernel's own table: what runs for a number, and so what its name is. */
extern const void sys_call_table __ksym;

const volatile int own_pid;

SEC("tp/raw_syscalls/sys_enter")
int count(struct trace_event_raw_sys_enter *ctx)
{
	struct who who = { .nr = ctx->id };
	__u64 task = bpf_get_current_pid_tgid();
	__u32 thread = task;
	const void *function;

	if (who.nr < 0 || (task >> 32) == own_pid)
		return 0;
	if (!bpf_probe_read_kernel(&function, sizeof(function),
				   (const void *)&sys_call_table + who.nr * sizeof(function)))
		who.function = (__u64)function;
	count_one(&counts, &who);
	bpf_map_update_elem(&last, &thread, &who, BPF_ANY);
	return 0;
}

static int rst_sent(struct pt_regs *ctx, struct sock *sk, struct sk_buff *skb, int family)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct who *who = bpf_map_lookup_elem(&last, &thread);
	struct rst rst = { .who.nr = -1 };

	if (who)
		rst.who = *who;
	rst.stack = bpf_get_stackid(ctx, &stacks, 0);
	count_one(&rsts, &rst);
	return 0;
}
#include "../rst.bpf.h"

char LICENSE[] SEC("license") = "GPL";
