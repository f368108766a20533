/* L12: keepalive finds out that the peer is gone.
 *
 *   l12 [--user-timeout | --alive]     TCP_USER_TIMEOUT of 1.5 s decides, not the number of
 *                                      probes; the peer answers
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	struct conn c = conn(40000, 8080);
	int child = handshake(&c, listener(8080, 8));

	set_option(child, IPPROTO_TCP, TCP_KEEPIDLE, 1);
	set_option(child, IPPROTO_TCP, TCP_KEEPINTVL, 1);
	set_option(child, IPPROTO_TCP, TCP_KEEPCNT, 2);
	if (asked("--user-timeout"))
		set_option(child, IPPROTO_TCP, TCP_USER_TIMEOUT, 1500);
	set_option(child, SOL_SOCKET, SO_KEEPALIVE, 1);
	step("first-probe");
	out(&c,
	    ". 0:0(0) ack 1"); /* one byte below what we have acknowledged: it asks for an ACK */
	if (asked("--alive")) {
		in(&c, ". 1:1(0) ack 1");
		step("answered");
		out(&c, ". 0:0(0) ack 1"); /* the next one comes after KEEPIDLE again */
		in(&c, ". 1:1(0) ack 1");
		got("server.state", state_of(child));
		close(child);
		out(&c, "F. 1:1(0) ack 1");
		in(&c, "F. 1:1(0) ack 2");
		out(&c, ". 2:2(0) ack 2");
		return 0;
	}
	if (!asked("--user-timeout")) {
		step("second-probe");
		out(&c, ". 0:0(0) ack 1");
	}
	step("given-up");
	out(&c, "R. 1:1(0) ack 1");
	wait_readable(child);
	got("server.recv", reads(child));
	return 0;
}
