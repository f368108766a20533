/* L04: close() with SO_LINGER.
 *
 *   l04 [-6] [--five | --off]     l_linger 5 s instead of 0; no SO_LINGER
 */
#include "lab.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	int server = listener(9004, 8), client = dial(9004), child = take(server);

	if (!asked("--off"))
		set_linger(child, 1, asked("--five") ? 5 : 0);
	step("server-closes");
	got("server.close", word(close(child)));
	wait_readable(client);
	step("client-looks");
	got("client.recv", reads(client));
	close(client);
	if (asked("--five") || asked("--off"))
		wait_listed(9004, TCP_TIME_WAIT);
	got_number("time-wait", listed(9004, TCP_TIME_WAIT));
	return 0;
}
