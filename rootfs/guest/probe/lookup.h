/* The socket that a received segment is for, found as the kernel is about to find it.
 *
 * The same steps as kernlab/decode/lookup.py, which says where each is in the kernel's source,
 * in the moment of the hit instead of with the guest stopped. A socket is taken for its tuple
 * alone; a list too long to follow, or several listeners at one port, give nothing.
 */
#ifndef LOOKUP_H
#define LOOKUP_H

#define LISTEN		     10
#define LONGEST		     16 /* sockets looked at in one bucket */
#define rotated(value, bits) ((value) << (bits) | (value) >> (32 - (bits)))

static __always_inline __u32 final_mix(__u32 a, __u32 b, __u32 c)
{
	c ^= b;
	c -= rotated(b, 14);
	a ^= c;
	a -= rotated(c, 11);
	b ^= a;
	b -= rotated(a, 25);
	c ^= b;
	c -= rotated(b, 16);
	a ^= c;
	a -= rotated(c, 4);
	b ^= a;
	b -= rotated(a, 14);
	c ^= b;
	c -= rotated(b, 24);
	return c;
}

/* jhash2() of one to four words, include/linux/jhash.h. */
static __always_inline __u32 jhash_of(const __u32 *words, __u32 count, __u32 initval)
{
	__u32 a, b, c;

	a = b = c = 0xdeadbeef + (count << 2) + initval;
	if (count > 3) {
		a += words[0];
		b += words[1];
		c += words[2];
		a -= c;
		a ^= rotated(c, 4);
		c += b;
		b -= a;
		b ^= rotated(a, 6);
		a += c;
		c -= b;
		c ^= rotated(b, 8);
		b += a;
		a -= c;
		a ^= rotated(c, 16);
		c += b;
		b -= a;
		b ^= rotated(a, 19);
		a += c;
		c -= b;
		c ^= rotated(b, 4);
		b += a;
		a += words[3];
		return final_mix(a, b, c);
	}
	a += words[0];
	if (count > 1)
		b += words[1];
	if (count > 2)
		c += words[2];
	return final_mix(a, b, c);
}

struct kl_segment {
	__u64 net;
	__u32 src[4], dst[4]; /* as on the wire; IPv4 in [0] */
	__u16 sport, dport;   /* as on the wire, in host order */
	__u32 mix;
	__u32 six;	      /* all bits for IPv6, none for IPv4 */
	__u32 src_at, dst_at; /* in a sock: the peer's and our own address */
};

static __always_inline __u64 word(__u64 at)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, 8, (void *)at);
	return value;
}

static __always_inline __u32 half(__u64 at)
{
	__u32 value = 0;

	bpf_probe_read_kernel(&value, 4, (void *)at);
	return value;
}

static __always_inline __u16 quarter(__u64 at)
{
	__u16 value = 0;

	bpf_probe_read_kernel(&value, 2, (void *)at);
	return value;
}

/* Not 0 where an address differs. Differences are gathered rather than branched on: each branch
 * in a loop doubles what the verifier has to follow.
 */
static __always_inline __u32 differs(const struct kl_segment *to, const __u32 *wanted, __u64 at)
{
	__u32 there[4] = {};

	bpf_probe_read_kernel(there, 16, (void *)at);
	return (there[0] ^ wanted[0]) |
	       (((there[1] ^ wanted[1]) | (there[2] ^ wanted[2]) | (there[3] ^ wanted[3])) &
		to->six);
}

static __always_inline __u64 established(const volatile struct kl_plan *plan, __u64 hashinfo,
					 const struct kl_segment *to)
{
	bool six = to->six;
	__u64 secret = six ? plan->secret6 : plan->secret4, at, sock;
	__u32 words[3], hash;
	__u64 differ;

	if (!secret || (six && !plan->hash6))
		return 0;
	words[0] = six ? to->dst[3] : to->dst[0];
	words[1] = six ? jhash_of(to->src, 4, half(plan->hash6)) : to->src[0];
	words[2] = (__u32)to->dport << 16 | to->sport;
	hash = jhash_of(words, 3, half(secret) + to->mix);
	hash &= half(hashinfo + plan->ehash_mask);
	at = word(word(hashinfo + plan->ehash) + (__u64)hash * plan->ehash_bucket +
		  plan->ehash_first);
	for (int i = 0; i < LONGEST; i++) {
		if (!at || at & 1)
			return 0;
		sock = at - plan->node;
		differ = word(sock + plan->sk_net) ^ to->net;
		differ |= quarter(sock + plan->sk_num) ^ to->dport;
		differ |= quarter(sock + plan->sk_dport) ^ to->sport;
		differ |= differs(to, to->dst, sock + to->dst_at);
		differ |= differs(to, to->src, sock + to->src_at);
		if (!differ)
			return sock;
		at = word(at);
	}
	return 0;
}

