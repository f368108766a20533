/* Connections that end with a RST, or without one, in ways that are easily told wrongly.
 * Usage: resets STORY [6]; "6": over IPv6. Each story uses ports of its own. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(x) do { if ((x) < 0) { perror(#x); exit(1); } } while (0)

static int six, one = 1;

static socklen_t address(struct sockaddr_storage *to, int port)
{
	struct sockaddr_in *v4 = (void *)to;
	struct sockaddr_in6 *v6 = (void *)to;

	memset(to, 0, sizeof(*to));
	if (six) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		v6->sin6_addr = in6addr_loopback;
		return sizeof(*v6);
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons(port);
	v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof(*v4);
}

static int new(void) { int s = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0); CHECK(s); return s; }

static int listener(int port, int backlog)
{
	struct sockaddr_storage at;
	socklen_t size = address(&at, port);
	int s = new();

	CHECK(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	CHECK(setsockopt(s, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)));
	CHECK(bind(s, (void *)&at, size));
	CHECK(listen(s, backlog));
	return s;
}

/* Begins to connect; "wait": to the end. */
static int dial(int port, int wait)
{
	struct sockaddr_storage to;
	socklen_t size = address(&to, port);
	int s = new();

	if (!wait)
		CHECK(fcntl(s, F_SETFL, O_NONBLOCK));
	if (connect(s, (void *)&to, size) && (wait || errno != EINPROGRESS))
		perror("connect");
	return s;
}

static int port_of(int s)
{
	struct sockaddr_storage at;
	socklen_t size = sizeof(at);

	CHECK(getsockname(s, (void *)&at, &size));
	return ntohs(six ? ((struct sockaddr_in6 *)&at)->sin6_port : ((struct sockaddr_in *)&at)->sin_port);
}

/* Until there is something to read, an error, or the time is over. */
static int ready(int s, int ms) { struct pollfd p = { s, POLLIN, 0 }; return poll(&p, 1, ms); }

static void shell(const char *line) { if (system(line)) fprintf(stderr, "failed: %s\n", line); }
static void slow(int ms)
{
	char line[80];

	snprintf(line, sizeof(line), "tc qdisc %s dev lo root netem delay %dms", ms ? "replace" : "del", ms);
	shell(line);
}

/* A segment without data, written by hand from port to port. */
static void by_hand(int from, int to, unsigned seq, int syn, int rst)
{
	struct { unsigned s, d; unsigned short zero, proto, len; } ends;
	struct tcphdr t = { .source = htons(from), .dest = htons(to), .seq = htonl(seq), .doff = 5,
			    .syn = syn, .rst = rst, .window = htons(syn ? 8192 : 0) };
	struct sockaddr_storage at;
	socklen_t size = address(&at, 0);
	int s = socket(six ? AF_INET6 : AF_INET, SOCK_RAW, IPPROTO_TCP), offset = 16;
	unsigned sum = 0;
	unsigned short *word;

	CHECK(s);
	if (six) {
		CHECK(setsockopt(s, IPPROTO_IPV6, IPV6_CHECKSUM, &offset, sizeof(offset)));
	} else {
		ends.s = ends.d = htonl(INADDR_LOOPBACK);
		ends.zero = 0; ends.proto = htons(6); ends.len = htons(20);
		for (word = (void *)&ends; (void *)word < (void *)(&ends.len + 1); word++)
			sum += *word;
		for (word = (void *)&t; (void *)word < (void *)(&t + 1); word++)
			sum += *word;
		while (sum >> 16)
			sum = (sum & 0xffff) + (sum >> 16);
		t.check = ~sum;
	}
	CHECK(sendto(s, &t, sizeof(t), 0, (void *)&at, size));
	close(s);
}

static unsigned next_number(int s)
{
	int on = 1, off = -1, queue = 2; /* TCP_SEND_QUEUE */
	unsigned seq;
	socklen_t size = sizeof(seq);

	CHECK(setsockopt(s, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)));
	CHECK(setsockopt(s, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)));
	CHECK(getsockopt(s, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, &size));
	CHECK(setsockopt(s, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)));
	return seq;
}

static void pair(int port, int *client, int *server)
{
	int l = listener(port, 8);

	*client = dial(port, 1);
	*server = accept(l, 0, 0);
	CHECK(*server);
	close(l);
}

/* One of two listeners closes while handshakes are on their way. */
static void reuse(void)
{
	int a, b, c[6];

	slow(150);
	a = listener(9100, 8), b = listener(9100, 8);
	for (int i = 0; i < 6; i++)
		c[i] = dial(9100, 0);
	usleep(370000); /* the SYN-ACKs are on their way back, or their ACKs */
	close(a);
	for (int i = 0; i < 6; i++)
		ready(c[i], 600);
	usleep(400000);
	slow(0);
	(void)b;
}

/* Two RSTs by hand: the first is out of the window, the second ends the client. */
static void forged(void)
{
	int c, s;
	unsigned seq;

	pair(9110, &c, &s);
	seq = next_number(s);
	by_hand(9110, port_of(c), seq + 0x40000000, 0, 1);
	by_hand(9110, port_of(c), seq, 0, 1);
	ready(c, 2000);
	close(s); /* its FIN finds nobody */
	usleep(200000);
}

static void raw_syn(void) { listener(9120, 8); by_hand(41000, 9120, 1000, 1, 0); usleep(500000); }

