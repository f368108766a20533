/* shut: the client ends its sending side, the server reads the end. */
#include "lab.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	int server = listener(9100, 8), client = tcp_socket();

	got("client.connect", errno_word(connect_to(client, 9100)));
	int child = take(server);

	step("shut");
	shutdown(client, SHUT_WR);
	got("server.recv", reads(child));
	return 0;
}
