#ifndef DROPWATCH_H
#define DROPWATCH_H

#define DROPWATCH_DEPTH 32

struct where {
	unsigned long long location; /* who called kfree_skb() */
	unsigned long long reason;   /* 0 where the kernel gives none */
};
#endif
