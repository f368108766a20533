/* L07: data arrives after close(), before the FIN is acknowledged.
 *
 *   l07 [-6] [--half-close]     --half-close: shutdown(SHUT_WR) instead of close()
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	struct conn c = conn(40000, 8080);
	int child = handshake(&c, listener(8080, 8));

	step("server-closes");
	if (asked("--half-close"))
		shutdown(child, SHUT_WR);
	else
		close(child);
	out(&c, "F. 1:1(0) ack 1");
	step("peer-sends");
	in(&c, "P. 1:6(5) ack 1"); /* ack 1: the FIN is not acknowledged */
	if (!asked("--half-close")) {
		out(&c, "R 1:1(0)");
		return 0;
	}
	wait_readable(child);
	got("server.recv", reads(child));
	out(&c, ". 2:2(0) ack 6");
	in(&c, "F. 6:6(0) ack 2");
	out(&c, ". 2:2(0) ack 7");
	return 0;
}
