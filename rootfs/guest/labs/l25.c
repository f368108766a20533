/* L25: connect() takes a port from a connection whose other end is still open.
 *
 *   l25 [-6] [--unbound]     the kernel chooses the port, of which there is one alone
 */
#include "lab.h"

#define PORT 45000 /* the one of net.ipv4.ip_local_port_range */

static int client(void)
{
	int fd = tcp_socket();

	if (!asked("--unbound"))
		bind_to(fd, PORT);
	return fd;
}

/* Kernels that would give the tuple of a connection in FIN_WAIT2 away do so in another second
 * of the clock than that of the close (tcp_twsk_unique(), ktime_get_seconds()). */
static void next_second(void)
{
	struct timespec closed, now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &closed);
	do {
		pass_ms(10);
		clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	} while (now.tv_sec <= closed.tv_sec);
}

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	on_cpu(0);
	int server = listener(9007, 8), first = client(), error = connect_to(first, 9007);

	if (error)
		fail("connect: %s", strerror(error));
	int child = take(server);
	step("client-closes");
	/* In FIN_WAIT2 before close(), so that close() makes it a TIME_WAIT socket; an ACK that
	 * comes while close() has the socket leaves it a full one (tcp_rcv_state_process()). */
	shutdown(first, SHUT_WR);
	wait_state(first, TCP_FIN_WAIT2);
	close(first);
	wait_listed(PORT, TCP_FIN_WAIT2);
	got("server.state", state_of(child));
	if (asked("--unbound"))
		next_second();
	step("connect-again");
	error = connect_to(client(), 9007);
	got("connect.again", errno_word(error));
	if (!error)
		take(server);
	step("server-looks");
	got("server.state.then", state_of(child));
	got("server.error", pending(child));
	return 0;
}
