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

/* A connection is made and closed: an orphan in FIN_WAIT2. Its FIN is acknowledged, so that it
 * has nothing to send, and no timer of its own can find the limit exceeded (that would be A8). */
static void orphan(struct conn *c, int listening)
{
	close(handshake(c, listening));
	out(c, "F. 1:1(0) ack 1");
	in(c, ". 1:1(0) ack 2");
}

/* The peer's part of an orderly end. */
static void finish(struct conn *c)
{
	in(c, "F. 1:1(0) ack 2");
	out(c, ". 2:2(0) ack 2");
}

/* close() while no orphan is allowed: 1 when it ends in a RST. */
static int one_too_many(struct conn *c, int listening)
{
	int child = handshake(c, listening);

	set_sysctl("tcp_max_orphans", 0);
	close(child);
	set_sysctl("tcp_max_orphans", 8192); /* at once: it counts for every socket there is */
	out(c, "F. 1:1(0) ack 1");
	if (!any(c, 0)) /* it is sent before close() returns */
		return 0;
	if (c->last.flags != (RST | ACK))
		fail("the FIN was followed by '%s'", tun_flags_text(c->last.flags));
	return 1;
}

int main(int argc, char **argv)
{
	enum { MOST = 80 };
	struct conn all[MOST];
	int n = 0, server;

	lab_start(argc, argv);
	peer_up();
	server = listener(8080, 8);
	for (int i = 0; i < MOST; i++)
		all[i] = conn(40001 + i, 8080);

	/* tcp_fin_timeout is above 60 s here: an orphan in FIN_WAIT2 stays a whole socket and
	 * is counted, instead of becoming a mini-socket that is not. */
	step("first-orphan");
	orphan(&all[n++], server);
	let_the_kernel_count();
	on_cpu(0); /* where the count is kept for each CPU, it is one CPU's */
	step("limit");
	step("second-orphan");
	if (asked("--roomy")) {
		close(handshake(&all[n], server));
		out(&all[n++], "F. 1:1(0) ack 1");
	} else {
		while (!one_too_many(&all[n], server)) {
			in(&all[n], ". 1:1(0) ack 2"); /* it lives: an orphan more */
			if (++n == MOST)
				fail("%d orphans are not too many", n);
		}
	}
	step("count");
	got_number("orphans", asked("--roomy") ? n - 1 : n);
	got_number("fin-wait1", listed(8080, TCP_FIN_WAIT1));
	got_number("fin-wait2", listed(8080, TCP_FIN_WAIT2));
	while (n--)
		finish(&all[n]);
	return 0;
}
