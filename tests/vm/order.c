/* Says what it does before and after each of six connections that are refused. */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	for (int i = 0; i < 6; i++) {
		struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(10 + i),
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		printf("before %d\n", i);
		if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
			return 1;
		printf("after %d\033[2J\n", i);
		close(fd);
	}
	fprintf(stderr, "\xff an end");
	return 3;
}
