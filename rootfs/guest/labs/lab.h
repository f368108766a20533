/* What every lab's program shares: it tells a story, does socket calls, and says how they
 * ended. Two kinds of lines on stdout, read by kernlab/leg/run.py:
 *
 *   @step NAME           the story has come to this point; its words are in the lab's YAML
 *   @got NAME VALUE      what a call gave: a number, an errno's name, or "ok"
 *
 * Nothing waits without a limit, and nothing sleeps where it can wait for a state. Every
 * program takes -6 (IPv6) and gives its other arguments to the lab: see lab_start(). What is
 * open when it ends is closed one end after the other: see lab_end().
 */
#ifndef KERNLAB_LAB_H
#define KERNLAB_LAB_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_MS 10000 /* the longest wait for anything that should come at once */

static int family = AF_INET;
static int failed; /* the program ends before its story does */

__attribute__((noreturn, format(printf, 1, 2))) static inline void fail(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vfprintf(stderr, format, list);
	fprintf(stderr, "\n");
	va_end(list);
	failed = 1;
	exit(1);
}

/* A line has been told. What the program does next is to come after it on the host too, which
 * hears of a debugger's stop at once and of a line when the agent has run: with KERNLAB_IN_STEP
 * set, the host answers each line with a byte on stdin. Without an answer the story goes on. */
static inline void told(void)
{
	static int waits = -1;
	struct pollfd answer = { .fd = 0, .events = POLLIN };
	char byte;
	int ready;

	if (waits < 0)
		waits = getenv("KERNLAB_IN_STEP") != NULL;
	if (!waits)
		return;
	fflush(stdout);
	while ((ready = poll(&answer, 1, 2000)) < 0 && errno == EINTR)
		;
	if (ready != 1 || read(0, &byte, 1) != 1)
		waits = 0;
}

static inline void step(const char *name)
{
	printf("@step %s\n", name);
	told();
}

static inline void got(const char *name, const char *value)
{
	printf("@got %s %s\n", name, value);
	told();
}

static inline void got_number(const char *name, long value)
{
	printf("@got %s %ld\n", name, value);
	told();
}

/* Whether the option is among the program's arguments. */
static int lab_argc;
static char **lab_argv;
static inline int asked(const char *option)
{
	for (int i = 1; i < lab_argc; i++)
		if (!strcmp(lab_argv[i], option))
			return 1;
	return 0;
}

static pid_t lab_process; /* not one that it forks */
static void lab_end(void);
static inline void lab_start(int argc, char **argv)
{
	lab_process = getpid();
	atexit(lab_end);
	lab_argc = argc;
	lab_argv = argv;
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	if (asked("-6"))
		family = AF_INET6;
}

/* The calling process runs on this vCPU from now on. */
static inline void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set))
		fail("no vCPU %d", cpu);
}

static inline double seconds(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

/* Let guest time pass: where a lab is about time (a timer, an idle connection), never to
 * wait for something that can be seen. The kernel's timers and entries go by jiffies, which
 * stand still while the vCPU that counts them gets no time of a busy host: those pass as well. */
static inline void pass_ms(int ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000L }, tick = { 0, 1000000L };
	clock_t began = times(NULL); /* jiffies, in 1/100 s */

	while (nanosleep(&left, &left) && errno == EINTR)
		;
	while (ms >= 100 && times(NULL) - began <= ms / 10)
		nanosleep(&tick, NULL);
}

/* Set a sysctl in the middle of the story: net.ipv4.NAME, or the machine's own where the
 * namespace has none. labrun puts back only what the lab's YAML sets too. */
static inline void set_sysctl(const char *name, int value)
{
	char path[128];
	int fd;

	snprintf(path, sizeof path, "/proc/sys/net/ipv4/%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		int first = open("/proc/1/ns/net", O_RDONLY | O_CLOEXEC);
		if (setns(first, CLONE_NEWNET))
			fail("the first network namespace: %s", strerror(errno));
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (setns(own, CLONE_NEWNET))
			fail("back from the first network namespace: %s", strerror(errno));
		close(own);
		close(first);
	}
	if (fd < 0 || dprintf(fd, "%d", value) < 0)
		fail("%s: %s", path, strerror(errno));
	close(fd);
}

/* -- addresses ---------------------------------------------------------------------- */

static inline socklen_t address_of(struct sockaddr_storage *to, const char *v4, const char *v6,
				   int port)
{
	memset(to, 0, sizeof *to);
	if (family == AF_INET6) {
		struct sockaddr_in6 *six = (struct sockaddr_in6 *)to;
		six->sin6_family = AF_INET6;
		six->sin6_port = htons((uint16_t)port);
		inet_pton(AF_INET6, v6, &six->sin6_addr);
		return sizeof *six;
	}
	struct sockaddr_in *four = (struct sockaddr_in *)to;
	four->sin_family = AF_INET;
	four->sin_port = htons((uint16_t)port);
	inet_pton(AF_INET, v4, &four->sin_addr);
	return sizeof *four;
}

static inline socklen_t anywhere(struct sockaddr_storage *to, int port)
{
	return address_of(to, "0.0.0.0", "::", port);
}

