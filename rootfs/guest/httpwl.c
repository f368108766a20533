/* HTTP over loopback in one process: a server thread and a client that asks again and
 * again, a connection for each request.
 *
 *   httpwl [-6] [-p PORT] [-n COUNT] [-b BODY] [-i MS] [-c client|server]
 *
 *   -n  requests, 0: until SIGTERM (default)   -b  bytes of the body (default 64)
 *   -i  pause between requests in ms (50)      -c  who closes first (server)
 */
#include "net.h"
#include <pthread.h>

static int port = 8080, body = 64, client_closes;

static void answer(int fd)
{
	char request[1024], *reply = malloc((size_t)body + 128);
	int n = 0, got;

	while (n < (int)sizeof request - 1 &&
	       (got = (int)recv(fd, request + n, sizeof request - 1 - (size_t)n, 0)) > 0) {
		n += got;
		request[n] = 0;
		if (strstr(request, "\r\n\r\n"))
			break;
	}
	n = sprintf(reply, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n", body);
	memset(reply + n, 'k', (size_t)body);
	send_all(fd, reply, (size_t)(n + body));
	if (client_closes)
		while (recv(fd, request, sizeof request, 0) > 0)
			;
	close(fd);
	free(reply);
}

static void *serve(void *listening)
{
	int fd;

	while ((fd = accept(*(int *)listening, NULL, NULL)) >= 0)
		answer(fd);
	return NULL;
}

static void ask(void)
{
	static const char request[] = "GET / HTTP/1.0\r\nHost: kernlab\r\n\r\n";
	char reply[65536];
	int fd = connect_to(port), want = body, n, header = 0;

	send_all(fd, request, sizeof request - 1);
	while ((n = (int)recv(fd, reply, sizeof reply, 0)) > 0) {
		if (!header) { /* headers come in one piece: they are shorter than any MSS */
			char *end = memmem(reply, (size_t)n, "\r\n\r\n", 4);
			n -= end ? (int)(end - reply) + 4 : 0;
			header = 1;
		}
		want -= n;
		if (want <= 0 && client_closes)
			break;
	}
	close(fd);
}

int main(int argc, char **argv)
{
	int option, count = 0, pause_ms = 50, listening;
	pthread_t thread;

	while ((option = getopt(argc, argv, "6p:n:b:i:c:")) != -1) {
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
			body = atoi(optarg);
			break;
		case 'i':
			pause_ms = atoi(optarg);
			break;
		case 'c':
			client_closes = !strcmp(optarg, "client");
			break;
		default:
			return 2;
		}
	}
	stop_politely();
	listening = listen_on(port);
	if (pthread_create(&thread, NULL, serve, &listening))
		die("thread");
	for (int i = 0; !stopped && (!count || i < count); i++) {
		if (i && pause_ms)
			usleep((useconds_t)pause_ms * 1000);
		ask();
	}
	return 0;
}
