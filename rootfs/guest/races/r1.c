/* R1: the final ACK of a handshake on one vCPU, the first data on the other.
 *
 *   r1                  A (vCPU 1) sends the ACK, B (vCPU 0) sends 5 bytes
 *   r1 --natural N      the same N times, as fast as it goes
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

/* Both actors stay; a turn is a connection. Rounds are told by the turn's number. */
static int tries;

static void a_many(void)
{
	for (int i = 0; i < tries; i++) {
		struct conn one = conn(20000 + i % 40000, 8080);
		await_turn(3 * i);
		in(&one, "S 0:0(0) <mss 1460>");
		out(&one, "S. 0:0(0) ack 1");
		shared->number[0] = one.kernel_isn;
		turn(3 * i + 1);
		in(&one, ". 1:1(0) ack 1");
	}
}

static void b_many(void)
{
	for (int i = 0; i < tries; i++) {
		struct conn one = conn(20000 + i % 40000, 8080);
		await_turn(3 * i + 1);
		one.kernel_isn = shared->number[0];
		one.kernel_known = 1;
		in(&one, "P. 1:6(5) ack 1 'hello'");
		turn(3 * i + 2);
	}
}

static int many(int count)
{
	int resets = 0, delivered = 0;

	tries = count;
	pid_t b = actor("B", 0, b_many), a = actor("A", 1, a_many);
	for (int i = 0; i < count; i++) {
		await_turn(3 * i + 2);
		int child = take(listening);
		fcntl(child, F_SETFL, O_NONBLOCK);
		delivered += reads(child)[0] == '5';
		set_linger(child, 1, 0);
		close(child);
		turn(3 * i + 3);
	}
	both_end(a, b);
	resets = count - delivered;
	got_number("tries", count);
	got_number("fired", resets);
	return 0;
}

int main(int argc, char **argv)
{
	race_start(argc, argv);
	peer_up();
	listening = listener(8080, 8);
	if (asked("--natural"))
		return many(atoi(argv[argc - 1]));
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
