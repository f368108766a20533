/* The guest's side of kernlab's command channel.
 *
 *   agent              find the virtio-serial port named "kernlab" and serve it
 *   agent --fd N       serve a descriptor that is already open (tests on the host)
 *
 * Runs commands with stdin, stdout and stderr apart, several at once, each in a session
 * of its own, and reads and writes small files without a fork. One poll loop, no threads:
 * output waits in a bounded queue, and while it is full no command's output is read, so a
 * command that prints faster than the host reads is slowed down and nothing is lost.
 */
#define _GNU_SOURCE
#include "frames.h"
#include "wire.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_COMMANDS 64
#define CHUNK	     (32 * 1024)  /* what a virtio port takes in one write */
#define QUEUE_HIGH   (512 * 1024) /* stop reading commands' output above this */
#define INPUT_CREDIT (256 * 1024) /* bytes of stdin kept per command */

struct command {
	uint32_t id;
	pid_t pid;	  /* 0: slot is free */
	int in, out, err; /* our ends; -1: closed */
	int exited, status, input_ended;
	struct buffer input;
};

/* What a `kill -1` in the guest sends must not take the agent along. Blocked, not ignored: a
 * command that was just forked then gets what it is sent before its exec. */
static const int unheard[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
static int port = -1;
static int in_guest;
static struct buffer incoming;
static struct command commands[MAX_COMMANDS];

static void send_hello(uint32_t id)
{
	char payload[4 + sizeof(((struct utsname *)0)->release)];
	struct utsname name;

	uname(&name);
	put32(payload, PROTOCOL);
	int n = snprintf(payload + 4, sizeof payload - 4, "%s", name.release);
	send_frame(HELLO, id, payload, 4 + (size_t)n);
}

/* How readily the kernel kills this process when memory is short: -1000 never, proc(5). */
static void spare(const char *score)
{
	int fd = in_guest ? open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC) : -1;

	if (fd >= 0 && write(fd, score, strlen(score)) < 0)
		errno = 0; /* it is none the worse for it */
	if (fd >= 0)
		close(fd);
}

/* An agent that was killed is started again by init, and its commands are lost: said on the
 * console too, since the dead one may have left half a frame in the port. */
static void note_start(void)
{
	const char *mark = "/run/kernlab-agent";
	int fd = open(mark, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 && errno == EEXIST)
		fprintf(stderr, "\nkernlab-agent: started again\n");
	if (fd >= 0)
		close(fd);
}

/* ---- commands ---------------------------------------------------------------------- */

static struct command *find(uint32_t id)
{
	for (int i = 0; i < MAX_COMMANDS; i++)
		if (commands[i].pid && commands[i].id == id)
			return &commands[i];
	return NULL;
}

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void child(char **argv, char **env, const char *cwd, int in, int out, int err)
{
	sigset_t none;

	setsid();
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	spare("0");
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	if (chdir(*cwd ? cwd : "/") < 0) {
		fprintf(stderr, "%s: %s\n", cwd, strerror(errno));
		_exit(126);
	}
	for (; *env; env++)
		putenv(*env);
	execvp(argv[0], argv);
	int error = errno;
	fprintf(stderr, "%s: %s\n", argv[0], error == ENOENT ? "not found" : strerror(error));
	_exit(error == ENOENT ? 127 : 126); /* as a shell says it */
}

static int start(uint32_t id, char *payload, size_t length)
{
	struct command *c = NULL;
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 };

	for (int i = 0; i < MAX_COMMANDS && !c; i++)
		if (!commands[i].pid)
			c = &commands[i];
	if (!c)
		return EAGAIN;
	if (length < 10 || payload[length - 1] != 0)
		return EPROTO;
	uint32_t argc = get32(payload + 1), envc = get32(payload + 5);
	if (!argc || argc > 4096 || envc > 4096)
		return E2BIG;
	char **words = calloc(argc + envc + 2, sizeof *words);
	if (!words)
		return ENOMEM;
	char *at = payload + 9, *end = payload + length, *cwd = at;
	at += strlen(at) + 1;
	for (uint32_t i = 0; i < argc + envc; i++) {
		if (at >= end) {
			free(words);
			return EPROTO;
		}
		words[i < argc ? i : i + 1] = at;
		at += strlen(at) + 1;
	}
	if ((payload[0] ? pipe2(in, O_CLOEXEC)
			: (in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0) ||
	    pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) {
		int error = errno;
		for (int i = 0; i < 2; i++) {
			shut(&in[i]);
			shut(&out[i]);
			shut(&err[i]);
		}
		free(words);
		return error;
	}
	pid_t pid = fork();
	if (pid == 0)
		child(words, words + argc + 1, cwd, in[0], out[1], err[1]);
	int error = errno;
	free(words);
	shut(&in[0]);
	shut(&out[1]);
	shut(&err[1]);
	if (pid < 0) {
		shut(&in[1]);
		shut(&out[0]);
		shut(&err[0]);
		return error;
	}
	*c = (struct command){
		.id = id, .pid = pid, .in = in[1], .out = out[0], .err = err[0], .input = c->input
	};
	c->input.start = c->input.end = 0;
	for (int *fd = &c->in; fd <= &c->err; fd++)
		if (*fd >= 0)
			fcntl(*fd, F_SETFL, O_NONBLOCK);
	if (c->in >= 0)
		send_number(CREDIT, id, INPUT_CREDIT);
	return 0;
}

