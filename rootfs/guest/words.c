/* Runs a command and tells what it prints, piece by piece, in step with what else happens.
 *
 *   words CPUS COMMAND [ARG]...
 *
 * Tells on stdout, in the order of time:
 *
 *   u8 kind | u8[3] zero | u32 length | u64 CLOCK_MONOTONIC in ns | payload
 *
 * kind 0 comes first: u32, 1 where the pieces are counted in COUNT. Then a byte on stdin starts
 * COMMAND. 1 and 2: what it wrote to stdout and to stderr;
 * 3: it could not be started, u32 errno. Ends with the command's status, 128 + signal.
 *
 * A debugger that stops the guest wants to know which words came before; it reads the count in
 * the kernel's memory, in a variable that nothing uses (net_msg_warn). What a pipe holds says
 * nothing of when; so, when a command's write() returns, its words have been counted: on each
 * CPU a thread waits with real-time priority. A write wakes all of them, and the one on the
 * writer's CPU runs before the writer is back in user mode (kernel/sched/rt.c; poll(2) wakes
 * every waiter). None ever blocks where it holds the lock, which therefore spins; nor is a
 * holder preempted by another one: all have the same priority, who tells included.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECE	65536
#define WAITING (4 << 20) /* bytes not yet told, above which the command's pipes are left full */

#define COUNT "/proc/sys/net/core/warnings" /* net/core/sysctl_net_core.c: "Unused" */

enum { COUNTED, OUT, ERR, FAILED };

static int count_fd = -1;
static unsigned count;	/* pieces of OUT and ERR */
static char before[16]; /* what the variable held */

struct piece {
	struct piece *next;
	size_t size, done;
	char data[];
};

static int pipes[2] = { -1, -1 }; /* the command's stdout and stderr, our ends */
static int more = -1, over = -1;  /* eventfds: there is something to tell; the end */
static struct piece *first, *last;
static size_t waiting;
static volatile int locked;
static volatile int listening; /* threads that are ready */

static void lock(void)
{
	while (__sync_lock_test_and_set(&locked, 1))
		__builtin_ia32_pause();
}

static void unlock(void)
{
	__sync_lock_release(&locked);
}

static uint64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

static void wake(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof one) < 0)
		exit(125);
}

/* Called with the lock, or before there are threads. */
static void tell(uint8_t kind, const void *data, uint32_t size)
{
	struct piece *one = malloc(sizeof *one + 16 + size);
	uint64_t at = now();

	if (!one)
		exit(125);
	memset(one, 0, sizeof *one + 16);
	one->size = 16 + size;
	one->data[0] = (char)kind;
	memcpy(one->data + 4, &size, 4);
	memcpy(one->data + 8, &at, 8);
	memcpy(one->data + 16, data, size);
	if (last)
		last->next = one;
	else
		first = one;
	last = one;
	waiting += one->size;
}

static int publish(void)
{
	char text[16];
	int n = snprintf(text, sizeof text, "%u\n", count & 0x7fffffff);

	return count_fd >= 0 && pwrite(count_fd, text, (size_t)n, 0) == n;
}

/* Take what the pipes hold; whether something came. */
static int take(char *room)
{
	int came = 0;

	lock();
	for (int i = 0; i < 2; i++)
		while (pipes[i] >= 0 && waiting < WAITING) {
			ssize_t n = read(pipes[i], room, PIECE);
			if (n < 0)
				break; /* EAGAIN */
			if (n == 0) {
				pipes[i] = -1; /* stays open: another thread may be in poll() */
				break;
			}
			count++;
			publish();
			tell(i ? ERR : OUT, room, (uint32_t)n);
			came = 1;
		}
	unlock();
	return came;
}

static void at_once(void)
{
	sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK,
			   &(struct sched_param){ .sched_priority = 50 });
}

