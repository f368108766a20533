/* The guest's half of what kernlab does with tracefs: carries out a script of writes, ships the
 * ring buffer's pages as they are to stdout until told to stop, and puts everything back.
 *
 *   tracefs SCRIPT    (removed when it has been read)
 *
 * A line of the script is a word, a path below /sys/kernel/tracing (or an absolute one), and
 * the rest of the line:
 *
 *   mkdir PATH        make an instance
 *   write PATH TEXT   must succeed      add PATH TEXT   the same, appending
 *   patch PATH TEXT   the same, while the other vCPUs stand still
 *   try PATH TEXT     may be refused: then the host is told
 *   keep PATH         what is in a file now comes back at the end
 *   file PATH         send a file's content, where there is one
 *   run PATH          ship the instance's pages until the host sends a byte or ends stdin
 *   drain             ship what is left
 *   wait              until the host sends a byte or ends stdin
 *   rmdir PATH        remove an instance
 *
 * After a failure only the lines after `run` are carried out; those need not succeed.
 *
 * Why `patch`: QEMU's TCG before 8.1 may go on executing code that another vCPU has just
 * changed, if it was translating it meanwhile. Where a probe was being set, the int3 that
 * stood there for a moment then hits when nobody expects it any more: a panic (seen) or a hang.
 * A vCPU that spins in user mode translates nothing of the kernel's but its interrupts.
 *
 * stdout: u32 kind | u32 arg | u32 length | payload, little-endian. kernlab/trace/tracefs/
 * guest.py reads it and has the same numbers. Linux: kernel/trace/trace.c, ring_buffer.c.
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
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>
#include "still.h"

enum kind {
	PAGE = 1, /* arg: the vCPU; a page of its ring buffer, its unused end left out */
	ROUND,	  /* u64 TSC, u64 ns of CLOCK_MONOTONIC then: what was before has been sent */
	CONTENT,  /* path\0 content */
	READY,	  /* the script has come to `run`, or to `wait` */
	FAILED,	  /* arg: errno; the line that failed */
	REFUSED,  /* arg: errno; the line that was refused */
};

#define TOP	    "/sys/kernel/tracing"
#define MAX_CPUS    64
#define MAX_SET	    16
#define LARGEST	    65536    /* bytes of a page of the ring buffer: buffer_subbuf_size_kb */
#define PAGE_HEADER 16	     /* u64 time stamp, u64 of which the low 20 bits say how much is used */
#define BATCH_NS    10000000 /* how long events gather before they are fetched */

static char out[1 << 18];
static size_t used;
static int fds[MAX_CPUS], cpus;
static volatile sig_atomic_t stopped;
static struct {
	char *path, *was;
} kept[MAX_SET];
static int sets;

static void on_stop(int number)
{
	(void)number;
	stopped = 1;
}

static void flush(void)
{
	for (size_t at = 0; at < used;) {
		ssize_t n = write(1, out + at, used - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) { /* the host is gone; the rest is to put everything back */
			stopped = 1;
			break;
		}
		at += (size_t)n;
	}
	used = 0;
}

static void put(const void *data, size_t length)
{
	for (size_t at = 0; at < length;) {
		size_t n = length - at < sizeof out - used ? length - at : sizeof out - used;

		memcpy(out + used, (const char *)data + at, n);
		used += n;
		at += n;
		if (used == sizeof out)
			flush();
	}
}

static void frame(enum kind kind, uint32_t arg, const void *data, size_t length)
{
	uint32_t header[3] = { kind, arg, (uint32_t)length };

	put(header, sizeof header);
	put(data, length);
}

/* The whole of a file, whose size tracefs does not tell; NULL where it cannot be read. */
static char *content(const char *path, size_t *length)
{
	size_t room = 65536, have = 0;
	char *text = malloc(room);
	int fd = open(path, O_RDONLY);
	ssize_t n = -1;

	while (fd >= 0 && text && (n = read(fd, text + have, room - have - 1)) > 0) {
		have += (size_t)n;
		if (room - have < 4096)
			text = realloc(text, room *= 2);
	}
	if (fd >= 0)
		close(fd);
	if (n < 0 || !text)
		return NULL;
	text[have] = 0;
	*length = have;
	return text;
}

static void send_file(const char *path)
{
	size_t length = 0, name = strlen(path) + 1;
	char *text = content(path, &length), *both = malloc(name + length);

	if (text && both) {
		memcpy(both, path, name);
		memcpy(both + name, text, length);
		frame(CONTENT, 0, both, name + length);
	}
	free(text);
	free(both);
}

/* With a newline: without one some of tracefs' files look at a word only when they are closed,
 * and then tell nobody what is wrong with it. One write is one command. */
static int put_file(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | flags), error = 0;
	char *line;

	if (fd < 0)
		return errno;
	if (asprintf(&line, "%s\n", text) < 0)
		return ENOMEM;
	if (write(fd, line, strlen(line)) < 0)
		error = errno;
	free(line);
	if (close(fd) < 0 && !error)
		error = errno;
	return error;
}

/* A write that changes the kernel's code. */
static int patch(const char *path, const char *text)
{
	others_still();
	int error = put_file(path, text, O_TRUNC);
	others_go();
	setpriority(PRIO_PROCESS, 0, -20);
	return error;
}

/* ---- the script ----------------------------------------------------------------------- */

