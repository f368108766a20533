/* What one vCPU may wait for of another: ARG 1 says which.
 *
 *   mutex ipi rcu sock   A stands with it, B comes to want it
 *   recv                 A reads what has come, B comes to want the lock of its socket
 *   loop                 B stays in user space for three seconds
 */
#include "race.h"
#include <linux/membarrier.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

static const char *what;
static int fd, peer;

static int is(const char *name)
{
	return !strcmp(what, name);
}

static void barrier(int command)
{
	if (syscall(SYS_membarrier, command, 0, 0))
		fail("membarrier: %s", strerror(errno));
}

static void mtu(int bytes)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_mtu = bytes};

	if (ioctl(fd, SIOCSIFMTU, &request))
		fail("SIOCSIFMTU: %s", strerror(errno));
}

/* A connection of its own over loopback: ``fd`` has five bytes to read. */
static void connected(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8080)};
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 1) ||
	    connect(fd, (struct sockaddr *)&at, sizeof at))
		fail("connect: %s", strerror(errno));
	peer = accept(listener, NULL, NULL);
	if (send(peer, "hello", 5, 0) != 5)
		fail("send: %s", strerror(errno));
	while (recv(fd, (char[5]){0}, 5, MSG_PEEK) != 5)
		;
}

static void a_part(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8080)};
	char got[5];

	if (is("ipi"))
		barrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
	turn(1);
	racing("A");
	if (is("mutex"))
		mtu(1500);
	else if (is("sock"))
		bind(fd, (struct sockaddr *)&at, sizeof at);
	else if (is("recv"))
		recv(fd, got, sizeof got, 0);
	else
		getppid();
}

static void b_part(void)
{
	int one = 1;

	await_turn(1);
	racing("B");
	if (is("mutex"))
		mtu(1400);
	else if (is("ipi"))
		barrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
	else if (is("rcu"))
		barrier(MEMBARRIER_CMD_GLOBAL);
	else if (is("sock") || is("recv"))
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	else
		for (double end = seconds() + 3; seconds() < end;)
			;
}

int main(int argc, char **argv)
{
	race_start(argc, argv);
	what = argv[1];
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (is("recv"))
		connected();
	pid_t b = actor("B", 0, b_part), a = actor("A", 1, a_part);

	both_end(a, b);
	got_number("over", 1);
	return 0;
}
