/* L02: connect() to a port where nobody listens.
 *
 *   l02 [-6] [--listen]     --listen: somebody does
 */
#include "lab.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	int server = asked("--listen") ? listener(9002, 8) : -1;

	step("connect");
	got("client.connect", errno_word(connect_to(tcp_socket(), 9002)));
	if (server >= 0)
		take(server); /* a connection that nobody takes is another lab: L08 */
	return 0;
}
