/* connect() to a port nobody listens on, again and again.
 *
 *   connclosed [-6] [-p PORT] [-n COUNT] [-i MS]     -n 0: until SIGTERM (default)
 */
#include "net.h"

int main(int argc, char **argv)
{
	int option, port = 9, count = 0, pause_ms = 200;

	while ((option = getopt(argc, argv, "6p:n:i:")) != -1) {
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
		case 'i':
			pause_ms = atoi(optarg);
			break;
		default:
			return 2;
		}
	}
	stop_politely();
	for (int i = 0; !stopped && (!count || i < count); i++) {
		struct sockaddr_storage address;
		socklen_t length = loopback(&address, port);
		int fd = socket(family, SOCK_STREAM, 0);

		if (i && pause_ms)
			usleep((useconds_t)pause_ms * 1000);
		if (connect(fd, (struct sockaddr *)&address, length) == 0)
			printf("connected\n");
		else
			printf("%s\n", strerrorname_np(errno));
		fflush(stdout);
		close(fd);
	}
	return 0;
}
