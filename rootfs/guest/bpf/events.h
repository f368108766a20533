/* The loader's side of events.bpf.h: events_choose() after NAME_bpf__open(), events_open() after
 * NAME_bpf__load(), then events_poll(). */
#ifndef EVENTS_H
#define EVENTS_H
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "ringbuf.h"

#define EVENTS_RING  (1 << 18) /* bytes */
#define EVENTS_PAGES 16	       /* of each vCPU's perf buffer */

typedef int (*event_shown)(void *context, void *event, size_t size);

static struct ring_buffer *events_ring;
static struct perf_buffer *events_perf;
static event_shown events_show;
static unsigned long long events_missed;

/* Make ``map`` the ring buffer that this kernel has; without one it stays a perf buffer. */
static inline int events_choose(struct bpf_map *map)
{
	if (!has_ringbuf())
		return 0;
	return make_ringbuf(map, EVENTS_RING);
}

static inline void events_sample(void *context, int cpu, void *data, __u32 size)
{
	(void)cpu;
	events_show(context, data, size);
}

static inline void events_gap(void *context, int cpu, __u64 count)
{
	(void)context;
	(void)cpu;
	events_missed += count;
}

/* Read ``map`` with ``show``; -1 when it cannot be. */
static inline int events_open(struct bpf_map *map, event_shown show, void *context)
{
	events_show = show;
	if (bpf_map__type(map) == MAP_TYPE_RINGBUF)
		events_ring = ring_buffer__new(bpf_map__fd(map), show, context, NULL);
	else
		events_perf = perf_buffer__new(bpf_map__fd(map), EVENTS_PAGES, events_sample,
					       events_gap, context, NULL);
	return events_ring || events_perf ? 0 : -1;
}

static inline void events_poll(int timeout_ms)
{
	if (events_ring)
		ring_buffer__poll(events_ring, timeout_ms);
	else
		perf_buffer__poll(events_perf, timeout_ms);
}

/* Whatever is there now. */
static inline void events_drain(void)
{
	if (events_ring)
		ring_buffer__consume(events_ring);
	else
		perf_buffer__consume(events_perf);
}

static inline void events_close(void)
{
	ring_buffer__free(events_ring);
	perf_buffer__free(events_perf);
}
#endif