static void *listen_on(void *cpu)
{
	char *room = malloc(PIECE);
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((size_t)(intptr_t)cpu, &one);
	sched_setaffinity(0, sizeof one, &one);
	at_once();
	__sync_fetch_and_add(&listening, 1);
	for (;;) {
		struct pollfd fds[3] = { { .fd = over, .events = POLLIN } };
		lock();
		int full = waiting >= WAITING;
		for (int i = 0; i < 2; i++)
			fds[i + 1] =
				(struct pollfd){ .fd = full ? -1 : pipes[i], .events = POLLIN };
		unlock();
		/* Full: whoever tells makes room; nobody wakes us for that. */
		poll(fds, 3, full ? 5 : -1);
		if (fds[0].revents)
			return NULL;
		if (take(room))
			wake(more);
	}
}

/* Write what waits to stdout; false when nobody takes it. */
static int told(void)
{
	for (;;) {
		lock();
		struct piece *one = first;
		unlock();
		if (!one)
			return 1;
		while (one->done < one->size) {
			ssize_t n = write(1, one->data + one->done, one->size - one->done);
			if (n < 0 && errno != EINTR)
				return 0;
			one->done += n > 0 ? (size_t)n : 0;
		}
		lock();
		first = one->next;
		if (!first)
			last = NULL;
		waiting -= one->size;
		free(one);
		unlock();
	}
}

static void introduce(void)
{
	uint32_t counted;

	count_fd = open(COUNT, O_RDWR | O_CLOEXEC);
	if (count_fd >= 0 && pread(count_fd, before, sizeof before - 1, 0) <= 0)
		count_fd = -1;
	counted = (uint32_t)publish();
	tell(COUNTED, &counted, 4);
}

/* The command's pipes, and who listens to them: before it can say anything. */
static void listen_to(int cpus, int out[2], int err[2])
{
	pthread_t thread;
	int made = 0;

	if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		exit(125);
	pipes[0] = out[0];
	pipes[1] = err[0];
	for (int i = 0; i < 2; i++)
		fcntl(pipes[i], F_SETFL, O_NONBLOCK);
	for (intptr_t cpu = 0; cpu < cpus; cpu++)
		made += !pthread_create(&thread, NULL, listen_on, (void *)cpu);
	while (listening < made)
		usleep(200);
}

static pid_t start(char **argv, int out[2], int err[2])
{
	int failed[2];
	uint32_t error;
	sigset_t none;

	if (pipe2(failed, O_CLOEXEC))
		exit(125);
	pid_t pid = fork();
	if (pid == 0) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGPIPE, SIG_DFL);
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		execvp(argv[0], argv);
		error = (uint32_t)errno;
		_exit(write(failed[1], &error, 4) == 4 && error == ENOENT ? 127 : 126);
	}
	close(out[1]);
	close(err[1]);
	close(failed[1]);
	if (pid < 0 || read(failed[0], &error, 4) == 4) {
		error = pid < 0 ? (uint32_t)errno : error;
		lock();
		tell(FAILED, &error, 4);
		unlock();
	}
	close(failed[0]);
	return pid;
}

int main(int argc, char **argv)
{
	sigset_t all;
	int out[2], err[2];
	char go, *room = malloc(PIECE);
	int status = 0, gone = 0;

	if (argc < 3 || !room)
		return 125;
	/* What is sent to the group is for the command; we end with it. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	signal(SIGPIPE, SIG_IGN);
	more = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	over = eventfd(0, EFD_CLOEXEC);
	introduce();
	if (!told() || read(0, &go, 1) != 1)
		return 125;
	listen_to(atoi(argv[1]), out, err);
	pid_t pid = start(argv + 2, out, err);
	if (pid < 0)
		return told() ? 126 : 125;
	at_once();
	int exited = (int)syscall(SYS_pidfd_open, pid, 0);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		struct pollfd two[2] = { { .fd = more, .events = POLLIN },
					 { .fd = exited, .events = POLLIN } };
		uint64_t count;

		poll(two, 2, exited < 0 ? 20 : -1);
		if (read(more, &count, 8) < 0 && errno != EAGAIN)
			return 125;
		if (!gone && !told()) {
			gone = 1; /* the host is: so is whoever is run for it */
			kill(0, SIGKILL);
		}
	}
	/* What is still in the pipes; a grandchild that keeps them is not waited for. */
	do
		told();
	while (take(room));
	wake(over);
	if (count_fd >= 0 && pwrite(count_fd, before, strlen(before), 0) < 0)
		errno = 0; /* nothing reads it */
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
