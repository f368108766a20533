/* tcpstate: TCP sockets as they change their state, how long they were in it, and their RSTs.
 *
 *   tcpstate [-d SECONDS]    until Ctrl-C without -d
 */
#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include "../events.h"
#include "../ksyms.h"
#include "../tool.h"
#include "tcpstate.h"
#include "tcpstate.skel.h"

/* include/net/tcp_states.h */
static const char *const states[] = { "?",	     "ESTABLISHED", "SYN_SENT",	 "SYN_RECV",
				      "FIN_WAIT1",   "FIN_WAIT2",   "TIME_WAIT", "CLOSE",
				      "CLOSE_WAIT",  "LAST_ACK",    "LISTEN",	 "CLOSING",
				      "NEW_SYN_RECV" };

static const char *state(unsigned int number)
{
	return states[number < sizeof(states) / sizeof(*states) ? number : 0];
}

static int show(void *context, void *data, size_t size)
{
	const struct change *change = data;
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN], local[64], remote[64], lasted[32] = "";
	const char *shape = change->family == AF_INET6 ? "[%s]:%u" : "%s:%u";
	unsigned long long *first = context;

	(void)size;
	if (!*first)
		*first = change->ns;
	snprintf(local, sizeof(local), shape,
		 inet_ntop(change->family, change->src, src, sizeof(src)), change->sport);
	snprintf(remote, sizeof(remote), shape,
		 inet_ntop(change->family, change->dst, dst, sizeof(dst)), change->dport);
	printf("%8.1f ms  %-21s %-21s ", (change->ns - *first) / 1e6, local, remote);
	if (change->kind != CHANGED) {
		printf("RST %s: ", change->kind == SENT ? "sent" : "received");
		ksym_chain(change->stack, change->stack_size / (int)sizeof(change->stack[0]));
		return 0;
	}
	if (change->lasted >= 0)
		snprintf(lasted, sizeof(lasted), "after %.1f ms", change->lasted / 1e6);
	printf("%s -> %s %s\n", state(change->before), state(change->after), lasted);
	return 0;
}

int main(int argc, char **argv)
{
	int seconds = tool_start(argc, argv, "usage: tcpstate [-d SECONDS]");
	struct tcpstate_bpf *skeleton = tcpstate_bpf__open();
	unsigned long long first = 0;
	int error = 1;

	if (!skeleton)
		return 1;
	if (ksyms_load())
		fprintf(stderr, "tcpstate: /proc/kallsyms shows no addresses: no names\n");
	if (events_choose(skeleton->maps.events) || tcpstate_bpf__load(skeleton))
		goto out;
	if (events_open(skeleton->maps.events, show, &first) || tcpstate_bpf__attach(skeleton))
		goto out;
	alarm(seconds);
	while (!over)
		events_poll(100);
	tcpstate_bpf__detach(skeleton);
	events_drain();
	events_missed += globals(skeleton).lost;
	if (events_missed)
		fprintf(stderr, "tcpstate: %llu changes lost\n", events_missed);
	error = 0;
out:
	events_close();
	tcpstate_bpf__destroy(skeleton);
	return error;
}
