/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
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

/* Where the daemon says that it is ready, as systemd is told; -1. */
static int notify_socket(const struct daemon_run *d)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", in_dir(d, "notify", ".sock"));
	if (fd < 0 || !bind(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return fd;
	close(fd);
	return -1;
}

/* Waits a moment for it. */
static void look_for_ready(struct daemon_run *d, int fd, uint64_t started)
{
	struct pollfd p = {fd, POLLIN, 0};
	char text[512];
	ssize_t n;

	if (poll(&p, 1, 5) < 1)
		return;
	n = recv(fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return;
	text[n] = '\0';
	if (strstr(text, "READY=1") && !d->ready_ns)
		d->ready_ns = clock_now_ns() - started;
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
	setenv("NOTIFY_SOCKET", in_dir(d, "notify", ".sock"), 1);
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
	uint64_t started, end = clock_now_ns() + START_NS;
	pid_t parent = getpid();
	int err, notify;

	strcpy(d->dir, "/tmp/softiov-run-XXXXXX");
	if (!mkdtemp(d->dir))
		return -errno;
	err = write_file(in_dir(d, "config.yaml", ""), config);
	if (err)
		return err;
	notify = notify_socket(d);
	if (notify < 0)
		return -errno;
	d->ready_ns = 0;
	started = clock_now_ns();
	d->pid = fork();
	if (!d->pid)
		become_daemon(d, softiovd, cpu, parent);
	err = d->pid < 0 ? -errno : 0;
	while (!err && !(d->ready_ns && answers(d))) {
		look_for_ready(d, notify, started);
		if (clock_now_ns() > end || waitpid(d->pid, NULL, WNOHANG)) {
			show_log(d);
			err = -ECHILD;
		}
	}
	close(notify);
	return err;
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

/* Whether a thread has the name wanted (NULL: any). */
static bool is_named(pid_t pid, const char *tid, const char *thread)
{
	char path[320], name[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)pid, tid);
	f = fopen(path, "re");
	if (f && fgets(name, sizeof(name), f))
		name[strcspn(name, "\n")] = '\0';
	if (f)
		fclose(f);
	return !thread || !strcmp(name, thread);
}

static uint64_t task_ns(pid_t pid, const char *tid)
{
	unsigned long long ns = 0;
	char path[320];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, tid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%llu", &ns) != 1)
		ns = 0;
	if (f)
		fclose(f);
	return ns;
}

typedef void task_fn(void *opaque, pid_t pid, const char *tid);

static void each_thread(const struct daemon_run *d, const char *thread, task_fn *fn, void *opaque)
{
	struct dirent *e;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)d->pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.' && is_named(d->pid, e->d_name, thread))
			fn(opaque, d->pid, e->d_name);
	if (dir)
		closedir(dir);
}

static void add_ns(void *opaque, pid_t pid, const char *tid)
{
	*(uint64_t *)opaque += task_ns(pid, tid);
}

uint64_t daemon_thread_ns(const struct daemon_run *d, const char *thread)
{
	uint64_t ns = 0;

	each_thread(d, thread, add_ns, &ns);
	return ns;
}

static void open_stat(void *opaque, pid_t pid, const char *tid)
{
	int *fd = opaque;
	char path[320];

	snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, tid);
	if (*fd < 0)
		*fd = open(path, O_RDONLY | O_CLOEXEC);
}

int daemon_open_schedstat(const struct daemon_run *d, const char *thread)
{
	int fd = -1;

	each_thread(d, thread, open_stat, &fd);
	return fd;
}

struct pinning {
	int cpu;
	unsigned n;
};

static void pin(void *opaque, pid_t pid, const char *tid)
{
	struct pinning *p = opaque;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(p->cpu, &set);
	p->n += !sched_setaffinity((pid_t)atoi(tid), sizeof(set), &set);
}

unsigned daemon_pin_thread(const struct daemon_run *d, const char *thread, int cpu)
{
	struct pinning p = {cpu, 0};

	each_thread(d, thread, pin, &p);
	return p.n;
}

uint64_t daemon_cpu_ns(const struct daemon_run *d)
{
	return daemon_thread_ns(d, NULL);
}

static long proc_kib(const struct daemon_run *d, const char *file, const char *key)
{
	size_t len = strlen(key);
	char path[64], line[256];
	long v = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)d->pid, file);
	f = fopen(path, "re");
	while (f && v < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, len) && line[len] == ':')
			v = atol(line + len + 1);
	if (f)
		fclose(f);
	return v;
}

long daemon_status_kib(const struct daemon_run *d, const char *key)
{
	return proc_kib(d, "status", key);
}

long daemon_rollup_kib(const struct daemon_run *d, const char *key)
{
	return proc_kib(d, "smaps_rollup", key);
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
