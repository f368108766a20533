/* Datagrams to an echo server on loopback, and back, each answered before the next.
 *
 *   udpecho [-6] [-p PORT] [-n COUNT] [-b BYTES] [-i MS]     -n 0: until SIGTERM (default)
 */
#include "net.h"
#include <pthread.h>
#include <sys/time.h>

static int bind_udp(int port)
{
	struct sockaddr_storage address;
	socklen_t length = loopback(&address, port);
	int fd = socket(family, SOCK_DGRAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, length))
		die("bind");
	return fd;
}

static void *echo(void *bound)
{
	static char data[65536];
	int fd = *(int *)bound;

	for (;;) {
		struct sockaddr_storage from;
		socklen_t length = sizeof from;
		ssize_t n = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &length);

		if (n >= 0)
			sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&from, length);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static char data[65536];
	struct timeval limit = { .tv_sec = 5 };
	struct sockaddr_storage address;
	int option, port = 7, count = 0, bytes = 16, pause_ms = 50, server, fd;
	socklen_t length;
	pthread_t thread;

	while ((option = getopt(argc, argv, "6p:n:b:i:")) != -1) {
		switch (option) {
		case '6':
			family = AF_INET6;
			break;
		case 'p':
			port = atoi(optarg);
			break;
		case 'n':
			count = atoi(optarg);
			break;
		case 'b':
			bytes = atoi(optarg);
			break;
		case 'i':
			pause_ms = atoi(optarg);
			break;
		default:
			return 2;
		}
	}
	if (bytes < 0 || bytes > 65507)
		return 2;
	stop_politely();
	server = bind_udp(port);
	if (pthread_create(&thread, NULL, echo, &server))
		die("thread");
	fd = socket(family, SOCK_DGRAM, 0);
	length = loopback(&address, port);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit))
		die("socket");
	memset(data, 'u', (size_t)bytes);
	for (int i = 0; !stopped && (!count || i < count); i++) {
		if (i && pause_ms)
			usleep((useconds_t)pause_ms * 1000);
		if (sendto(fd, data, (size_t)bytes, 0, (struct sockaddr *)&address, length) < 0)
			die("sendto");
		if (recv(fd, data, sizeof data, 0) != bytes)
			die("no echo");
	}
	return 0;
}
