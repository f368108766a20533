/* Ring buffers where the kernel has them (457f44363a88, v5.8): the loader's side. */
#ifndef RINGBUF_H
#define RINGBUF_H
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdbool.h>

#define MAP_TYPE_RINGBUF 27 /* enum bpf_map_type; headers before 5.8 have no name for it */

/* What ringbuf.bpf.h asks by CO-RE: whether the kernel knows struct bpf_ringbuf. */
static inline bool has_ringbuf(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	bool has = btf && btf__find_by_name_kind(btf, "bpf_ringbuf", BTF_KIND_STRUCT) > 0;

	btf__free(btf);
	return has;
}

/* Make a map that is not loaded yet a ring buffer of ``size`` bytes; not 0 when it cannot be. */
static inline int make_ringbuf(struct bpf_map *map, unsigned int size)
{
	return bpf_map__set_type(map, MAP_TYPE_RINGBUF) || bpf_map__set_key_size(map, 0) ||
	       bpf_map__set_value_size(map, 0) || bpf_map__set_max_entries(map, size);
}
#endif
