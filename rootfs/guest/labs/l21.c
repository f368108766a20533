/* L21: simultaneous open: two SYNs cross.
 *
 *   l21 [-6] [--plain]       the peer answers with an ACK instead of a SYN-ACK
 *            [--bad-ack]     the peer acknowledges what was never sent
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	struct conn c = conn(9001, 40000);

	step("connect");
	int client = start_connect(&c);
	out(&c, "S 0:0(0)");
	step("crossed-syn");
	in(&c, "S 0:0(0) <mss 1460>");
	out(&c, "S. 0:0(0) ack 1");
	got("client.state", state_of(client));
	if (asked("--bad-ack")) {
		step("bad-ack");
		in(&c, ". 1:1(0) ack 100");
		out(&c, "R 100:100(0)");
		got("client.state.then", state_of(client));
	} else if (!asked("--plain")) {
		step("synack");
		in(&c, "S. 0:0(0) ack 1 <mss 1460>");
		got("synack.answer", any(&c, 100) ? tun_flags_text(c.last.flags) : "nothing");
		got("client.state.then", state_of(client));
	}
	step("ack");
	in(&c, ". 1:1(0) ack 1");
	got("client.state.last", state_of(client));
	return 0;
}
