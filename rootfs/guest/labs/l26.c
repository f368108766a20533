/* L26: PAWS: a segment with an older timestamp than the last one is refused, a RST is not.
 *
 *   l26 [--plain]        --plain: the kernel does not do timestamps
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	int plain = asked("--plain"), server = listener(8080, 8);
	struct conn c = conn(40000, 8080);

	step("handshake");
	in(&c, "S 0:0(0) <mss 1460,sackOK,TS val 100000 ecr 0>");
	out(&c, plain ? "S. 0:0(0) ack 1" : "S. 0:0(0) ack 1 <TS>");
	in(&c, ". 1:1(0) ack 1 <nop,nop,TS val 100001 ecr last>");
	int child = take(server);

	step("new-data");
	in(&c, "P. 1:4(3) ack 1 <nop,nop,TS val 100100 ecr last> 'new'");
	out(&c, ". 1:1(0) ack 4");
	step("old-data");
	in(&c, "P. 4:7(3) ack 1 <nop,nop,TS val 50000 ecr last> 'old'");
	out(&c, plain ? ". 1:1(0) ack 7" : ". 1:1(0) ack 4");
	got("server.recv", reads(child));

	step("old-rst");
	in(&c, plain ? "R. 7:7(0) ack 1" : "R. 4:4(0) ack 1 <nop,nop,TS val 5 ecr last>");
	wait_readable(child);
	got("server.recv.again", reads(child));
	return 0;
}
