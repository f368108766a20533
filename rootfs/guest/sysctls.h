/* Sysctls that are set for a while, and put back; and how a leg of a lab ends that cannot be. */
#ifndef KERNLAB_SYSCTLS_H
#define KERNLAB_SYSCTLS_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MANY 64

/* fd stays open: a sysctl that is the machine's own is not under /proc/sys of every namespace. */
struct setting {
	char path[256], old[256];
	int fd;
};
static struct setting settings[MANY];
static int settings_n;

static void restore(void)
{
	while (settings_n) {
		struct setting *one = &settings[--settings_n];
		if (pwrite(one->fd, one->old, strlen(one->old), 0) < 0)
			fprintf(stderr, "labrun: %s was not put back\n", one->path);
		close(one->fd);
	}
}

__attribute__((noreturn, format(printf, 1, 2))) static void unfit(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	fprintf(stderr, "labrun: ");
	vfprintf(stderr, format, list);
	fprintf(stderr, "\n");
	va_end(list);
	restore();
	_exit(120);
}

/* A sysctl of this namespace, or else of the first one: tcp_max_orphans counts the whole
 * machine's sockets, so that /proc/sys has it there alone. */
static int open_sysctl(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT) {
		int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		int first = open("/proc/1/ns/net", O_RDONLY | O_CLOEXEC);
		if (own < 0 || first < 0 || setns(first, CLONE_NEWNET))
			unfit("the first network namespace: %s", strerror(errno));
		fd = open(path, O_RDWR | O_CLOEXEC);
		int why = errno;
		if (setns(own, CLONE_NEWNET))
			unfit("back from the first network namespace: %s", strerror(errno));
		close(own);
		close(first);
		errno = why;
	}
	return fd;
}

/* KEY is net.ipv4.tcp_syncookies: dots are slashes, as sysctl(8) has it. */
static void set(const char *text)
{
	struct setting *one = &settings[settings_n];
	const char *value = strchr(text, '=');

	if (!value || settings_n == MANY)
		unfit("-s %s: KEY=VALUE, %d at most", text, MANY);
	snprintf(one->path, sizeof one->path, "/proc/sys/%.*s", (int)(value - text), text);
	for (char *at = one->path + strlen("/proc/sys/"); *at; at++)
		if (*at == '.')
			*at = '/';
	one->fd = open_sysctl(one->path);
	if (one->fd < 0 && errno == ENOENT)
		unfit("this kernel has no sysctl %.*s", (int)(value - text), text);
	if (one->fd < 0)
		unfit("%s: %s", one->path, strerror(errno));
	ssize_t n = read(one->fd, one->old, sizeof one->old - 1);
	one->old[n > 0 ? n : 0] = 0;
	settings_n++;
	if (pwrite(one->fd, value + 1, strlen(value + 1), 0) < 0)
		unfit("sysctl %s: %s", text, strerror(errno));
}
#endif
