/* Change the kernel's code while every other vCPU stands still, in user mode.
 *
 * QEMU's TCG before 8.1 may go on executing code that another vCPU has just changed, if it was
 * translating it meanwhile: see rootfs/guest/tracefs.c, where this was found. Needs -pthread
 * and _GNU_SOURCE.
 */
#ifndef STILL_H
#define STILL_H
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <unistd.h>

#define STILL_MOST 64

static volatile int still_holding, still_held;
static pthread_t still_spinners[STILL_MOST];
static int still_started;
static cpu_set_t still_before;

static int still_pin(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
}

static void *still_spin(void *cpu)
{
	struct sched_param first = { .sched_priority = 99 };

	if (!still_pin((int)(intptr_t)cpu))
		pthread_setschedparam(pthread_self(), SCHED_FIFO, &first);
	__atomic_add_fetch(&still_held, 1, __ATOMIC_SEQ_CST);
	while (still_holding)
		__builtin_ia32_pause();
	return NULL;
}

static void others_still(void)
{
	struct sched_param first = { .sched_priority = 99 };
	int count = (int)sysconf(_SC_NPROCESSORS_ONLN), here = sched_getcpu();

	pthread_getaffinity_np(pthread_self(), sizeof(still_before), &still_before);
	if (here < 0 || still_pin(here))
		count = 0;
	pthread_setschedparam(pthread_self(), SCHED_FIFO, &first);
	still_holding = 1;
	still_held = still_started = 0;
	for (int cpu = 0; cpu < count && still_started < STILL_MOST; cpu++)
		if (cpu != here && !pthread_create(&still_spinners[still_started], NULL, still_spin,
						   (void *)(intptr_t)cpu))
			still_started++;
	while (still_held < still_started)
		sched_yield();
}

static void others_go(void)
{
	struct sched_param usual = { 0 };

	still_holding = 0;
	while (still_started)
		pthread_join(still_spinners[--still_started], NULL);
	pthread_setschedparam(pthread_self(), SCHED_OTHER, &usual);
	pthread_setaffinity_np(pthread_self(), sizeof(still_before), &still_before);
}
#endif
