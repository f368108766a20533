/* The engine bpf's kernel side: a program for each function that the kernel lets us enter by
 * fentry, one for all kprobes, one for all returns.
 *
 * They know nothing of this kernel but the plan: where members lie, which argument of which
 * function is the skb and the sock. They copy the bytes that the host decodes, with the same
 * code that decodes what GDB reads. A kprobe's programs do not nest on a vCPU (the kernel
 * skips the inner one, trace_call_bpf(), and its own counters tell); those of fentry do, when
 * an interrupt comes: each level has a scratch buffer of its own.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "probe.h"
#include "lookup.h"
#include "ringbuf.bpf.h"

/* enum of linux/bpf.h, which vmlinux.h has as the kernel has it. */
enum {
	RB_NO_WAKEUP = 1 << 0,
	RB_FORCE_WAKEUP = 1 << 1,
	RB_AVAIL_DATA = 0,
};

#define TIME_WAIT    6
#define NEW_SYN_RECV 12

const volatile struct kl_plan plan;
const volatile struct kl_direct direct[MAX_DIRECT];

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024); /* set by the loader */
	__type(key, __u64);
	__type(value, struct kl_probe);
} probes SEC(".maps");

/* Made a ring buffer by the loader where the kernel has them (457f44363a88, v5.8). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} perf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, STACKS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 127 * sizeof(__u64)); /* set by the loader */
} stacks SEC(".maps");

/* A mask for places in a record's data. What was compared is masked once more where it is used,
 * behind a barrier_var() so that the compiler keeps the mask: the verifier of 5.4 forgets a
 * comparison that was made with a copy in another register. */
#define PLACES 4095
_Static_assert(DATA_ROOM <= PLACES && PLACES + CHUNK_ROOM <= 2 * DATA_ROOM, "PLACES");

struct kl_scratch {
	struct kl_record record;
	u8_t data[2 * DATA_ROOM]; /* every masked offset and size fits */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LEVELS);
	__type(key, __u32);
	__type(value, struct kl_scratch);
} scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kl_counts);
} counted SEC(".maps");

__u32 made; /* records so far, for the plan's limit */

/* 1 once the loader has ended the recording. A map, since 5.4 gives a loader no way to a global
 * variable (fc9702273e2e, v5.5). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} stopped SEC(".maps");

static __always_inline bool is_stopped(void)
{
	__u32 first = 0, *told = bpf_map_lookup_elem(&stopped, &first);

	return told && *told;
}

/* A member of the skb's copy; offsets are the kernel's, from the struct's begin. */
#define SKB(type, s, member)                                                                       \
	(*(type *)((s)->data + ((plan.member - plan.skb_offset) & (SKB_ROOM - 1))))

/* One of the six, from the record: the context itself allows no computed offset. */
static __always_inline __u64 argument(const struct kl_record *record, __u32 number)
{
	return number < 6 ? record->regs[number & 7] : 0;
}

/* The object that an argument points at, or leads to: struct sk_buff **, struct socket *. */
static __always_inline __u64 object(const struct kl_record *record, __u32 number, __u32 hop)
{
	__u64 address = argument(record, number), behind = 0;

	if (hop == NO_HOP || !address)
		return address;
	bpf_probe_read_kernel(&behind, sizeof(behind), (void *)address + hop);
	return behind;
}

/* As kernlab.decode.skb reads it: the bytes from a header on that belong to the packet and lie
 * in one piece. */
static __always_inline __u32 copy_header(struct kl_scratch *s, __u32 at, __u32 header)
{
	__u64 head = SKB(__u64, s, skb_head), data = SKB(__u64, s, skb_data);
	__u32 transport = SKB(__u16, s, skb_transport), network = SKB(__u16, s, skb_network);
	__u64 start;
	__s64 actual, size;

	if (!head)
		return 0;
	if (header == HEADER_TCP) {
		if (transport == UNSET)
			return 0;
		start = head + transport;
		actual = data + SKB(__u32, s, skb_len) - start;
		size = actual < 60 ? actual : 60;
	} else {
		__u16 protocol = SKB(__u16, s, skb_protocol);

		/* ETH_P_IP and ETH_P_IPV6 as they are on the wire; the header is 0 in a new skb. */
		if (header == HEADER_PROTOCOL &&
		    (!network || network == UNSET || (protocol != 0x0008 && protocol != 0xdd86)))
			return 0;
		start = head + network;
		actual = data + SKB(__u32, s, skb_len) - start;
		size = actual - SKB(__u32, s, skb_data_len);
		size = size < 20 ? 20 : size;
	}
	size = size < 1 ? 1 : size > HEADER_ROOM ? HEADER_ROOM : size;
	barrier_var(size);
	if (bpf_probe_read_kernel(s->data + (at & (2 * SKB_ROOM - 1)), size & (2 * HEADER_ROOM - 1),
				  (void *)start))
		return 0;
	s->record.header = start;
	return size;
}

