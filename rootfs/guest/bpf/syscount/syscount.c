/* syscount: counts system calls per number and name for a time, and the RSTs they sent.
 *
 *   syscount [-d SECONDS]    until Ctrl-C without -d
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "../ksyms.h"
#include "../tool.h"
#include "syscount.h"
#include "syscount.skel.h"

struct row {
	struct who who;
	unsigned long long count;
};

static struct row rows[1024];
static struct rst rsts[1024];
static unsigned long long rst_counts[1024];
static int row_count, rst_count;

static int most_first(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
}

static void read_maps(int counts, int sent)
{
	struct who who, *last = NULL;
	struct rst rst, *before = NULL;

	for (; row_count < 1024 && !bpf_map_get_next_key(counts, last, &who); last = &who) {
		rows[row_count].who = who;
		if (!bpf_map_lookup_elem(counts, &who, &rows[row_count].count))
			row_count++;
	}
	for (; rst_count < 1024 && !bpf_map_get_next_key(sent, before, &rst); before = &rst) {
		rsts[rst_count] = rst;
		if (!bpf_map_lookup_elem(sent, &rst, &rst_counts[rst_count]))
			rst_count++;
	}
	qsort(rows, row_count, sizeof(*rows), most_first);
}

/* An interrupt comes upon a task; what it sends is no doing of the task's call. */
static bool interrupted(const unsigned long long *stack)
{
	for (int i = 0; i < SYSCOUNT_DEPTH && stack[i]; i++) {
		const char *name = ksym_name(stack[i], NULL);

		if (name && (!strcmp(name, "irq_exit_rcu") || !strcmp(name, "__irq_exit_rcu") ||
			     !strcmp(name, "irq_exit")))
			return true;
	}
	return false;
}

/* The RSTs of one system call, or with NULL those of none. */
static void show_rsts(int stacks, const struct who *who)
{
	for (int i = 0; i < rst_count; i++) {
		unsigned long long stack[SYSCOUNT_DEPTH] = {};
		__u32 id = rsts[i].stack;
		bool of_none;

		if (rsts[i].stack >= 0)
			bpf_map_lookup_elem(stacks, &id, stack);
		of_none = rsts[i].who.nr < 0 || interrupted(stack);
		if (who ? of_none || rsts[i].who.nr != who->nr : !of_none)
			continue;
		printf("%*s%llu RST: ", who ? 16 : 0, "", rst_counts[i]);
		ksym_chain(stack, SYSCOUNT_DEPTH);
	}
}

static void show(int stacks)
{
	printf("%8s  %4s  %s\n", "calls", "nr", "name");
	for (int i = 0; i < row_count; i++) {
		const struct who *who = &rows[i].who;
		const char *name = who->function ? ksym_name(who->function, NULL) : NULL;

		/* SYSCALL_DEFINE (arch/x86/include/asm/syscall_wrapper.h) puts __x64_ before it. */
		if (name && !strncmp(name, "__x64_", 6))
			name += 6;
		if (name && !strncmp(name, "sys_", 4))
			name += 4;
		printf("%8llu  %4lld  %s\n", rows[i].count, who->nr, name ? name : "?");
		show_rsts(stacks, who);
	}
	show_rsts(stacks, NULL);
}

int main(int argc, char **argv)
{
	int seconds = tool_start(argc, argv, "usage: syscount [-d SECONDS]");
	struct syscount_bpf *skeleton = syscount_bpf__open();
	int error;

	if (!skeleton)
		return 1;
	if (ksyms_load())
		fprintf(stderr, "syscount: /proc/kallsyms shows no addresses: numbers only\n");
	skeleton->rodata->own_pid = getpid();
	error = syscount_bpf__load(skeleton);
	if (!error)
		error = syscount_bpf__attach(skeleton);
	if (!error) {
		alarm(seconds);
		while (!over)
			sleep(1);
		syscount_bpf__detach(skeleton);
		read_maps(bpf_map__fd(skeleton->maps.counts), bpf_map__fd(skeleton->maps.rsts));
		show(bpf_map__fd(skeleton->maps.stacks));
	}
	syscount_bpf__destroy(skeleton);
	return error ? 1 : 0;
}
