#ifndef DROPWATCH_H
#define DROPWATCH_H

#define DROPWATCH_DEPTH 5 /* one more than is shown: what is shown alike is counted as one */

struct where {
	unsigned long long location; /* who called kfree_skb() */
	unsigned long long reason;   /* 0 where the kernel gives none */
};
#endif
