/* L30: a segment that connection tracking takes for INVALID is not translated.
 *
 *   l30 [--ack] [--liberal | --drop]
 *
 * --ack: its ACK is too high, not its sequence number; --liberal, --drop: what the kernel
 * is set to do with it, and so which answer is expected. Port 1111 is DNATed to 8080.
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	on_cpu(0);
	peer_up();
	struct conn c = conn(5001, 1111); /* what the peer sees; the listener is behind DNAT */
	int child = handshake(&c, listener(8080, 8));

	step("good-data");
	in(&c, "P. 1:5(4) ack 1 'good'");
	out(&c, ". 1:1(0) ack 5");
	got("server.recv", reads(child));

	step("far-data");
	in(&c, asked("--ack") ? "P. 5:8(3) ack 50000 'far'" : "P. 1000005:1000008(3) ack 1 'far'");
	if (asked("--liberal"))
		out(&c, ". 1:1(0) ack 5");
	else if (asked("--drop"))
		silence(&c, 150);
	else
		out(&c, asked("--ack") ? "R 50000:50000(0)" : "R 1:1(0)");

	step("more-data");
	got("server.state", state_of(child));
	in(&c, "P. 5:9(4) ack 1 'more'");
	out(&c, ". 1:1(0) ack 9");
	got("server.recv.again", reads(child));
	in(&c, "R 9:9(0)"); /* the peer ends it: nothing is left to be sent again */
	return 0;
}
