/* What the shipped loaders share: an end by Ctrl-C or after some seconds. */
#ifndef TOOL_H
#define TOOL_H
#include <bpf/bpf.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A copy of a skeleton's variables. By their map: 5.4 cannot map it into the loader
 * (fc9702273e2e, v5.5), and libbpf leaves skeleton->bss NULL there. */
#define globals(skeleton)                                                                          \
	({                                                                                         \
		typeof(*(skeleton)->bss) copy = {};                                                \
		unsigned int first = 0;                                                            \
		bpf_map_lookup_elem(bpf_map__fd((skeleton)->maps.bss), &first, &copy);             \
		copy;                                                                              \
	})

static volatile sig_atomic_t over;

static void tool_over(int number)
{
	(void)number;
	over = 1;
}

/* Reads "-d SECONDS" (0: until Ctrl-C) and arms both ends; exits with 2 on anything else. */
static int tool_start(int argc, char **argv, const char *usage)
{
	int seconds = 0, option;

	while ((option = getopt(argc, argv, "d:h")) != -1) {
		char *end = NULL;

		if (option == 'd')
			seconds = (int)strtol(optarg, &end, 10);
		if (option != 'd' || *end || seconds < 0) {
			fprintf(option == 'h' ? stdout : stderr, "%s\n", usage);
			exit(option == 'h' ? 0 : 2);
		}
	}
	if (optind != argc) {
		fprintf(stderr, "%s\n", usage);
		exit(2);
	}
	/* Without SA_RESTART: what waits is woken. */
	struct sigaction action = { .sa_handler = tool_over };
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	return seconds;
}
#endif
