/* Names of network devices by their index, also of those that come and go: what a capture on
 * `any` tells of a packet is the index alone, and at the end the device may be gone.
 * rtnetlink(7): a dump of the namespace's links, then every message of the group RTMGRP_LINK. */
#ifndef KERNLAB_LINKS_H
#define KERNLAB_LINKS_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* A socket that hears of every link of this namespace from now on, after those it has; or -1. */
static inline int links_open(void)
{
	struct sockaddr_nl here = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
	struct {
		struct nlmsghdr head;
		struct ifinfomsg body;
	} ask = {
		.head = { .nlmsg_len = sizeof ask,
			  .nlmsg_type = RTM_GETLINK,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return -1;
	if (bind(fd, (struct sockaddr *)&here, sizeof here) ||
	    send(fd, &ask, sizeof ask, 0) != (ssize_t)sizeof ask) {
		close(fd);
		return -1;
	}
	return fd;
}

/* One datagram: a line `INDEX NAME` for each link in it. 1 when it ends the dump, 0 when not,
 * -1 when there is none (errno, as recv(2) says; ENOBUFS: some were lost, there may be more). */
static inline int links_take(int fd, int flags, FILE *out)
{
	static char data[1 << 15] __attribute__((aligned(NLMSG_ALIGNTO)));
	ssize_t size = recv(fd, data, sizeof data, flags);
	int last = 0;

	if (size < 0)
		return -1;
	for (struct nlmsghdr *one = (struct nlmsghdr *)data; NLMSG_OK(one, size);
	     one = NLMSG_NEXT(one, size)) {
		if (one->nlmsg_type == NLMSG_DONE || one->nlmsg_type == NLMSG_ERROR)
			last = 1;
		if (one->nlmsg_type != RTM_NEWLINK)
			continue;
		struct ifinfomsg *link = NLMSG_DATA(one);
		int left = (int)IFLA_PAYLOAD(one);
		for (struct rtattr *part = IFLA_RTA(link); RTA_OK(part, left);
		     part = RTA_NEXT(part, left))
			if (part->rta_type == IFLA_IFNAME)
				fprintf(out, "%d %.*s\n", link->ifi_index, IFNAMSIZ,
					(char *)RTA_DATA(part));
	}
	return last;
}
#endif
