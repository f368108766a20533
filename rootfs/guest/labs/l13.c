/* L13: the timer of an orphan in FIN_WAIT2 ends in a RST.
 *
 *   l13 [--stable]     --stable: tcp_fin_timeout is not touched after the close()
 */
#include "lab.h"

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	int server = listener(9013, 8), client = dial(9013), child = take(server);

	step("server-closes");
	close(child);
	wait_listed(9013, TCP_FIN_WAIT2);
	if (asked("--stable")) {
		step("timer");
		pass_ms(1500); /* the orphan's timer is set to 61 - 60 = 1 s */
	} else {
		step("fin-timeout");
		set_sysctl("tcp_fin_timeout", 10);
		wait_state(client, TCP_CLOSE);
	}
	step("client-looks");
	got("client.state", state_of(client));
	got("client.pending", pending(client));
	got_number("fin-wait2", listed(9013, TCP_FIN_WAIT2));
	return 0;
}
