/* L34: close() before the SYN was answered; the answer comes all the same.
 *
 *   l34 [--shutdown | --stay]      --shutdown: shutdown(SHUT_RDWR) instead of close()
 *                                  --stay: the socket stays open
 */
#include "tunpeer.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	on_cpu(0);
	peer_up();
	struct conn c = conn(7061, 8091);

	step("connect");
	int fd = start_connect(&c);
	out(&c, "S 0:0(0)");
	step("close");
	if (asked("--shutdown"))
		got("client.shutdown", word(shutdown(fd, SHUT_RDWR)));
	else if (!asked("--stay"))
		close(fd);
	silence(&c, 100);

	step("late-answer");
	in(&c, "S. 0:0(0) ack 1 <mss 1460>");
	out(&c, asked("--stay") ? ". 1:1(0) ack 1" : "R 1:1(0)");
	if (asked("--stay")) {
		got("client.state", state_of(fd));
		in(&c, "R 1:1(0)"); /* the peer ends it: nothing is left to be sent again */
	}
	return 0;
}
