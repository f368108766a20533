/* The TUN peer: a host that does what a lab says, segment by segment.
 *
 * The kernel is 10.9.0.1 (fd09::1) on tun0; the program plays 10.9.0.2 (fd09::2). A segment
 * is written as in packetdrill, from the kernel's point of view:
 *
 *   struct conn c = conn(40000, 8080);          our port, the kernel's port
 *   in(&c, "S 0:0(0) win 65535 <mss 1460>");     packetdrill's '<': into the kernel
 *   out(&c, "S. 0:0(0) ack 1");                  packetdrill's '>': out of the kernel
 *   in(&c, ". 1:1(0) ack 1");
 *   in(&c, "P. 1:6(5) ack 1");
 *
 * Flags are S F R P U E C and '.' for ACK. A sequence number is relative to the sender's
 * initial one, an ack to the receiver's; 'win' is the field as sent, 65535 if not given.
 * Options of in(): mss N, wscale N, sackOK, nop, TS val N ecr N (ecr last: the TSval the
 * kernel sent last; also last-1000, last+1000), sack FIRST:END (a block of the kernel's
 * sequence numbers). Payload is 'a' repeated, or what follows in
 * quotes: in(&c, "P. 1:6(5) ack 1 'hello'").
 *
 * out() waits for the connection's next segment and ends the program when it is another
 * one; an option in it must be there. See silence(), any() and any_of() for the rest.
 *
 * Towards the peer the kernel sends data and FINs again after 3 s at the earliest, not after
 * 200 ms: on a busy host the program may come to answer too late. A lab that is about these
 * timers sets tun_timers before peer_up().
 *
 * write() on a TUN device runs the kernel's whole receive path before it returns, in the
 * calling process on its CPU (drivers/net/tun.c, tun_get_user): order, content and CPU
 * (on_cpu) of every segment are the program's choice, and a call stack ends in its write().
 * Numbers on the wire are big-endian; here all are in host order.
 */
#ifndef KERNLAB_TUNPEER_H
#define KERNLAB_TUNPEER_H
#include "lab.h"
#include <ctype.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32, ECE = 64, CWR = 128 };

struct segment {
	uint32_t seq, ack; /* relative once matched to a connection */
	int flags, win, len, ip_id;
	int mss, wscale, sack_ok, ts; /* options; -1, -1, 0, 0 when not there */
	uint32_t ts_val, ts_ecr;
	uint16_t sport, dport;
	char data[64];
};

struct conn {
	uint16_t peer_port, kernel_port;
	uint32_t peer_isn, kernel_isn; /* the kernel's is learnt from its first segment */
	int kernel_known;
	uint32_t ts_last;    /* the TSval the kernel sent last */
	struct segment last; /* the last one that out() or any() took */
};

static int tun_fd = -1;
static int tun_timers; /* retransmission timers as they always are */

static inline void tun_command(const char *command)
{
	if (system(command))
		fail("'%s' failed", command);
}

/* Make tun0 and play the peer behind it. */
static inline void peer_up(void)
{
	struct ifreq request = { 0 };

	tun_fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (tun_fd < 0)
		fail("/dev/net/tun: %s", strerror(errno));
	strcpy(request.ifr_name, "tun0");
	request.ifr_flags = IFF_TUN | IFF_NO_PI;
	if (ioctl(tun_fd, TUNSETIFF, &request))
		fail("tun0: %s", strerror(errno));
	tun_command("/sbin/ip addr add 10.9.0.1/24 dev tun0 && "
		    "/sbin/ip addr add fd09::1/64 dev tun0 nodad && /sbin/ip link set tun0 up");
	if (!tun_timers)
		tun_command("/sbin/ip route replace 10.9.0.0/24 dev tun0 proto kernel scope link "
			    "src 10.9.0.1 rto_min 3s && "
			    "/sbin/ip -6 route replace fd09::/64 dev tun0 proto kernel metric 256 "
			    "rto_min 3s");
}

static inline struct conn conn(int peer_port, int kernel_port)
{
	struct conn c = { .peer_port = (uint16_t)peer_port,
			  .kernel_port = (uint16_t)kernel_port,
			  .peer_isn = 1000 };

	return c;
}

/* -- writing a segment --------------------------------------------------------------- */

static inline uint32_t tun_sum(const void *data, size_t n, uint32_t sum)
{
	const uint8_t *b = data;

	for (; n > 1; n -= 2, b += 2)
		sum += (uint32_t)(b[0] << 8 | b[1]);
	return n ? sum + (uint32_t)(b[0] << 8) : sum;
}

