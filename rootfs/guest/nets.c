/* Captures in every network namespace that appears beside the first, from its beginning on.
 *
 *   nets CPUS
 *
 * Tells on stdout u8 kind | u8[3] zero | u32 length | payload:
 *
 *   0 ready      text: empty, or why namespaces cannot be watched
 *   1 namespace  u32 number, u64 inode, name: net:[INODE], or its name in /run/netns once it has one
 *   2 device     u32 number, a line `INDEX NAME` (links.h)
 *   3 packet     u32 number, u32 length on the wire, u64 ns since 1970, LINUX_SLL2 header and data
 *   4 end        u32 number, u32 dropped by the kernel, u64 packets before the capture began
 *
 * Until SIGTERM. The kernel tells of namespaces by perf_event_open(2)'s records
 * PERF_RECORD_NAMESPACES: at a fork, at unshare() and setns(), with the inode. On each CPU a
 * thread waits for them with real-time priority; so after unshare() it has run, and the socket
 * is open, before the caller is back in user mode. After a clone() it may come a little late:
 * then the devices' counters tell what was missed.
 *
 * A socket keeps its namespace alive. So it is closed when no process is in the namespace and
 * no file of /run/netns holds it; who enters again makes it opened again.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <net/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "links.h"

#define MANY 256
#define NONE UINT64_MAX /* the inode of a slot that is being freed */
#define RING 16		/* pages of records on each CPU */
#define ROOM (8 << 20)	/* a socket's buffer */

enum { READY, NAMESPACE, DEVICE, PACKET, END };

struct net {
	uint64_t inode; /* 0: free */
	uint32_t number;
	int packets, links, named, ended;
	uint32_t dropped;
	uint64_t missed;
};

static struct net nets[MANY];
static uint32_t made;
static uint64_t first; /* the namespace that we are in: tcpdump's */
static int home = -1, news = -1;
static volatile int locked, check, stopped, listening;

static void lock(void)
{
	while (__sync_lock_test_and_set(&locked, 1))
		__builtin_ia32_pause();
}

static void unlock(void)
{
	__sync_lock_release(&locked);
}

static void wake(void)
{
	uint64_t one = 1;

	if (write(news, &one, sizeof one) < 0)
		errno = 0; /* it is set already */
}

static void tell(uint8_t kind, const void *head, size_t head_size, const void *data, size_t size)
{
	uint32_t length = (uint32_t)(head_size + size);
	char begin[8] = { (char)kind };

	memcpy(begin + 4, &length, 4);
	fwrite(begin, 8, 1, stdout);
	fwrite(head, head_size, 1, stdout);
	if (size)
		fwrite(data, size, 1, stdout);
}

/* ---- opening, by the watchers ------------------------------------------------------ */

static int packet_socket(void)
{
	struct sockaddr_ll all = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int on = 1, room = ROOM,
	    fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
	setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&all, sizeof all)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* What the namespace's devices have counted, in both directions. */
static uint64_t counted(void)
{
	char line[512];
	uint64_t sum = 0;
	FILE *file = fopen("/proc/thread-self/net/dev", "r");

	while (file && fgets(line, sizeof line, file)) {
		unsigned long long in, out;
		char *colon = strchr(line, ':');
		if (colon &&
		    sscanf(colon + 1, "%*u %llu %*u %*u %*u %*u %*u %*u %*u %llu", &in, &out) == 2)
			sum += in + out;
	}
	if (file)
		fclose(file);
	return sum;
}

/* Packets that the devices have counted and that the socket has not seen. */
static uint64_t unseen(struct net *one, int packets)
{
	struct tpacket_stats seen = { 0 };
	socklen_t size = sizeof seen;
	uint64_t all = counted();

	getsockopt(packets, SOL_PACKET, PACKET_STATISTICS, &seen, &size); /* and begins anew */
	one->dropped = seen.tp_drops;
	return all > seen.tp_packets ? all - seen.tp_packets : 0;
}

static void enter(uint32_t tid, uint64_t inode)
{
	char path[64];
	struct stat status;
	struct net *one = NULL;

	if (inode == first)
		return;
	lock();
	for (int i = 0; i < MANY; i++)
		if (nets[i].inode == inode && !nets[i].ended)
			one = &nets[i];
	for (int i = 0; i < MANY && !one; i++)
		if (!nets[i].inode) {
			one = &nets[i];
			*one = (struct net){
				.inode = inode, .number = ++made, .packets = -1, .links = -1
			};
			inode = 0; /* it is ours to open */
		}
	unlock();
	if (inode)
		return;
	snprintf(path, sizeof path, "/proc/%u/ns/net", tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && !fstat(fd, &status) && status.st_ino == one->inode &&
	    !setns(fd, CLONE_NEWNET)) {
		int packets = packet_socket(), links = links_open();
		one->missed = packets >= 0 ? unseen(one, packets) : 0;
		setns(home, CLONE_NEWNET);
		one->links = links;
		__sync_synchronize();
		one->packets = packets;
	}
	if (fd >= 0)
		close(fd);
	if (one->packets < 0)
		one->ended = 1; /* it was gone before we came */
	wake();
}

