/* SPDX-License-Identifier: BSD-3-Clause */
#include "nvme_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/clock.h"

#define PUMP_BLOCKS 32 /* of one command, at most */

unsigned nvme_rig_slow(void)
{
	const char *s = getenv("SOFTIOV_SLOW");
	int n = s ? atoi(s) : 1;

	return n > 0 ? (unsigned)n : 1;
}

/* ---- daemon ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int nvme_rig_init(struct nvme_rig *r, const char *softiovd, const char *softiov)
{
	memset(r, 0, sizeof(*r));
	r->softiovd = softiovd;
	r->softiov = softiov;
	strcpy(r->files, "/tmp/softiov-nvme-XXXXXX");
	return mkdtemp(r->files) ? 0 : -errno;
}

int nvme_rig_fini(struct nvme_rig *r)
{
	if (r->running)
		nvme_rig_stop(r);
	nvme_rig_nbd_stop(r);
	nftw(r->files, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	return r->bad ? -1 : 0;
}

int nvme_rig_start(struct nvme_rig *r, const char *config)
{
	size_t n = 0, len = strlen(r->files);
	int err;

	for (const char *c = config; *c; c++) {
		if (n + len + 2 > sizeof(r->config))
			return -E2BIG;
		if (*c == '@') {
			memcpy(r->config + n, r->files, len);
			n += len;
		} else {
			r->config[n++] = *c;
		}
	}
	r->config[n] = '\0';
	err = daemon_start(&r->run, r->softiovd, r->config, -1);
	r->running = !err;
	return err;
}

int nvme_rig_stop(struct nvme_rig *r)
{
	int err = daemon_stop(&r->run);

	r->running = false;
	r->bad |= err != 0;
	return err;
}

void nvme_rig_kill(struct nvme_rig *r)
{
	r->running = false;
	daemon_kill(&r->run);
}

static int open_with(struct nvme_rig *r, const char *name, struct nvme_host_config cfg,
		     struct nvme_host **out,
		     int (*open_it)(const struct nvme_host_config *, struct nvme_host **))
{
	uint64_t end = clock_now_ns() + NVME_RIG_TIMEOUT_MS * NS_PER_MS;
	int err;

	cfg.path = daemon_socket(&r->run, name);
	if (!cfg.timeout_ms)
		cfg.timeout_ms = NVME_RIG_TIMEOUT_MS;
	do {
		err = open_it(&cfg, out);
		if (err != -EBUSY && err != -ECONNRESET && err != -EPIPE)
			return err;
		usleep(1000);
	} while (clock_now_ns() < end);
	return err;
}

int nvme_rig_connect(struct nvme_rig *r, const char *name, struct nvme_host_config cfg,
		     struct nvme_host **out)
{
	return open_with(r, name, cfg, out, nvme_host_connect);
}

int nvme_rig_open(struct nvme_rig *r, const char *name, struct nvme_host_config cfg,
		  struct nvme_host **out)
{
	return open_with(r, name, cfg, out, nvme_host_open);
}

int nvme_rig_cli(struct nvme_rig *r, const char *format, ...)
{
	char words[1024], command[2048];
	va_list ap;
	size_t n;
	FILE *f;
	int status;

	va_start(ap, format);
	vsnprintf(words, sizeof(words), format, ap);
	va_end(ap);
	snprintf(command, sizeof(command), "'%s' -s '%s' %s 2>&1", r->softiov, r->run.dir, words);
	f = popen(command, "re");
	if (!f)
		return -1;
	n = fread(r->out, 1, sizeof(r->out) - 1, f);
	r->out[n] = '\0';
	status = pclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- NBD ---- */

static void become_nbd(const char *socket, const char *image, uint64_t size, pid_t parent)
{
	int null = open("/dev/null", O_RDWR);
	char bytes[32];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)size);
	execlp("nbdkit", "nbdkit", "-f", "-U", socket, "memory", bytes, (char *)NULL);
	execlp("qemu-nbd", "qemu-nbd", "-t", "-e", "16", "-f", "raw", "-k", socket, image,
	       (char *)NULL);
	_exit(127);
}

