#ifndef TCPSTATE_H
#define TCPSTATE_H

struct change {
	unsigned long long sock;
	unsigned long long ns;     /* the kernel's monotonic clock */
	long long lasted;          /* ns in the state that is left, -1: its begin was not seen */
	unsigned int before, after;
	unsigned int family, pid;
	unsigned short sport, dport;
	unsigned char src[16], dst[16];
	char comm[16];
};
#endif