static void *watch(void *number)
{
	int cpu = (int)(intptr_t)number;
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof attr,
		.config = PERF_COUNT_SW_DUMMY,
		.namespaces = 1,
		.task = 1,
		.watermark = 1,
		.wakeup_watermark = 1,
	};
	long page = sysconf(_SC_PAGESIZE);
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	sched_setaffinity(0, sizeof one, &one);
	sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ .sched_priority = 50 });
	int fd = (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	struct perf_event_mmap_page *ring = MAP_FAILED;
	if (fd >= 0)
		ring = mmap(NULL, (size_t)((1 + RING) * page), PROT_READ | PROT_WRITE, MAP_SHARED,
			    fd, 0);
	__sync_fetch_and_add(&listening, ring == MAP_FAILED ? 1 << 16 : 1);
	if (ring == MAP_FAILED)
		return NULL;
	char *data = (char *)ring + page;
	uint64_t mask = (uint64_t)(RING * page) - 1, at = 0;
	while (!stopped) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		uint64_t head = ring->data_head;
		__sync_synchronize();
		if (at == head) {
			poll(&wait, 1, -1);
			continue;
		}
		uint64_t words[32];
		struct perf_event_header *record = (void *)words;
		for (int i = 0; i < 32; i++)
			memcpy(&words[i], data + ((at + 8 * (uint64_t)i) & mask), 8);
		if (record->type == PERF_RECORD_NAMESPACES) { /* pid, tid, count, (dev, inode)... */
			uint32_t *ids = (uint32_t *)&words[1];
			if (words[2] > NET_NS_INDEX)
				enter(ids[1], words[4]);
		} else if (record->type == PERF_RECORD_EXIT && made) {
			check = 1;
			wake();
		}
		at += record->size;
		__sync_synchronize();
		ring->data_tail = at;
	}
	return NULL;
}

/* ---- telling, by the main thread --------------------------------------------------- */

static void name(struct net *one)
{
	char path[300], text[280];
	struct stat status;
	DIR *directory = opendir("/run/netns");
	struct dirent *entry;
	int found = 0;

	snprintf(text, sizeof text, "net:[%llu]", (unsigned long long)one->inode);
	while (directory && (entry = readdir(directory))) {
		snprintf(path, sizeof path, "/run/netns/%s", entry->d_name);
		if (!stat(path, &status) && status.st_ino == one->inode) {
			snprintf(text, sizeof text, "%s", entry->d_name);
			found = 1;
		}
	}
	if (directory)
		closedir(directory);
	if (one->named && !found)
		return; /* told, and still or again without a name */
	char head[12];
	memcpy(head, &one->number, 4);
	memcpy(head + 4, &one->inode, 8);
	tell(NAMESPACE, head, sizeof head, text, strlen(text));
	one->named = found ? 2 : 1;
}

static void devices(struct net *one)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = one->links >= 0 ? open_memstream(&text, &size) : NULL;

	while (out && (links_take(one->links, MSG_DONTWAIT, out) >= 0 || errno == ENOBUFS))
		;
	if (out && !fclose(out) && size)
		tell(DEVICE, &one->number, 4, text, size);
	free(text);
}

static void packets(struct net *one)
{
	static char data[1 << 17];
	char control[128], head[36];
	struct sockaddr_ll from;

	for (;;) {
		struct iovec part = { data, sizeof data };
		struct msghdr message = { .msg_name = &from,
					  .msg_namelen = sizeof from,
					  .msg_iov = &part,
					  .msg_iovlen = 1,
					  .msg_control = control,
					  .msg_controllen = sizeof control };
		struct timespec at = { 0 };
		ssize_t size = recvmsg(one->packets, &message, MSG_TRUNC);
		if (size < 0)
			return;
		/* What goes out on lo comes in on it: once is enough, as for tcpdump. */
		if (from.sll_hatype == ARPHRD_LOOPBACK && from.sll_pkttype == PACKET_OUTGOING)
			continue;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
			if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS)
				memcpy(&at, CMSG_DATA(c), sizeof at);
		uint64_t ns = (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
		uint32_t wire = (uint32_t)size + 20, index = htonl((uint32_t)from.sll_ifindex);
		uint16_t type = htons(from.sll_hatype);
		memset(head, 0, sizeof head);
		memcpy(head, &one->number, 4);
		memcpy(head + 4, &wire, 4);
		memcpy(head + 8, &ns, 8);
		memcpy(head + 16, &from.sll_protocol, 2);
		memcpy(head + 20, &index, 4);
		memcpy(head + 24, &type, 2);
		head[26] = (char)from.sll_pkttype;
		head[27] = (char)from.sll_halen;
		memcpy(head + 28, from.sll_addr, 8);
		tell(PACKET, head, sizeof head, data,
		     (size_t)size < sizeof data ? (size_t)size : sizeof data);
	}
}

