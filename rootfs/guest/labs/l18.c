/* L18: what can happen to a half-open connection (SYN_RECV).
 *
 *   l18 [-6] [--new-syn]     another SYN, in the window but not the first one again
 *            [--rst]         a RST, in the window but not at its edge
 *            [--closed]      the listener is closed before the ACK comes
 * without option: an ACK of something that was never sent.
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	int server = listener(8080, 8);
	struct conn c = conn(40000, 8080);

	step("syn");
	in(&c, "S 0:0(0) <mss 1460>");
	out(&c, "S. 0:0(0) ack 1");
	got_number("half-open", listed(8080, TCP_SYN_RECV));
	if (asked("--new-syn")) {
		step("new-syn");
		in(&c, "S 5:5(0) <mss 1460>");
		out(&c, "R. 0:0(0) ack 6");
		got_number("half-open.then", listed(8080, TCP_SYN_RECV));
		return 0;
	}
	if (asked("--rst")) {
		step("rst");
		in(&c, "R 100:100(0)");
		got("rst.answer", any(&c, 100) ? tun_flags_text(c.last.flags) : "nothing");
		got_number("half-open.then", listed(8080, TCP_SYN_RECV));
		step("ack");
		in(&c, ". 1:1(0) ack 1");
		got("ack.answer", any(&c, 100) ? tun_flags_text(c.last.flags) : "nothing");
		fcntl(server, F_SETFL, O_NONBLOCK);
		int child = accept4(server, NULL, NULL, SOCK_CLOEXEC);
		got("accepted", child < 0 ? errno_word(errno) : state_of(child));
		return 0;
	}
	if (asked("--closed")) {
		step("closed");
		close(server);
		step("ack");
		in(&c, ". 1:1(0) ack 1");
		out(&c, "R 1:1(0)");
		got_number("half-open.then", listed(8080, TCP_SYN_RECV));
		return 0;
	}
	step("bad-ack");
	in(&c, ". 1:1(0) ack 12345");
	out(&c, "R 12345:12345(0)");
	got_number("half-open.then", listed(8080, TCP_SYN_RECV));
	step("ack");
	in(&c, ". 1:1(0) ack 1");
	got("accepted", state_of(take(server)));
	return 0;
}
