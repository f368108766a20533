/* R2: the listener is closed while a handshake's last ACK is being handled.
 *
 *   A (vCPU 1) sends the ACK through the TUN peer, B (vCPU 0) closes the listener
 */
#include "race.h"
#include "tunpeer.h"

static struct conn c;
static int listening;

static void a_part(void)
{
	close(listening); /* B's is the last one */
	in(&c, "S 0:0(0) <mss 1460>");
	out(&c, "S. 0:0(0) ack 1");
	turn(1);
	racing("A");
	in(&c, ". 1:1(0) ack 1");
}

static void b_part(void)
{
	await_turn(1);
	racing("B");
	close(listening);
}

int main(int argc, char **argv)
{
	race_start(argc, argv);
	peer_up();
	listening = listener(8080, 8);
	c = conn(40000, 8080);
	pid_t b = actor("B", 0, b_part), a = actor("A", 1, a_part);

	close(listening);
	both_end(a, b);
	int flags = 0;
	while (any(&c, 50))
		flags |= c.last.flags;
	got_number("reset", (flags & RST) != 0);
	return 0;
}
