/* L22: simultaneous close: two FINs cross.
 *
 *   l22 [-6] [--in-order]    the peer acknowledges the FIN before it sends its own
 *            [--late-data]   close(), and the peer's ACK of the FIN brings data along
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
	if (asked("--late-data")) {
		close(child);
		out(&c, "F. 1:1(0) ack 1");
		step("late-data");
		in(&c, "P. 1:6(5) ack 2");
		out(&c, "R 2:2(0)");
		return 0;
	}
	shutdown(child, SHUT_WR); /* not close(): the state stays in sight */
	out(&c, "F. 1:1(0) ack 1");
	got("server.state", state_of(child));
	if (asked("--in-order")) {
		step("ack");
		in(&c, ". 1:1(0) ack 2");
		got("server.state.then", state_of(child));
		step("peer-fin");
		in(&c, "F. 1:1(0) ack 2");
		out(&c, ". 2:2(0) ack 2");
	} else {
		step("crossed-fin");
		in(&c, "F. 1:1(0) ack 1");
		out(&c, ". 2:2(0) ack 2");
		got("server.state.then", state_of(child));
		step("ack");
		in(&c, ". 2:2(0) ack 2");
	}
	got_number("time-wait", listed(8080, TCP_TIME_WAIT));
	got("server.recv", reads(child));
	return 0;
}