static inline socklen_t loopback(struct sockaddr_storage *to, int port)
{
	return address_of(to, "127.0.0.1", "::1", port);
}

/* -- socket calls; those that must not fail end the program --------------------------- */

static inline void set_option(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof value))
		fail("setsockopt %d %d: %s", level, name, strerror(errno));
}

static inline void set_linger(int fd, int on, int secs)
{
	struct linger value = { on, secs };

	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &value, sizeof value))
		fail("SO_LINGER: %s", strerror(errno));
}

/* A socket whose calls give up after LIMIT_MS. */
static inline int tcp_socket(void)
{
	struct timeval limit = { LIMIT_MS / 1000, 0 };
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	return fd;
}

static inline void bind_to(int fd, int port)
{
	struct sockaddr_storage at;
	socklen_t length = anywhere(&at, port);

	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(fd, (struct sockaddr *)&at, length))
		fail("bind to port %d: %s", port, strerror(errno));
}

static inline int listener(int port, int backlog)
{
	int fd = tcp_socket();

	bind_to(fd, port);
	if (listen(fd, backlog))
		fail("listen: %s", strerror(errno));
	return fd;
}

/* connect() to loopback; 0 or an errno. */
static inline int connect_to(int fd, int port)
{
	struct sockaddr_storage to;
	socklen_t length = loopback(&to, port);

	return connect(fd, (struct sockaddr *)&to, length) ? errno : 0;
}

static inline int dial(int port)
{
	int fd = tcp_socket(), error = connect_to(fd, port);

	if (error)
		fail("connect to port %d: %s", port, strerror(error));
	return fd;
}

static inline int take(int listening)
{
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		fail("accept: %s", strerror(errno));
	struct timeval limit = { LIMIT_MS / 1000, 0 };
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	return fd;
}

/* -- how a call ended, as a word ------------------------------------------------------ */

static inline const char *errno_word(int error)
{
	const char *name = error ? strerrorname_np(error) : "ok";

	return name ? name : "unknown";
}

static inline const char *word(long result)
{
	static char text[8][24];
	static int turn;
	char *at = text[turn++ & 7];

	if (result < 0)
		return errno_word(errno);
	snprintf(at, sizeof text[0], "%ld", result);
	return at;
}

/* recv(): bytes, 0 at the end, or the errno's name. */
static inline const char *reads(int fd)
{
	char data[65536];

	return word(recv(fd, data, sizeof data, 0));
}

static inline const char *writes(int fd, const char *data)
{
	return word(send(fd, data, strlen(data), MSG_NOSIGNAL));
}

/* SO_ERROR: the error that waits at the socket, which reading it takes away. */
static inline const char *pending(int fd)
{
	int error = 0;
	socklen_t length = sizeof error;

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
	return errno_word(error);
}

/* -- waiting ------------------------------------------------------------------------ */

static inline struct tcp_info info_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t length = sizeof info;

	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
	return info;
}

static inline const char *state_of(int fd)
{
	static const char *const names[] = { "?",	   "ESTABLISHED", "SYN_SENT",  "SYN_RECV",
					     "FIN_WAIT1",  "FIN_WAIT2",	  "TIME_WAIT", "CLOSE",
					     "CLOSE_WAIT", "LAST_ACK",	  "LISTEN",    "CLOSING" };
	unsigned state = info_of(fd).tcpi_state;

	return state < sizeof names / sizeof *names ? names[state] : "?";
}

/* Wait until the socket is in this state; ends the program after LIMIT_MS. */
static inline void wait_state(int fd, int state)
{
	double limit = seconds() + LIMIT_MS / 1000.0;

	while (info_of(fd).tcpi_state != state) {
		if (seconds() > limit)
			fail("the socket is in %s, not in state %d", state_of(fd), state);
		pass_ms(1);
	}
}

/* How many sockets with this local port the namespace has in this state, the mini-sockets
 * included that belong to no process any more: /proc/net/tcp shows a request socket as
 * SYN_RECV, and for a TIME_WAIT socket its substate (get_timewait4_sock()). */
static inline int listed(int port, int state)
{
	FILE *file = fopen(family == AF_INET6 ? "/proc/net/tcp6" : "/proc/net/tcp", "r");
	char line[512];
	unsigned local, now;
	int found = 0;

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, " %*d: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x", &local, &now) == 2)
			found += (int)local == port && (int)now == state;
	if (file)
		fclose(file);
	return found;
}

/* Wait until such a socket is there; ends the program after LIMIT_MS. */
static inline void wait_listed(int port, int state)
{
	double limit = seconds() + LIMIT_MS / 1000.0;

	while (!listed(port, state)) {
		if (seconds() > limit)
			fail("no socket at port %d came into state %d", port, state);
		pass_ms(1);
	}
}

