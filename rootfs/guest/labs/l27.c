/* L27: the receiver's buffer is full: a window of 0, and the probes that ask after it.
 *
 *   l27 [-6] [--keep-up] [--buffer]    --keep-up: the server reads each piece as it comes
 *                                      --buffer: a receive buffer that takes all of it
 */
#include "lab.h"

enum { PIECE = 1000, PIECES = 8 };

/* Each probe that was sent doubles the time to the next one. */
static void wait_probes(int fd, int probes)
{
	double limit = seconds() + LIMIT_MS / 1000.0;

	while (info_of(fd).tcpi_backoff < probes) {
		if (seconds() > limit)
			fail("%d probes, not %d", info_of(fd).tcpi_backoff, probes);
		pass_ms(1);
	}
}

static long reads_pieces(int fd, long bytes)
{
	char data[65536];
	long sum = 0;

	while (sum < bytes) {
		ssize_t n = recv(fd, data, sizeof data, 0);
		if (n <= 0)
			fail("recv after %ld bytes: %s", sum, n ? strerror(errno) : "the end");
		sum += n;
	}
	return sum;
}

int main(int argc, char **argv)
{
	static char data[PIECE * PIECES];
	long sum = 0;

	lab_start(argc, argv);
	on_cpu(0);
	int server = listener(9100, 8);
	set_option(server, SOL_SOCKET, SO_RCVBUF, asked("--buffer") ? 65536 : 4096);
	int client = dial(9100), child = take(server);

	step("client-sends");
	for (int i = 0; i < PIECES; i++) {
		if (send(client, data + i * PIECE, PIECE, 0) != PIECE)
			fail("send: %s", strerror(errno));
		if (asked("--keep-up"))
			sum += reads_pieces(child, PIECE);
	}
	if (!asked("--keep-up") && !asked("--buffer")) {
		step("window-full");
		wait_probes(client, 2);
	}
	step("server-reads");
	got_number("server.read", sum + reads_pieces(child, PIECE * PIECES - sum));
	return 0;
}
