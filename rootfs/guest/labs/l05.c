/* L05: TCP_LINGER2 below 0: no FIN_WAIT2 after close().
 *
 *   l05 [-6] [--at-once] [--default]     close() in ESTABLISHED, not after shutdown();
 *                                        TCP_LINGER2 left alone
 */
#include "lab.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	int server = listener(9005, 8), client = dial(9005), child = take(server);

	if (!asked("--default"))
		set_option(child, IPPROTO_TCP, TCP_LINGER2, -1);
	if (!asked("--at-once")) {
		step("shutdown");
		shutdown(child, SHUT_WR);
		wait_state(child, TCP_FIN_WAIT2);
	}
	step("close");
	close(child);
	if (asked("--default")) {
		wait_listed(9005, TCP_FIN_WAIT2);
	} else {
		wait_state(client, TCP_CLOSE);
	}
	step("client-looks");
	got("client.state", state_of(client));
	got("client.pending", pending(client));
	return 0;
}
