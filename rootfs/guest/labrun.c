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
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dump.h"
#include "links.h"
#include "sysctls.h"

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
		 "/sbin/ip addr add fd08::1/64 dev veth0 nodad && /sbin/ip link set veth0 up",
		 child);
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
		case 'o':
			out_dir = optarg;
			break;
		case 'w':
			seconds = atoi(optarg);
			break;
		case 'v':
			veth = 1;
			break;
		case 'f':
			filter = optarg;
			break;
		case 's':
			if (sysctls_n < MANY)
				sysctls[sysctls_n++] = optarg;
			break;
		case 'c':
			if (commands_n < MANY)
				commands[commands_n++] = optarg;
			break;
		default:
			return 120;
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
