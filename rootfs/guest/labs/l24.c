/* L24: TIME_WAIT: an old SYN, a new SYN, and assassination by a RST.
 *
 *   l24 [-6] [--rst]         a RST at the edge of the window, then an ACK
 *            [--no-answer]   and nothing comes back for that ACK
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	int server = listener(8080, 8);
	struct conn c = conn(40000, 8080);

	step("close");
	close(handshake(&c, server));
	out(&c, "F. 1:1(0) ack 1");
	in(&c, "F. 1:1(0) ack 2");
	out(&c, ". 2:2(0) ack 2");
	got_number("time-wait", listed(8080, TCP_TIME_WAIT));
	if (asked("--rst")) {
		step("rst");
		in(&c, "R 2:2(0)");
		got_number("time-wait.then", listed(8080, TCP_TIME_WAIT));
		step("late-ack");
		in(&c, ". 2:2(0) ack 2");
		if (asked("--no-answer"))
			silence(&c, 100);
		else
			out(&c, "R 2:2(0)");
		return 0;
	}
	/* The same ports, other initial numbers. */
	struct conn old = c, new = c;
	old.peer_isn = 500;
	new.peer_isn = 200000;
	step("old-syn");
	in(&old, "S 0:0(0) <mss 1460>");
	out(&c, ". 2:2(0) ack 2");
	got_number("time-wait.then", listed(8080, TCP_TIME_WAIT));
	step("new-syn");
	in(&new, "S 0:0(0) <mss 1460>");
	if (!any(&new, LIMIT_MS) || new.last.flags != (SYN | ACK))
		fail("the new SYN was not answered with SYN-ACK");
	got_number("isn.minus.snd_nxt", (long)(uint32_t)(new.kernel_isn - (c.kernel_isn + 2)));
	in(&new, ". 1:1(0) ack 1");
	got("accepted", state_of(take(server)));
	got_number("time-wait.last", listed(8080, TCP_TIME_WAIT));
	return 0;
}
