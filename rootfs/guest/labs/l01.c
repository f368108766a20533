/* L01: the three-way handshake, and the two sockets that the server's side has of it.
 *
 *   l01 [-6] [--half-open N]     --half-open: N connections that never get their SYN-ACK
 *                                (a rule of the lab's drops it)
 */
#include "lab.h"

/* N SYNs are out; connect() has returned at once. */
static int half_open(int server, int n)
{
	int fd = -1, opened = n;

	step("half-open");
	while (n--) {
		fd = tcp_socket();
		fcntl(fd, F_SETFL, O_NONBLOCK);
		if (connect_to(fd, 9001) != EINPROGRESS)
			fail("connect: %s", strerror(errno));
	}
	/* The softirq that takes a SYN in, or drops it, may run later than the one that sends it. */
	double limit = seconds() + LIMIT_MS / 1000.0;
	while (listed(9001, TCP_SYN_RECV) + counted("ListenDrops") < opened) {
		if (seconds() > limit)
			fail("not all of %d SYNs were taken in or dropped", opened);
		pass_ms(1);
	}
	got("client.state", state_of(fd));
	got_number("requests", listed(9001, TCP_SYN_RECV));
	got_number("listener.waiting", info_of(server).tcpi_unacked);
	return 0;
}

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	int server = listener(9001, 8), client, child;

	if (asked("--half-open"))
		return half_open(server, atoi(argv[2]));
	step("connect");
	client = dial(9001);
	wait_readable(server);
	got("client.state", state_of(client));
	/* What ss -lnt calls Recv-Q and Send-Q of a listener. */
	got_number("listener.waiting", info_of(server).tcpi_unacked);
	got_number("listener.backlog", info_of(server).tcpi_sacked);
	step("accept");
	child = take(server);
	got_number("listener.waiting.after", info_of(server).tcpi_unacked);
	got("child.state", state_of(child));
	return 0;
}
