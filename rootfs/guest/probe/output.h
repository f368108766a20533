/* Records on their way to stdout, whole and in the order in which they came. */
#ifndef OUTPUT_H
#define OUTPUT_H
#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "probe.h"

static void fail(const char *what, int number)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(number));
	exit(1);
}

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

static int stacks = -1; /* the map of stacks by their ids */
static bool known[STACKS];
static unsigned int idle; /* rounds since the last record */

static void put(const void *data, size_t size)
{
	if (out_size + size > sizeof(out))
		flush();
	memcpy(out + out_size, data, size);
	out_size += size;
}

/* What stack an id stands for, before the first record with it. */
static void put_stack(unsigned int id)
{
	static u64_t pcs[STACK_ROOM / 8];
	struct kl_record record = { .kind = STACK, .number = id };

	if (id >= STACKS || known[id] || bpf_map_lookup_elem(stacks, &id, pcs))
		return;
	known[id] = true;
	while (record.stack_size < STACK_ROOM && pcs[record.stack_size / 8])
		record.stack_size += 8;
	record.size = sizeof(record) + record.stack_size;
	put(&record, sizeof(record));
	put(pcs, record.stack_size);
}

static int on_record(void *context, void *data, size_t size)
{
	const struct kl_record *record = data;

	(void)context;
	(void)size;
	idle = 0;
	if (record->stack)
		put_stack(record->stack - 1);
	/* A perf buffer's sample may be padded: the record says its own size. */
	put(data, record->size);
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
#endif
