/* L20: a connect() is answered with a number that it never sent.
 *
 *   l20 [-6] [--half-open]   the peer still has the old connection: it answers with an ACK
 *            [--old-echo]    a good SYN-ACK that echoes a timestamp from long ago
 */
#include "tunpeer.h"

/* What has become of the SYN's timer, as /proc/net/tcp has it (get_tcp4_sock(): kind and rest
 * in 1/100 s, then how often it has run out). Set to TCP_TIMEOUT_MIN, two ticks, it may have run
 * out already. */
static const char *syn_timer(int port)
{
	FILE *file = fopen(family == AF_INET6 ? "/proc/net/tcp6" : "/proc/net/tcp", "re");
	unsigned local, kind, again;
	unsigned long rest;
	const char *found = "none";
	char line[512];

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, " %*d: %*[0-9A-F]:%x %*[0-9A-F]:%*x %*x %*x:%*x %x:%lx %x", &local,
			   &kind, &rest, &again) == 4 &&
		    (int)local == port && kind == 1)
			found = again || rest < 50 ? "short" : "unchanged";
	if (file)
		fclose(file);
	return found;
}

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	peer_up();
	struct conn c = conn(9001, 40000);

	step("connect");
	int client = start_connect(&c);
	if (asked("--old-echo")) {
		out(&c, "S 0:0(0) <TS>");
		step("old-echo");
		in(&c, "S. 0:0(0) ack 1 <mss 1460,nop,nop,TS val 1 ecr last-100000>");
		out(&c, "R 1:1(0)");
		got("client.state", state_of(client));
		return 0;
	}
	out(&c, "S 0:0(0)");
	double sent = seconds();
	if (asked("--half-open")) {
		step("old-ack");
		in(&c, ". 700000:700000(0) ack 100");
	} else {
		step("bad-synack");
		in(&c, "S. 0:0(0) ack 100 <mss 1460>");
	}
	out(&c, "R 100:100(0)");
	got("syn.timer", syn_timer(c.kernel_port));
	got("client.state", state_of(client));
	step("syn-again");
	out(&c, "S 0:0(0)");
	got_number("syn-again.ms", (long)((seconds() - sent) * 1000));
	step("synack");
	in(&c, "S. 0:0(0) ack 1 <mss 1460>");
	out(&c, ". 1:1(0) ack 1");
	wait_state(client, TCP_ESTABLISHED);
	got("client.error", pending(client));
	return 0;
}