static inline void tun_checksum(uint8_t *at, uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum;
	at[0] = (uint8_t)(sum >> 8);
	at[1] = (uint8_t)sum;
}

static inline void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

static inline uint32_t get16(const uint8_t *at)
{
	return (uint32_t)(at[0] << 8 | at[1]);
}

static inline uint32_t get32(const uint8_t *at)
{
	return get16(at) << 16 | get16(at + 2);
}

/* The IP header of a segment of n bytes that begins at packet + its return value. */
static inline size_t tun_ip(uint8_t *packet, size_t n)
{
	if (family == AF_INET6) {
		packet[0] = 0x60;
		put16(packet + 4, (uint32_t)n);
		packet[6] = IPPROTO_TCP;
		packet[7] = 64;
		inet_pton(AF_INET6, "fd09::2", packet + 8);
		inet_pton(AF_INET6, "fd09::1", packet + 24);
		return 40;
	}
	packet[0] = 0x45;
	put16(packet + 2, (uint32_t)(20 + n));
	packet[6] = 0x40; /* don't fragment */
	packet[8] = 64;
	packet[9] = IPPROTO_TCP;
	inet_pton(AF_INET, "10.9.0.2", packet + 12);
	inet_pton(AF_INET, "10.9.0.1", packet + 16);
	tun_checksum(packet + 10, tun_sum(packet, 20, 0));
	return 20;
}

static inline void tun_write(const struct conn *c, const struct segment *s, const uint8_t *options,
			     size_t options_n, const char *data)
{
	uint8_t packet[2048] = { 0 };
	size_t header = 20 + options_n, n = header + (size_t)s->len;
	size_t at = tun_ip(packet, n);
	uint8_t *tcp = packet + at;

	put16(tcp, c->peer_port);
	put16(tcp + 2, c->kernel_port);
	put32(tcp + 4, s->seq);
	put32(tcp + 8, s->ack);
	tcp[12] = (uint8_t)(header / 4 << 4);
	tcp[13] = (uint8_t)s->flags;
	put16(tcp + 14, (uint32_t)s->win);
	memcpy(tcp + 20, options, options_n);
	memcpy(tcp + header, data, (size_t)s->len);
	/* The pseudo header: both addresses, the protocol and the length (RFC 9293, 3.1). */
	size_t addresses = family == AF_INET6 ? 8 : 12, size = family == AF_INET6 ? 32 : 8;
	tun_checksum(tcp + 16,
		     tun_sum(tcp, n, tun_sum(packet + addresses, size, IPPROTO_TCP + (uint32_t)n)));
	if (write(tun_fd, packet, at + n) != (ssize_t)(at + n))
		fail("write to tun0: %s", strerror(errno));
}

/* -- the notation -------------------------------------------------------------------- */

static inline int tun_flags(const char **at)
{
	static const char letters[] = "FSRP.UEC";
	int flags = 0;

	for (; **at && !isspace((unsigned char)**at); (*at)++) {
		const char *found = strchr(letters, **at);
		if (!found)
			fail("'%c' is no flag: F S R P . U E C", **at);
		flags |= 1 << (found - letters);
	}
	return flags;
}

static inline uint32_t tun_ecr(const struct conn *c, const char **at)
{
	if (strncmp(*at, "last", 4))
		return (uint32_t)strtoul(*at, (char **)at, 10);
	*at += 4;
	return c->ts_last +
	       (uint32_t)(**at == '+' || **at == '-' ? strtol(*at, (char **)at, 10) : 0);
}

/* <...>: as bytes, and into s for out(). */
static inline size_t tun_options(const struct conn *c, const char **at, uint8_t *bytes,
				 struct segment *s)
{
	uint32_t first, end;
	size_t n = 0;
	int used = 0;

	for ((*at)++; **at && **at != '>'; *at += strspn(*at, ", ")) {
		if (sscanf(*at, "mss %d%n", &s->mss, &used) == 1) {
			bytes[n] = 2, bytes[n + 1] = 4, put16(bytes + n + 2, (uint32_t)s->mss),
			n += 4;
		} else if (sscanf(*at, "wscale %d%n", &s->wscale, &used) == 1) {
			bytes[n] = 3, bytes[n + 1] = 3, bytes[n + 2] = (uint8_t)s->wscale, n += 3;
		} else if (!strncmp(*at, "sackOK", used = 6)) {
			s->sack_ok = 1, bytes[n] = 4, bytes[n + 1] = 2, n += 2;
		} else if (sscanf(*at, "sack %u:%u%n", &first, &end, &used) == 2) {
			bytes[n] = 5, bytes[n + 1] = 10;
			put32(bytes + n + 2, first + c->kernel_isn);
			put32(bytes + n + 6, end + c->kernel_isn), n += 10;
		} else if (!strncmp(*at, "nop", used = 3)) {
			bytes[n++] = 1;
		} else if (sscanf(*at, "TS val %u ecr %n", &s->ts_val, &used) == 1 && used) {
			*at += used;
			used = 0;
			s->ts = 1, s->ts_ecr = tun_ecr(c, at);
			bytes[n] = 8, bytes[n + 1] = 10;
			put32(bytes + n + 2, s->ts_val), put32(bytes + n + 6, s->ts_ecr), n += 10;
		} else if (!strncmp(*at, "TS", used = 2)) {
			s->ts = 1; /* out(): whatever its values */
		} else {
			fail("'%s' is no option", *at);
		}
		*at += used;
	}
	while (n % 4)
		bytes[n++] = 1;
	*at += **at == '>';
	return n;
}

