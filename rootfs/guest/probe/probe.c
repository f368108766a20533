/* The engine bpf's loader: takes a plan and a list of probes, and sends records to stdout.
 *
 *   probe PLAN PROBES    files of structs of probe.h; removed when they were read
 *
 * A probe is an fentry program of its own where the kernel offers that, and else a kprobe.
 * "ready" on stderr when all are armed. SIGINT stops the recording: the last record on stdout
 * then is what was counted. SIGTERM takes the probes away.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "../still.h"
#include "fentry.h"
#include "kprobes.h"
#include "output.h"
#include "probe.h"
#include "probe.skel.h"
#include "ringbuf.h"

#define ROUND_MS 20

static const struct kl_place *places;
static size_t count;
static bool returns;
static int *directs;		/* of each place: its fentry program's number, or -1 */
static bool *barred;		/* of each place: where fentry was tried in vain */
static struct bpf_link **links; /* of each place: its entry's and its return's */

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

/* -- probes ---------------------------------------------------------------------------------- */

static struct bpf_program *direct_program(struct probe_bpf *skeleton, int number)
{
	struct bpf_program *programs[MAX_DIRECT] = {
		skeleton->progs.direct0, skeleton->progs.direct1, skeleton->progs.direct2,
		skeleton->progs.direct3, skeleton->progs.direct4, skeleton->progs.direct5,
		skeleton->progs.direct6, skeleton->progs.direct7,
	};

	return programs[number];
}

/* Give the first functions that can have one an fentry program; how many. */
static int choose_directs(struct probe_bpf *skeleton)
{
	struct btf *btf = btf__load_vmlinux_btf();
	int used = 0;

	for (size_t i = 0; i < count; i++) {
		const char *func = places[i].func;
		struct kl_direct *direct;
		int arguments = -1;

		directs[i] = -1;
		if (btf && *func && !barred[i] && used < MAX_DIRECT)
			arguments = arguments_of(btf, func);
		if (arguments < 0 ||
		    bpf_program__set_attach_target(direct_program(skeleton, used), 0, func))
			continue;
		direct = (struct kl_direct *)&skeleton->rodata->direct[used];
		direct->probe = places[i].probe;
		direct->arguments = arguments;
		directs[i] = used++;
	}
	btf__free(btf);
	return used;
}

static void remove_probes(void)
{
	for (size_t i = 0; i < 2 * count; i++)
		if (links[i]) {
			others_still();
			bpf_link__destroy(links[i]);
			others_go();
			links[i] = NULL;
		}
	for (size_t i = 0; i < count; i++) {
		if (returns)
			remove_event('r', i);
		if (directs[i] < 0)
			remove_event('p', i);
	}
	optimize_as_before();
}

static void refused(size_t number, int error)
{
	fprintf(stderr, "refused %zu %s\n", number, strerror(error));
	exit(1);
}

/* The error number, 0 for none. kind: 'f' for fentry, else as attach_event() has it. */
static int attach(struct bpf_program *program, char kind, size_t number)
{
	struct bpf_link **link = &links[2 * number + (kind == 'r')];
	int error;

	others_still();
	*link = kind == 'f' ? bpf_program__attach_trace(program)
			    : attach_event(program, kind, number);
	error = *link ? 0 : errno;
	others_go();
	return error;
}

/* False when the kernel offers no fentry at a place after all: where a function does not begin
 * with the NOP for it, that is told only now. */
static bool arm(struct probe_bpf *skeleton)
{
	int error = 0;

	optimize_none();
	for (size_t i = 0; i < count; i++) {
		/* The return's first: what replaces return addresses then runs after the entry's
		 * own program, which sees who called. */
		if (returns)
			error = make_event('r', i, places[i].probe.address);
		if (!error && directs[i] < 0)
			error = make_event('p', i, places[i].probe.address);
		if (error)
			refused(i, error);
	}
	for (size_t i = 0; i < count; i++) {
		if (returns)
			error = attach(skeleton->progs.returned, 'r', i);
		if (!error && directs[i] < 0)
			error = attach(skeleton->progs.entered, 'p', i);
		if (error)
			refused(i, error);
		if (directs[i] >= 0 && attach(direct_program(skeleton, directs[i]), 'f', i)) {
			barred[i] = true;
			return false;
		}
	}
	return true;
}

