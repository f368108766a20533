/* L03: close() while data that came in is still unread.
 *
 *   l03 [-6] [--drain]       --drain: the server reads before it closes
 */
#include "lab.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	int server = listener(9001, 8), client = dial(9001), child = take(server);

	step("client-sends");
	writes(client, "hello");
	wait_readable(child);
	if (asked("--drain"))
		got("server.recv", reads(child));
	step("server-closes");
	close(child);
	wait_readable(client);
	step("client-looks");
	got("client.recv", reads(client));
	if (asked("--drain"))
		return 0; /* a send() now is another lab: L06 */
	got("client.recv.again", reads(client));
	got("client.send", writes(client, "more"));
	return 0;
}
