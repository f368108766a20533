#ifndef SYSCOUNT_H
#define SYSCOUNT_H

#define SYSCOUNT_DEPTH 32

struct who {
	long long nr;		     /* -1: a task that has made no system call */
	unsigned long long function; /* its address, 0 where it cannot be read */
};

/* RSTs that were sent with one call stack by tasks whose last system call was this one. */
struct rst {
	struct who who;
	long long stack; /* its id, or -errno */
};
#endif
