/* L31: connection tracking forgets a connection that was idle; TCP does not.
 *
 *   l31 [--keepalive] [--found]    --found: the late segment is expected to arrive
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	on_cpu(0);
	peer_up();
	struct conn c = conn(5002, 1111);
	int child = handshake(&c, listener(8080, 8));

	step("good-data");
	in(&c, "P. 1:5(4) ack 1 'good'");
	out(&c, ". 1:1(0) ack 5");
	got("server.recv", reads(child));

	step("idle");
	if (asked("--keepalive")) {
		set_option(child, IPPROTO_TCP, TCP_KEEPIDLE, 1);
		set_option(child, IPPROTO_TCP, TCP_KEEPINTVL, 1);
		set_option(child, SOL_SOCKET, SO_KEEPALIVE, 1);
		for (int i = 0; i < 2; i++) {
			out(&c, ". 0:0(0) ack 5");
			in(&c, ". 5:5(0) ack 1");
		}
		pass_ms(200);
	} else {
		pass_ms(1300);
	}
	step("late-data");
	got("server.state", state_of(child));
	in(&c, "P. 5:9(4) ack 1 'late'");
	if (asked("--found")) {
		out(&c, ". 1:1(0) ack 9");
		got("server.recv.again", reads(child));
		in(&c, "R 9:9(0)"); /* the peer ends it: nothing is left to be sent again */
	} else {
		out(&c, "R 1:1(0)");
	}
	return 0;
}
