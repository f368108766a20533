/* R-TW: the peer's FIN meets a connection on its way to TIME_WAIT. Plain loopback.
 *
 * The server A (vCPU 1) closes first. The route acknowledges at once (quickack), so its
 * FIN's ACK comes inside close(), and close() itself moves the connection to TIME_WAIT.
 * The client B (vCPU 0), in CLOSE_WAIT by then, shuts down: its FIN comes on its own vCPU.
 *
 *   rtw                  once
 *   rtw --natural N      N connections, as fast as it goes
 */
#include "race.h"

static int listening, tries = 1, natural;

static void a_part(void)
{
	for (int i = 0; i < tries; i++) {
		int child = take(listening);
		char byte;

		if (recv(child, &byte, 1, 0) != 1) /* the client is connected and waits */
			fail("the client's byte: %s", strerror(errno));
		if (!natural) {
			turn(1);
			racing("A");
		}
		close(child);
	}
}

static void b_part(void)
{
	int resets = 0, error = 0;

	for (int i = 0; i < tries; i++) {
		int client = dial(9000);

		send(client, "x", 1, 0);
		if (natural) {
			wait_readable(client);
		} else {
			await_turn(1); /* nothing of ours is on its way any more */
			racing("B");
		}
		shutdown(client, SHUT_WR);
		if (!natural)
			wait_state(client, TCP_CLOSE);
		else
			for (int spin = 0;
			     spin < 2000 && info_of(client).tcpi_state == TCP_LAST_ACK; spin++)
				;
		const char *word = pending(client);
		resets += !strcmp(word, "ECONNRESET") || !strcmp(word, "EPIPE");
		error = strcmp(word, "ok") != 0;
		if (!natural)
			got("client.error", word);
		close(client);
	}
	if (natural) {
		got_number("tries", tries);
		got_number("fired", resets);
	}
	(void)error;
}

int main(int argc, char **argv)
{
	race_start(argc, argv);
	natural = asked("--natural");
	if (natural)
		tries = atoi(argv[argc - 1]);
	listening = listener(9000, 64);
	pid_t a = actor("A", 1, a_part), b = actor("B", 0, b_part);

	both_end(a, b);
	return 0;
}
