/* R4: poll() between the report of an error and the end of the socket.
 *
 * A connect() that nobody answers: after its last SYN the timer on vCPU 1 sets the error,
 * wakes who polls, and only then closes the socket. B polls on vCPU 0.
 *
 * vCPU 1 is kept busy: since 6.9 a busy CPU runs the timers of one that idles
 * (kernel/time/timer_migration.c). And that kernel sends four more SYNs a second apart
 * before it counts (tcp_syn_linear_timeouts, 6.5).
 */
#include "race.h"
#include "tunpeer.h"

static void stay_busy(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() != 1 && !__atomic_load_n(&shared->turn, __ATOMIC_SEQ_CST))
		;
}

int main(int argc, char **argv)
{
	race_start(argc, argv);
	peer_up();
	if (!access("/proc/sys/net/ipv4/tcp_syn_linear_timeouts", W_OK))
		set_sysctl("tcp_syn_linear_timeouts", 0);
	actor("busy", 1, stay_busy);
	struct conn c = conn(6100, 41000);
	int fd = tcp_socket();
	set_option(fd, IPPROTO_TCP, TCP_SYNCNT, 1);
	bind_to(fd, c.kernel_port);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	struct sockaddr_storage to;
	socklen_t length = address_of(&to, "10.9.0.2", "fd09::2", c.peer_port);
	if (!connect(fd, (struct sockaddr *)&to, length) || errno != EINPROGRESS)
		fail("connect: %s", strerror(errno));
	/* B is this process from here on; vCPU 1 is left to the timer. */
	on_cpu(0);
	prctl(PR_SET_NAME, "B");
	struct pollfd one = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP };
	int n = poll(&one, 1, 60000);
	char text[16];
	snprintf(text, sizeof text, "0x%x", one.revents);
	got("poll", n == 1 ? text : "timeout");
	got("error", pending(fd));
	turn(1);
	return 0;
}
