/* L15: a SYN finds the accept queue full.
 *
 *   l15 [-6] [--accept]      --accept: the server makes room before the SYN is sent again
 *            [--zero]        --zero: a queue of length 0
 */
#include "lab.h"

/* connect() from a port of its own, so that a capture tells it from the others. */
static int begin(int from)
{
	int fd = tcp_socket();

	bind_to(fd, from);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (connect_to(fd, 9001) != EINPROGRESS)
		fail("connect: %s", strerror(errno));
	return fd;
}

/* What a listener that is closed does with its queue is another lab: L08. */
static void empty(int listening)
{
	fcntl(listening, F_SETFL, O_NONBLOCK);
	while (accept4(listening, NULL, NULL, SOCK_CLOEXEC) >= 0)
		;
}

/* On loopback the SYN has been answered or dropped when connect() comes back: the receive
 * softirq runs before the sending one lets go of its CPU. */
int main(int argc, char **argv)
{
	lab_start(argc, argv);
	on_cpu(0);
	int zero = asked("--zero"), server = listener(9001, zero ? 0 : 1);

	step("fill");
	wait_state(begin(41001), TCP_ESTABLISHED);
	if (!zero)
		wait_state(begin(41002), TCP_ESTABLISHED);
	step("one-more");
	int late = begin(41003);
	got("late.state", state_of(late));
	if (zero) {
		empty(server);
		return 0;
	}
	if (asked("--accept")) {
		step("accept");
		take(server);
		wait_state(late, TCP_ESTABLISHED);
	} else {
		step("syn-again");
		double limit = seconds() + LIMIT_MS / 1000.0;
		while (info_of(late).tcpi_retransmits < 1) {
			if (seconds() > limit)
				fail("the SYN was not sent again");
			pass_ms(10);
		}
	}
	got("late.state.then", state_of(late));
	empty(server);
	return 0;
}
