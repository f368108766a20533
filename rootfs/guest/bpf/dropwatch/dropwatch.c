/* dropwatch: where packets are thrown away: kfree_skb() counted by caller, with the reason; and RSTs.
 *
 *   dropwatch [-d SECONDS]    until Ctrl-C without -d
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include "../ksyms.h"
#include "../tool.h"
#include "dropwatch.h"
#include "dropwatch.skel.h"

struct row {
	struct where where;
	unsigned long long count;
};

static int most_first(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
}

/* The name that the kernel's own BTF has for a reason; NULL where it knows none. */
static const char *reason_name(const struct btf *btf, unsigned long long reason)
{
	int id = btf && reason ? btf__find_by_name_kind(btf, "skb_drop_reason", BTF_KIND_ENUM) : -1;
	const struct btf_type *type = id > 0 ? btf__type_by_id(btf, id) : NULL;

	for (int i = 0; type && i < btf_vlen(type); i++)
		if ((unsigned int)btf_enum(type)[i].val == reason)
			return btf__name_by_offset(btf, btf_enum(type)[i].name_off);
	return NULL;
}

static void show(int map)
{
	static struct row rows[4096];
	struct btf *btf = btf__load_vmlinux_btf();
	struct where key, *last = NULL;
	int count = 0;

	while (count < 4096 && !bpf_map_get_next_key(map, last, &key)) {
		rows[count].where = key;
		if (!bpf_map_lookup_elem(map, &key, &rows[count].count))
			count++;
		last = &key;
	}
	qsort(rows, count, sizeof(*rows), most_first);
	printf("%8s  %s\n", "drops", "by");
	for (int i = 0; i < count; i++) {
		unsigned long long offset = 0;
		const char *name = ksym_name(rows[i].where.location, &offset);
		const char *reason = reason_name(btf, rows[i].where.reason);

		printf("%8llu  %s+0x%llx", rows[i].count, name ? name : "?", offset);
		if (reason)
			printf("  %s", reason);
		printf("\n");
	}
	btf__free(btf);
}

static void show_rsts(int map, int stacks)
{
	long long key, *last = NULL;

	for (; !bpf_map_get_next_key(map, last, &key); last = &key) {
		unsigned long long stack[DROPWATCH_DEPTH] = {}, count = 0;
		__u32 id = key;

		if (!last)
			printf("%8s  %s\n", "RSTs", "by");
		if (key >= 0)
			bpf_map_lookup_elem(stacks, &id, stack);
		bpf_map_lookup_elem(map, &key, &count);
		printf("%8llu  ", count);
		ksym_chain(stack, DROPWATCH_DEPTH);
	}
}

int main(int argc, char **argv)
{
	int seconds = tool_start(argc, argv, "usage: dropwatch [-d SECONDS]");
	struct dropwatch_bpf *skeleton = dropwatch_bpf__open_and_load();
	int error;

	if (!skeleton)
		return 1;
	if (ksyms_load())
		fprintf(stderr, "dropwatch: /proc/kallsyms shows no addresses: no names\n");
	error = dropwatch_bpf__attach(skeleton);
	if (!error) {
		alarm(seconds);
		while (!over)
			sleep(1);
		dropwatch_bpf__detach(skeleton);
		show(bpf_map__fd(skeleton->maps.drops));
		show_rsts(bpf_map__fd(skeleton->maps.rsts), bpf_map__fd(skeleton->maps.stacks));
		if (globals(skeleton).full)
			fprintf(stderr, "dropwatch: %llu drops at places beyond the first 4096\n",
				globals(skeleton).full);
	}
	dropwatch_bpf__destroy(skeleton);
	return error ? 1 : 0;
}
