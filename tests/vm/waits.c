/* What one vCPU may wait for of another: ARG 1 says which.
 *
 *   mutex ipi rcu sock   A stands with it, B comes to want it
 *   loop                 B stays in user space for three seconds
 */
#include "race.h"
#include <linux/membarrier.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

static const char *what;
static int fd;

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

static void a_part(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8080)};

	if (is("ipi"))
		barrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
	turn(1);
	racing("A");
	if (is("mutex"))
		mtu(1500);
	else if (is("sock"))
		bind(fd, (struct sockaddr *)&at, sizeof at);
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
	else if (is("sock"))
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
	pid_t b = actor("B", 0, b_part), a = actor("A", 1, a_part);

	both_end(a, b);
	got_number("over", 1);
	return 0;
}
