/* The engine bpf's loader: takes a plan and a list of probes, and sends records to stdout.
 *
 *   probe PLAN PROBES    files of structs of probe.h; removed when they were read
 *
 * Each probe is an event of tracefs of our own, so that the kernel's own counters tell what it
 * hit and missed; the programs are attached to those events. "ready" on stderr when all are
 * armed. SIGINT stops the recording: the last record on stdout then is what was counted.
 * SIGTERM takes the probes away.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "../still.h"
#include "probe.h"
#include "probe.skel.h"

#define TRACING "/sys/kernel/tracing/"
#define GROUP "kernlab_bpf"
#define OPTIMIZATION "/proc/sys/debug/kprobes-optimization"
#define ROUND_MS 20

static void fail(const char *what, int number)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(number));
	exit(1);
}

static void *read_file(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat stat;
	char *data;
	size_t got = 0;

	if (fd < 0 || fstat(fd, &stat))
		fail(path, errno);
	data = malloc(stat.st_size + 1);
	while (data && got < (size_t)stat.st_size) {
		ssize_t count = read(fd, data + got, stat.st_size - got);

		if (count <= 0)
			fail(path, count ? errno : ENODATA);
		got += count;
	}
	close(fd);
	unlink(path);
	*size = got;
	return data;
}

/* -- out ---------------------------------------------------------------------------------- */

static char out[1 << 18];
static size_t out_size;

static void flush(void)
{
	size_t sent = 0;

	while (sent < out_size) {
		ssize_t count = write(1, out + sent, out_size - sent);

		if (count < 0 && errno != EINTR)
			fail("stdout", errno);
		sent += count > 0 ? count : 0;
	}
	out_size = 0;
}

static unsigned int idle; /* rounds since the last record */

static void put(const void *data, size_t size)
{
	if (out_size + size > sizeof(out))
		flush();
	memcpy(out + out_size, data, size);
	out_size += size;
}

static int on_record(void *context, void *data, size_t size)
{
	(void)context;
	(void)size;
	idle = 0;
	/* A perf buffer's sample may be padded: the record says its own size. */
	put(data, ((struct kl_record *)data)->size);
	return 0;
}

static void on_sample(void *context, int cpu, void *data, __u32 size)
{
	(void)cpu;
	on_record(context, data, size);
}

static unsigned long long lost_in_perf;

static void on_lost(void *context, int cpu, __u64 count)
{
	(void)context;
	(void)cpu;
	lost_in_perf += count;
}

/* -- the events of tracefs ----------------------------------------------------------------- */

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

static const struct kl_probe *probes;
static size_t count;
static bool returns;
static struct bpf_link **links;
static char optimization[2]; /* as it was */

static void remove_events(void)
{
	char line[64];

	for (size_t i = 0; i < 2 * count; i++)
		if (links[i]) {
			others_still();
			bpf_link__destroy(links[i]);
			others_go();
		}
	for (size_t i = 0; i < count; i++)
		for (const char *kind = returns ? "pr" : "p"; *kind; kind++) {
			snprintf(line, sizeof(line), "-:" GROUP "/kl%c%zu", *kind, i);
			append(TRACING "kprobe_events", line);
		}
	if (*optimization)
		append(OPTIMIZATION, optimization);
}

/* Hits and misses by the kernel's own count, of entries and of returns. */
static void profile(unsigned long long *hits, unsigned long long *missed,
		    unsigned long long *returns_missed)
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
		if (kind == 'p') {
			*hits += hit;
			*missed += miss;
		} else if (kind == 'r') {
			*returns_missed += miss;
		}
	}
	if (file)
		fclose(file);
}

/* As bpf_program__attach_tracepoint() does it, which would mount tracefs a second time, in
 * debugfs. */
static struct bpf_link *attached(struct bpf_program *program, char kind, size_t number)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr)};
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

