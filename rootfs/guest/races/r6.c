/* R6: two datagrams of one UDP socket, sent on two vCPUs at once, to a service with two
 * backends behind DNAT: what a resolver's A and AAAA questions do.
 */
#include "race.h"
#include "tunpeer.h"

static int fd;

static void ask(const char *name)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(53) };

	inet_pton(AF_INET, "10.9.0.53", &to.sin_addr);
	racing(name);
	if (sendto(fd, name, 1, 0, (struct sockaddr *)&to, sizeof to) != 1)
		fail("sendto: %s", strerror(errno));
}

static void a_part(void)
{
	ask("A");
}

static void b_part(void)
{
	ask("B");
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(40000) };
	uint8_t packet[256];
	int sent = 0;

	race_start(argc, argv);
	peer_up();
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (bind(fd, (struct sockaddr *)&at, sizeof at))
		fail("bind: %s", strerror(errno));
	pid_t b = actor("B", 0, b_part), a = actor("A", 1, a_part);

	both_end(a, b);
	for (struct pollfd one = { .fd = tun_fd, .events = POLLIN }; poll(&one, 1, 50) > 0;) {
		ssize_t n = read(tun_fd, packet, sizeof packet);
		sent += n > 28 && packet[0] >> 4 == 4 && packet[9] == IPPROTO_UDP;
	}
	got_number("sent", sent);
	return 0;
}
