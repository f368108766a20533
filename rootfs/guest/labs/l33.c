/* L33: TCP_DEFER_ACCEPT: a connection that has no data yet is none.
 *
 *   l33 [--at-once]        --at-once: without the option
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	on_cpu(0);
	peer_up();
	int server = listener(8080, 8);
	struct conn c = conn(40000, 8080);

	if (!asked("--at-once"))
		set_option(server, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5);
	fcntl(server, F_SETFL, O_NONBLOCK);

	step("handshake");
	in(&c, "S 0:0(0) <mss 1460>");
	out(&c, "S. 0:0(0) ack 1");
	in(&c, ". 1:1(0) ack 1");
	int child = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	got("server.accept", child < 0 ? errno_word(errno) : "ok");

	step("data");
	in(&c, "P. 1:2(1) ack 1 'x'");
	out(&c, ". 1:1(0) ack 2");
	if (child < 0) {
		child = accept4(server, NULL, NULL, SOCK_CLOEXEC);
		got("server.accept.again", child < 0 ? errno_word(errno) : "ok");
	}
	got("server.recv", reads(child));
	in(&c, "R 2:2(0)"); /* the peer ends it: nothing is left to be sent again */
	return 0;
}
