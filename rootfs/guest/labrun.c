/* One leg of a lab: a network namespace of its own, and everything measured around a program.
 *
 *   labrun -o DIR [-w SECONDS] [-v] [-f FILTER] [-s KEY=VALUE]... [-c COMMAND]...
 *          -- PROGRAM [ARG]...
 *
 * In the new namespace: lo is brought up; with -v a second namespace hangs on a veth pair
 * (veth0 10.8.0.1/24 fd08::1 here, veth1 10.8.0.2/24 fd08::2 there; its path is in
 * KERNLAB_PEER_NS). Then sysctls are set (-s, in the order given), shell commands run (-c),
 * tcpdump listens (for what FILTER lets pass), counters are read, PROGRAM runs, counters are
 * read again. DIR gets before, after (snmp, netstat, nf_conntrack), kmsg, capture.pcap, tcpdump
 * (its last words) and links (`INDEX NAME` of the namespace's devices, those gone too). The exit
 * status is the program's; 120: the leg could not be set up, 124: PROGRAM was still running
 * after SECONDS (60). Sysctls that are not the namespace's own are put back at the end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "links.h"

#define MANY 64
static const char LAST[] = "kernlab: end of capture";
static const char *out_dir;

/* fd stays open: a sysctl that is the machine's own is not under /proc/sys of every namespace. */
struct setting { char path[256], old[256]; int fd; };
static struct setting settings[MANY];
static int settings_n;

static void restore(void)
{
	while (settings_n) {
		struct setting *one = &settings[--settings_n];
		if (pwrite(one->fd, one->old, strlen(one->old), 0) < 0)
			fprintf(stderr, "labrun: %s was not put back\n", one->path);
		close(one->fd);
	}
}

__attribute__((noreturn, format(printf, 1, 2))) static void unfit(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	fprintf(stderr, "labrun: ");
	vfprintf(stderr, format, list);
	fprintf(stderr, "\n");
	va_end(list);
	restore();
	_exit(120);
}

static void up(const char *device)
{
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(request.ifr_name, IFNAMSIZ, "%s", device);
	if (ioctl(fd, SIOCGIFFLAGS, &request))
		unfit("%s: %s", device, strerror(errno));
	request.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &request))
		unfit("%s: %s", device, strerror(errno));
	close(fd);
}

static void shell(const char *command)
{
	int status = system(command);

	if (status)
		unfit("'%s' ended with status %d", command,
		      WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* A sysctl of this namespace, or else of the first one: tcp_max_orphans counts the whole
 * machine's sockets, so that /proc/sys has it there alone. */
static int open_sysctl(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT) {
		int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		int first = open("/proc/1/ns/net", O_RDONLY | O_CLOEXEC);
		if (own < 0 || first < 0 || setns(first, CLONE_NEWNET))
			unfit("the first network namespace: %s", strerror(errno));
		fd = open(path, O_RDWR | O_CLOEXEC);
		int why = errno;
		if (setns(own, CLONE_NEWNET))
			unfit("back from the first network namespace: %s", strerror(errno));
		close(own);
		close(first);
		errno = why;
	}
	return fd;
}

/* KEY is net.ipv4.tcp_syncookies: dots are slashes, as sysctl(8) has it. */
static void set(const char *text)
{
	struct setting *one = &settings[settings_n];
	const char *value = strchr(text, '=');

	if (!value || settings_n == MANY)
		unfit("-s %s: KEY=VALUE, %d at most", text, MANY);
	snprintf(one->path, sizeof one->path, "/proc/sys/%.*s", (int)(value - text), text);
	for (char *at = one->path + strlen("/proc/sys/"); *at; at++)
		if (*at == '.')
			*at = '/';
	one->fd = open_sysctl(one->path);
	if (one->fd < 0 && errno == ENOENT)
		unfit("this kernel has no sysctl %.*s", (int)(value - text), text);
	if (one->fd < 0)
		unfit("%s: %s", one->path, strerror(errno));
	ssize_t n = read(one->fd, one->old, sizeof one->old - 1);
	one->old[n > 0 ? n : 0] = 0;
	settings_n++;
	if (pwrite(one->fd, value + 1, strlen(value + 1), 0) < 0)
		unfit("sysctl %s: %s", text, strerror(errno));
}

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

static void counters(const char *name)
{
	static const char *const files[] = { "/proc/net/snmp", "/proc/net/netstat",
					     "/proc/net/stat/nf_conntrack" };
	static char text[1 << 17];
	size_t used = 0;

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		int fd = open(files[i], O_RDONLY);
		ssize_t n;
		if (fd < 0)
			continue;
		used += (size_t)snprintf(text + used, sizeof text - used, "# %s\n", files[i]);
		while ((n = read(fd, text + used, sizeof text - used - 1)) > 0)
			used += (size_t)n;
		close(fd);
	}
	write_file(name, text, used);
}

