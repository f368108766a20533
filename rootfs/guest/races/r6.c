/* R6: two datagrams of one UDP socket, sent on two vCPUs at once, to a service with two
 * backends behind DNAT: what a resolver's A and AAAA questions do.
 *
 *   r6                  once
 *   r6 --natural N      N pairs, each from a port of its own, as fast as it goes
 */
#include "race.h"
#include "tunpeer.h"

static int fd, natural;

static void on_port(int port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	if (bind(fd, (struct sockaddr *)&at, sizeof at))
		fail("bind: %s", strerror(errno));
}

static void ask(const char *name)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(53) };

	inet_pton(AF_INET, "10.9.0.53", &to.sin_addr);
	if (!natural)
		racing(name);
	/* EPERM: netfilter dropped it (NF_DROP, net/ipv4/ip_output.c): the ending says so. */
	if (sendto(fd, name, 1, 0, (struct sockaddr *)&to, sizeof to) != 1 && errno != EPERM)
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

/* Both have the sockets from before the fork: one socket a pair. */
static int pairs[4096];

static void both_natural(const char *name, int late)
{
	uint8_t packet[256];

	for (int try = 0; try < natural; try++) {
		fd = pairs[try];
		meet();
		if (late)
			jitter(try);
		ask(name);
		meet();
		while (!late && read(tun_fd, packet, sizeof packet) > 0)
			;
	}
}

static void a_natural(void)
{
	both_natural("A", 0);
	got_number("tries", natural);
}

static void b_natural(void)
{
	both_natural("B", 1);
}

static void open_pairs(void)
{
	if (natural > (int)(sizeof pairs / sizeof *pairs))
		fail("at most %zu pairs", sizeof pairs / sizeof *pairs);
	for (int try = 0; try < natural; try++) {
		fd = pairs[try] = socket(AF_INET, SOCK_DGRAM, 0);
		on_port(10000 + try);
	}
}

int main(int argc, char **argv)
{
	uint8_t packet[256];
	int sent = 0;

	race_start(argc, argv);
	natural = tries_of(argc, argv);
	peer_up();
	if (natural) {
		open_pairs();
		pid_t b = actor("B", 0, b_natural), a = actor("A", 1, a_natural);

		both_end(a, b);
		return 0;
	}
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	on_port(40000);
	pid_t b = actor("B", 0, b_part), a = actor("A", 1, a_part);

	both_end(a, b);
	for (struct pollfd one = { .fd = tun_fd, .events = POLLIN }; poll(&one, 1, 50) > 0;) {
		ssize_t n = read(tun_fd, packet, sizeof packet);
		sent += n > 28 && packet[0] >> 4 == 4 && packet[9] == IPPROTO_UDP;
	}
	got_number("sent", sent);
	return 0;
}
