/* L10: somebody else destroys a socket: SOCK_DESTROY, what ss -K asks for.
 *
 *   l10 [-6] [--nobody | --time-wait]     without CAP_NET_ADMIN; a socket in TIME_WAIT
 */
#include "lab.h"
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

static void name_end(const struct sockaddr_storage *end, __be16 *port, __be32 *address)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)end;
	const struct sockaddr_in *four = (const struct sockaddr_in *)end;

	*port = four->sin_port; /* at the same place in both */
	if (family == AF_INET6)
		memcpy(address, &six->sin6_addr, sizeof six->sin6_addr);
	else
		*address = four->sin_addr.s_addr;
}

/* 0 or an errno. The kernel finds the socket by its two ends, as it would for a segment. */
static int destroy(const struct sockaddr_storage *local, const struct sockaddr_storage *remote)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 body;
	} ask = {
		.head = { .nlmsg_len = sizeof ask,
			  .nlmsg_type = SOCK_DESTROY,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.body = { .sdiag_family = (__u8)family,
			  .sdiag_protocol = IPPROTO_TCP,
			  .idiag_states = ~0U,
			  .id.idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE } },
	};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr body;
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	name_end(local, &ask.body.id.idiag_sport, ask.body.id.idiag_src);
	name_end(remote, &ask.body.id.idiag_dport, ask.body.id.idiag_dst);
	if (send(fd, &ask, sizeof ask, 0) < 0 || recv(fd, &answer, sizeof answer, 0) < 0)
		fail("sock_diag: %s", strerror(errno));
	close(fd);
	return -answer.body.error;
}

int main(int argc, char **argv)
{
	lab_start(argc, argv);
	int server = listener(9010, 8), client = dial(9010), child = take(server);
	struct sockaddr_storage local, remote;
	socklen_t length = sizeof local, other = sizeof remote;

	getsockname(child, (struct sockaddr *)&local, &length);
	getpeername(child, (struct sockaddr *)&remote, &other);
	if (asked("--time-wait")) {
		close(child);
		wait_readable(client);
		close(client);
		wait_listed(9010, TCP_TIME_WAIT);
	}
	step("destroy");
	if (asked("--nobody") && seteuid(65534))
		fail("seteuid: %s", strerror(errno));
	got("destroy", errno_word(destroy(&local, &remote)));
	if (asked("--time-wait")) {
		got_number("time-wait", listed(9010, TCP_TIME_WAIT));
		return 0;
	}
	step("both-look");
	if (asked("--nobody")) {
		got("client.send", writes(client, "hello"));
		wait_readable(child);
		got("server.recv", reads(child));
		return 0;
	}
	got("server.recv", reads(child));
	wait_readable(client);
	got("client.recv", reads(client));
	return 0;
}
