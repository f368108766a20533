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
static void empty(int listening, int connections)
{
	while (connections--)
		take(listening);
}

/* Wait until the kernel has dropped so many SYNs of the listener's; connect() says nothing
 * of it, and the softirq that drops may run later than the one that sends. */
static void wait_drops(int n)
{
	double limit = seconds() + LIMIT_MS / 1000.0;
	long drops;

	while ((drops = counted("ListenDrops")) < n) {
		if (seconds() > limit)
			fail("%ld SYNs were dropped, not %d", drops, n);
		pass_ms(1);
	}
}

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
	wait_drops(1);
	got("late.state", state_of(late));
	if (zero) {
		empty(server, 1);
		return 0;
	}
	if (asked("--accept")) {
		step("accept");
		take(server);
		wait_state(late, TCP_ESTABLISHED);
	} else {
		step("syn-again");
		wait_drops(2);
	}
	got("late.state.then", state_of(late));
	empty(server, 2);
	return 0;
}
