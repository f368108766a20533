/* A network namespace of its own: connects at once, says what lo has counted, and ends. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int main(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(5),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	char line[256];

	if (unshare(CLONE_NEWNET))
		return 1;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (ioctl(fd, SIOCSIFFLAGS, &lo) || !connect(fd, (struct sockaddr *)&to, sizeof to))
		return 1;
	FILE *file = fopen("/proc/self/net/dev", "r");
	while (file && fgets(line, sizeof line, file)) {
		unsigned long long packets;
		if (sscanf(line, " lo: %*u %llu", &packets) == 1)
			printf("lo %llu\n", packets);
	}
	return 0;
}
