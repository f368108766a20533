/* Ring buffers where the kernel has them (457f44363a88, v5.8): the kernel's side.
 *
 * What stands behind HAS_RINGBUF is no part of the program elsewhere: CO-RE answers it when the
 * program is loaded, before the verifier, which knows no such function there.
 * ``kernlab bpf check`` knows by the type that the program asks.
 */
#ifndef RINGBUF_BPF_H
#define RINGBUF_BPF_H
#include <bpf/bpf_core_read.h>

struct bpf_ringbuf___any {
} __attribute__((preserve_access_index));

#define HAS_RINGBUF bpf_core_type_exists(struct bpf_ringbuf___any)
#endif
