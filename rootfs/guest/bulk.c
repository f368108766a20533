/* One connection over loopback, one direction, as fast as it goes.
 *
 *   bulk [-6] [-p PORT] [-n BYTES]     -n 0: until SIGTERM (default)
 */
#include "net.h"
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
	long long count = 0, sent = 0;
	pthread_t thread;

	while ((option = getopt(argc, argv, "6p:n:")) != -1) {
		switch (option) {
		case '6': family = AF_INET6; break;
		case 'p': port = atoi(optarg); break;
		case 'n': count = atoll(optarg); break;
		default: return 2;
		}
	}
	stop_politely();
	listening = listen_on(port);
	if (pthread_create(&thread, NULL, swallow, &listening))
		die("thread");
	int fd = connect_to(port);
	while (!stopped && (!count || sent < count)) {
		size_t n = sizeof data;
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