int nvme_rig_nbd_start(struct nvme_rig *r, uint64_t size)
{
	uint64_t end = clock_now_ns() + NVME_RIG_TIMEOUT_MS * NS_PER_MS;
	char socket[64], image[64];
	pid_t parent = getpid();
	int fd;

	snprintf(socket, sizeof(socket), "%s/nbd.sock", r->files);
	snprintf(image, sizeof(image), "%s/nbd.img", r->files);
	unlink(socket);
	fd = open(image, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)size))
		return -errno;
	close(fd);
	r->nbd = fork();
	if (r->nbd < 0)
		return -errno;
	if (!r->nbd)
		become_nbd(socket, image, size, parent);
	while (access(socket, F_OK)) {
		if (clock_now_ns() > end || waitpid(r->nbd, NULL, WNOHANG)) {
			r->nbd = 0;
			return -ENOENT;
		}
		usleep(2000);
	}
	return 0;
}

void nvme_rig_nbd_stop(struct nvme_rig *r)
{
	if (!r->nbd)
		return;
	kill(r->nbd, SIGKILL);
	waitpid(r->nbd, NULL, 0);
	r->nbd = 0;
}

/* ---- patterns ---- */

static uint64_t pattern_word(uint64_t seed, uint64_t i)
{
	uint64_t v = seed * 0x9e3779b97f4a7c15ull + i * 0xbf58476d1ce4e5b9ull + 1;

	return v ^ v >> 29;
}

void nvme_pattern(void *buf, size_t len, uint64_t seed)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t w = pattern_word(seed, i / 8);

		memcpy(p + i, &w, len - i < 8 ? len - i : 8);
	}
}

bool nvme_pattern_is(const void *buf, size_t len, uint64_t seed)
{
	const uint8_t *p = buf;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t w = pattern_word(seed, i / 8);

		if (memcmp(p + i, &w, len - i < 8 ? len - i : 8))
			return false;
	}
	return true;
}

/* ---- the honest host ---- */

static int timed(struct nvme_pump *p, uint8_t opcode, uint64_t slba, uint32_t nlb)
{
	uint64_t start = clock_now_ns(), took;
	int st = nvme_host_rw(nvme_host_io(p->h, 1), opcode, p->nsid, slba, nlb, 0);

	took = clock_now_ns() - start;
	if (took > p->worst_ns)
		p->worst_ns = took;
	if (took > p->slowest_ns)
		p->slowest_ns = took;
	p->commands++;
	return st;
}

static int pump_once(struct nvme_pump *p, uint64_t n)
{
	uint32_t nlb = 1 + (uint32_t)(n * 7 % PUMP_BLOCKS), shift = p->h->shifts[p->nsid];
	uint64_t slba = n * 131 % (p->blocks - nlb);
	size_t len = (size_t)nlb << shift;
	int st;

	nvme_pattern(p->h->data, len, n);
	st = timed(p, nvme_cmd_write, slba, nlb);
	if (st)
		return st;
	memset(p->h->data, 0, len);
	st = timed(p, nvme_cmd_read, slba, nlb);
	if (st)
		return st;
	return nvme_pattern_is(p->h->data, len, n) ? 0 : -EBADMSG;
}

static void *pump_main(void *arg)
{
	struct nvme_pump *p = arg;
	uint64_t n = 0;
	int err = 0;

	while (!err && !p->stop) {
		err = pump_once(p, n++);
		/* At times all may fall asleep: that is part of the test. */
		if (n % 16 == 0)
			usleep(500);
	}
	p->error = err;
	return NULL;
}

int nvme_pump_start(struct nvme_pump *p, struct nvme_host *h, uint32_t nsid)
{
	uint32_t block;
	int st;

	p->h = h;
	p->nsid = nsid;
	p->stop = p->error = 0;
	p->commands = 0;
	p->worst_ns = p->slowest_ns = 0;
	st = nvme_host_ns_size(h, nsid, &p->blocks, &block);
	if (st || p->blocks < 2 * PUMP_BLOCKS)
		return st < 0 ? st : -ENXIO;
	return -pthread_create(&p->thread, NULL, pump_main, p);
}

int nvme_pump_stop(struct nvme_pump *p)
{
	p->stop = 1;
	pthread_join(p->thread, NULL);
	return p->error;
}

int nvme_pump_check(struct nvme_pump *p, unsigned long n, unsigned limit_ms)
{
	uint64_t end = clock_now_ns() + NVME_RIG_TIMEOUT_MS * NS_PER_MS;
	unsigned long target = p->commands + n;
	uint64_t worst;

	while (!p->error && p->commands < target) {
		if (clock_now_ns() > end)
			return -ETIMEDOUT;
		usleep(500);
	}
	worst = atomic_exchange(&p->worst_ns, 0);
	if (p->error)
		return p->error;
	return worst > limit_ms * NS_PER_MS ? -ETIME : 0;
}