static void attach(struct bpf_program *program, char kind, size_t number)
{
	struct bpf_link **link = &links[2 * number + (kind == 'r')];
	int error;

	others_still();
	*link = attached(program, kind, number);
	error = errno;
	others_go();
	if (!*link) {
		fprintf(stderr, "refused %zu %s\n", number, strerror(error));
		exit(1);
	}
}

static void arm(struct probe_bpf *skeleton)
{
	int fd = open(OPTIMIZATION, O_RDONLY | O_CLOEXEC);
	char line[128];

	/* An optimised kprobe runs on generated code, where the kernel's unwinder ends. */
	if (fd >= 0 && read(fd, optimization, 1) == 1)
		append(OPTIMIZATION, "0");
	close(fd);
	for (size_t i = 0; i < count; i++) {
		/* The return's first: what replaces return addresses then runs after the entry's
		 * own program, which sees who called. */
		for (const char *kind = returns ? "rp" : "p"; *kind; kind++) {
			int error;

			snprintf(line, sizeof(line), "%s:" GROUP "/kl%c%zu 0x%llx", *kind == 'r' ? "r100" : "p",
				 *kind, i, probes[i].address);
			error = append(TRACING "kprobe_events", line);
			if (error) {
				fprintf(stderr, "refused %zu %s\n", i, strerror(error));
				exit(1);
			}
		}
	}
	for (size_t i = 0; i < count; i++) {
		if (returns)
			attach(skeleton->progs.returned, 'r', i);
		attach(skeleton->progs.entered, 'p', i);
	}
}

/* -- the maps ------------------------------------------------------------------------------- */

static void fill(struct probe_bpf *skeleton)
{
	int map = bpf_map__fd(skeleton->maps.probes);

	for (size_t i = 0; i < count; i++) {
		/* What a kprobe says of its place: the byte after it, as after an int3; where a
		 * function begins with ENDBR64, that is passed first. */
		for (int past = 0; past < 8; past++) {
			__u64 key = probes[i].address + past;

			if (bpf_map_update_elem(map, &key, &probes[i], BPF_ANY))
				fail("probes", errno);
		}
	}
}

static struct kl_counts counted(struct probe_bpf *skeleton)
{
	int cpus = libbpf_num_possible_cpus();
	struct kl_counts sum = {}, *each = calloc(cpus, sizeof(*each));
	__u32 zero = 0;

	if (each && !bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.counted), &zero, each))
		for (int i = 0; i < cpus; i++) {
			sum.seen += each[i].seen;
			sum.late += each[i].late;
			sum.filtered += each[i].filtered;
			sum.full += each[i].full;
			sum.unknown += each[i].unknown;
			sum.returns_lost += each[i].returns_lost;
		}
	free(each);
	return sum;
}

/* The last record: what was counted, as JSON. */
static void tell(struct probe_bpf *skeleton)
{
	unsigned long long hits = 0, missed = 0, returns_missed = 0, skipped;
	struct kl_record record = {.kind = COUNTS};
	struct kl_counts sum;
	char text[512];
	int size;

	profile(&hits, &missed, &returns_missed);
	/* Read last: what came in between counts as seen, never as skipped. */
	sum = counted(skeleton);
	skipped = hits > sum.seen + sum.unknown ? hits - sum.seen - sum.unknown : 0;
	size = snprintf(text, sizeof(text),
			"{\"seen\": %llu, \"missed\": %llu, \"skipped\": %llu, \"filtered\": %llu, "
			"\"full\": %llu, \"unknown\": %llu, \"returns_missed\": %llu}",
			sum.seen - sum.late, missed, skipped, sum.filtered, sum.full + lost_in_perf,
			sum.unknown, returns_missed + sum.returns_lost);
	record.size = sizeof(record) + size;
	put(&record, sizeof(record));
	put(text, size);
}

/* Return when every hit that was under way when the recording ended is over: a kprobe's
 * programs are not preempted, so that running on a vCPU means that none is at work there. */
