/* syscount: counts system calls per number and name for a time.
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

static int most_first(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
}

static void show(int map)
{
	static struct row rows[1024];
	struct who key, *last = NULL;
	int count = 0;

	while (count < 1024 && !bpf_map_get_next_key(map, last, &key)) {
		rows[count].who = key;
		if (!bpf_map_lookup_elem(map, &key, &rows[count].count))
			count++;
		last = &key;
	}
	qsort(rows, count, sizeof(*rows), most_first);
	printf("%8s  %4s  %s\n", "calls", "nr", "name");
	for (int i = 0; i < count; i++) {
		const char *name = rows[i].who.function ? ksym_name(rows[i].who.function, NULL) : NULL;

		/* SYSCALL_DEFINE (arch/x86/include/asm/syscall_wrapper.h) puts __x64_ before it. */
		if (name && !strncmp(name, "__x64_", 6))
			name += 6;
		if (name && !strncmp(name, "sys_", 4))
			name += 4;
		printf("%8llu  %4lld  %s\n", rows[i].count, rows[i].who.nr, name ? name : "?");
	}
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
		show(bpf_map__fd(skeleton->maps.counts));
	}
	syscount_bpf__destroy(skeleton);
	return error ? 1 : 0;
}
