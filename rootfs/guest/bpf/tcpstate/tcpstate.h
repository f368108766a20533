#ifndef TCPSTATE_H
#define TCPSTATE_H

#define TCPSTATE_DEPTH 16

enum tcpstate_kind { CHANGED, SENT, RECEIVED }; /* a state, or a RST */

struct change {
	unsigned long long sock;
	unsigned long long ns; /* the kernel's monotonic clock */
	long long lasted;      /* ns in the state that is left, -1: its begin was not seen */
	enum tcpstate_kind kind;
	unsigned int before, after;
	unsigned int family, pid;
	unsigned short sport, dport;
	unsigned char src[16], dst[16];
	char comm[16];
	int stack_size; /* bytes, or -errno; of a RST */
	unsigned long long stack[TCPSTATE_DEPTH];
};
#endif
