/* Prints `INDEX NAME` of every network device there is, a line with a dot, and then of every
 * one that comes; until SIGTERM, before whose end it prints those it had not read. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include "links.h"

static volatile sig_atomic_t stopped;

static void on_stop(int number)
{
	(void)number;
	stopped = 1;
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_stop };
	sigset_t none, stop;
	int fd, last;

	sigemptyset(&none);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigprocmask(SIG_BLOCK, &stop, NULL); /* it is heard in ppoll() alone */
	sigaction(SIGTERM, &action, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	fd = links_open();
	if (fd < 0) {
		perror("links");
		return 1;
	}
	do {
		last = links_take(fd, 0, stdout);
	} while (last == 0 || (last < 0 && errno == ENOBUFS));
	puts(".");
	while (last >= 0 && !stopped) {
		struct pollfd one = { .fd = fd, .events = POLLIN };
		if (ppoll(&one, 1, NULL, &none) > 0)
			links_take(fd, MSG_DONTWAIT, stdout);
	}
	while (links_take(fd, MSG_DONTWAIT, stdout) >= 0)
		;
	return 0;
}