/* Read the notation. Whether 'ack' and 'win' were given is in has_ack, has_win. */
static inline struct segment tun_parse(const struct conn *c, const char *text, uint8_t *options,
				       size_t *options_n, char *data, int *has_ack, int *has_win)
{
	struct segment s = { .win = 65535, .mss = -1, .wscale = -1 };
	const char *at = text;
	uint32_t end;
	int used = 0;

	*options_n = 0;
	*has_ack = *has_win = 0;
	s.flags = tun_flags(&at);
	if (sscanf(at, " %u:%u(%d)%n", &s.seq, &end, &s.len, &used) != 3 || s.len > 1400 ||
	    s.seq + (uint32_t)s.len != end)
		fail("'%s': expected FLAGS FIRST:END(LENGTH)", text);
	memset(data, 'a', (size_t)s.len);
	for (at += used; *(at += strspn(at, " "));) {
		if (sscanf(at, "ack %u%n", &s.ack, &used) == 1)
			*has_ack = 1, at += used;
		else if (sscanf(at, "win %d%n", &s.win, &used) == 1)
			*has_win = 1, at += used;
		else if (*at == '<')
			*options_n = tun_options(c, &at, options, &s);
		else if (*at == '\'' && strchr(at + 1, '\'') == at + 1 + s.len)
			memcpy(data, at + 1, (size_t)s.len), at += s.len + 2;
		else
			fail("'%s': cannot read '%s'", text, at);
	}
	return s;
}

/* Send a segment into the kernel. */
static inline void in(struct conn *c, const char *text)
{
	uint8_t options[64];
	char data[1500];
	size_t options_n;
	int has_ack, has_win;
	struct segment s = tun_parse(c, text, options, &options_n, data, &has_ack, &has_win);

	s.seq += c->peer_isn;
	if (has_ack)
		s.ack += c->kernel_isn;
	tun_write(c, &s, options, options_n, data);
}

/* -- reading -------------------------------------------------------------------------- */

/* A TCP segment of this connection's ports in a packet; 0 when it is something else. */
static inline int tun_read(const struct conn *c, const uint8_t *packet, size_t n, struct segment *s)
{
	size_t at = n && packet[0] >> 4 == 6 ? 40 : (size_t)(packet[0] & 15) * 4;
	size_t protocol = at == 40 && packet[0] >> 4 == 6 ? 6 : 9;

	if (n < at + 20 || packet[protocol] != IPPROTO_TCP)
		return 0;
	const uint8_t *tcp = packet + at, *end = tcp + (tcp[12] >> 4) * 4;
	if (get16(tcp + 2) != c->peer_port || get16(tcp) != c->kernel_port)
		return 0;
	memset(s, 0, sizeof *s);
	s->mss = s->wscale = -1;
	s->sport = (uint16_t)get16(tcp);
	s->dport = (uint16_t)get16(tcp + 2);
	s->seq = get32(tcp + 4);
	s->ack = get32(tcp + 8);
	s->flags = tcp[13];
	s->win = (int)get16(tcp + 14);
	s->ip_id = packet[0] >> 4 == 4 ? (int)get16(packet + 4) : 0;
	s->len = (int)(packet + n - end);
	memcpy(s->data, end, (size_t)(s->len < 63 ? s->len : 63));
	for (tcp += 20; tcp < end && *tcp;) {
		if (*tcp == 1) {
			tcp++;
			continue;
		}
		if (*tcp == 2)
			s->mss = (int)get16(tcp + 2);
		else if (*tcp == 3)
			s->wscale = tcp[2];
		else if (*tcp == 4)
			s->sack_ok = 1;
		else if (*tcp == 8)
			s->ts = 1, s->ts_val = get32(tcp + 2), s->ts_ecr = get32(tcp + 6);
		if (tcp[1] < 2)
			break;
		tcp += tcp[1];
	}
	return 1;
}