/* The pieces of a sock, by what its state says that it is. */
static __always_inline __u32 copy_sock(struct kl_scratch *s, __u32 at, __u64 sock)
{
	__u32 size = 0, class, state = 0;

	bpf_probe_read_kernel(&state, 1, (void *)sock + plan.state);
	class = state == TIME_WAIT ? 1 : state == NEW_SYN_RECV ? 2 : 0;
	for (int i = 0; i < MAX_CHUNKS; i++) {
		__u32 place = at + size, length;

		if (i >= plan.chunks[class])
			break;
		length = plan.chunk[class][i].size;
		if (length > CHUNK_ROOM - 1 || place > DATA_ROOM - 1 || size + length > SOCK_ROOM)
			return 0;
		barrier_var(place);
		barrier_var(length);
		if (bpf_probe_read_kernel(s->data + (place & PLACES), length & (CHUNK_ROOM - 1),
					  (void *)sock + plan.chunk[class][i].offset))
			break; /* what follows is absent */
		size += length;
	}
	s->record.class = class;
	return size;
}

#include "filter.h"

static __always_inline int send(void *ctx, struct kl_scratch *s, __u32 size)
{
	s->record.size = size;
	if (size > sizeof(struct kl_record) + DATA_ROOM)
		return -1;
	/* The verifier knows what the plan says since 5.5 only (a23740ec43ba). */
	if (!HAS_RINGBUF || plan.perf)
		return bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, s, size);
	/* The reader is woken for a quarter of the buffer; it looks by itself meanwhile. */
	return bpf_ringbuf_output(&ring, s, size,
				  bpf_ringbuf_query(&ring, RB_AVAIL_DATA) > plan.ring / 4
					  ? RB_FORCE_WAKEUP
					  : RB_NO_WAKEUP);
}

static __always_inline void begin(struct kl_record *record, __u32 kind)
{
	__builtin_memset(record, 0, sizeof(*record));
	record->kind = kind;
	record->cpu = bpf_get_smp_processor_id();
	record->ns = bpf_ktime_get_ns();
	record->task = bpf_get_current_task();
	record->pid = bpf_get_current_pid_tgid();
	bpf_get_current_comm(record->comm, sizeof(record->comm));
}

/* A scratch buffer for this hit, as long as it lasts. What interrupts it ends before it goes
 * on, and the kernel changes no task under it: so counting up and down is enough. */
static __always_inline struct kl_scratch *take(struct kl_counts *counts)
{
	__u32 level = counts->level;
	struct kl_scratch *s = bpf_map_lookup_elem(&scratches, &level);

	if (s)
		counts->level = level + 1;
	return s;
}

/* The same for one that is counted; NULL also when the recording is over. */
static __always_inline struct kl_scratch *admit(struct kl_counts *counts)
{
	struct kl_scratch *s;

	counts->seen++;
	if (is_stopped()) {
		counts->late++;
		return NULL;
	}
	s = take(counts);
	if (!s)
		counts->nested++;
	return s;
}

/* A hit whose arguments and place in the stack are known: the rest of it, and away. */
static __noinline int hit(void *ctx, const volatile struct kl_probe *probe, struct kl_scratch *s,
			  struct kl_counts *counts)
{
	struct kl_record *record = &s->record;
	struct kl_facts facts = {};
	__u64 sock = 0;
	__u32 at = 0, size;
	long got;

