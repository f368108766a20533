/* What the engine bpf's three sides share: kernlab/trace/bpf/layout.py packs the plan and
 * unpacks the records by the same members in the same order.
 */
#ifndef PROBE_H
#define PROBE_H

typedef unsigned char u8_t;
typedef unsigned short u16_t;
typedef unsigned int u32_t;
typedef unsigned long long u64_t;

#define NONE	    0xff /* no such argument */
#define NO_HOP	    0xffffffff
#define UNSET	    0xffff /* skb->transport_header before it is set */
#define MAX_CHUNKS  32	   /* pieces of a sock */
#define MAX_TESTS   16
#define SKB_ROOM    256 /* bytes of a struct sk_buff that are copied at most */
#define NAME_ROOM   16	/* IFNAMSIZ */
#define HEADER_ROOM 128 /* kernlab.decode.skb.HEADER_BYTES */
#define CHUNK_ROOM  256
#define SOCK_ROOM   1024
#define STACK_ROOM  1024 /* bytes: 127 frames, the kernel's own limit, and one more */
#define STACKS	    8192 /* different stacks that are kept by their ids */
#define MAX_DIRECT  8	 /* functions with an fentry program of their own */
#define FUNC_ROOM   64	 /* bytes of a function's name */
#define LEVELS	    4	 /* hits at work on a vCPU: a task's, in a softirq, in an interrupt */

/* Where the packet's headers are valid: configs/sites.yaml. */
enum { HEADER_NONE, HEADER_NETWORK, HEADER_TRANSPORT, HEADER_PROTOCOL, HEADER_TCP, HEADER_CB };

struct kl_probe {
	u64_t address;
	u32_t number;
	u8_t skb, sock; /* which of the six argument registers, or NONE */
	u8_t header;
	u8_t lookup;
	/* Where that argument only leads to the object: the pointer's place behind it; or NO_HOP. */
	u32_t skb_hop, sock_hop;
};

/* A probe as the loader gets it. */
struct kl_place {
	struct kl_probe probe;
	char func[FUNC_ROOM]; /* its name in the kernel's BTF; "" where only a kprobe will do */
};

/* A probe with a program of its own. */
struct kl_direct {
	struct kl_probe probe;
	u32_t arguments; /* how many the function has */
};

struct kl_chunk {
	u16_t offset, size;
};

/* Which member of a hit a test looks at; values in host order. */
enum { ON_PORT, ON_SPORT, ON_DPORT, ON_FLAGS, ON_SRC, ON_DST, ON_HOST, ON_STATE, ON_PID };

/* One test; neighbours of one clause are alternatives, clauses must all hold. What cannot be
 * told here lets pass: the host judges every event again. */
struct kl_test {
	u8_t on, clause, negated, pad;
	u32_t mask, value; /* true where (what is there & mask) == value */
};

struct kl_plan {
	u64_t ring; /* bytes of the ring buffer */
	/* How a segment's sock is found (kernlab.decode.lookup): addresses, 0 where unknown. */
	u64_t hashinfo, secret4, secret6, hash6;
	u32_t size;  /* of this struct */
	u32_t depth; /* frames of a stack, those above the function's own too; 0 for none */
	u32_t returns;
	u32_t limit; /* records after which no more are made, 0 for none */
	u32_t perf;  /* use a perf buffer even where there is a ring buffer */
	/* Offsets in a struct sk_buff: what is copied, and its members. */
	u32_t skb_offset, skb_size;
	u32_t skb_sk, skb_dev, skb_len, skb_data_len, skb_head, skb_data;
	u32_t skb_network, skb_transport, skb_protocol;
	u32_t dev_name; /* in a struct net_device */
	/* In a struct sock; the protocol is a bit-field before bf9765145b85 (v5.6). */
	u32_t family, state, protocol, protocol_shift, protocol_mask;
	/* For the number of a network namespace: its pointer in a sock and a device, itself in it. */
	u32_t has_ns, ns_sock, ns_dev, ns_number;
	/* For the lookup. */
	u32_t can_look_up;
	u32_t dev_net, net_mix, net_hashinfo;
	u32_t ehash, ehash_mask, ehash_bucket, ehash_first;
	u32_t lhash2, lhash2_mask, lhash2_bucket, lhash2_first;
	u32_t node; /* of a sock in the established table, and in the listeners' where listen_node is 0 */
	u32_t listen_node;
	u32_t sk_net, sk_num, sk_dport, sk_saddr, sk_daddr, sk_saddr6, sk_daddr6;
	u32_t v6only, v6only_mask;
	/* A sock's pieces: [0] a full one, [1] of TIME_WAIT, [2] a request. */
	u32_t chunks[3];
	struct kl_chunk chunk[3][MAX_CHUNKS];
	u32_t tests;
	struct kl_test test[MAX_TESTS];
};

enum { HIT = 1, RETURN, ROUND, COUNTS, STACK };

/* A record: this, then skb, device name, header, sock and stack, as long as each says. A STACK
 * tells once what stack the id in ``number`` stands for. */
struct kl_record {
	u32_t size; /* with all that follows */
	u16_t kind, cpu;
	u64_t ns;   /* CLOCK_MONOTONIC of the guest */
	u64_t task; /* the current task's address */
	u32_t pid, number;
	char comm[16];
	u64_t regs[6]; /* rdi, rsi, rdx, rcx, r8, r9; of a RETURN only rax */
	u64_t slot;    /* where the call's return address lies; by kprobe and kretprobe alone */
	u64_t skb, sock, dev, header;
	u64_t dev_net;	       /* the device's namespace */
	u32_t dev_ns, sock_ns; /* the numbers of the device's and the sock's; 0: not known */
	u16_t skb_size, name_size, header_size, sock_size, stack_size, looked_up;
	u16_t class; /* which of the plan's chunks the sock was read by */
	u16_t stack; /* its id and 1; 0: the stack, if any, is in the record */
};
#define RECORD_SIZE sizeof(struct kl_record)
#define DATA_ROOM   (SKB_ROOM + NAME_ROOM + HEADER_ROOM + SOCK_ROOM + STACK_ROOM)

/* What one vCPU counted. */
struct kl_counts {
	u64_t seen;   /* by the program, after the end of the recording too */
	u64_t late;   /* of these after the end */
	u64_t direct; /* of these by fentry */
	u64_t filtered, full, unknown, returns_lost;
	u64_t nested; /* hits for which no scratch buffer was left */
	u64_t level;  /* hits at work now */
};
#endif
