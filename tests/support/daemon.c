/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/clock.h"

#define START_NS (30 * NS_PER_S) /* generous: sanitizers, a busy machine */
#define END_NS	 (30 * NS_PER_S)

static const char *in_dir(const struct daemon_run *d, const char *name, const char *suffix)
{
	static char path[4][108];
	static unsigned next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s%s", d->dir, name, suffix);
	return p;
}

const char *daemon_socket(const struct daemon_run *d, const char *name)
{
	return in_dir(d, name, ".sock");
}

static void show_log(const struct daemon_run *d)
{
	FILE *f = fopen(in_dir(d, "log", ""), "r");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		fprintf(stderr, "# softiovd: %s", line);
	if (f)
		fclose(f);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return -errno;
	fputs(text, f);
	return fclose(f) ? -errno : 0;
}

static int answers(const struct daemon_run *d)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ret;

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", in_dir(d, "control", ".sock"));
	ret = connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	close(fd);
	return ret == 0;
}

static void become_daemon(const struct daemon_run *d, const char *softiovd, int cpu, pid_t parent)
{
	int fd = open(in_dir(d, "log", ""), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	cpu_set_t set;

	/* Whoever kills us must not leave it behind. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(127);
	dup2(fd, 1);
	dup2(fd, 2);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("JOURNAL_STREAM");
	if (cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		sched_setaffinity(0, sizeof(set), &set);
	}
	execl(softiovd, softiovd, "-c", in_dir(d, "config.yaml", ""), "--runtime-dir", d->dir,
	      (char *)NULL);
	_exit(127);
}

int daemon_start(struct daemon_run *d, const char *softiovd, const char *config, int cpu)
{
	uint64_t end = clock_now_ns() + START_NS;
	pid_t parent = getpid();
	int err;

	strcpy(d->dir, "/tmp/softiov-run-XXXXXX");
	if (!mkdtemp(d->dir))
		return -errno;
	err = write_file(in_dir(d, "config.yaml", ""), config);
	if (err)
		return err;
	d->pid = fork();
	if (d->pid < 0)
		return -errno;
	if (!d->pid)
		become_daemon(d, softiovd, cpu, parent);
	while (!answers(d)) {
		if (clock_now_ns() > end || waitpid(d->pid, NULL, WNOHANG)) {
			show_log(d);
			return -ECHILD;
		}
		usleep(5000);
	}
	return 0;
}

int daemon_stop(struct daemon_run *d)
{
	uint64_t end = clock_now_ns() + END_NS;
	int status = 0;
	pid_t got;

	kill(d->pid, SIGTERM);
	while (!(got = waitpid(d->pid, &status, WNOHANG)) && clock_now_ns() < end)
		usleep(5000);
	if (!got) {
		kill(d->pid, SIGKILL);
		waitpid(d->pid, NULL, 0);
	}
	if (got != d->pid || status)
		show_log(d);
	nftw(d->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return got == d->pid && !status ? 0 : -1;
}

void daemon_kill(struct daemon_run *d)
{
	kill(d->pid, SIGKILL);
	waitpid(d->pid, NULL, 0);
	nftw(d->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

bool daemon_lives(const struct daemon_run *d)
{
	siginfo_t si = {0};

	return !waitid(P_PID, (id_t)d->pid, &si, WEXITED | WNOHANG | WNOWAIT) && !si.si_pid;
}

/* CPU time of a thread, if its name is the one wanted (NULL: any). */
static uint64_t task_ns(pid_t pid, const char *tid, const char *thread)
{
	unsigned long long ns = 0;
	char path[320], name[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)pid, tid);
	f = fopen(path, "re");
	if (f && fgets(name, sizeof(name), f))
		name[strcspn(name, "\n")] = '\0';
	if (f)
		fclose(f);
	if (thread && strcmp(name, thread))
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, tid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%llu", &ns) != 1)
		ns = 0;
	if (f)
		fclose(f);
	return ns;
}

/* The sum over all threads of that name. */
uint64_t daemon_thread_ns(const struct daemon_run *d, const char *thread)
{
	uint64_t ns = 0;
	struct dirent *e;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)d->pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			ns += task_ns(d->pid, e->d_name, thread);
	if (dir)
		closedir(dir);
	return ns;
}

uint64_t daemon_cpu_ns(const struct daemon_run *d)
{
	return daemon_thread_ns(d, NULL);
}

long daemon_status_kib(const struct daemon_run *d, const char *key)
{
	size_t len = strlen(key);
	char path[64], line[256];
	long v = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)d->pid);
	f = fopen(path, "re");
	while (f && v < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, len) && line[len] == ':')
			v = atol(line + len + 1);
	if (f)
		fclose(f);
	return v;
}

int daemon_files(const struct daemon_run *d)
{
	struct dirent *e;
	char path[64];
	int n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)d->pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir)))
		n += e->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}
