/* R5: the same SYN on two vCPUs, through connection tracking.
 *
 *   r5                  once
 *   r5 --natural N      N SYNs, each twice, as fast as it goes
 */
#include "race.h"
#include "tunpeer.h"

static struct conn c;
static int natural;

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

static void both_natural(int late)
{
	for (int try = 0; try < natural; try++) {
		c = conn(10000 + try % 50000, 8080);
		meet();
		if (late)
			jitter(try);
		in(&c, "S 0:0(0) <mss 1460>");
		meet();
		if (!late) {
			while (any(&c, 0))
				;
			in(&c, "R 1:1(0)"); /* nothing of it stays */
		}
	}
}

static void a_natural(void)
{
	both_natural(0);
	got_number("tries", natural);
}

static void b_natural(void)
{
	both_natural(1);
}

int main(int argc, char **argv)
{
	int answers = 0;

	race_start(argc, argv);
	natural = tries_of(argc, argv);
	peer_up();
	listener(8080, 8);
	c = conn(40000, 8080);
	pid_t b = actor("B", 0, natural ? b_natural : b_part);
	pid_t a = actor("A", 1, natural ? a_natural : a_part);

	both_end(a, b);
	if (natural)
		return 0;
	while (any(&c, 50))
		answers += c.last.flags == (SYN | ACK);
	got_number("answers", answers);
	return 0;
}
