/* L20: a connect() is answered with a number that it never sent.
 *
 *   l20 [-6] [--half-open]   the peer still has the old connection: it answers with an ACK
 *            [--old-echo]    a good SYN-ACK that echoes a timestamp from long ago
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	struct conn c = conn(9001, 40000);

	step("connect");
	int client = start_connect(&c);
	if (asked("--old-echo")) {
		out(&c, "S 0:0(0) <TS>");
		step("old-echo");
		in(&c, "S. 0:0(0) ack 1 <mss 1460,nop,nop,TS val 1 ecr last-100000>");
		out(&c, "R 1:1(0)");
		got("client.state", state_of(client));
		return 0;
	}
	out(&c, "S 0:0(0)");
	double sent = seconds();
	if (asked("--half-open")) {
		step("old-ack");
		in(&c, ". 700000:700000(0) ack 100");
	} else {
		step("bad-synack");
		in(&c, "S. 0:0(0) ack 100 <mss 1460>");
	}
	out(&c, "R 100:100(0)");
	got("client.state", state_of(client));
	step("syn-again");
	out(&c, "S 0:0(0)");
	got_number("syn-again.ms", (long)((seconds() - sent) * 1000));
	step("synack");
	in(&c, "S. 0:0(0) ack 1 <mss 1460>");
	out(&c, ". 1:1(0) ack 1");
	wait_state(client, TCP_ESTABLISHED);
	got("client.error", pending(client));
	return 0;
}
