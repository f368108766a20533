/* L28b: a transfer over a link that loses one segment in ten.
 *
 *   l28b [--no-loss]
 *
 * The client is in the namespace at the other end of the veth pair.
 */
#include "lab.h"

enum { BYTES = 400000 };

static int finished[2];

static void client(void)
{
	const char *there = getenv("KERNLAB_PEER_NS");
	int namespace = there ? open(there, O_RDONLY | O_CLOEXEC) : -1;
	struct sockaddr_storage to;
	static char data[65536];
	long sum = 0;
	ssize_t n;

	if (namespace < 0 || setns(namespace, CLONE_NEWNET))
		fail("the other namespace: %s", strerror(errno));
	socklen_t length = address_of(&to, "10.8.0.1", "fd08::1", 9400);
	int fd = tcp_socket();
	close(finished[1]);
	if (connect(fd, (struct sockaddr *)&to, length))
		fail("connect: %s", strerror(errno));
	while ((n = recv(fd, data, sizeof data, 0)) > 0)
		sum += n;
	got_number("client.read", sum);
	got("client.end", word(n));
	/* Closed only when the server is done: a retransmission that comes later would find
	 * nobody here, and get a RST. */
	if (read(finished[0], data, 1) < 0)
		fail("pipe: %s", strerror(errno));
	exit(0);
}

int main(int argc, char **argv)
{
	static char data[BYTES];
	int server, child, status;

	lab_start(argc, argv);
	server = listener(9400, 8);
	if (pipe(finished))
		fail("pipe: %s", strerror(errno));
	pid_t other = fork();
	if (other == 0)
		client();
	child = take(server);
	if (!asked("--no-loss")) {
		step("loss");
		if (system("/sbin/tc qdisc add dev veth0 root netem loss 10%"))
			fail("tc could not add netem");
	}
	step("transfer");
	for (size_t sent = 0; sent < sizeof data;) {
		ssize_t n = send(child, data + sent, sizeof data - sent, 0);
		if (n <= 0)
			fail("send after %zu bytes: %s", sent, strerror(errno));
		sent += (size_t)n;
	}
	shutdown(child, SHUT_WR);
	wait_state(child, TCP_FIN_WAIT2);
	close(finished[1]);
	waitpid(other, &status, 0);
	step("done");
	return status != 0;
}
