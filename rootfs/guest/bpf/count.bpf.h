/* Counting in a hash map. */
#ifndef COUNT_BPF_H
#define COUNT_BPF_H

/* One more of ``key``; not 0 when the map has no room for a new one. */
static __always_inline int count_one(void *map, const void *key)
{
	__u64 one = 1, *known = bpf_map_lookup_elem(map, key);

	if (!known) {
		if (!bpf_map_update_elem(map, key, &one, BPF_NOEXIST))
			return 0;
		known = bpf_map_lookup_elem(map, key); /* another vCPU may have come first */
		if (!known)
			return -1;
	}
	__sync_fetch_and_add(known, 1);
	return 0;
}
#endif
