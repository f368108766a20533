/* L08: a listener is closed while connections wait for accept().
 *
 *   l08 [-6] [--shutdown | --drain]     shutdown() instead of close(); accept() first
 */
#include "lab.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	int server = listener(9008, 8), client = dial(9008), child = -1;

	wait_readable(server);
	got_number("listener.waiting", info_of(server).tcpi_unacked);
	if (asked("--drain"))
		child = take(server);
	step("listener-closes");
	if (asked("--shutdown"))
		shutdown(server, SHUT_RD);
	else
		close(server);
	step("client-looks");
	if (asked("--drain")) {
		got("client.send", writes(client, "hello"));
		wait_readable(child);
		got("server.recv", reads(child));
		return 0;
	}
	wait_readable(client);
	got("client.recv", reads(client));
	return 0;
}
