/* L23: a FIN is dropped because the number that it acknowledges is old.
 *
 *   l23 [-6] [--in-order]    the same two segments in the order in which they were sent
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	int server = listener(8080, 8);
	struct conn c = conn(40000, 8080);
	int child = handshake(&c, server);

	step("fin");
	shutdown(child, SHUT_WR);
	out(&c, "F. 1:1(0) ack 1");
	/* The peer sends its FIN, gets ours, and acknowledges it. */
	if (asked("--in-order")) {
		step("peer-fin");
		in(&c, "F. 1:1(0) ack 1");
		out(&c, ". 2:2(0) ack 2");
		step("ack");
		in(&c, ". 2:2(0) ack 2");
		got_number("time-wait", listed(8080, TCP_TIME_WAIT));
		return 0;
	}
	step("ack");
	in(&c, ". 2:2(0) ack 2");
	got("server.state", state_of(child));
	step("peer-fin");
	in(&c, "F. 1:1(0) ack 1");
	if (!any(&c, LIMIT_MS))
		fail("the FIN was not answered");
	got_number("acknowledged", c.last.ack);
	got("server.state.then", state_of(child));
	step("peer-fin-again");
	in(&c, "F. 1:1(0) ack 2");
	if (!any(&c, LIMIT_MS))
		fail("the second FIN was not answered");
	got_number("acknowledged.again", c.last.ack);
	got_number("time-wait", listed(8080, TCP_TIME_WAIT));
	return 0;
}
