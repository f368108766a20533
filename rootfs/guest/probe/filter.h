/* The plan's tests: what a hit shows of its packet and sock, and whether the host may want it.
 * Included where the plan and the scratch buffer are known.
 */
#ifndef FILTER_H
#define FILTER_H

struct kl_facts {
	__u32 sport, dport, flags, src, dst, state, pid;
	bool ports, tcp, v4, has_state;
};

/* What tests can look at; only where it is as the host will read it. */
static __always_inline void gather(struct kl_scratch *s, __u32 at, __u32 size, __u64 sock,
				   struct kl_facts *facts)
{
	__u8 *header = s->data + (at & (2 * SKB_ROOM - 1)), *transport;
	__u32 protocol = 0, length;

	if (size >= 40 && header[0] >> 4 == 4) {
		length = (header[0] & 15) * 4;
		facts->v4 = true;
		facts->src = __builtin_bswap32(*(__u32 *)(header + 12));
		facts->dst = __builtin_bswap32(*(__u32 *)(header + 16));
		protocol = header[9];
		if (*(__u16 *)(header + 6) & 0xff1f)
			protocol = 0; /* a later fragment */
	} else if (size >= 60 && header[0] >> 4 == 6) {
		length = 40;
		protocol = header[6];
	} else {
		length = 0;
	}
	if (length >= 20 && length <= 60 && size >= length + 20 &&
	    (protocol == 6 || protocol == 17)) {
		transport = header + (length & 63);
		facts->ports = true;
		facts->sport = __builtin_bswap16(*(__u16 *)transport);
		facts->dport = __builtin_bswap16(*(__u16 *)(transport + 2));
		facts->tcp = protocol == 6;
		facts->flags = transport[13];
	}
	if (sock && plan.protocol) {
		__u32 word = 0, state = 0;
		__u16 family = 0;

		bpf_probe_read_kernel(&family, 2, (void *)sock + plan.family);
		bpf_probe_read_kernel(&state, 1, (void *)sock + plan.state);
		if (state != TIME_WAIT && state != NEW_SYN_RECV)
			bpf_probe_read_kernel(&word, 4, (void *)sock + plan.protocol);
		protocol = word >> (plan.protocol_shift & 31) & plan.protocol_mask;
		facts->has_state = (family == 2 || family == 10) && state &&
				   (protocol == 6 || state == TIME_WAIT || state == NEW_SYN_RECV);
		facts->state = state;
	}
	facts->pid = s->record.pid;
}

/* 1: true, 0: false, -1: cannot be told here. */
static __always_inline int holds(const volatile struct kl_test *test, const struct kl_facts *facts)
{
	__u32 one, two;

	switch (test->on) {
	case ON_PORT:
		one = facts->sport, two = facts->dport;
		if (!facts->ports)
			return -1;
		break;
	case ON_SPORT:
		one = two = facts->sport;
		if (!facts->ports)
			return -1;
		break;
	case ON_DPORT:
		one = two = facts->dport;
		if (!facts->ports)
			return -1;
		break;
	case ON_FLAGS:
		one = two = facts->flags;
		if (!facts->tcp)
			return -1;
		break;
	case ON_SRC:
		one = two = facts->src;
		if (!facts->v4)
			return -1;
		break;
	case ON_DST:
		one = two = facts->dst;
		if (!facts->v4)
			return -1;
		break;
	case ON_HOST:
		one = facts->src, two = facts->dst;
		if (!facts->v4)
			return -1;
		break;
	case ON_STATE:
		one = two = facts->state;
		if (!facts->has_state)
			return -1;
		break;
	case ON_PID:
		one = two = facts->pid;
		break;
	default:
		return -1;
	}
	return (one & test->mask) == test->value || (two & test->mask) == test->value;
}

/* Whether the host may want it: no clause is false for certain. */
static __always_inline bool passes(const struct kl_facts *facts)
{
	int clause = -1, any = 1, negated = 0;

	for (int i = 0; i < MAX_TESTS; i++) {
		const volatile struct kl_test *test = &plan.test[i];
		int value;

		if (i >= plan.tests)
			break;
		if (test->clause != clause) {
			if (any == negated)
				return false;
			clause = test->clause;
			any = 0;
			negated = test->negated;
		}
		value = holds(test, facts);
		if (value)
			any = value < 0 || any < 0 ? -1 : 1;
	}
	return any != negated;
}
#endif
