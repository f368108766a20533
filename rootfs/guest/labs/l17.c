/* L17: an ACK that belongs to nothing reaches a listener.
 *
 *   l17 [-6] [--silence]     --silence: expect no answer
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	listener(8080, 8);
	struct conn c = conn(40000, 8080);

	c.kernel_known = 1; /* the ack below is a number as it is */
	step("stray-ack");
	in(&c, ". 1:1(0) ack 5000");
	if (asked("--silence"))
		silence(&c, 300);
	else
		out(&c, "R 5000:5000(0)");
	return 0;
}
