/* L09: connect() with AF_UNSPEC takes a connection apart.
 *
 *   l09 [-6] [--shutdown]     --shutdown: shutdown(SHUT_WR) instead
 */
#include "lab.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	int server = listener(9009, 8), client = dial(9009), child = take(server);
	struct sockaddr nobody = { .sa_family = AF_UNSPEC };

	step("client-disconnects");
	if (asked("--shutdown"))
		got("client.shutdown", errno_word(shutdown(client, SHUT_WR) ? errno : 0));
	else
		got("client.disconnect",
		    errno_word(connect(client, &nobody, sizeof nobody) ? errno : 0));
	wait_readable(child);
	step("server-looks");
	got("server.recv", reads(child));
	if (asked("--shutdown"))
		return 0;
	got("client.pending", pending(client));
	step("client-connects-again"); /* the same socket, as good as new */
	got("client.connect", errno_word(connect_to(client, 9009)));
	take(server);
	return 0;
}
