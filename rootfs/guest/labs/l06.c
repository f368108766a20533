/* L06: the server has closed, the client goes on writing.
 *
 *   l06 [-6] [--half-close]     --half-close: the server only ends its own direction
 */
#include "lab.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	int server = listener(9006, 8), client = dial(9006), child = take(server);

	/* In two calls, so that close() surely finds the FIN acknowledged and leaves a
	 * mini-socket. An ACK that comes while close() still owns the socket makes it stay a
	 * whole one for a while, and then the answer is that of L07. */
	step("server-closes");
	shutdown(child, SHUT_WR);
	wait_state(child, TCP_FIN_WAIT2);
	if (!asked("--half-close"))
		close(child);
	step("client-writes");
	got("client.send", writes(client, "hello"));
	if (asked("--half-close")) {
		wait_readable(child);
		got("server.recv", reads(child));
		return 0;
	}
	wait_state(client, TCP_CLOSE);
	step("client-writes-again");
	got("client.send.again", writes(client, "hello"));
	got("client.recv", reads(client));
	return 0;
}
