/* What the programs of races share: actors, each a process of its own on a vCPU of its own.
 *
 *   actor("A", 1, a_part)     a child, pinned to vCPU 1, does a_part() and ends
 *   racing("A")               called by it just before the step that races: from here on the
 *                             task is called A, by which a schedule's `hold: A` knows it;
 *                             nobody comes so far before both_end(): a parent that still forks
 *                             the other may be on the vCPU that will stand
 *   turn(n), await_turn(n)    a page that both share: what must be over before the race
 *   tries_of(argc, argv)      N of `--natural N`, or 0: so many tries unforced, in one run
 *   meet(), jitter(try)       both go on at once, and then one a little later than the other:
 *                             who is first differs from try to try
 *
 * Actors are processes, not threads: unmapping memory of a shared address space waits for an
 * answer of the other vCPU, and a held one never answers. All memory is locked and touched
 * before. Without a debugger nothing holds anybody: the program is then a natural run.
 */
#ifndef KERNLAB_RACE_H
#define KERNLAB_RACE_H
#include "lab.h"
#include <sys/mman.h>
#include <sys/prctl.h>

struct shared {
	volatile int turn, all, met;
	volatile uint32_t number[16];
};
static struct shared *shared;

static inline void race_start(int argc, char **argv)
{
	lab_start(argc, argv);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	memset(shared, 0, 4096);
	mlockall(MCL_CURRENT | MCL_FUTURE);
}

static inline void turn(int number)
{
	__atomic_store_n(&shared->turn, number, __ATOMIC_SEQ_CST);
}

static inline void await_turn(int number)
{
	double limit = seconds() + LIMIT_MS / 1000.0;

	while (__atomic_load_n(&shared->turn, __ATOMIC_SEQ_CST) < number)
		if (seconds() > limit)
			fail("turn %d did not come", number);
}

static inline int tries_of(int argc, char **argv)
{
	return asked("--natural") ? atoi(argv[argc - 1]) : 0;
}

/* Called by both actors; the n-th call of one returns when the other has come to its n-th. */
static inline void meet(void)
{
	static int times;
	double limit = seconds() + LIMIT_MS / 1000.0;

	times++;
	__atomic_add_fetch(&shared->met, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&shared->met, __ATOMIC_SEQ_CST) < 2 * times)
		if (seconds() > limit)
			fail("nobody came to meet %d", times);
}

static inline void jitter(int try)
{
	for (volatile int spin = try * 37 % 1500; spin > 0; spin--)
		;
}

static inline void racing(const char *name)
{
	double limit = seconds() + LIMIT_MS / 1000.0;

	/* Awake: one that sleeps may not be woken while the other stands. */
	while (!__atomic_load_n(&shared->all, __ATOMIC_SEQ_CST))
		if (seconds() > limit)
			fail("%s waits for the others: no both_end()?", name);
	prctl(PR_SET_NAME, name);
	sched_yield(); /* the mark: kernlab/race/stage.py */
}

static inline pid_t actor(const char *name, int cpu, void (*part)(void))
{
	pid_t child;

	on_cpu(cpu); /* before the fork, so that the child never runs elsewhere */
	child = fork();
	if (child < 0)
		fail("fork: %s", strerror(errno));
	if (child == 0) {
		char ready[16];
		snprintf(ready, sizeof ready, "%s-ready", name);
		prctl(PR_SET_NAME, ready);
		part();
		fflush(stdout);
		_exit(0);
	}
	return child;
}

static inline void both_end(pid_t one, pid_t other)
{
	int a = 0, b = 0;

	__atomic_store_n(&shared->all, 1, __ATOMIC_SEQ_CST);
	waitpid(one, &a, 0);
	waitpid(other, &b, 0);
	if (a || b)
		fail("an actor failed: %d %d", a, b);
}
#endif
