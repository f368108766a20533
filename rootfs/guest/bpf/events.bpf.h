/* A buffer of events from a BPF program to its loader: a ring buffer where the kernel has them
 * (457f44363a88, v5.8), and a perf buffer before.
 *
 * Included after
 *
 *	#define EVENT struct NAME
 *
 * events.h is the loader's side, and sets the map's real type.
 */
#ifndef EVENTS_BPF_H
#define EVENTS_BPF_H
#include <bpf/bpf_helpers.h>
#include "ringbuf.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

/* Where an event is made for a perf buffer. A vCPU has one: while a kprobe's or a tracepoint's
 * program runs, the kernel skips another one there (trace_call_bpf()). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, EVENT);
} event_scratch SEC(".maps");

__u64 lost; /* events for which there was no room */

/* Room for an event, all zero; NULL where there is none, which is counted. */
static __always_inline EVENT *event_begin(void)
{
	EVENT *event;

	if (HAS_RINGBUF) {
		event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	} else {
		__u32 first = 0;

		event = bpf_map_lookup_elem(&event_scratch, &first);
	}
	if (event)
		__builtin_memset(event, 0, sizeof(*event));
	else
		__sync_fetch_and_add(&lost, 1);
	return event;
}

static __always_inline void event_end(void *ctx, EVENT *event)
{
	if (HAS_RINGBUF)
		bpf_ringbuf_submit(event, 0);
	else if (bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, sizeof(*event)))
		__sync_fetch_and_add(&lost, 1);
}
#endif
