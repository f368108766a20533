/* One connection over loopback, one direction, as fast as it goes.
 *
 *   bulk [-6] [-p PORT] [-n BYTES] [-w BYTES]
 *
 * -n 0: until SIGTERM (default); -w: of each write, and each is a segment of its own
 */
#include "net.h"
#include <netinet/tcp.h>
#include <pthread.h>

static void *swallow(void *listening)
{
	static char data[65536];
	int fd = accept(*(int *)listening, NULL, NULL);

	while (recv(fd, data, sizeof data, 0) > 0)
		;
	close(fd);
	return NULL;
}

int main(int argc, char **argv)
{
	static char data[65536];
	int option, port = 8081, listening;
	long long count = 0, sent = 0, each = 0;
	pthread_t thread;

	while ((option = getopt(argc, argv, "6p:n:w:")) != -1) {
		switch (option) {
		case '6':
			family = AF_INET6;
			break;
		case 'p':
			port = atoi(optarg);
			break;
		case 'n':
			count = atoll(optarg);
			break;
		case 'w':
			each = atoll(optarg);
			break;
		default:
			return 2;
		}
	}
	stop_politely();
	listening = listen_on(port);
	if (pthread_create(&thread, NULL, swallow, &listening))
		die("thread");
	int fd = connect_to(port);
	if (each)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	if (each < 1 || each > (long long)sizeof data)
		each = sizeof data;
	while (!stopped && (!count || sent < count)) {
		size_t n = each;
		if (count && count - sent < (long long)n)
			n = (size_t)(count - sent);
		send_all(fd, data, n);
		sent += (long long)n;
	}
	shutdown(fd, SHUT_WR);
	pthread_join(thread, NULL);
	close(fd);
	return 0;
}
