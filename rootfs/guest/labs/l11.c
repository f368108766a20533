/* L11: more sockets without a process than tcp_max_orphans allows.
 *
 *   l11 [--roomy]     --roomy: the limit stays where it was
 */
#include "tunpeer.h"

/* The kernel compares a sum that it makes every 100 ms, in a timer that does not wake an idle
 * CPU (tcp_orphan_update(), TIMER_DEFERRABLE): keep each of them busy now and then. */
static void let_the_kernel_count(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	for (int i = 0; i < 250; i += 5) {
		on_cpu((int)(i / 5 % cpus));
		pass_ms(5);
	}
}

/* The peer's part of an orderly end. */
static void finish(struct conn *c)
{
	in(c, "F. 1:1(0) ack 2");
	out(c, ". 2:2(0) ack 2");
}

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	struct conn first = conn(40001, 8080), second = conn(40002, 8080);
	int server = listener(8080, 8);
	int first_child = handshake(&first, server), second_child = handshake(&second, server);

	/* tcp_fin_timeout is above 60 s here: an orphan in FIN_WAIT2 stays a whole socket and
	 * is counted, instead of becoming a mini-socket that is not. It has nothing to send,
	 * so no timer of its own can find the limit exceeded (that would be A8). */
	step("first-orphan");
	close(first_child);
	out(&first, "F. 1:1(0) ack 1");
	in(&first, ". 1:1(0) ack 2");
	let_the_kernel_count();
	step("limit");
	if (!asked("--roomy"))
		set_sysctl("tcp_max_orphans", 0);
	step("second-orphan");
	close(second_child);
	set_sysctl("tcp_max_orphans", 8192); /* at once: it counts for every socket there is */
	out(&second, "F. 1:1(0) ack 1");
	if (!asked("--roomy"))
		out(&second, "R. 2:2(0) ack 1");
	step("count");
	got_number("fin-wait1", listed(8080, TCP_FIN_WAIT1));
	got_number("fin-wait2", listed(8080, TCP_FIN_WAIT2));
	if (asked("--roomy"))
		finish(&second);
	finish(&first);
	return 0;
}
