/* case1: a connection is reset at close(), and its owner never asked for that.
 *
 *   case1 [-6] [--clean]       --clean: without what the pool does
 */
#include "lab.h"

/* What a connection pool does to each of its sockets, so that none stays in TIME_WAIT. The
 * application that uses the pool knows nothing of it. */
static void pool_takes(int fd)
{
	set_linger(fd, 1, 0);
}

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	int server = listener(9001, 8), client = dial(9001), child = take(server);

	step("pool");
	if (!asked("--clean"))
		pool_takes(child);
	step("request");
	writes(client, "hello");
	got("server.recv", reads(child));
	writes(child, "bye");
	got("client.recv", reads(client));
	step("server-closes");
	got("server.close", word(close(child)));
	wait_readable(client);
	step("client-looks");
	got("client.recv.again", reads(client));
	return 0;
}