static void feed(struct command *c)
{
	while (c->in >= 0 && waiting(&c->input)) {
		ssize_t n = write(c->in, c->input.data + c->input.start, waiting(&c->input));
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) { /* the command closed its stdin: drop the rest, as a pipe would */
			send_number(CREDIT, c->id, (uint32_t)waiting(&c->input));
			c->input.start = c->input.end = 0;
			shut(&c->in);
			return;
		}
		c->input.start += (size_t)n;
		send_number(CREDIT, c->id, (uint32_t)n);
	}
	if (c->input_ended && !waiting(&c->input))
		shut(&c->in);
}

/* Reads what is there, as long as the queue has room. After the command's exit an empty
 * pipe is closed even when a grandchild still holds it: EXIT must not wait for that. */
static void drain(struct command *c, int *fd, enum kind kind)
{
	static char chunk[CHUNK];

	while (*fd >= 0 && waiting(&output) < QUEUE_HIGH) {
		ssize_t n = read(*fd, chunk, sizeof chunk);
		if (n > 0)
			send_frame(kind, c->id, chunk, (size_t)n);
		else if (n < 0 && errno == EINTR)
			continue;
		else if (n < 0 && errno == EAGAIN && !c->exited)
			return;
		else
			shut(fd);
	}
}

static void finish(struct command *c)
{
	if (!c->exited)
		return;
	drain(c, &c->out, OUT);
	drain(c, &c->err, ERR);
	if (c->out >= 0 || c->err >= 0)
		return;
	shut(&c->in);
	send_number(EXIT, c->id, (uint32_t)c->status);
	c->pid = 0;
}

static void reap(void)
{
	for (int i = 0; i < MAX_COMMANDS; i++) {
		struct command *c = &commands[i];
		int status;

		if (!c->pid || c->exited || waitpid(c->pid, &status, WNOHANG) != c->pid)
			continue;
		c->exited = 1;
		c->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	}
}

static void kill_all(void)
{
	for (int i = 0; i < MAX_COMMANDS; i++)
		if (commands[i].pid)
			kill(-commands[i].pid, SIGKILL);
}

/* ---- files ------------------------------------------------------------------------- */

static void read_file(uint32_t id, const char *path)
{
	static char chunk[CHUNK];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	while (fd >= 0 && (n = read(fd, chunk, sizeof chunk)) > 0)
		send_frame(DATA, id, chunk, (size_t)n);
	if (n < 0)
		send_failed(id, errno);
	else
		send_frame(DONE, id, NULL, 0);
	shut(&fd);
}

static void write_file(uint32_t id, const char *path, const char *data, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	/* In one write where the kernel takes it: sysctls and tracefs want whole commands. */
	while (fd >= 0 && length) {
		ssize_t n = write(fd, data, length);
		if (n < 0) {
			send_failed(id, errno);
			close(fd);
			return;
		}
		data += n;
		length -= (size_t)n;
	}
	if (fd < 0 || close(fd) < 0)
		send_failed(id, errno);
	else
		send_frame(DONE, id, NULL, 0);
}

/* ---- the port ---------------------------------------------------------------------- */

static void handle(enum kind kind, uint32_t id, char *payload, size_t length)
{
	struct command *c = find(id);
	int error;

	switch (kind) {
	case PING:
		send_hello(id);
		break;
	case START:
		error = start(id, payload, length);
		if (error)
			send_failed(id, error);
		break;
	case INPUT:
		if (c && c->in >= 0)
			append(&c->input, payload, length);
		break;
	case INPUT_END:
		if (c)
			c->input_ended = 1;
		break;
	case SIGNAL:
		/* Just forked, it has no group of its own yet: then it is alone. */
		if (c && length == 4 && !c->exited && kill(-c->pid, (int)get32(payload)) < 0)
			kill(c->pid, (int)get32(payload));
		break;
	case HANG_UP: /* its next write fails as one into any pipe without a reader */
		if (c && length == 1)
			shut(payload[0] == 1 ? &c->out : &c->err);
		break;
	case READ:
		read_file(id, strndupa(payload, length));
		break;
	case WRITE: {
		size_t path = strnlen(payload, length);
		if (path < length)
			write_file(id, payload, payload + path + 1, length - path - 1);
		else
			send_failed(id, EPROTO);
		break;
	}
	case POWEROFF:
		kill_all();
		sync();
		if (getppid() == 1)
			reboot(RB_POWER_OFF);
		exit(0);
	default:
		send_failed(id, ENOSYS);
	}
}

