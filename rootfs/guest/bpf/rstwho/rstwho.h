#ifndef RSTWHO_H
#define RSTWHO_H

#define RSTWHO_DEPTH 32

/* One RST, before it is built. Ports in host order, addresses as on the wire. */
struct rst {
	unsigned int active; /* decided by a socket, not the answer to a segment */
	unsigned int family;
	unsigned int pid;
	int stack_size; /* bytes, or -errno */
	unsigned short sport, dport;
	unsigned char src[16], dst[16]; /* the RST's own: from whoever sends it */
	char comm[16];
	unsigned long long stack[RSTWHO_DEPTH];
};
#endif