/* What has to be written to a file of tracefs for it to say again what it says: of a choice the
 * one in brackets, of "7 (expanded: 1408)" the number, of a comment nothing. */
static char *setting(char *text)
{
	char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL;

	if (close) {
		*close = 0;
		return strdup(open + 1);
	}
	if (*text == '#')
		return strdup("");
	text[strcspn(text, " \n")] = 0;
	return strdup(text);
}

static void keep(const char *path)
{
	size_t length = 0;
	char *text = sets < MAX_SET ? content(path, &length) : NULL;

	if (!text)
		return;
	kept[sets].path = strdup(path);
	kept[sets++].was = setting(text);
	free(text);
}

static int open_pages(const char *instance)
{
	for (cpus = 0; cpus < MAX_CPUS; cpus++) {
		char path[512];

		snprintf(path, sizeof path, "%s/per_cpu/cpu%d/trace_pipe_raw", instance, cpus);
		fds[cpus] = open(path, O_RDONLY | O_NONBLOCK);
		if (fds[cpus] < 0)
			break;
	}
	return cpus ? 0 : errno;
}

/* Ship what is there; the bytes. */
static size_t ship(void)
{
	static char page[LARGEST];
	struct timespec now;
	size_t shipped = 0;
	uint64_t round[2] = { __rdtsc(), 0 }, commit;

	clock_gettime(CLOCK_MONOTONIC, &now);
	round[1] = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	for (int cpu = 0; cpu < cpus; cpu++) {
		ssize_t n;

		while ((n = read(fds[cpu], page, sizeof page)) > PAGE_HEADER) {
			memcpy(&commit, page + 8, sizeof commit);
			size_t whole = PAGE_HEADER + (commit & 0xfffff);
			size_t length = whole < (size_t)n ? whole : (size_t)n;
			frame(PAGE, (uint32_t)cpu, page, length);
			shipped += length;
		}
	}
	frame(ROUND, 0, round, sizeof round);
	flush();
	return shipped;
}

/* The host's byte, or the end of what it sends. */
static void await(void)
{
	char byte;

	while (!stopped && read(0, &byte, 1) < 0 && errno == EINTR)
		;
}

static void run(void)
{
	struct pollfd waits[MAX_CPUS + 1];
	struct timespec batch = { 0, BATCH_NS };

	waits[cpus] = (struct pollfd){ 0, POLLIN, 0 };
	for (int i = 0; i < cpus; i++)
		waits[i] = (struct pollfd){ fds[i], POLLIN, 0 };
	while (!stopped) {
		/* Asked only when all is empty: the kernel wakes a waiter at each event. */
		if (!ship() && poll(waits, (nfds_t)cpus + 1, 200) < 0 && errno != EINTR)
			break;
		if (poll(&waits[cpus], 1, 0) > 0) {
			await();
			break;
		}
		nanosleep(&batch, NULL);
	}
}

static void drain(void)
{
	while (ship())
		;
}

static int carry_out(char *line)
{
	char *word = strsep(&line, " "), *path = strsep(&line, " "), *text = line ? line : "";

	if (!path)
		path = "";
	if (!strcmp(word, "write"))
		return put_file(path, text, O_TRUNC);
	if (!strcmp(word, "patch"))
		return patch(path, text);
	if (!strcmp(word, "add"))
		return put_file(path, text, O_APPEND);
	if (!strcmp(word, "mkdir"))
		return mkdir(path, 0700) && errno != EEXIST ? errno : 0;
	if (!strcmp(word, "run"))
		return open_pages(path);
	if (!strcmp(word, "keep"))
		keep(path);
	else if (!strcmp(word, "file"))
		send_file(path);
	else if (!strcmp(word, "drain"))
		drain();
	else if (!strcmp(word, "wait")) {
		frame(READY, 0, NULL, 0);
		flush();
		await();
	} else if (!strcmp(word, "rmdir")) {
		while (cpus > 0)
			close(fds[--cpus]);
		return rmdir(path) ? errno : 0;
	} else if (!strcmp(word, "try")) {
		int error = put_file(path, text, O_TRUNC);
		if (error)
			frame(REFUSED, (uint32_t)error, path, strlen(path));
	} else
		return EINVAL;
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_stop };
	size_t length = 0;
	char *script, *line;
	int failed = 0, ending = 0;

	if (argc != 2 || !(script = content(argv[1], &length)))
		return 2;
	unlink(argv[1]);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	fcntl(1, F_SETPIPE_SZ, 1 << 20);
	setpriority(PRIO_PROCESS, 0, -20); /* else the ring buffer is full before our turn */
	if (access(TOP "/trace", F_OK))
		mount("tracefs", TOP, "tracefs", 0, NULL);
	if (chdir(TOP) < 0)
		return 2;
	while ((line = strsep(&script, "\n"))) {
		int running = !strncmp(line, "run ", 4);

		if (!*line || (failed && !ending && !running))
			continue;
		char *whole = strdup(line);
		int error = failed && running ? 0 : carry_out(line);
		if (error && !ending) {
			failed = 1;
			send_file("error_log");
			frame(FAILED, (uint32_t)error, whole, strlen(whole));
		}
		if (running && !failed) {
			frame(READY, 0, NULL, 0);
			flush();
			run();
		}
		ending |= running;
		free(whole);
		flush();
	}
	while (sets--)
		put_file(kept[sets].path, kept[sets].was, O_TRUNC);
	flush();
	return failed;
}