static void take(void)
{
	while (waiting(&incoming) >= HEADER) {
		char *frame = incoming.data + incoming.start;
		size_t length = get32(frame);

		if (length > MAX_PAYLOAD) {
			errno = EPROTO;
			die("frame too long");
		}
		if (waiting(&incoming) < HEADER + length)
			return;
		incoming.start += HEADER + length;
		handle((enum kind)frame[4], get32(frame + 8), frame + HEADER, length);
	}
}

static void receive(void)
{
	reserve(&incoming, CHUNK);
	ssize_t n = read(port, incoming.data + incoming.end, CHUNK);
	if (n > 0) {
		incoming.end += (size_t)n;
		take();
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		kill_all(); /* the host is gone, and everything here is for it */
		exit(0);
	}
}

static void transmit(void)
{
	while (waiting(&output)) {
		size_t length = waiting(&output) < CHUNK ? waiting(&output) : CHUNK;
		ssize_t n = write(port, output.data + output.start, length);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0)
			die("port");
		output.start += (size_t)n;
	}
}

/* /sys/class/virtio-ports/vport1p1/name holds the name that QEMU gave the port. */
static int open_port(void)
{
	const char *class = "/sys/class/virtio-ports";
	DIR *directory = opendir(class);
	struct dirent *entry;
	int found = -1;

	while (directory && found < 0 && (entry = readdir(directory))) {
		char path[512], name[64] = "";
		snprintf(path, sizeof path, "%s/%s/name", class, entry->d_name);
		FILE *file = fopen(path, "r");
		if (!file)
			continue;
		if (fgets(name, sizeof name, file) && !strcmp(name, "kernlab\n")) {
			snprintf(path, sizeof path, "/dev/%s", entry->d_name);
			found = open(path, O_RDWR | O_CLOEXEC);
		}
		fclose(file);
	}
	if (directory)
		closedir(directory);
	return found;
}

int main(int argc, char **argv)
{
	sigset_t signals;
	struct pollfd fds[2 + 3 * MAX_COMMANDS];
	struct command *owner[2 + 3 * MAX_COMMANDS];

	if (argc == 3 && !strcmp(argv[1], "--fd"))
		port = atoi(argv[2]);
	else {
		in_guest = 1;
		note_start();
		spare("-1000");
		port = open_port();
	}
	if (port < 0)
		die("no virtio-serial port named kernlab");
	fcntl(port, F_SETFL, fcntl(port, F_GETFL) | O_NONBLOCK);
	fcntl(port, F_SETFD, FD_CLOEXEC);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	for (size_t i = 0; i < sizeof unheard / sizeof *unheard; i++)
		sigaddset(&signals, unheard[i]);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	int children = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (children < 0)
		die("signalfd");
	send_hello(0);
	for (;;) {
		nfds_t n = 2;

		transmit();
		fds[0] = (struct pollfd){ port, POLLIN, 0 };
		if (waiting(&output))
			fds[0].events |= POLLOUT;
		fds[1] = (struct pollfd){ children, POLLIN, 0 };
		for (int i = 0; i < MAX_COMMANDS; i++) {
			struct command *c = &commands[i];
			int room = waiting(&output) < QUEUE_HIGH;

			if (!c->pid)
				continue;
			owner[n] = c;
			fds[n++] = (struct pollfd){ waiting(&c->input) ? c->in : -1, POLLOUT, 0 };
			owner[n] = c;
			fds[n++] = (struct pollfd){ room ? c->out : -1, POLLIN, 0 };
			owner[n] = c;
			fds[n++] = (struct pollfd){ room ? c->err : -1, POLLIN, 0 };
		}
		if (poll(fds, n, -1) < 0 && errno != EINTR)
			die("poll");
		if (fds[1].revents) {
			struct signalfd_siginfo info;
			while (read(children, &info, sizeof info) > 0)
				;
			reap();
		}
		for (nfds_t i = 2; i < n; i += 3) {
			struct command *c = owner[i];
			if (fds[i + 1].revents)
				drain(c, &c->out, OUT);
			if (fds[i + 2].revents)
				drain(c, &c->err, ERR);
		}
		if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
			receive();
		for (int i = 0; i < MAX_COMMANDS; i++) {
			if (!commands[i].pid)
				continue;
			feed(&commands[i]);
			finish(&commands[i]);
		}
	}
}
