/* The command channel's frames; the same numbers are in kernlab/vm/frames.py.
 *
 *   u32 length of the payload | u8 kind | u8[3] zero | u32 id | payload
 *
 * All numbers little-endian. id names a command or a request, chosen by the host.
 */
#ifndef KERNLAB_WIRE_H
#define KERNLAB_WIRE_H
#include <stdint.h>

enum kind {
	/* host to guest */
	PING = 1,      /* answered by HELLO */
	START = 2,     /* u8 wants stdin, u32 argc, u32 envc, cwd\0, argv\0..., env\0... */
	INPUT = 3,     /* bytes for a command's stdin, within its credit */
	INPUT_END = 4, /* end of file on stdin */
	SIGNAL = 5,    /* u32 signal, to the command's process group */
	READ = 6,      /* path: answered by DATA..., then DONE or FAILED */
	WRITE = 7,     /* path\0 bytes: answered by DONE or FAILED */
	POWEROFF = 8,
	HANG_UP = 9, /* u8 1 or 2: nobody reads the command's stdout or stderr any more */
	/* guest to host */
	HELLO = 64,  /* u32 protocol version, kernel release */
	OUT = 65,    /* bytes of stdout */
	ERR = 66,    /* bytes of stderr */
	EXIT = 67,   /* i32: status, or 128 + signal; no frame of this id follows */
	CREDIT = 68, /* u32: so many more bytes of INPUT may be sent */
	DATA = 69,
	DONE = 70,
	FAILED = 71, /* u32 errno, text */
};

#define PROTOCOL    1
#define HEADER	    12
#define MAX_PAYLOAD (256 * 1024)
#endif
