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

struct sent {
	struct rst rst;
	unsigned long long count, stack[SYSCOUNT_DEPTH];
};

static struct row rows[1024];
static struct sent rsts[1024];
static int row_count, rst_count;

static int most_first(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
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

static void read_calls(int map)
{
	struct who key, *last = NULL;

	for (; row_count < 1024 && !bpf_map_get_next_key(map, last, &key); last = &key) {
		rows[row_count].who = key;
		if (!bpf_map_lookup_elem(map, &key, &rows[row_count].count))
			row_count++;
	}
	qsort(rows, row_count, sizeof(*rows), most_first);
}

static void read_rsts(int map, int stacks)
{
	struct rst key, *last = NULL;

	for (; rst_count < 1024 && !bpf_map_get_next_key(map, last, &key); last = &key) {
		struct sent *sent = &rsts[rst_count];
		__u32 id = key.stack;

		sent->rst = key;
		if (bpf_map_lookup_elem(map, &key, &sent->count))
			continue;
		if (key.stack >= 0)
			bpf_map_lookup_elem(stacks, &id, sent->stack);
		if (interrupted(sent->stack))
			sent->rst.who.nr = -1;
		rst_count++;
	}
}

/* The RSTs of one system call, or with -1 those of none. */
static void show_rsts(long long nr)
{
	for (int i = 0; i < rst_count; i++) {
		if (rsts[i].rst.who.nr != nr)
			continue;
		printf("%*s%llu RST: ", nr < 0 ? 0 : 16, "", rsts[i].count);
		ksym_chain(rsts[i].stack, SYSCOUNT_DEPTH);
	}
}

static void show(void)
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
		show_rsts(who->nr);
	}
	show_rsts(-1);
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
		read_calls(bpf_map__fd(skeleton->maps.counts));
		read_rsts(bpf_map__fd(skeleton->maps.rsts), bpf_map__fd(skeleton->maps.stacks));
		show();
	}
	syscount_bpf__destroy(skeleton);
	return error ? 1 : 0;
}