static void end(struct net *one)
{
	struct tpacket_stats lost = { 0 };
	socklen_t size = sizeof lost;
	char head[16];

	name(one);
	packets(one);
	devices(one);
	getsockopt(one->packets, SOL_PACKET, PACKET_STATISTICS, &lost, &size);
	memcpy(head, &one->number, 4);
	lost.tp_drops += one->dropped;
	memcpy(head + 4, &lost.tp_drops, 4);
	memcpy(head + 8, &one->missed, 8);
	tell(END, head, sizeof head, NULL, 0);
	/* As soon as it is closed, a new namespace may get its number. */
	lock();
	one->inode = NONE;
	unlock();
	if (one->packets >= 0)
		close(one->packets);
	if (one->links >= 0)
		close(one->links);
	lock();
	*one = (struct net){ 0 };
	unlock();
}

static int held(uint64_t inode)
{
	const char *const places[] = { "/proc", "/run/netns" };
	int found = 0;

	for (int i = 0; i < 2 && !found; i++) {
		DIR *directory = opendir(places[i]);
		struct dirent *entry;
		char path[300];
		struct stat status;
		while (directory && !found && (entry = readdir(directory))) {
			if (i == 0 && (entry->d_name[0] < '0' || entry->d_name[0] > '9'))
				continue;
			snprintf(path, sizeof path, i ? "%s/%s" : "%s/%s/ns/net", places[i],
				 entry->d_name);
			found = !stat(path, &status) && status.st_ino == inode;
		}
		if (directory)
			closedir(directory);
	}
	return found;
}

static void on_stop(int number)
{
	(void)number;
	stopped = 1;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_stop };
	sigset_t none, stop;
	struct stat status;
	pthread_t thread;
	int cpus = argc > 1 ? atoi(argv[1]) : 1;
	static char room[1 << 18];

	sigemptyset(&none);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigprocmask(SIG_BLOCK, &stop, NULL); /* it is heard in ppoll() alone */
	sigaction(SIGTERM, &action, NULL);
	setvbuf(stdout, room, _IOFBF, sizeof room);
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (home < 0 || news < 0 || fstat(home, &status))
		return 1;
	first = status.st_ino;
	for (intptr_t cpu = 0; cpu < cpus; cpu++)
		if (pthread_create(&thread, NULL, watch, (void *)cpu))
			__sync_fetch_and_add(&listening, 1 << 16);
	while ((listening & 0xffff) + (listening >> 16) < cpus)
		usleep(200);
	const char *why = listening >> 16 ? "perf_event_open() failed" : "";
	tell(READY, why, strlen(why), NULL, 0);
	while (!stopped) {
		struct pollfd fds[1 + 2 * MANY];
		struct timespec soon = { .tv_nsec = 20000000 };
		uint64_t count;
		nfds_t n = 1;

		fflush(stdout);
		fds[0] = (struct pollfd){ .fd = news, .events = POLLIN };
		for (int i = 0; i < MANY; i++)
			if (nets[i].inode && nets[i].packets >= 0) {
				fds[n++] =
					(struct pollfd){ .fd = nets[i].packets, .events = POLLIN };
				fds[n++] = (struct pollfd){ .fd = nets[i].links, .events = POLLIN };
			}
		if (check)
			fds[0].fd = -1; /* exits are looked at together, some at a time */
		ppoll(fds, n, check ? &soon : NULL, &none);
		if (read(news, &count, sizeof count) < 0)
			errno = 0;
		int look = check;
		check = 0;
		for (int i = 0; i < MANY; i++) {
			struct net *one = &nets[i];
			if (one->ended)
				end(one);
			if (!one->inode || one->packets < 0)
				continue;
			if (!one->named || (look && one->named == 1))
				name(one);
			devices(one);
			packets(one);
			if (look && !held(one->inode))
				end(one);
		}
	}
	for (int i = 0; i < MANY; i++)
		if (nets[i].inode && (nets[i].packets >= 0 || nets[i].ended))
			end(&nets[i]);
	fflush(stdout);
	return 0;
}
