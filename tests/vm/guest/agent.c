// SPDX-License-Identifier: BSD-3-Clause
/*
 * The agent of the test guest: runs shell commands that come in on a serial line.
 *
 * One line is one message, both ways; fields are separated by a blank; DATA is base64.
 *
 *   host to guest:  R ID DATA     run DATA under sh
 *                   K ID SIGNAL   signal the process group of command ID
 *                   P TOKEN       answer with A TOKEN BOOT
 *   guest to host:  H BOOT        the agent has started (BOOT differs with every boot)
 *                   A TOKEN BOOT
 *                   O ID DATA     standard output of the command
 *                   E ID DATA     standard error
 *                   X ID STATUS   it ended: exit status, or 128 + signal
 *
 * Commands run side by side. Output is read only when the line has taken all before it, so a
 * command that prints a lot waits instead of filling memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define MAX_COMMANDS 64
#define MAX_LINE     (1 << 20)
#define CHUNK	     3072

struct command {
	bool used;
	unsigned long id;
	pid_t pid;
	int fd[2]; /* standard output and error, -1 once at end of file */
	bool dead;
	int status;
	int grace; /* rounds left for output that a background child holds open */
};

static struct command commands[MAX_COMMANDS];
static int line_fd;
static char boot[40];

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t encode(const unsigned char *in, size_t n, char *out)
{
	size_t o = 0;

	for (size_t i = 0; i < n; i += 3) {
		unsigned int v = in[i] << 16;

		if (i + 1 < n)
			v |= in[i + 1] << 8;
		if (i + 2 < n)
			v |= in[i + 2];
		out[o++] = alphabet[v >> 18 & 63];
		out[o++] = alphabet[v >> 12 & 63];
		out[o++] = i + 1 < n ? alphabet[v >> 6 & 63] : '=';
		out[o++] = i + 2 < n ? alphabet[v & 63] : '=';
	}
	out[o] = 0;
	return o;
}

/* In place; the result is never longer than the input. */
static size_t decode(char *text)
{
	unsigned int v = 0, bits = 0;
	size_t o = 0;

	for (char *p = text; *p && *p != '='; p++) {
		const char *at = strchr(alphabet, *p);

		if (!at)
			continue;
		v = v << 6 | (unsigned int)(at - alphabet);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			text[o++] = (char)(v >> bits);
		}
	}
	text[o] = 0;
	return o;
}

static void put(const char *text)
{
	size_t n = strlen(text);

	while (n) {
		ssize_t r = write(line_fd, text, n);

		if (r < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			exit(1);
		}
		text += r;
		n -= (size_t)r;
	}
}

static void open_line(const char *path)
{
	struct termios t;

	line_fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (line_fd < 0 || tcgetattr(line_fd, &t)) {
		perror(path);
		exit(1);
	}
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL | CREAD;
	cfsetspeed(&t, B115200);
	tcsetattr(line_fd, TCSANOW, &t);
}

static void finish(struct command *c)
{
	char text[64];
	int status = WIFEXITED(c->status) ? WEXITSTATUS(c->status) : 128 + WTERMSIG(c->status);

	for (int i = 0; i < 2; i++)
		if (c->fd[i] >= 0)
			close(c->fd[i]);
	c->used = false;
	snprintf(text, sizeof(text), "X %lu %d\n", c->id, status);
	put(text);
}