static void settle(void)
{
	int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t before;

	sched_getaffinity(0, sizeof(before), &before);
	for (int cpu = 0; cpu < cpus; cpu++)
		still_pin(cpu);
	sched_setaffinity(0, sizeof(before), &before);
}

/* -- main ----------------------------------------------------------------------------------- */

/* What was hit before the last rounds has been sent: the host puts the records in the order of
 * time up to there. Three after the last record are enough for it. */
static void round_over(void)
{
	struct kl_record record = {.size = sizeof(record), .kind = ROUND};
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	record.ns = now.tv_sec * 1000000000ULL + now.tv_nsec;
	put(&record, sizeof(record));
}

int main(int argc, char **argv)
{
	size_t plan_size, probes_size;
	struct probe_bpf *skeleton = probe_bpf__open();
	struct ring_buffer *ring = NULL;
	struct perf_buffer *perf = NULL;
	bool use_ring, paused = false;
	struct kl_plan *plan;
	sigset_t signals;

	if (argc != 3 || !skeleton) {
		fprintf(stderr, "usage: probe PLAN PROBES\n");
		return 2;
	}
	plan = read_file(argv[1], &plan_size);
	probes = read_file(argv[2], &probes_size);
	count = probes_size / sizeof(*probes);
	if (plan_size != sizeof(*plan) || plan->size != sizeof(*plan) || probes_size % sizeof(*probes)) {
		fprintf(stderr, "probe: the plan has %zu bytes, not %zu\n", plan_size, sizeof(*plan));
		return 2;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);

	use_ring = !plan->perf && libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, NULL) > 0;
	plan->perf = !use_ring;
	memcpy((void *)&skeleton->rodata->plan, plan, sizeof(*plan));
	bpf_map__set_max_entries(skeleton->maps.probes, 16 * count);
	if (use_ring)
		bpf_map__set_max_entries(skeleton->maps.ring, plan->ring);
	else
		bpf_map__set_autocreate(skeleton->maps.ring, false);
	returns = plan->returns;
	bpf_program__set_autoload(skeleton->progs.returned, returns);
	if (probe_bpf__load(skeleton))
		return 1;
	fill(skeleton);
	if (use_ring)
		ring = ring_buffer__new(bpf_map__fd(skeleton->maps.ring), on_record, NULL, NULL);
	else
		perf = perf_buffer__new(bpf_map__fd(skeleton->maps.perf), plan->ring / 4096 / 2, on_sample,
					on_lost, NULL, NULL);
	links = calloc(2 * count, sizeof(*links));
	if ((!ring && !perf) || !links)
		fail("buffer", errno);
	atexit(remove_events);
	arm(skeleton);
	fprintf(stderr, "ready %s\n", use_ring ? "ring buffer" : "perf buffer");

	struct pollfd waiting[] = {
		{.fd = signalfd(-1, &signals, SFD_CLOEXEC), .events = POLLIN},
		{.fd = ring ? ring_buffer__epoll_fd(ring) : perf_buffer__epoll_fd(perf), .events = POLLIN},
	};
	for (;;) {
		struct signalfd_siginfo signal = {};

		if (poll(waiting, paused ? 1 : 2, paused ? -1 : ROUND_MS) < 0 && errno != EINTR)
			fail("poll", errno);
		if (waiting[0].revents && read(waiting[0].fd, &signal, sizeof(signal)) < 0)
			fail("signal", errno);
		if (signal.ssi_signo && !paused) {
			skeleton->bss->stopped = 1;
			settle();
		}
		if (!paused) {
			if (ring)
				ring_buffer__consume(ring);
			else
				perf_buffer__consume(perf);
			if (idle++ < 3)
				round_over();
		}
		if (signal.ssi_signo && !paused) {
			tell(skeleton);
			paused = true;
		}
		flush();
		if (signal.ssi_signo == SIGTERM)
			return 0;
	}
}
