/* L28: data that is not acknowledged: the timer that doubles, and three duplicate ACKs.
 *
 *   l28 [--dupacks | --sack | --give-up]
 *
 * without: the peer is silent until the third retransmission; --dupacks: the first of four
 * segments is lost, and the ACKs of the others say so; --sack: the same, with the blocks
 * that did come; --give-up: the peer stays silent until the kernel has enough.
 */
#include "tunpeer.h"

static void wait_acked(int fd)
{
	double limit = seconds() + LIMIT_MS / 1000.0;

	while (info_of(fd).tcpi_unacked) {
		if (seconds() > limit)
			fail("%u segments are still not acknowledged", info_of(fd).tcpi_unacked);
		pass_ms(1);
	}
}

static void timer(struct conn *c, int child)
{
	step("send");
	got("server.send", writes(child, "hello"));
	out(c, "P. 1:6(5) ack 1");
	step("silence");
	out(c, "P. 1:6(5) ack 1");
	if (asked("--give-up")) {
		wait_readable(child);
		got("server.recv", reads(child));
		return;
	}
	out(c, "P. 1:6(5) ack 1");
	out(c, "P. 1:6(5) ack 1");
	struct tcp_info info = info_of(child);
	got_number("rto.ms", info.tcpi_rto / 1000);
	got_number("backoff", info.tcpi_backoff);
	got_number("cwnd", info.tcpi_snd_cwnd);
	got_number("ca_state", info.tcpi_ca_state);
	step("ack");
	in(c, ". 1:1(0) ack 6");
	wait_acked(child);
	got_number("backoff.acked", info_of(child).tcpi_backoff);
	step("again");
	writes(child, "again");
	out(c, "P. 6:11(5) ack 1");
	in(c, ". 1:1(0) ack 11");
	wait_acked(child);
	got_number("backoff.measured", info_of(child).tcpi_backoff);
}

static void duplicates(struct conn *c, int child)
{
	/* Two of them are larger than one segment may be: none is merged with the next. */
	static const char data[1000];
	int sack = asked("--sack");

	set_option(child, IPPROTO_TCP, TCP_NODELAY, 1);
	step("send-four");
	for (int i = 0; i < 4; i++)
		send(child, data, sizeof data, 0);
	out(c, "P. 1:1001(1000) ack 1");
	out(c, "P. 1001:2001(1000) ack 1");
	out(c, "P. 2001:3001(1000) ack 1");
	out(c, "P. 3001:4001(1000) ack 1");
	step("duplicates");
	in(c, sack ? ". 1:1(0) ack 1 <nop,nop,sack 1001:2001>" : ". 1:1(0) ack 1");
	in(c, sack ? ". 1:1(0) ack 1 <nop,nop,sack 1001:3001>" : ". 1:1(0) ack 1");
	in(c, sack ? ". 1:1(0) ack 1 <nop,nop,sack 1001:4001>" : ". 1:1(0) ack 1");
	out(c, "P. 1:1001(1000) ack 1");
	got_number("ca_state", info_of(child).tcpi_ca_state);
	step("ack");
	in(c, ". 1:1(0) ack 4001");
	wait_acked(child);
}

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	on_cpu(0);
	tun_timers = !asked("--dupacks") && !asked("--sack");
	peer_up();
	int server = listener(8080, 8);
	struct conn c = conn(40000, 8080);

	in(&c, asked("--sack") ? "S 0:0(0) <mss 1460,sackOK>" : "S 0:0(0) <mss 1460>");
	out(&c, "S. 0:0(0) ack 1");
	in(&c, ". 1:1(0) ack 1");
	int child = take(server);

	if (asked("--dupacks") || asked("--sack"))
		duplicates(&c, child);
	else
		timer(&c, child);
	in(&c, "R 1:1(0)"); /* the peer ends it: nothing is left to be sent again */
	return 0;
}