static inline const char *tun_flags_text(int flags)
{
	static const char letters[] = "FSRP.UEC";
	static char text[9];
	int n = 0;

	for (int i = 0; i < 8; i++)
		if (flags & 1 << i)
			text[n++] = letters[i];
	text[n] = 0;
	return text;
}

/* The next segment of one of two connections within ms, in its ->last; NULL when none came. A
 * segment of another connection is thrown away. */
static inline struct conn *any_of(struct conn *one, struct conn *other, int ms)
{
	double limit = seconds() + ms / 1000.0;
	uint8_t packet[65536];

	for (;;) {
		struct pollfd wait = { .fd = tun_fd, .events = POLLIN };
		double left = limit - seconds();
		if (poll(&wait, 1, left > 0 ? (int)(left * 1000) + 1 : 0) <= 0)
			return NULL;
		ssize_t n = read(tun_fd, packet, sizeof packet);
		struct conn *c = NULL;
		if (n > 0 && tun_read(one, packet, (size_t)n, &one->last))
			c = one;
		else if (n > 0 && other && tun_read(other, packet, (size_t)n, &other->last))
			c = other;
		if (!c)
			continue;
		struct segment *s = &c->last;
		if (s->flags & SYN || !c->kernel_known) {
			/* A RST that answers a SYN has sequence number 0: no initial one to learn. */
			if (!(s->flags & RST)) {
				c->kernel_isn = s->seq;
				c->kernel_known = 1;
			}
		}
		if (s->ts)
			c->ts_last = s->ts_val;
		/* That 0 stays what it is when the initial number has been learnt before. */
		if (c->kernel_known && !((s->flags & (RST | ACK)) == (RST | ACK) && !s->seq))
			s->seq -= c->kernel_isn;
		s->ack -= c->peer_isn;
		return c;
	}
}

static inline int any(struct conn *c, int ms)
{
	return any_of(c, NULL, ms) != NULL;
}

/* Expect a segment out of the kernel. */
#define out(c, text) tun_expect(c, text, __FILE__, __LINE__)
static inline void tun_expect(struct conn *c, const char *text, const char *file, int line)
{
	uint8_t options[64];
	char data[1500];
	size_t options_n;
	int has_ack, has_win;
	struct segment want = tun_parse(c, text, options, &options_n, data, &has_ack, &has_win);
	const struct segment *s = &c->last;

	if (!any(c, LIMIT_MS))
		fail("%s:%d: expected '%s', but nothing came", file, line, text);
	if (s->flags != want.flags || s->seq != want.seq || s->len != want.len ||
	    (has_ack && s->ack != want.ack) || (has_win && s->win != want.win) ||
	    (want.mss >= 0 && s->mss != want.mss) ||
	    (want.wscale >= 0 && s->wscale != want.wscale) || (want.sack_ok && !s->sack_ok) ||
	    (want.ts && !s->ts))
		fail("%s:%d: expected '%s', got '%s %u:%u(%d) ack %u win %d'", file, line, text,
		     tun_flags_text(s->flags), s->seq, s->seq + (uint32_t)s->len, s->len, s->ack,
		     s->win);
}

/* Expect no segment of this connection for so long. */
#define silence(c, ms) tun_silence(c, ms, __FILE__, __LINE__)
static inline void tun_silence(struct conn *c, int ms, const char *file, int line)
{
	if (any(c, ms))
		fail("%s:%d: expected silence, got '%s %u:%u(%d) ack %u'", file, line,
		     tun_flags_text(c->last.flags), c->last.seq,
		     c->last.seq + (uint32_t)c->last.len, c->last.len, c->last.ack);
}

/* The three-way handshake with a listener of the kernel's; the accepted socket. */
static inline int handshake(struct conn *c, int listening)
{
	in(c, "S 0:0(0) <mss 1460>");
	out(c, "S. 0:0(0) ack 1");
	in(c, ". 1:1(0) ack 1");
	return take(listening);
}

/* connect() of a new socket, bound to the connection's kernel port, towards the peer: it
 * returns at once, and the SYN is out. */
static inline int start_connect(const struct conn *c)
{
	struct sockaddr_storage to;
	socklen_t length = address_of(&to, "10.9.0.2", "fd09::2", c->peer_port);
	int fd = tcp_socket();

	bind_to(fd, c->kernel_port);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (!connect(fd, (struct sockaddr *)&to, length) || errno != EINPROGRESS)
		fail("connect: %s", strerror(errno));
	return fd;
}
#endif