static void start(unsigned long id, const char *script)
{
	struct command *c = NULL;
	int out[2], err[2];
	char text[64];

	for (int i = 0; i < MAX_COMMANDS && !c; i++)
		if (!commands[i].used)
			c = &commands[i];
	if (!c || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) {
		snprintf(text, sizeof(text), "X %lu 126\n", id);
		put(text);
		return;
	}
	*c = (struct command){.used = true, .id = id, .fd = {out[0], err[0]}, .grace = 3};
	c->pid = fork();
	if (c->pid == 0) {
		int null = open("/dev/null", O_RDONLY);
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setsid();
		signal(SIGPIPE, SIG_DFL);
		dup2(null, 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		if (chdir("/root"))
			_exit(127);
		execl("/bin/sh", "sh", "-c", script, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	close(err[1]);
	if (c->pid < 0) {
		c->dead = true;
		c->status = 126 << 8;
	}
}

static void message(char *line)
{
	char *end, *rest, text[128];
	unsigned long id;

	if (!line[0] || line[1] != ' ')
		return;
	id = strtoul(line + 2, &end, 10);
	rest = *end == ' ' ? end + 1 : end;
	switch (line[0]) {
	case 'R':
		decode(rest);
		start(id, rest);
		break;
	case 'K':
		for (int i = 0; i < MAX_COMMANDS; i++)
			if (commands[i].used && commands[i].id == id && commands[i].pid > 1)
				kill(-commands[i].pid, atoi(rest));
		break;
	case 'P':
		snprintf(text, sizeof(text), "A %lu %s\n", id, boot);
		put(text);
		break;
	default:
		break;
	}
}

static void read_line(void)
{
	static char *buffer;
	static size_t have;
	char *nl;
	ssize_t r;

	if (!buffer)
		buffer = malloc(MAX_LINE + 1);
	r = read(line_fd, buffer + have, MAX_LINE - have);
	if (r <= 0)
		return;
	have += (size_t)r;
	while ((nl = memchr(buffer, '\n', have))) {
		size_t n = (size_t)(nl - buffer) + 1;

		*nl = 0;
		message(buffer);
		have -= n;
		memmove(buffer, buffer + n, have);
	}
	if (have == MAX_LINE) /* not one of ours */
		have = 0;
}

static void read_output(struct command *c, int which)
{
	unsigned char raw[CHUNK];
	char text[CHUNK * 4 / 3 + 64];
	ssize_t r = read(c->fd[which], raw, sizeof(raw));
	int n;

	if (r <= 0) {
		if (r < 0 && errno == EINTR)
			return;
		close(c->fd[which]);
		c->fd[which] = -1;
		return;
	}
	n = snprintf(text, sizeof(text), "%c %lu ", which ? 'E' : 'O', c->id);
	encode(raw, (size_t)r, text + n);
	strcat(text, "\n");
	put(text);
}

/* Process 1 is a shell that waits for us alone, so orphans come to it, not here. */
static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < MAX_COMMANDS; i++) {
			if (commands[i].used && commands[i].pid == pid) {
				commands[i].dead = true;
				commands[i].status = status;
			}
		}
	}
}

/* A command has ended when its shell has, and its output is drained or held by others. */
static void settle(bool quiet)
{
	for (int i = 0; i < MAX_COMMANDS; i++) {
		struct command *c = &commands[i];

		if (!c->used || !c->dead)
			continue;
		if ((c->fd[0] < 0 && c->fd[1] < 0) || (quiet && c->grace-- <= 0))
			finish(c);
	}
}

static void child_ended(int sig)
{
	(void)sig;
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = child_ended};
	char hello[64];
	sigset_t block, open_mask;
	int fd;

	if (argc != 2)
		return 2;
	fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, boot, 36) != 36)
		return 1;
	close(fd);
	open_line(argv[1]);
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGCHLD, &act, NULL);
	sigemptyset(&block);
	sigaddset(&block, SIGCHLD);
	sigprocmask(SIG_BLOCK, &block, &open_mask);
	sigemptyset(&open_mask);
	snprintf(hello, sizeof(hello), "\nH %s\n", boot);
	put(hello);
	for (;;) {
		struct pollfd p[1 + 2 * MAX_COMMANDS] = {{.fd = line_fd, .events = POLLIN}};
		struct command *owner[1 + 2 * MAX_COMMANDS];
		struct timespec tick = {.tv_nsec = 20000000};
		bool ended = false;
		nfds_t n = 1;
		int ready;

		for (int i = 0; i < MAX_COMMANDS; i++) {
			for (int w = 0; w < 2; w++) {
				if (!commands[i].used || commands[i].fd[w] < 0)
					continue;
				owner[n] = &commands[i];
				p[n++] = (struct pollfd){.fd = commands[i].fd[w], .events = POLLIN};
			}
			ended |= commands[i].used && commands[i].dead;
		}
		ready = ppoll(p, n, ended ? &tick : NULL, &open_mask);
		if (ready > 0) {
			if (p[0].revents)
				read_line();
			for (nfds_t i = 1; i < n; i++)
				if (p[i].revents)
					read_output(owner[i], p[i].fd != owner[i]->fd[0]);
		}
		reap();
		settle(ready == 0);
	}
}