/* connect() is given up while the SYN-ACK is on its way. */
static void gone(void)
{
	listener(9130, 8);
	slow(150);
	close(dial(9130, 0));
	usleep(600000);
	slow(0);
}

static void key(int s)
{
	struct tcp_md5sig sig = { .tcpm_keylen = 3, .tcpm_key = "key" };

	address((void *)&sig.tcpm_addr, 0);
	CHECK(setsockopt(s, IPPROTO_TCP, TCP_MD5SIG, &sig, sizeof(sig)));
}

/* A signed connection: the first refusal has no key, the second is the listener's. */
static void signed_md5(void)
{
	struct sockaddr_storage to;
	socklen_t size = address(&to, 9140);
	int l = listener(9140, 8), c = new(), s;

	key(l), key(c);
	CHECK(connect(c, (void *)&to, size));
	s = accept(l, 0, 0);
	CHECK(s);
	shutdown(s, SHUT_WR);
	ready(c, 5000);
	usleep(200000);
	close(s); /* its FIN is acknowledged: a mini-socket is left of it */
	CHECK(write(c, "late", 4));
	ready(c, 100);
	usleep(900000);
}

/* A child with unread data ends by a signal, or by exit() without close(). */
static void child(int port, int number)
{
	int ready_fd[2], c, l = listener(port, 8);
	pid_t pid;
	char x;

	CHECK(pipe(ready_fd));
	pid = fork();
	if (!pid) {
		int s = accept(l, 0, 0);

		ready(s, 2000);
		CHECK(write(ready_fd[1], "x", 1));
		if (!number)
			_exit(3);
		pause();
	}
	close(l);
	c = dial(port, 1);
	CHECK(write(c, "unread", 6));
	CHECK(read(ready_fd[0], &x, 1));
	if (number)
		kill(pid, number);
	waitpid(pid, 0, 0);
	ready(c, 1000);
}

/* Data that is never acknowledged, TCP_USER_TIMEOUT; the peer speaks afterwards. */
static void user_timeout(void)
{
	int c, s, ms = 400;
	char line[120];

	pair(9160, &c, &s);
	CHECK(setsockopt(c, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms)));
	snprintf(line, sizeof(line), "%s -A INPUT -p tcp --dport 9160 -j DROP", six ? "ip6tables" : "iptables");
	shell(line);
	CHECK(write(c, "lost", 4));
	ready(c, 8000);
	line[six ? 11 : 10] = 'D';
	shell(line);
	CHECK(write(s, "hello", 5));
	usleep(300000);
}

/* Two handshakes end when the accept queue has room for one; the second client then writes. */
static void queue_full(void)
{
	int c[3];

	shell("echo 0 > /proc/sys/net/ipv4/tcp_synack_retries");
	listener(9170, 0);
	slow(60);
	for (int i = 0; i < 3; i++)
		c[i] = dial(9170, 0);
	sleep(3); /* the requests have expired */
	for (int i = 0; i < 3; i++)
		if (write(c[i], "hello", 5) < 0)
			perror("write");
	usleep(500000);
	slow(0);
	shell("echo 5 > /proc/sys/net/ipv4/tcp_synack_retries");
}

/* Unread data, and more that is on its way: one decision, and what follows from it. */
static void after_effects(void)
{
	int c, s;

	pair(9180, &c, &s);
	CHECK(write(c, "unread", 6));
	ready(s, 1000);
	slow(100);
	CHECK(write(c, "more", 4));
	close(s);
	usleep(10000);
	if (write(c, "still", 5) < 0)
		perror("write");
	usleep(500000);
	slow(0);
}

static void other_namespace(void)
{
	CHECK(unshare(CLONE_NEWNET));
	shell("ip link set lo up");
	dial(9190, 1);
	sleep(2); /* its counters go with it */
}

/* Nobody answers; then somebody refuses by ICMP. */
static void silence(void)
{
	shell("iptables -A INPUT -p tcp --dport 9200 -j DROP");
	shell("iptables -A INPUT -p tcp --dport 9201 -j REJECT");
	ready(dial(9200, 0), 1500);
	dial(9201, 1);
}

/* The close() that would be of interest comes too late. */
static void late(void)
{
	int c, s;

	pair(9210, &c, &s);
	CHECK(write(c, "x", 1));
	sleep(600);
}

int main(int argc, char **argv)
{
	const char *story = argc > 1 ? argv[1] : "";

	six = argc > 2 && !strcmp(argv[2], "6");
	if (!strcmp(story, "reuse")) reuse();
	else if (!strcmp(story, "forged")) forged();
	else if (!strcmp(story, "raw-syn")) raw_syn();
	else if (!strcmp(story, "gone")) gone();
	else if (!strcmp(story, "md5")) signed_md5();
	else if (!strcmp(story, "killed")) child(9150, SIGTERM);
	else if (!strcmp(story, "ended")) child(9151, 0);
	else if (!strcmp(story, "user-timeout")) user_timeout();
	else if (!strcmp(story, "queue")) queue_full();
	else if (!strcmp(story, "after")) after_effects();
	else if (!strcmp(story, "namespace")) other_namespace();
	else if (!strcmp(story, "silence")) silence();
	else if (!strcmp(story, "late")) late();
	else return 2;
	return 0;
}
