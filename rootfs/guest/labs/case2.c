/* case2: the two races of the kernel's table of connections, left to chance.
 *
 *   case2 [--timewait]
 *
 * without: a peer's last ACK of the handshake and its first data come on two vCPUs at
 * almost the same time; --timewait: a server closes, and the client's FIN comes on the other
 * vCPU. How far apart the two are is another distance in each try. Nothing is held up: what
 * comes of it is counted, nothing more.
 */
#include "tunpeer.h"
#include <sys/mman.h>

enum { TRIES = 3000, SECONDS = 6, FARTHEST = 20000 };

/* What the two processes share. */
struct meeting {
	volatile int go, done; /* the try that begins, the try that is over */
	volatile int error;    /* the client's, in this try */
	struct conn c;
};

static struct meeting *meet;

static void rendezvous(void)
{
	meet = mmap(NULL, sizeof *meet, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (meet == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
}

static void wait_for(volatile int *what, int value)
{
	double limit = seconds() + LIMIT_MS / 1000.0;

	for (int turn = 1; *what != value; turn++) {
		if (turn % 20000)
			continue;
		if (seconds() > limit)
			fail("the other process did not come to try %d", value);
		sched_yield();
	}
	__sync_synchronize();
}

static void wait_event(int fd, short event)
{
	struct pollfd one = { .fd = fd, .events = event };
	double limit = seconds() + LIMIT_MS / 1000.0;

	while (!poll(&one, 1, 0))
		if (seconds() > limit)
			fail("event %#x did not come", (unsigned)event);
}

/* In odd tries the first process waits, in even ones the second. */
static void distance(int try, int second)
{
	if (try % 2 == second)
		return;
	for (volatile int turns = try * 7919 % FARTHEST; turns; turns--)
		;
}

/* TcpOutRsts, as the kernel counts it. */
static long out_rsts(void)
{
	char names[1024], values[1024], *name, *value, *keep = NULL, *rest = NULL;
	long found = -1;
	FILE *file = fopen("/proc/net/snmp", "re");

	while (file && fgets(names, sizeof names, file) && fgets(values, sizeof values, file)) {
		name = strtok_r(names, " \n", &keep), value = strtok_r(values, " \n", &rest);
		if (!name || strcmp(name, "Tcp:"))
			continue;
		for (; name && value;
		     name = strtok_r(NULL, " \n", &keep), value = strtok_r(NULL, " \n", &rest))
			if (!strcmp(name, "OutRsts"))
				found = atol(value);
	}
	if (file)
		fclose(file);
	if (found < 0)
		fail("/proc/net/snmp has no OutRsts");
	return found;
}

static void said(int tries, int hits, long rsts, long before)
{
	got_number("tries", tries);
	got_number("hits", hits);
	got_number("rst.seen", rsts);
	got_number("rst.unaccounted", out_rsts() - before - rsts);
}

/* -- the handshake -------------------------------------------------------------------- */

static void data_sender(void)
{
	on_cpu(0);
	for (int try = 1;; try++) {
		wait_for(&meet->go, try);
		distance(try, 1);
		in(&meet->c, "P. 1:6(5) ack 1 'hello'");
		meet->done = try;
	}
}

static void handshakes(void)
{
	int server, hits = 0, try = 0;
	long rsts = 0, before = out_rsts();
	double limit = seconds() + SECONDS;

	peer_up();
	server = listener(8080, 64);
	fcntl(server, F_SETFL, O_NONBLOCK);
	pid_t other = fork();
	if (other == 0)
		data_sender();
	on_cpu(1);
	while (try < TRIES && seconds() < limit) {
		struct conn c = conn(10000 + ++try, 8080);
		in(&c, "S 0:0(0) <mss 1460>");
		out(&c, "S. 0:0(0) ack 1");
		meet->c = c;
		__sync_synchronize();
		meet->go = try;
		distance(try, 0);
		in(&c, ". 1:1(0) ack 1");
		wait_for(&meet->done, try);
		/* Each write() has run the receive path to its end: the answers are here. */
		while (any(&c, 0))
			rsts += (c.last.flags & RST) != 0;
		char data[8];
		int child = accept4(server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (child < 0)
			fail("try %d: no connection: %s", try, strerror(errno));
		/* A connection that stands, without the data that was refused. */
		int half = recv(child, data, sizeof data, 0) != 5;
		hits += half;
		in(&c, half ? "R 1:1(0)" : "R 6:6(0)");
		close(child);
	}
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	said(try, hits, rsts, before);
}

/* -- TIME_WAIT ------------------------------------------------------------------------ */

static void client(void)
{
	on_cpu(1);
	for (int try = 1;; try++) {
		wait_for(&meet->go, try);
		int fd = dial(9300), error = 0;
		socklen_t length = sizeof error;
		/* poll() leaves the socket unlocked: the server's FIN is processed on the
		 * server's vCPU. In recv() it would be put off to this one. */
		wait_event(fd, POLLRDHUP);
		distance(try, 1);
		shutdown(fd, SHUT_WR);
		/* Loopback: the answer to the FIN has been processed when shutdown() returns. */
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
		close(fd);
		meet->error = error;
		__sync_synchronize();
		meet->done = try;
	}
}

static void closes(void)
{
	int server = listener(9300, 64), hits = 0, try = 0;
	long before = out_rsts();
	double limit = seconds() + SECONDS;
	pid_t other = fork();

	if (other == 0)
		client();
	on_cpu(0);
	while (try < TRIES && seconds() < limit) {
		meet->go = ++try;
		wait_event(server, POLLIN);
		int child = take(server);
		distance(try, 0);
		close(child);
		wait_for(&meet->done, try);
		hits += meet->error != 0;
	}
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	said(try, hits, hits, before);
}

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	rendezvous();
	step("tries");
	if (asked("--timewait"))
		closes();
	else
		handshakes();
	step("count");
	return 0;
}
