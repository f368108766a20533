/* Which function of the plan may have an fentry program of its own, by the kernel's BTF. */
#ifndef FENTRY_H
#define FENTRY_H
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <stdbool.h>
#include "probe.h"

#define MOST_ARGUMENTS 6 /* what arch/x86/net/bpf_jit_comp.c passes on */

static bool passable(const struct btf *btf, const struct btf_type *function)
{
	const struct btf_param *parameter = btf_params(function);

	if (btf_vlen(function) > MOST_ARGUMENTS)
		return false;
	for (int i = 0; i < btf_vlen(function); i++) {
		int id = btf__resolve_type(btf, parameter[i].type);
		const struct btf_type *type = id > 0 ? btf__type_by_id(btf, id) : NULL;

		/* No type: variable arguments. btf_distill_func_proto() refuses a struct. */
		if (!type || !(btf_is_ptr(type) || btf_is_int(type) || btf_is_any_enum(type)))
			return false;
	}
	return true;
}

/* How many arguments ``name`` has; -1 where a program cannot be called with them. */
static int arguments_of(const struct btf *btf, const char *name)
{
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_FUNC);
	const struct btf_type *function = id > 0 ? btf__type_by_id(btf, id) : NULL;

	function = function ? btf__type_by_id(btf, function->type) : NULL;
	return function && passable(btf, function) ? btf_vlen(function) : -1;
}

/* Hits that the kernel kept from a program because it was at work already: counted since v5.12
 * (9ed9e9ba2337). */
static unsigned long long recursions(int fd)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) ? 0 : info.recursion_misses;
}
#endif