/* The one listener of a bucket for this address; ~0 when there are several. */
static __always_inline __u64 listening(const volatile struct kl_plan *plan, __u64 bucket,
				       const struct kl_segment *to, const __u32 *address)
{
	bool nulls = !plan->listen_node;
	__u64 at = word(bucket + plan->lhash2_first);
	__u64 sock, differ, found = 0;

	for (int i = 0; i < LONGEST; i++) {
		if (!at || (nulls && at & 1))
			return found;
		sock = at - (nulls ? plan->node : plan->listen_node);
		differ = (half(sock + plan->state) & 0xff) ^ LISTEN;
		differ |= word(sock + plan->sk_net) ^ to->net;
		differ |= quarter(sock + plan->sk_num) ^ to->dport;
		differ |= (quarter(sock + plan->family) ^ 10) & to->six;
		differ |= half(sock + plan->v6only) & plan->v6only_mask & ~to->six;
		differ |= differs(to, address, sock + to->dst_at);
		if (!differ) {
			if (found)
				return ~0ULL;
			found = sock;
		}
		at = word(at);
	}
	return 0;
}

static __always_inline __u64 listener(const volatile struct kl_plan *plan, __u64 hashinfo,
				      const struct kl_segment *to)
{
	__u32 mask = half(hashinfo + plan->lhash2_mask), any[4] = {}, hash;
	__u64 table = word(hashinfo + plan->lhash2), sock;

	if (!table)
		return 0;
	hash = to->six ? jhash_of(to->dst, 4, to->mix) : jhash_of(to->dst, 1, to->mix);
	hash = (hash ^ to->dport) & mask;
	sock = listening(plan, table + (__u64)hash * plan->lhash2_bucket, to, to->dst);
	if (!sock) {
		hash = (jhash_of(any, 1, to->mix) ^ to->dport) & mask;
		sock = listening(plan, table + (__u64)hash * plan->lhash2_bucket, to, any);
	}
	return sock == ~0ULL ? 0 : sock;
}

/* header: the packet's, from IP on, in a buffer with room behind it. */
static __always_inline __u64 look_up(const volatile struct kl_plan *plan, const __u8 *header,
				     __u32 size, __u64 dev)
{
	struct kl_segment to = {};
	__u64 hashinfo, sock;
	const __u8 *tcp;

	if (size >= 40 && header[0] >> 4 == 4 && header[9] == 6) {
		tcp = header + ((header[0] & 15) << 2);
		to.src_at = plan->sk_daddr;
		to.dst_at = plan->sk_saddr;
		to.src[0] = *(__u32 *)(header + 12);
		to.dst[0] = *(__u32 *)(header + 16);
	} else if (size >= 60 && header[0] >> 4 == 6 && header[6] == 6) {
		tcp = header + 40;
		to.six = ~0;
		to.src_at = plan->sk_daddr6;
		to.dst_at = plan->sk_saddr6;
		__builtin_memcpy(to.src, header + 8, 16);
		__builtin_memcpy(to.dst, header + 24, 16);
	} else {
		return 0;
	}
	to.sport = *(__u16 *)tcp; /* in network order, as skc_dport keeps it */
	to.dport = __builtin_bswap16(*(__u16 *)(tcp + 2));
	if (!dev)
		return 0;
	to.net = word(dev + plan->dev_net);
	if (!to.net)
		return 0;
	to.mix = half(to.net + plan->net_mix);
	/* A namespace may have tables of its own since d1e5e6408b30 (v6.1). */
	hashinfo = plan->net_hashinfo ? word(to.net + plan->net_hashinfo) : 0;
	if (!hashinfo)
		hashinfo = plan->hashinfo;
	if (!hashinfo)
		return 0;
	sock = established(plan, hashinfo, &to);
	return sock ? sock : listener(plan, hashinfo, &to);
}
#endif
