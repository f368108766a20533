/* L32: two ports redirected to one, and a client that uses one port for both.
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	on_cpu(0);
	peer_up();
	int server = listener(8080, 8);
	struct conn first = conn(6666, 1111), second = conn(6666, 1112);
	second.peer_isn = 50000;

	step("first");
	int child = handshake(&first, server);

	step("second");
	in(&second, "S 0:0(0) <mss 1460>");
	struct conn *answers = any_of(&first, &second, LIMIT_MS);
	if (!answers)
		fail("the second SYN was not answered");
	/* From port 1111, where nothing was asked, or from port 1112. */
	got_number("second.answer", answers->kernel_port);
	if (answers == &second) {
		in(&second, ". 1:1(0) ack 1");
		int other = take(server);
		in(&second, "P. 1:7(6) ack 1 'second'");
		out(&second, ". 1:1(0) ack 7");
		got("second.recv", reads(other));
		in(&second, "R 7:7(0)");
	} else {
		silence(&second, 150);
	}
	step("first-again");
	in(&first, "P. 1:6(5) ack 1 'first'");
	out(&first, ". 1:1(0) ack 6");
	got("first.recv", reads(child));
	in(&first, "R 6:6(0)"); /* the peer ends it: nothing is left to be sent again */
	return 0;
}
