/* late: close() on one vCPU, the peer's last bytes on the other. */
#include "race.h"
#include "tunpeer.h"

static struct conn c;
static int listening;

static void a_part(void)
{
	int child = take(listening);

	turn(1);
	racing("A");
	close(child);
}

static void b_part(void)
{
	await_turn(1);
	racing("B");
	in(&c, "P. 1:6(5) ack 1 'hello'");
}

int main(int argc, char **argv)
{
	race_start(argc, argv);
	peer_up();
	listening = listener(8080, 8);
	c = conn(40000, 8080);
	in(&c, "S 0:0(0) <mss 1460>");
	out(&c, "S. 0:0(0) ack 1");
	in(&c, ". 1:1(0) ack 1");
	pid_t b = actor("B", 0, b_part), a = actor("A", 1, a_part);

	both_end(a, b);
	int reset = 0;
	while (any(&c, 50))
		reset |= c.last.flags & RST;
	got_number("reset", reset != 0);
	return 0;
}