/* A counter of /proc/net/netstat (net/ipv4/proc.c), of this namespace. */
static inline long counted(const char *name)
{
	static char names[16384], values[16384];
	char *name_at, *value_at;
	FILE *file = fopen("/proc/net/netstat", "re");

	while (file && fgets(names, sizeof names, file) && fgets(values, sizeof values, file)) {
		char *value = strtok_r(values, " \n", &value_at);
		for (char *each = strtok_r(names, " \n", &name_at); each && value;
		     each = strtok_r(NULL, " \n", &name_at),
			  value = strtok_r(NULL, " \n", &value_at))
			if (!strcmp(each, name)) {
				fclose(file);
				return atol(value);
			}
	}
	fail("/proc/net/netstat has no %s", name);
}

/* Wait until there is something to read, an end or an error. */
static inline void wait_readable(int fd)
{
	struct pollfd one = { .fd = fd, .events = POLLIN };

	if (poll(&one, 1, LIMIT_MS) <= 0)
		fail("nothing to read after %d ms", LIMIT_MS);
}

/* -- the end ------------------------------------------------------------------------- */

static inline int tcp_state(int fd)
{
	struct tcp_info info;
	socklen_t length = sizeof info;

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) ? 0 : info.tcpi_state;
}

/* Wait for one of two states; 0 when it does not come. */
static inline int comes_to(int fd, int state, int other)
{
	for (double limit = seconds() + LIMIT_MS / 1000.0; seconds() < limit; pass_ms(1)) {
		int now = tcp_state(fd);
		if (now == state || now == other)
			return 1;
	}
	return 0;
}

/* The address and port of one end as text; empty when there is none. */
static inline const char *end_text(char *text, size_t n, int fd, int remote)
{
	struct sockaddr_storage at;
	socklen_t length = sizeof at;
	char name[INET6_ADDRSTRLEN];

	*text = 0;
	if ((remote ? getpeername : getsockname)(fd, (struct sockaddr *)&at, &length))
		return text;
	/* The port is at the same place in both. */
	const void *address = at.ss_family == AF_INET6
				      ? (const void *)&((struct sockaddr_in6 *)&at)->sin6_addr
				      : (const void *)&((struct sockaddr_in *)&at)->sin_addr;
	if (inet_ntop(at.ss_family, address, name, sizeof name))
		snprintf(text, n, "%s %d", name, ntohs(((struct sockaddr_in *)&at)->sin_port));
	return text;
}

static inline int are_ends(int one, int other)
{
	char a[80], b[80], c[80], d[80];

	return *end_text(a, sizeof a, one, 1) && !strcmp(a, end_text(b, sizeof b, other, 0)) &&
	       *end_text(c, sizeof c, other, 1) && !strcmp(c, end_text(d, sizeof d, one, 0));
}

/* A connection whose two ends are here: the one that has sent its FIN, or the first, ends its
 * direction, and when that is acknowledged the other does. Then no FIN is under way that could
 * meet another. */
static inline void end_both(int one, int other)
{
	int first = tcp_state(one) == TCP_CLOSE_WAIT ? other : one;
	int second = first == one ? other : one;

	shutdown(first, SHUT_WR);
	if (!comes_to(first, TCP_FIN_WAIT2, TCP_CLOSE))
		return;
	shutdown(second, SHUT_WR);
	comes_to(second, TCP_CLOSE, TCP_CLOSE);
	comes_to(first, TCP_CLOSE, TCP_CLOSE); /* as the program sees TIME_WAIT */
}

/* One whose other end is not: a peer played segment by segment, which does not answer any more,
 * or a socket that no process has. */
static inline void end_one(int fd)
{
	int state = tcp_state(fd), on = 1;

	if (state == TCP_CLOSE || state == TCP_LISTEN || state == TCP_SYN_SENT)
		return;
	shutdown(fd, SHUT_WR);
	/* A FIN that answers one is answered by what is left of the other end. */
	char here[80], there[80], *a = strrchr(end_text(here, sizeof here, fd, 0), ' ');
	char *b = strrchr(end_text(there, sizeof there, fd, 1), ' ');
	if (a && b)
		*a = *b = 0;
	if (state == TCP_CLOSE_WAIT && !strcmp(here, there))
		comes_to(fd, TCP_CLOSE, TCP_CLOSE);
	/* Of one in repair close() sends nothing and leaves no timer (tcp_disconnect()). */
	setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on);
}

/* What the program has left open is closed here and not by exit(), which closes everything at
 * once: FINs would cross, or meet a socket on its way to TIME_WAIT, and what is counted and
 * captured would be a matter of luck. Sockets go in the order in which they were made. */
static void lab_end(void)
{
	enum { MOST = 1024 };

	if (failed || getpid() != lab_process)
		return;
	for (int one = 3; one < MOST; one++) {
		int other = MOST;
		if (!tcp_state(one) || tcp_state(one) == TCP_CLOSE || tcp_state(one) == TCP_LISTEN)
			continue;
		for (other = one + 1; other < MOST; other++)
			if (tcp_state(other) && are_ends(one, other))
				break;
		if (other < MOST)
			end_both(one, other);
		else
			end_one(one);
	}
	/* Listeners last: what waits at one is aborted with it. */
	for (int listening = 0; listening < 2; listening++)
		for (int fd = 3; fd < MOST; fd++)
			if (tcp_state(fd) && (tcp_state(fd) == TCP_LISTEN) == listening)
				close(fd);
}
#endif
