/* Bytes that wait, and the frames of wire.h made of them. */
#ifndef KERNLAB_FRAMES_H
#define KERNLAB_FRAMES_H
#include "wire.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
	char *data;
	size_t start, end, size;
};

static struct buffer output; /* to the host */

static void die(const char *what)
{
	fprintf(stderr, "kernlab-agent: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void reserve(struct buffer *b, size_t more)
{
	if (b->start == b->end)
		b->start = b->end = 0;
	if (b->end + more <= b->size)
		return;
	memmove(b->data, b->data + b->start, b->end - b->start);
	b->end -= b->start;
	b->start = 0;
	if (b->end + more > b->size) {
		b->size = (b->end + more) * 2;
		b->data = realloc(b->data, b->size);
		if (!b->data)
			die("out of memory");
	}
}

static void append(struct buffer *b, const void *data, size_t length)
{
	reserve(b, length);
	memcpy(b->data + b->end, data, length);
	b->end += length;
}

static size_t waiting(const struct buffer *b)
{
	return b->end - b->start;
}

static void put32(char *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (char)(value >> (8 * i));
}

static uint32_t get32(const char *at)
{
	const unsigned char *p = (const unsigned char *)at;

	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static void send_frame(enum kind kind, uint32_t id, const void *payload, size_t length)
{
	char header[HEADER] = { 0 };

	put32(header, (uint32_t)length);
	header[4] = (char)kind;
	put32(header + 8, id);
	append(&output, header, HEADER);
	append(&output, payload, length);
}

static void send_number(enum kind kind, uint32_t id, uint32_t value)
{
	char payload[4];

	put32(payload, value);
	send_frame(kind, id, payload, 4);
}

static void send_failed(uint32_t id, int error)
{
	char payload[256];

	put32(payload, (uint32_t)error);
	int n = snprintf(payload + 4, sizeof payload - 4, "%s", strerror(error));
	send_frame(FAILED, id, payload, 4 + (size_t)n);
}
#endif
