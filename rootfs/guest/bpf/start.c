/* Linked into every loader: output line by line, a word to whoever waits for the tool, and no
 * change of the kernel's code under the feet of another vCPU (still.h).
 *
 * A loader's stdout is no terminal here, and would be kept back until it fills a block.
 * KERNLAB_READY names a file that is made when the tool is attached: after
 * NAME_bpf__attach(), or for a loader that attaches by hand when it first waits for events.
 */
#define _GNU_SOURCE
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "../still.h"

__attribute__((constructor)) static void lines(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static void ready(void)
{
	static int told;
	const char *path = getenv("KERNLAB_READY");

	if (!told++ && path)
		close(open(path, O_CREAT | O_WRONLY, 0644));
}

int __real_bpf_object__attach_skeleton(struct bpf_object_skeleton *s);
int __wrap_bpf_object__attach_skeleton(struct bpf_object_skeleton *s);
int __wrap_bpf_object__attach_skeleton(struct bpf_object_skeleton *s)
{
	int error;

	others_still();
	error = __real_bpf_object__attach_skeleton(s);
	others_go();
	if (!error)
		ready();
	return error;
}

void __real_bpf_object__detach_skeleton(struct bpf_object_skeleton *s);
void __wrap_bpf_object__detach_skeleton(struct bpf_object_skeleton *s);
void __wrap_bpf_object__detach_skeleton(struct bpf_object_skeleton *s)
{
	others_still();
	__real_bpf_object__detach_skeleton(s);
	others_go();
}

void __real_bpf_object__destroy_skeleton(struct bpf_object_skeleton *s);
void __wrap_bpf_object__destroy_skeleton(struct bpf_object_skeleton *s);
void __wrap_bpf_object__destroy_skeleton(struct bpf_object_skeleton *s)
{
	others_still();
	__real_bpf_object__destroy_skeleton(s);
	others_go();
}

int __real_ring_buffer__poll(struct ring_buffer *rb, int timeout_ms);
int __wrap_ring_buffer__poll(struct ring_buffer *rb, int timeout_ms);
int __wrap_ring_buffer__poll(struct ring_buffer *rb, int timeout_ms)
{
	ready();
	return __real_ring_buffer__poll(rb, timeout_ms);
}

int __real_perf_buffer__poll(struct perf_buffer *pb, int timeout_ms);
int __wrap_perf_buffer__poll(struct perf_buffer *pb, int timeout_ms);
int __wrap_perf_buffer__poll(struct perf_buffer *pb, int timeout_ms)
{
	ready();
	return __real_perf_buffer__poll(pb, timeout_ms);
}

unsigned int __real_sleep(unsigned int seconds);
unsigned int __wrap_sleep(unsigned int seconds);
unsigned int __wrap_sleep(unsigned int seconds)
{
	ready();
	return __real_sleep(seconds);
}
