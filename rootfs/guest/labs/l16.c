/* L16: SYN cookies: a handshake without a request socket, and an ACK that was made up.
 *
 *   l16 [-6] [--flood]       --flood: the request queue is full before the SYN comes
 *            [--no-answer]   --no-answer: and that SYN is dropped
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	int server = listener(8080, asked("--flood") ? 1 : 8);
	struct conn c = conn(40000, 8080), forged = conn(40001, 8080);

	if (asked("--flood")) {
		step("flood");
		for (int port = 39001; port <= 39002; port++) { /* one more than its length */
			struct conn waiting = conn(port, 8080);
			in(&waiting, "S 0:0(0) <mss 1460>");
			any(&waiting, 0); /* SYN-ACK, with a cookie or without, or nothing */
		}
		got_number("queue.took", listed(8080, TCP_SYN_RECV));
	}
	step("syn");
	in(&c, "S 0:0(0) <mss 1460>");
	if (asked("--no-answer")) {
		silence(&c, 150);
		return 0;
	}
	out(&c, "S. 0:0(0) ack 1");
	got_number("request.sockets", listed(8080, TCP_SYN_RECV));
	step("ack");
	in(&c, ". 1:1(0) ack 1");
	got("accepted", state_of(take(server)));
	if (asked("--flood"))
		return 0;
	step("forged-ack");
	forged.kernel_known = 1; /* the ack below is a number as it is */
	in(&forged, ". 1:1(0) ack 5000");
	out(&forged, "R 5000:5000(0)");
	return 0;
}
