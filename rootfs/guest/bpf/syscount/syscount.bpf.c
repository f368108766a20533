/* Counts at raw_syscalls:sys_enter: a tracepoint that every system call passes. */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "syscount.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct who);
	__type(value, __u64);
} counts SEC(".maps");

/* The kernel's own table: what runs for a number, and so what its name is. */
extern const void sys_call_table __ksym;

const volatile int own_pid;

SEC("tp/raw_syscalls/sys_enter")
int count(struct trace_event_raw_sys_enter *ctx)
{
	struct who who = {.nr = ctx->id};
	__u64 one = 1, *known;
	const void *function;

	if (who.nr < 0 || (bpf_get_current_pid_tgid() >> 32) == own_pid)
		return 0;
	if (!bpf_probe_read_kernel(&function, sizeof(function),
				   (const void *)&sys_call_table + who.nr * sizeof(function)))
		who.function = (__u64)function;
	known = bpf_map_lookup_elem(&counts, &who);
	if (known)
		__sync_fetch_and_add(known, 1);
	else
		bpf_map_update_elem(&counts, &who, &one, BPF_NOEXIST);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