	record->number = probe->number;
	if (probe->skb != NONE)
		record->skb = object(record, probe->skb, probe->skb_hop);
	if (record->skb && plan.skb_size <= SKB_ROOM &&
	    !bpf_probe_read_kernel(s->data, plan.skb_size, (void *)record->skb + plan.skb_offset)) {
		record->skb_size = at = plan.skb_size & (2 * SKB_ROOM - 1);
		record->dev = SKB(__u64, s, skb_dev);
		if (record->dev && !bpf_probe_read_kernel(s->data + at, NAME_ROOM,
							  (void *)record->dev + plan.dev_name)) {
			record->name_size = NAME_ROOM;
			at += NAME_ROOM;
		}
		if (probe->header != HEADER_NONE && probe->header != HEADER_CB)
			record->header_size = copy_header(s, at, probe->header);
	}
	if (probe->sock != NONE)
		sock = object(record, probe->sock, probe->sock_hop);
	else if (record->skb_size)
		sock = SKB(__u64, s, skb_sk);
	if (!sock && probe->sock == NONE && probe->lookup && record->header_size &&
	    plan.can_look_up) {
		sock = look_up(&plan, s->data + (at & (2 * SKB_ROOM - 1)), record->header_size,
			       record->dev);
		record->looked_up = sock != 0;
	}
	record->sock = sock;
	if (plan.has_ns) {
		__u64 net = 0;

		if (record->dev &&
		    !bpf_probe_read_kernel(&record->dev_net, 8, (void *)record->dev + plan.ns_dev))
			bpf_probe_read_kernel(&record->dev_ns, 4,
					      (void *)record->dev_net + plan.ns_number);
		if (sock && !bpf_probe_read_kernel(&net, 8, (void *)sock + plan.ns_sock))
			bpf_probe_read_kernel(&record->sock_ns, 4, (void *)net + plan.ns_number);
	}
	if (plan.tests) {
		gather(s, at, probe->header == HEADER_TCP ? 0 : record->header_size, sock, &facts);
		if (!passes(&facts)) {
			counts->filtered++;
			return 0;
		}
	}
	if (plan.limit) {
		if (made >= plan.limit)
			return 0;
		__sync_fetch_and_add(&made, 1);
	}
	at += record->header_size & (2 * HEADER_ROOM - 1);
	if (sock && at < DATA_ROOM) {
		size = copy_sock(s, at, sock);
		record->sock_size = size;
		at += size & (2 * SOCK_ROOM - 1);
	}
	if (plan.depth && at < DATA_ROOM) {
		got = bpf_get_stackid(ctx, &stacks, 0);
		if (got >= 0 && got < STACKS) {
			record->stack = got + 1;
		} else {
			/* Another stack has its id, or there are too many: the whole. */
			got = bpf_get_stack(
				ctx, s->data + at,
				plan.depth * 8 < STACK_ROOM ? plan.depth * 8 : STACK_ROOM, 0);
			if (got > 0 && got <= STACK_ROOM) {
				record->stack_size = got;
				at += got;
			}
		}
	}
	if (send(ctx, s, sizeof(*record) + at)) {
		counts->full++;
		if (plan.limit)
			__sync_fetch_and_add(&made, -1);
	}
	return 0;
}

SEC("kprobe")
int entered(struct pt_regs *ctx)
{
	__u32 zero = 0;
	__u64 ip = PT_REGS_IP(ctx);
	struct kl_counts *counts = bpf_map_lookup_elem(&counted, &zero);
	struct kl_probe *probe = bpf_map_lookup_elem(&probes, &ip);
	struct kl_record *record;
	struct kl_scratch *s;

	if (!counts)
		return 0;
	if (!probe) {
		counts->unknown++;
		return 0;
	}
	s = admit(counts);
	if (!s)
		return 0;
	record = &s->record;
	begin(record, HIT);
	record->regs[0] = PT_REGS_PARM1(ctx);
	record->regs[1] = PT_REGS_PARM2(ctx);
	record->regs[2] = PT_REGS_PARM3(ctx);
	record->regs[3] = PT_REGS_PARM4(ctx);
	record->regs[4] = PT_REGS_PARM5(ctx);
	record->regs[5] = ctx->r9;
	record->slot = PT_REGS_SP(ctx);
	hit(ctx, probe, s, counts);
	counts->level--;
	return 0;
}

static __always_inline int enter(__u64 *ctx, const volatile struct kl_direct *direct)
{
	__u32 zero = 0;
	struct kl_counts *counts = bpf_map_lookup_elem(&counted, &zero);
	struct kl_record *record;
	struct kl_scratch *s;

	if (!counts)
		return 0;
	counts->direct++;
	s = admit(counts);
	if (!s)
		return 0;
	record = &s->record;
	begin(record, HIT);
	/* More than the function has may not be looked at. */
	if (direct->arguments > 0)
		record->regs[0] = ctx[0];
	if (direct->arguments > 1)
		record->regs[1] = ctx[1];
	if (direct->arguments > 2)
		record->regs[2] = ctx[2];
	if (direct->arguments > 3)
		record->regs[3] = ctx[3];
	if (direct->arguments > 4)
		record->regs[4] = ctx[4];
	if (direct->arguments > 5)
		record->regs[5] = ctx[5];
	hit(ctx, &direct->probe, s, counts);
	counts->level--;
	return 0;
}

#define DIRECT(number)                                                                             \
	SEC("fentry")                                                                              \
	int direct##number(__u64 *ctx)                                                             \
	{                                                                                          \
		return enter(ctx, &direct[number]);                                                \
	}

DIRECT(0)
DIRECT(1)
DIRECT(2)
DIRECT(3)
DIRECT(4)
DIRECT(5)
DIRECT(6)
DIRECT(7)

SEC("kretprobe")
int returned(struct pt_regs *ctx)
{
	__u32 zero = 0;
	struct kl_counts *counts = bpf_map_lookup_elem(&counted, &zero);
	struct kl_scratch *s;

	if (!counts || is_stopped())
		return 0;
	s = take(counts);
	if (!s) {
		counts->returns_lost++;
		return 0;
	}
	begin(&s->record, RETURN);
	s->record.regs[0] = PT_REGS_RC(ctx);
	s->record.slot = PT_REGS_SP(ctx) - 8; /* the return has taken it from the stack */
	if (send(ctx, s, sizeof(s->record)))
		counts->returns_lost++;
	counts->level--;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
