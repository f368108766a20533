/* R1: the final ACK of a handshake on one vCPU, the first data on the other.
 *
 *   A (vCPU 1) sends the ACK, B (vCPU 0) sends 5 bytes
 */
#include "race.h"
#include "tunpeer.h"

static struct conn c;
static int listening;

static void a_part(void)
{
	in(&c, "S 0:0(0) <mss 1460>");
	out(&c, "S. 0:0(0) ack 1");
	shared->number[0] = c.kernel_isn;
	turn(1);
	racing("A");
	in(&c, ". 1:1(0) ack 1");
}

static void b_part(void)
{
	await_turn(1);
	c.kernel_isn = shared->number[0];
	c.kernel_known = 1;
	racing("B");
	in(&c, "P. 1:6(5) ack 1 'hello'");
}

int main(int argc, char **argv)
{
	race_start(argc, argv);
	peer_up();
	listening = listener(8080, 8);
	c = conn(40000, 8080);
	pid_t b = actor("B", 0, b_part), a = actor("A", 1, a_part);

	both_end(a, b);
	int reset = 0;
	while (any(&c, 50))
		reset |= c.last.flags & RST;
	got_number("reset", reset != 0);
	int child = take(listening);
	fcntl(child, F_SETFL, O_NONBLOCK);
	got("server.recv", reads(child));
	return 0;
}
