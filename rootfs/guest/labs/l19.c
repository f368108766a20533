/* L19: RFC 5961: a RST or a SYN that somebody guessed cannot end a connection.
 *
 *   l19 [-6] [--syn]         a SYN instead of the RSTs
 *            [--twice]       two guessed RSTs within half a second
 *            [--answered]    and the second one is answered too
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	int server = listener(8080, 8);
	struct conn c = conn(40000, 8080);
	int child = handshake(&c, server);

	if (asked("--syn")) {
		step("syn");
		in(&c, "S 500000:500000(0) <mss 1460>");
		out(&c, ". 1:1(0) ack 1");
		got("server.state", state_of(child));
		return 0;
	}
	step("guessed-rst");
	in(&c, "R 100:100(0)");
	out(&c, ". 1:1(0) ack 1");
	got("server.state", state_of(child));
	if (asked("--twice")) {
		step("again");
		in(&c, "R 200:200(0)");
		if (asked("--answered"))
			out(&c, ". 1:1(0) ack 1");
		else
			silence(&c, 100);
		got("server.state.then", state_of(child));
		return 0;
	}
	step("exact-rst");
	in(&c, "R 1:1(0)");
	got("server.recv", reads(child));
	got("server.recv.again", reads(child));
	return 0;
}
