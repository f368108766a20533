/* Names for the kernel's addresses, from /proc/kallsyms. Header only: one loader, one copy. */
#ifndef KSYMS_H
#define KSYMS_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ksym {
	unsigned long long addr;
	char *name;
};

static struct ksym *ksyms;
static size_t ksyms_count;

static int ksym_order(const void *a, const void *b)
{
	const struct ksym *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* Read the kernel's text symbols; -1 when there are none to be read. */
static int ksyms_load(void)
{
	FILE *file = fopen("/proc/kallsyms", "r");
	char line[512], name[256], type;
	unsigned long long addr;
	size_t room = 0;

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%llx %c %255s", &addr, &type, name) != 3 || !strchr("tTwW", type))
			continue;
		if (ksyms_count == room) {
			room = room ? 2 * room : 1 << 15;
			ksyms = realloc(ksyms, room * sizeof(*ksyms));
			if (!ksyms)
				return -1;
		}
		ksyms[ksyms_count++] = (struct ksym){ addr, strdup(name) };
	}
	fclose(file);
	qsort(ksyms, ksyms_count, sizeof(*ksyms), ksym_order);
	return ksyms_count && ksyms[ksyms_count - 1].addr ? 0 : -1;
}

/* The function that addr lies in, without the compiler's suffix (.part.0, .isra.0), and how
 * far inside; NULL when it lies before all. */
static const char *ksym_name(unsigned long long addr, unsigned long long *offset)
{
	static char name[256];
	size_t low = 0, high = ksyms_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (ksyms[middle].addr <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return NULL;
	if (offset)
		*offset = addr - ksyms[low - 1].addr;
	snprintf(name, sizeof(name), "%s", ksyms[low - 1].name);
	for (char *dot = strchr(name + 1, '.'); dot; dot = NULL)
		*dot = 0;
	return name;
}

#define KSYM_CALLERS 4 /* names of a call stack that go into a line */

/* Print who called whom, the innermost first, in a line. */
static inline void ksym_chain(const unsigned long long *stack, int frames)
{
	for (int i = 0; i < frames && stack[i] && i <= KSYM_CALLERS; i++) {
		const char *name = i < KSYM_CALLERS ? ksym_name(stack[i], NULL) : "…";

		printf("%s%s", i ? " ← " : "", name ? name : "?");
	}
	printf("%s\n", frames > 0 && stack[0] ? "" : "no call stack");
}
#endif
