/* Each kprobe is an event of tracefs of our own, so that the kernel's own counters tell what it
 * hit and missed; the programs are attached to those events.
 */
#ifndef KPROBES_H
#define KPROBES_H
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "output.h"

#define TRACING	     "/sys/kernel/tracing/"
#define GROUP	     "kernlab_bpf"
#define OPTIMIZATION "/proc/sys/debug/kprobes-optimization"

static char optimization[2]; /* as it was */

static int append(const char *file, const char *line)
{
	int fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC), error = 0;

	if (fd < 0)
		return errno;
	if (write(fd, line, strlen(line)) < 0)
		error = errno;
	close(fd);
	return error;
}

/* An optimised kprobe runs on generated code, where the kernel's unwinder ends. */
static void optimize_none(void)
{
	int fd = open(OPTIMIZATION, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && read(fd, optimization, 1) == 1)
		append(OPTIMIZATION, "0");
	close(fd);
}

static void optimize_as_before(void)
{
	if (*optimization)
		append(OPTIMIZATION, optimization);
}

/* kind: 'p' for an entry, 'r' for a return. */
static int make_event(char kind, size_t number, unsigned long long address)
{
	char line[128];

	snprintf(line, sizeof(line), "%s:" GROUP "/kl%c%zu 0x%llx", kind == 'r' ? "r100" : "p",
		 kind, number, address);
	return append(TRACING "kprobe_events", line);
}

static void remove_event(char kind, size_t number)
{
	char line[64];

	snprintf(line, sizeof(line), "-:" GROUP "/kl%c%zu", kind, number);
	append(TRACING "kprobe_events", line);
}

/* As bpf_program__attach_tracepoint() does it, which would mount tracefs a second time, in
 * debugfs. NULL and errno when the kernel refuses. */
static struct bpf_link *attach_event(struct bpf_program *program, char kind, size_t number)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr) };
	struct bpf_link *link;
	char path[128];
	FILE *file;
	int fd, error;

	snprintf(path, sizeof(path), TRACING "events/" GROUP "/kl%c%zu/id", kind, number);
	file = fopen(path, "re");
	if (!file || fscanf(file, "%llu", &attr.config) != 1)
		fail(path, errno);
	fclose(file);
	fd = (int)syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return NULL;
	link = bpf_program__attach_perf_event(program, fd);
	if (!link) {
		error = errno;
		close(fd);
		errno = error;
	}
	return link;
}

/* Hits and misses by the kernel's own count, of entries and of returns. directs: the entries
 * that are no kprobes have a number there. */
static void profile(size_t count, const int *directs, unsigned long long *hits,
		    unsigned long long *missed, unsigned long long *returns_missed)
{
	FILE *file = fopen(TRACING "kprobe_profile", "re");
	char line[256], name[128];
	unsigned long long hit, miss;

	while (file && fgets(line, sizeof(line), file)) {
		char kind;
		size_t number;

		if (sscanf(line, "%127s %llu %llu", name, &hit, &miss) != 3)
			continue;
		if (sscanf(name, "kl%c%zu", &kind, &number) != 2 || number >= count)
			continue;
		if (kind == 'p' && directs[number] < 0) {
			*hits += hit;
			*missed += miss;
		} else if (kind == 'r') {
			*returns_missed += miss;
		}
	}
	if (file)
		fclose(file);
}
#endif
