/* tcpdump beside a leg of a lab, from before its first frame to after its last. */
#ifndef KERNLAB_DUMP_H
#define KERNLAB_DUMP_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sysctls.h"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

static const char LAST[] = "kernlab: end of capture";
static const char *out_dir; /* where a leg's files go */

static void write_file(const char *name, const void *data, size_t length)
{
	char path[512];
	int fd;

	snprintf(path, sizeof path, "%s/%s", out_dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	while (fd >= 0 && length) {
		ssize_t n = write(fd, data, length);
		if (n <= 0)
			break;
		data = (const char *)data + n;
		length -= (size_t)n;
	}
	if (fd < 0 || length)
		unfit("%s: %s", path, strerror(errno));
	close(fd);
}

/* tcpdump, its two pipes, and all it has captured. */
static pid_t dump;
static int dump_out = -1, dump_err = -1;
static char *captured;
static size_t captured_n, captured_room;

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void capture_start(const char *filter)
{
	int outs[2], errs[2];
	char said[4096] = "", expression[1024] = "";
	size_t used = 0;
	double limit = now() + 20;

	if (filter) /* and what capture_stop() sends */
		snprintf(expression, sizeof expression, "(%s) or udp dst port 9", filter);
	if (pipe2(outs, O_CLOEXEC) || pipe2(errs, O_CLOEXEC))
		unfit("pipe: %s", strerror(errno));
	dump = fork();
	if (dump == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(outs[1], 1);
		dup2(errs[1], 2);
		execlp("tcpdump", "tcpdump", "-i", "any", "-n", "-U", "--immediate-mode", "-s", "0",
		       "-B", "8192", "-Z", "root", "-w", "-", expression, (char *)NULL);
		_exit(127);
	}
	close(outs[1]);
	close(errs[1]);
	dump_out = outs[0];
	dump_err = errs[0];
	while (!strstr(said, "listening on")) {
		struct pollfd one = { .fd = dump_err, .events = POLLIN };
		if (now() > limit || poll(&one, 1, 1000) < 0)
			unfit("tcpdump did not start: %s", said);
		if (!one.revents)
			continue;
		ssize_t n = read(dump_err, said + used, sizeof said - 1 - used);
		if (n <= 0)
			unfit("tcpdump did not start: %s", said);
		used += (size_t)n;
		said[used] = 0;
	}
}

/* Take what tcpdump has written; 0 at its end. */
static int capture_take(void)
{
	ssize_t n;

	if (captured_room - captured_n < 65536) {
		captured_room = 2 * captured_room + (1 << 18);
		captured = realloc(captured, captured_room);
		if (!captured)
			unfit("no memory for the capture");
	}
	n = read(dump_out, captured + captured_n, captured_room - captured_n);
	if (n > 0)
		captured_n += (size_t)n;
	return n > 0;
}

/* Interrupted, tcpdump says how many packets it lost; it may still have some to write. */
static void last_words(double limit)
{
	static char said[4096];
	size_t used = 0;

	kill(dump, SIGINT);
	while (now() < limit && used < sizeof said) {
		struct pollfd two[2] = { { .fd = dump_err, .events = POLLIN },
					 { .fd = dump_out, .events = POLLIN } };
		if (poll(two, 2, 500) <= 0)
			continue;
		if (two[1].revents & POLLIN)
			capture_take();
		if (!two[0].revents)
			continue;
		ssize_t n = read(dump_err, said + used, sizeof said - used);
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	write_file("tcpdump", said, used);
}

/* A datagram of ours is the last frame: once it came out, everything before it has. */
static void capture_stop(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(9),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), status;
	double limit = now() + 15;

	sendto(fd, LAST, sizeof LAST - 1, 0, (struct sockaddr *)&to, sizeof to);
	close(fd);
	while (now() < limit) {
		struct pollfd one = { .fd = dump_out, .events = POLLIN };
		size_t back = captured_n < 8192 ? captured_n : 8192;
		if (captured_n && memmem(captured + captured_n - back, back, LAST, sizeof LAST - 1))
			break;
		if (poll(&one, 1, 500) > 0 && !capture_take())
			break;
	}
	last_words(limit);
	kill(dump, SIGKILL);
	waitpid(dump, &status, 0);
	write_file("capture.pcap", captured, captured_n);
}
#endif
