/* L14: the last ACK of a handshake finds the accept queue full.
 *
 *   l14 [-6] [--quiet]       --quiet: the kernel does not answer the ACK; it sends its SYN-ACK
 *                            again, and the handshake ends once accept() has made room
 *            [--roomy]       --roomy: a longer queue, where all four fit
 */
#include "tunpeer.h"

static int accepted(int listening)
{
	int n = 0, fd;

	fcntl(listening, F_SETFL, O_NONBLOCK);
	while ((fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		n++;
	return n;
}

static void half_open(struct conn *c)
{
	in(c, "S 0:0(0) <mss 1460>");
	out(c, "S. 0:0(0) ack 1");
}

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	int server = listener(8080, asked("--roomy") ? 8 : 2);
	struct conn first = conn(40001, 8080), second = conn(40002, 8080);
	struct conn third = conn(40003, 8080), fourth = conn(40004, 8080),
		    fifth = conn(40005, 8080);

	step("fill");
	half_open(&first);
	in(&first, ". 1:1(0) ack 1");
	half_open(&second);
	in(&second, ". 1:1(0) ack 1");
	step("two-half-open");
	half_open(&third);
	half_open(&fourth);
	step("third-fits");
	in(&third, ". 1:1(0) ack 1");
	step("fourth-overflows");
	in(&fourth, ". 1:1(0) ack 1");
	if (asked("--roomy")) {
		got_number("accepted", accepted(server));
		return 0;
	}
	if (!asked("--quiet")) {
		out(&fourth, "R 1:1(0)");
		got_number("accepted", accepted(server));
		return 0;
	}
	step("new-syn");
	in(&fifth, "S 0:0(0) <mss 1460>");
	silence(&fifth, 100);
	got_number("accepted", accepted(server));
	step("synack-again");
	out(&fourth, "S. 0:0(0) ack 1");
	in(&fourth, ". 1:1(0) ack 1");
	got_number("accepted.then", accepted(server));
	return 0;
}
