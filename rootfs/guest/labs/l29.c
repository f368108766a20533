/* L29: a firewall answers in the server's name.
 *
 *   l29 [-6] [--drop]        --drop: the rule says nothing at all
 */
#include "lab.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	listener(9200, 8);
	int fd = tcp_socket();

	step("client-connects");
	if (!asked("--drop")) {
		got("client.connect", errno_word(connect_to(fd, 9200)));
		return 0;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	connect_to(fd, 9200);
	struct pollfd one = { .fd = fd, .events = POLLOUT };
	got("client.connect", poll(&one, 1, 300) ? pending(fd) : "no answer");
	got("client.state", state_of(fd));
	return 0;
}
