/* R5: the same SYN on two vCPUs, through connection tracking. */
#include "race.h"
#include "tunpeer.h"

static struct conn c;

static void a_part(void)
{
	racing("A");
	in(&c, "S 0:0(0) <mss 1460>");
}

static void b_part(void)
{
	racing("B");
	in(&c, "S 0:0(0) <mss 1460>");
}

int main(int argc, char **argv)
{
	int answers = 0;

	race_start(argc, argv);
	peer_up();
	listener(8080, 8);
	c = conn(40000, 8080);
	pid_t b = actor("B", 0, b_part), a = actor("A", 1, a_part);

	both_end(a, b);
	while (any(&c, 50))
		answers += c.last.flags == (SYN | ACK);
	got_number("answers", answers);
	return 0;
}
