/* What guest programs share: sockets on loopback that die loudly, and a polite end. */
#ifndef KERNLAB_NET_H
#define KERNLAB_NET_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int family = AF_INET;
static volatile sig_atomic_t stopped;

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

static inline void on_stop(int number)
{
	(void)number;
	stopped = 1;
}

/* SIGTERM ends the loop after the current round, so that connections close in order. */
static inline void stop_politely(void)
{
	struct sigaction action = { .sa_handler = on_stop, .sa_flags = SA_RESTART };

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static inline socklen_t loopback(struct sockaddr_storage *address, int port)
{
	memset(address, 0, sizeof *address);
	if (family == AF_INET6) {
		struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
		v6->sin6_family = AF_INET6;
		v6->sin6_addr = in6addr_loopback;
		v6->sin6_port = htons((uint16_t)port);
		return sizeof *v6;
	}
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	v4->sin_family = AF_INET;
	v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	v4->sin_port = htons((uint16_t)port);
	return sizeof *v4;
}

static inline int listen_on(int port)
{
	struct sockaddr_storage address;
	socklen_t length = loopback(&address, port);
	int fd = socket(family, SOCK_STREAM, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) || listen(fd, 128))
		die("listen");
	return fd;
}

static inline int connect_to(int port)
{
	struct sockaddr_storage address;
	socklen_t length = loopback(&address, port);
	int fd = socket(family, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, length))
		die("connect");
	return fd;
}

static inline void send_all(int fd, const void *data, size_t length)
{
	const char *at = data;

	while (length) {
		ssize_t n = send(fd, at, length, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			die("send");
		at += n;
		length -= (size_t)n;
	}
}
#endif