/* -- maps ------------------------------------------------------------------------------------ */

static void fill(struct probe_bpf *skeleton)
{
	int map = bpf_map__fd(skeleton->maps.probes);

	for (size_t i = 0; i < count; i++) {
		const struct kl_probe *probe = &places[i].probe;

		/* What a kprobe says of its place: the byte after it, as after an int3; where a
		 * function begins with ENDBR64, that is passed first. */
		for (int past = 0; past < 8; past++) {
			__u64 key = probe->address + past;

			if (bpf_map_update_elem(map, &key, probe, BPF_ANY))
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
			sum.direct += each[i].direct;
			sum.filtered += each[i].filtered;
			sum.full += each[i].full;
			sum.unknown += each[i].unknown;
			sum.returns_lost += each[i].returns_lost;
			sum.nested += each[i].nested;
		}
	free(each);
	return sum;
}

/* The last record: what was counted, as JSON. */
static void tell(struct probe_bpf *skeleton)
{
	unsigned long long hits = 0, missed = 0, returns_missed = 0, skipped, by_kprobe;
	struct kl_record record = { .kind = COUNTS };
	struct kl_counts sum;
	char text[512];
	int size;

	profile(count, directs, &hits, &missed, &returns_missed);
	for (size_t i = 0; i < count; i++)
		if (directs[i] >= 0)
			missed += recursions(bpf_program__fd(direct_program(skeleton, directs[i])));
	/* Read last: what came in between counts as seen, never as skipped. */
	sum = counted(skeleton);
	by_kprobe = sum.seen - sum.direct + sum.unknown;
	skipped = hits > by_kprobe ? hits - by_kprobe : 0;
	size = snprintf(text, sizeof(text),
			"{\"seen\": %llu, \"missed\": %llu, \"skipped\": %llu, \"filtered\": %llu, "
			"\"full\": %llu, \"unknown\": %llu, \"returns_missed\": %llu}",
			sum.seen - sum.late - sum.nested, missed + sum.nested, skipped,
			sum.filtered, sum.full + lost_in_perf, sum.unknown,
			returns_missed + sum.returns_lost);
	record.size = sizeof(record) + size;
	put(&record, sizeof(record));
	put(text, size);
}

/* Return when every hit that was under way when the recording ended is over: a program is not
 * preempted, so that running on a vCPU means that none is at work there. */
static void settle(void)
{
	int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t before;

	sched_getaffinity(0, sizeof(before), &before);
	for (int cpu = 0; cpu < cpus; cpu++)
		still_pin(cpu);
	sched_setaffinity(0, sizeof(before), &before);
}

/* Try no fentry any more; false when none was tried. */
static bool bar_all(void)
{
	bool tried = false;

	for (size_t i = 0; i < count; i++) {
		tried |= directs[i] >= 0;
		barred[i] = true;
	}
	return tried;
}

/* -- main ------------------------------------------------------------------------------------- */

/* What was hit before the last rounds has been sent: the host puts the records in the order of
 * time up to there. Three after the last record are enough for it. */
static void round_over(void)
{
	struct kl_record record = { .size = sizeof(record), .kind = ROUND };
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	record.ns = now.tv_sec * 1000000000ULL + now.tv_nsec;
	put(&record, sizeof(record));
}

/* The programs in the kernel; NULL when it refuses them. */
static struct probe_bpf *loaded(const struct kl_plan *plan)
{
	struct probe_bpf *skeleton = probe_bpf__open();
	int used;

	if (!skeleton)
		return NULL;
	memcpy((void *)&skeleton->rodata->plan, plan, sizeof(*plan));
	bpf_map__set_max_entries(skeleton->maps.probes, 16 * count);
	if (!plan->perf && make_ringbuf(skeleton->maps.ring, plan->ring))
		fail("ring buffer", errno);
	if (plan->depth)
		bpf_map__set_value_size(skeleton->maps.stacks, plan->depth * sizeof(u64_t));
	bpf_program__set_autoload(skeleton->progs.returned, returns);
	used = choose_directs(skeleton);
	for (int i = 0; i < MAX_DIRECT; i++)
		bpf_program__set_autoload(direct_program(skeleton, i), i < used);
	bpf_program__set_autoload(skeleton->progs.entered, (size_t)used < count);
	if (!probe_bpf__load(skeleton))
		return skeleton;
	probe_bpf__destroy(skeleton);
	return NULL;
}

/* No hit from now on becomes a record. */
static void stop(struct probe_bpf *skeleton)
{
	__u32 first = 0, one = 1;

	if (bpf_map_update_elem(bpf_map__fd(skeleton->maps.stopped), &first, &one, BPF_ANY))
		fail("stop", errno);
}

int main(int argc, char **argv)
{
	size_t plan_size, probes_size;
	struct ring_buffer *ring = NULL;
	struct perf_buffer *perf = NULL;
	struct probe_bpf *skeleton;
	bool paused = false;
	struct kl_plan *plan;
	size_t by_fentry = 0;
	sigset_t signals;

	if (argc != 3) {
		fprintf(stderr, "usage: probe PLAN PROBES\n");
		return 2;
	}
	plan = read_file(argv[1], &plan_size);
	places = read_file(argv[2], &probes_size);
	count = probes_size / sizeof(*places);
	if (plan_size != sizeof(*plan) || plan->size != sizeof(*plan) ||
	    probes_size % sizeof(*places)) {
		fprintf(stderr, "probe: the plan has %zu bytes, not %zu\n", plan_size,
			sizeof(*plan));
		return 2;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);

	if (!has_ringbuf())
		plan->perf = 1;
	returns = plan->returns;
	links = calloc(2 * count, sizeof(*links));
	directs = malloc(count * sizeof(*directs));
	barred = calloc(count, sizeof(*barred));
	if (!links || !directs || !barred)
		fail("probes", ENOMEM);
	memset(directs, -1, count * sizeof(*directs));
	atexit(remove_probes);
	for (;;) {
		skeleton = loaded(plan);
		if (!skeleton) {
			if (!bar_all())
				return 1;
			continue;
		}
		fill(skeleton);
		stacks = bpf_map__fd(skeleton->maps.stacks);
		if (plan->perf)
			perf = perf_buffer__new(bpf_map__fd(skeleton->maps.perf),
						plan->ring / 4096 / 2, on_sample, on_lost, NULL,
						NULL);
		else
			ring = ring_buffer__new(bpf_map__fd(skeleton->maps.ring), on_record, NULL,
						NULL);
		if (!ring && !perf)
			fail("buffer", errno);
		if (arm(skeleton))
			break;
		remove_probes();
		ring_buffer__free(ring);
		perf_buffer__free(perf);
		probe_bpf__destroy(skeleton);
	}
	for (size_t i = 0; i < count; i++)
		by_fentry += directs[i] >= 0;
	fprintf(stderr, "ready %s, %zu of %zu by fentry\n", ring ? "ring buffer" : "perf buffer",
		by_fentry, count);

	struct pollfd waiting[] = {
		{ .fd = signalfd(-1, &signals, SFD_CLOEXEC), .events = POLLIN },
		{ .fd = ring ? ring_buffer__epoll_fd(ring) : perf_buffer__epoll_fd(perf),
		  .events = POLLIN },
	};
	for (;;) {
		struct signalfd_siginfo signal = {};

		if (poll(waiting, paused ? 1 : 2, paused ? -1 : ROUND_MS) < 0 && errno != EINTR)
			fail("poll", errno);
		if (waiting[0].revents && read(waiting[0].fd, &signal, sizeof(signal)) < 0)
			fail("signal", errno);
		if (signal.ssi_signo && !paused) {
			stop(skeleton);
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
