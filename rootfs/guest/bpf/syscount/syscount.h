#ifndef SYSCOUNT_H
#define SYSCOUNT_H

struct who {
	long long nr;
	unsigned long long function; /* its address, 0 where it cannot be read */
};
#endif
