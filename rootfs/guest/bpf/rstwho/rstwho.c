/* rstwho: who sends RSTs, active or passive: tuple, task and call stack.
 *
 *   rstwho [-d SECONDS]    until Ctrl-C without -d
 */
#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include "../events.h"
#include "../ksyms.h"
#include "../tool.h"
#include "rstwho.h"
#include "rstwho.skel.h"

static int show(void *context, void *data, size_t size)
{
	const struct rst *rst = data;
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
	int frames = rst->stack_size / (int)sizeof(rst->stack[0]);
	const char *shape = rst->family == AF_INET6 ? "[%s]:%u > [%s]:%u" : "%s:%u > %s:%u";

	(void)context;
	(void)size;
	printf("%-7s ", rst->active ? "active" : "passive");
	printf(shape, inet_ntop(rst->family, rst->src, src, sizeof(src)), rst->sport,
	       inet_ntop(rst->family, rst->dst, dst, sizeof(dst)), rst->dport);
	printf("  %s[%u]\n", rst->comm, rst->pid);
	for (int i = 0; i < frames && rst->stack[i]; i++) {
		unsigned long long offset = 0;
		const char *name = ksym_name(rst->stack[i], &offset);

		printf("        %s+0x%llx\n", name ? name : "?", offset);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int seconds = tool_start(argc, argv, "usage: rstwho [-d SECONDS]");
	struct rstwho_bpf *skeleton = rstwho_bpf__open();
	int error = 1;

	if (!skeleton)
		return 1;
	if (ksyms_load())
		fprintf(stderr, "rstwho: /proc/kallsyms shows no addresses: no names\n");
	if (events_choose(skeleton->maps.events) || rstwho_bpf__load(skeleton))
		goto out;
	if (events_open(skeleton->maps.events, show, NULL) || rstwho_bpf__attach(skeleton))
		goto out;
	alarm(seconds);
	while (!over)
		events_poll(100);
	rstwho_bpf__detach(skeleton);
	events_drain();
	events_missed += globals(skeleton).lost;
	if (events_missed)
		fprintf(stderr, "rstwho: %llu RSTs lost\n", events_missed);
	error = 0;
out:
	events_close();
	rstwho_bpf__destroy(skeleton);
	return error;
}
