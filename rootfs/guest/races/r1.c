/* R1: the final ACK of a handshake on one vCPU, the first data on the other.
 *
 *   A (vCPU 1) sends the ACK, B (vCPU 0) sends 5 bytes
 *
 *   r1                  once
 *   r1 --natural N      N connections, as fast as it goes
 */
#include "race.h"
#include "tunpeer.h"

static struct conn c;
static int listening, natural;

static void opened(int port)
{
	c = conn(port, 8080);
	in(&c, "S 0:0(0) <mss 1460>");
	out(&c, "S. 0:0(0) ack 1");
	shared->number[0] = c.kernel_isn;
}

static void learnt(int port)
{
	c = conn(port, 8080);
	c.kernel_isn = shared->number[0];
	c.kernel_known = 1;
}

static int resets(int ms)
{
	int found = 0;

	while (any(&c, ms))
		found |= c.last.flags & RST;
	return found != 0;
}

static void a_part(void)
{
	opened(40000);
	turn(1);
	racing("A");
	in(&c, ". 1:1(0) ack 1");
}

static void b_part(void)
{
	await_turn(1);
	learnt(40000);
	racing("B");
	in(&c, "P. 1:6(5) ack 1 'hello'");
}

static void a_natural(void)
{
	int fired = 0, delivered = 0;

	for (int try = 0; try < natural; try++) {
		opened(10000 + try % 50000);
		meet();
		in(&c, ". 1:1(0) ack 1");
		meet();
		fired += resets(0);
		int child = take(listening);
		fcntl(child, F_SETFL, O_NONBLOCK);
		delivered += !strcmp(reads(child), "5");
		set_linger(child, 1, 0); /* nothing of it stays */
		close(child);
		resets(0);
	}
	got_number("tries", natural);
	got_number("fired", fired);
	got_number("delivered", delivered);
}

static void b_natural(void)
{
	for (int try = 0; try < natural; try++) {
		meet();
		learnt(10000 + try % 50000);
		jitter(try);
		in(&c, "P. 1:6(5) ack 1 'hello'");
		meet();
	}
}

int main(int argc, char **argv)
{
	race_start(argc, argv);
	natural = tries_of(argc, argv);
	peer_up();
	listening = listener(8080, 8);
	if (natural) {
		pid_t b = actor("B", 0, b_natural), a = actor("A", 1, a_natural);

		both_end(a, b);
		return 0;
	}
	pid_t b = actor("B", 0, b_part), a = actor("A", 1, a_part);

	c = conn(40000, 8080);
	both_end(a, b);
	got_number("reset", resets(50));
	int child = take(listening);
	fcntl(child, F_SETFL, O_NONBLOCK);
	got("server.recv", reads(child));
	return 0;
}
