/* The engine bpf's loader: takes a plan and a list of probes, and sends records to stdout.
 *
 *   probe PLAN PROBES    files of structs of probe.h
 *
 * Each probe is an event of tracefs of our own, so that the kernel's own counters tell what it
 * hit and missed; the programs are attached to those events. "ready" on stderr when all are
 * armed; SIGTERM ends it in order: what was counted is the last line there.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "probe.h"
#include "probe.skel.h"

#define TRACING "/sys/kernel/tracing/"
#define GROUP "kernlab_bpf"
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

static void remove_events(void)
{
	char line[64];

	for (size_t i = 0; i < count; i++)
		for (const char *kind = "pr"; *kind; kind++) {
			snprintf(line, sizeof(line), "-:" GROUP "/%c%zu", *kind, i);
			append(TRACING "kprobe_events", line);
		}
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
		if (sscanf(name, "%c%zu", &kind, &number) != 2 || number >= count)
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

static void arm(struct probe_bpf *skeleton, bool returns, struct bpf_link **links)
{
	char line[128], name[32];

	/* An optimised kprobe runs on generated code, where the kernel's unwinder ends. */
	append("/proc/sys/debug/kprobes-optimization", "0");
	for (size_t i = 0; i < count; i++) {
		int error = 0;

		/* The return's first: what replaces return addresses then runs after the entry's
		 * own program, which sees who called. */
		if (returns) {
			snprintf(line, sizeof(line), "r100:" GROUP "/r%zu 0x%llx", i, probes[i].address);
			error = append(TRACING "kprobe_events", line);
		}
		snprintf(line, sizeof(line), "p:" GROUP "/p%zu 0x%llx", i, probes[i].address);
		if (!error)
			error = append(TRACING "kprobe_events", line);
		if (error) {
			fprintf(stderr, "refused %zu %s\n", i, strerror(error));
			exit(1);
		}
	}
	for (size_t i = 0; i < count; i++) {
		if (returns) {
			snprintf(name, sizeof(name), "r%zu", i);
			links[2 * i] = bpf_program__attach_tracepoint(skeleton->progs.returned, GROUP, name);
		}
		snprintf(name, sizeof(name), "p%zu", i);
		links[2 * i + 1] = bpf_program__attach_tracepoint(skeleton->progs.entered, GROUP, name);
		if (!links[2 * i + 1] || (returns && !links[2 * i])) {
			fprintf(stderr, "refused %zu %s\n", i, strerror(errno));
			exit(1);
		}
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

static void tell(struct probe_bpf *skeleton)
{
	struct kl_counts sum = {}, *each;
	unsigned long long hits = 0, missed = 0, returns_missed = 0;
	int cpus = libbpf_num_possible_cpus();
	__u32 zero = 0;

	each = calloc(cpus, sizeof(*each));
	if (each && !bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.counted), &zero, each))
		for (int i = 0; i < cpus; i++) {
			sum.seen += each[i].seen;
			sum.filtered += each[i].filtered;
			sum.sent += each[i].sent;
			sum.full += each[i].full;
			sum.unknown += each[i].unknown;
			sum.returned += each[i].returned;
			sum.returns_lost += each[i].returns_lost;
		}
	profile(&hits, &missed, &returns_missed);
	fprintf(stderr,
		"{\"hits\": %llu, \"missed\": %llu, \"returns_missed\": %llu, \"seen\": %llu, "
		"\"filtered\": %llu, \"sent\": %llu, \"full\": %llu, \"unknown\": %llu, "
		"\"returned\": %llu, \"returns_lost\": %llu, \"perf_lost\": %llu}\n",
		hits, missed, returns_missed, sum.seen, sum.filtered, sum.sent, sum.full, sum.unknown,
		sum.returned, sum.returns_lost, lost_in_perf);
}

/* -- main ----------------------------------------------------------------------------------- */

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
	struct bpf_link **links;
	bool use_ring, over = false;
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
	bpf_program__set_autoload(skeleton->progs.returned, plan->returns);
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
	arm(skeleton, plan->returns, links);
	fprintf(stderr, "ready %s\n", use_ring ? "ring buffer" : "perf buffer");

	struct pollfd waiting[] = {
		{.fd = signalfd(-1, &signals, SFD_CLOEXEC), .events = POLLIN},
		{.fd = ring ? ring_buffer__epoll_fd(ring) : perf_buffer__epoll_fd(perf), .events = POLLIN},
	};
	while (!over) {
		if (poll(waiting, 2, ROUND_MS) < 0 && errno != EINTR)
			fail("poll", errno);
		over = waiting[0].revents;
		if (over)
			for (size_t i = 0; i < 2 * count; i++)
				bpf_link__destroy(links[i]);
		if (ring)
			ring_buffer__consume(ring);
		else
			perf_buffer__consume(perf);
		if (perf)
			round_over();
		flush();
	}
	tell(skeleton);
	return 0;
}