/* A second namespace, held by a child that sleeps until this process is gone. */
static void peer_namespace(void)
{
	int ready[2];
	char byte, text[64];
	pid_t child;

	if (pipe2(ready, O_CLOEXEC))
		unfit("pipe: %s", strerror(errno));
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET))
			_exit(1);
		up("lo");
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		unfit("no second network namespace");
	close(ready[0]);
	snprintf(text, sizeof text, "/proc/%d/ns/net", child);
	setenv("KERNLAB_PEER_NS", text, 1);
	char command[512];
	snprintf(command, sizeof command,
		 "/sbin/ip link add veth0 type veth peer name veth1 netns %d && "
		 "/sbin/ip addr add 10.8.0.1/24 dev veth0 && "
		 "/sbin/ip addr add fd08::1/64 dev veth0 nodad && /sbin/ip link set veth0 up", child);
	shell(command);
	/* The other end is configured from inside. */
	child = fork();
	if (child == 0) {
		int fd = open(text, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || setns(fd, CLONE_NEWNET))
			_exit(1);
		execl("/bin/sh", "sh", "-c",
		      "/sbin/ip addr add 10.8.0.2/24 dev veth1 && "
		      "/sbin/ip addr add fd08::2/64 dev veth1 nodad && /sbin/ip link set veth1 up",
		      (char *)NULL);
		_exit(127);
	}
	int status;
	waitpid(child, &status, 0);
	if (status)
		unfit("veth1 could not be configured");
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
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9),
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

/* What the program's devices are called: told by the kernel as each came. */
static void links_save(int fd)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	while (out && fd >= 0 && (links_take(fd, MSG_DONTWAIT, out) >= 0 || errno == ENOBUFS))
		;
	if (out && !fclose(out))
		write_file("links", text, size);
}

/* Run the program while the capture is emptied; its status, 124 when it takes too long. */
static int program(char **argv, int seconds)
{
	double limit = now() + seconds;
	int status = 0, over = 0;
	pid_t child = fork();

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0);
		execvp(argv[0], argv);
		fprintf(stderr, "labrun: %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	int exited = (int)syscall(SYS_pidfd_open, child, 0);
	while (!over) {
		struct pollfd two[2] = { { .fd = dump_out, .events = POLLIN },
					 { .fd = exited, .events = POLLIN } };
		int left = (int)((limit - now()) * 1000);
		if (left <= 0) {
			fprintf(stderr, "labrun: still running after %d s\n", seconds);
			kill(-child, SIGKILL);
			waitpid(child, &status, 0);
			return 124;
		}
		poll(two, 2, left);
		if (two[0].revents && !capture_take())
			over = 1; /* tcpdump died: the rest is checked by the host */
		if (two[1].revents)
			over = 1;
	}
	waitpid(child, &status, 0);
	kill(-child, SIGKILL); /* what the program left behind */
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void kmsg_save(int fd)
{
	static char text[1 << 16];
	size_t used = 0;
	ssize_t n;

	while (fd >= 0 && used + 4096 < sizeof text) {
		n = read(fd, text + used, sizeof text - used - 1);
		if (n < 0 && errno == EPIPE)
			continue; /* lines were overwritten before they were read */
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	write_file("kmsg", text, used);
}

int main(int argc, char **argv)
{
	const char *sysctls[MANY], *commands[MANY], *filter = NULL;
	int option, seconds = 60, sysctls_n = 0, commands_n = 0, veth = 0, status, kmsg, links;

	while ((option = getopt(argc, argv, "+o:w:vf:s:c:")) != -1) {
		switch (option) {
		case 'o': out_dir = optarg; break;
		case 'w': seconds = atoi(optarg); break;
		case 'v': veth = 1; break;
		case 'f': filter = optarg; break;
		case 's': if (sysctls_n < MANY) sysctls[sysctls_n++] = optarg; break;
		case 'c': if (commands_n < MANY) commands[commands_n++] = optarg; break;
		default: return 120;
		}
	}
	if (!out_dir || optind >= argc)
		unfit("-o DIR and a program");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (unshare(CLONE_NEWNET))
		unfit("no network namespace: %s", strerror(errno));
	links = links_open();
	up("lo");
	if (veth)
		peer_namespace();
	for (int i = 0; i < sysctls_n; i++)
		set(sysctls[i]);
	for (int i = 0; i < commands_n; i++)
		shell(commands[i]);
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kmsg >= 0)
		lseek(kmsg, 0, SEEK_END);
	capture_start(filter);
	counters("before");
	status = program(argv + optind, seconds);
	counters("after");
	capture_stop();
	links_save(links);
	kmsg_save(kmsg);
	restore();
	return status;
}
