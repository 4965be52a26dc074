/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file that keeps reservations over restarts (Persist Through Power Loss): lines of text,
 *
 *	softiov-reservations 1
 *	persist 1
 *	generation 12
 *	type 3
 *	host 00112233445566778899aabbccddeeff key 00000000000000ab holder
 *	end
 *
 * replaced as a whole: written beside it, synced, renamed, the directory synced. That may take its
 * time, so a thread does it, one at a time and only while there is something to write; the control
 * thread never waits. Several changes meanwhile become one write.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nvme/resv_private.h"
#include "util/log.h"
#include "util/util.h"
#include "worker/mailbox.h"

#define HEAD	  "softiov-reservations 1\n"
#define LINE_MAX_ 128
#define FILE_MAX  (LINE_MAX_ * (NVME_REGISTRANTS_MAX + 8))

struct nvme_resv_store {
	char path[PATH_MAX];
	void (*saved)(void *opaque, uint64_t seq, int result);
	void *opaque;
	struct mailbox_work work;
	uint64_t seq; /* control: of the newest */
	struct log_limit log;

	pthread_mutex_t lock; /* what follows */
	bool running;	      /* a thread is there */
	bool closed;	      /* ...and nobody else: it frees this */
	char *text;	      /* to be written next, or NULL */
	uint64_t text_seq, done_seq;
	int done_result;
};

/* ---- text ---- */

static bool is_kept(const struct nvme_registrant *r)
{
	/* the nameless do not outlive a reset of their controller */
	return !nvme_resv_host_nameless(&r->host);
}

/* A reservation without its holder would never end. */
static bool is_reservation_kept(const struct nvme_resv_state *s)
{
	for (unsigned i = 0; i < s->n; i++)
		if (is_kept(&s->r[i]) && nvme_resv_holds(s, &s->r[i]))
			return true;
	return false;
}

static void print_registrant(FILE *f, const struct nvme_registrant *r)
{
	fputs("host ", f);
	for (unsigned i = 0; i < (r->host.extended ? 16u : 8u); i++)
		fprintf(f, "%02x", r->host.id[i]);
	fprintf(f, " key %016" PRIx64 "%s\n", r->key, r->holder ? " holder" : "");
}

static char *print_state(const struct nvme_resv_state *s)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	bool failed;

	if (!f)
		return NULL;
	fprintf(f, HEAD "persist %d\n", s->ptpl);
	if (s->ptpl) {
		fprintf(f, "generation %u\ntype %u\n", s->generation,
			is_reservation_kept(s) ? s->rtype : 0u);
		for (unsigned i = 0; i < s->n; i++)
			if (is_kept(&s->r[i]))
				print_registrant(f, &s->r[i]);
	}
	fputs("end\n", f);
	failed = ferror(f);
	if (fclose(f) || failed) {
		free(text);
		return NULL;
	}
	return text;
}

static bool parse_host(const char *hex, struct nvme_resv_host *h)
{
	size_t len = strlen(hex);
	unsigned byte;

	*h = (struct nvme_resv_host){.extended = len == 32};
	if (len != 16 && len != 32)
		return false;
	for (unsigned i = 0; i < len / 2; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return false;
		h->id[i] = (uint8_t)byte;
	}
	return !nvme_resv_host_nameless(h);
}

static bool parse_registrant(const char *line, struct nvme_resv_state *s)
{
	struct nvme_registrant *r = &s->r[s->n];
	char hex[33], word[8] = "";
	int end = 0;

	if (s->n == NVME_REGISTRANTS_MAX)
		return false;
	if (sscanf(line, "host %32[0-9a-f] key %16" SCNx64 "%n", hex, &r->key, &end) != 2 || !end)
		return false;
	r->holder = sscanf(line + end, " %7s", word) == 1;
	if ((r->holder && strcmp(word, "holder")) || !parse_host(hex, &r->host) ||
	    nvme_resv_find(s, &r->host))
		return false;
	s->n++;
	return true;
}

static bool parse_line(const char *line, struct nvme_resv_state *s)
{
	unsigned v;

	if (sscanf(line, "persist %u", &v) == 1)
		s->ptpl = v;
	else if (sscanf(line, "generation %u", &v) == 1)
		s->generation = v;
	else if (sscanf(line, "type %u", &v) == 1 && v <= NVME_RESERVATION_RTYPE_EAAR)
		s->rtype = (uint8_t)v;
	else
		return parse_registrant(line, s);
	return true;
}

/* A type needs one holder, but for those that all registrants hold. */
static bool consistent(const struct nvme_resv_state *s)
{
	unsigned holders = 0;

	for (unsigned i = 0; i < s->n; i++)
		holders += s->r[i].holder;
	if (!s->rtype)
		return !holders;
	return s->n && holders <= 1 && (holders || s->rtype >= NVME_RESERVATION_RTYPE_WEAR);
}

static int parse_state(char *text, struct nvme_resv_state *s)
{
	char *save, *line;
	bool ended = false;

	if (strncmp(text, HEAD, strlen(HEAD)))
		return -EINVAL;
	for (line = strtok_r(text + strlen(HEAD), "\n", &save); line && !ended;
	     line = strtok_r(NULL, "\n", &save)) {
		ended = !strcmp(line, "end");
		if (!ended && !parse_line(line, s))
			return -EINVAL;
	}
	if (!ended || line || !consistent(s))
		return -EINVAL;
	if (!s->ptpl)
		memset(s, 0, sizeof(*s));
	return 0;
}

/* ---- reading ---- */

static int read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t len = 0;
	struct stat st;
	ssize_t n = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	while (len < size && (n = read(fd, text + len, size - len)) > 0)
		len += (size_t)n;
	n = n < 0 ? -errno : 0;
	close(fd);
	if (!n && len == size)
		return -EFBIG;
	text[len] = '\0';
	return (int)n;
}

int nvme_resv_store_load(const char *path, struct nvme_resv_state *out, char *why, size_t why_len)
{
	char *text = malloc(FILE_MAX + 1);
	int r;

	memset(out, 0, sizeof(*out));
	if (!text) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	r = read_text(path, text, FILE_MAX);
	if (r == -ENOENT)
		r = 0;
	else if (!r && text[0])
		r = parse_state(text, out);
	free(text);
	if (r == -EINVAL || r == -EFBIG)
		snprintf(why, why_len,
			 "%s does not hold reservations as this program writes them: give another "
			 "file, or remove it if nobody is fenced off by it",
			 path);
	else if (r)
		snprintf(why, why_len, "cannot read the reservations in %s: %s", path,
			 strerror(-r));
	if (r)
		memset(out, 0, sizeof(*out));
	return r;
}

/* ---- writing, on the thread ---- */

static int write_all(int fd, const char *text)
{
	size_t len = strlen(text);
	ssize_t n;

	while (len) {
		n = write(fd, text, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return fsync(fd) ? -errno : 0;
}

static int sync_directory(const char *path)
{
	char dir[PATH_MAX];
	int fd, r = 0;

	snprintf(dir, sizeof(dir), "%s", path);
	fd = open(dirname(dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd))
		r = -errno;
	close(fd);
	return r;
}

static int replace_file(const char *path, const char *text)
{
	char temp[PATH_MAX];
	int fd, r;

	if (snprintf(temp, sizeof(temp), "%s.new", path) >= (int)sizeof(temp))
		return -ENAMETOOLONG;
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = write_all(fd, text);
	close(fd);
	if (!r && rename(temp, path))
		r = -errno;
	if (r) {
		unlink(temp);
		return r;
	}
	return sync_directory(path);
}

static void store_free(struct nvme_resv_store *st)
{
	pthread_mutex_destroy(&st->lock);
	free(st->text);
	free(st);
}

static void *writer(void *arg)
{
	struct nvme_resv_store *st = arg;
	uint64_t seq;
	char *text;
	bool closed;
	int r;

	pthread_mutex_lock(&st->lock);
	while ((text = st->text)) {
		st->text = NULL;
		seq = st->text_seq;
		pthread_mutex_unlock(&st->lock);
		r = replace_file(st->path, text);
		free(text);
		pthread_mutex_lock(&st->lock);
		st->done_seq = seq;
		st->done_result = r;
		if (!st->closed)
			mailbox_post(&st->work);
	}
	st->running = false;
	closed = st->closed;
	pthread_mutex_unlock(&st->lock);
	if (closed)
		store_free(st);
	return NULL;
}

/* ---- control ---- */

static void tell(struct mailbox_work *work)
{
	struct nvme_resv_store *st = container_of(work, struct nvme_resv_store, work);
	uint64_t seq;
	int r;

	pthread_mutex_lock(&st->lock);
	seq = st->done_seq;
	r = st->done_result;
	pthread_mutex_unlock(&st->lock);
	if (r)
		log_guest(&st->log, "cannot keep reservations in %s: %s", st->path, strerror(-r));
	st->saved(st->opaque, seq, r);
}

int nvme_resv_store_open(const char *path, void (*saved)(void *opaque, uint64_t seq, int result),
			 void *opaque, struct nvme_resv_store **out)
{
	struct nvme_resv_store *st = calloc(1, sizeof(*st));

	if (!st)
		return -ENOMEM;
	snprintf(st->path, sizeof(st->path), "%s", path);
	st->saved = saved;
	st->opaque = opaque;
	st->work.run = tell;
	pthread_mutex_init(&st->lock, NULL);
	*out = st;
	return 0;
}

void nvme_resv_store_close(struct nvme_resv_store *st)
{
	bool running;

	if (!st)
		return;
	pthread_mutex_lock(&st->lock);
	st->closed = true;
	running = st->running;
	mailbox_cancel(&st->work);
	pthread_mutex_unlock(&st->lock);
	if (!running)
		store_free(st);
}

/* With the lock. */
static int start_writer(struct nvme_resv_store *st)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (st->running)
		return 0;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	st->running = true;
	r = pthread_create(&thread, &attr, writer, st);
	pthread_attr_destroy(&attr);
	if (r)
		st->running = false;
	return -r;
}

uint64_t nvme_resv_store_save(struct nvme_resv_store *st, const struct nvme_resv_state *s)
{
	char *text = print_state(s), *older;
	int r;

	if (!text)
		return 0;
	pthread_mutex_lock(&st->lock);
	older = st->text;
	st->text = text;
	st->text_seq = ++st->seq;
	r = start_writer(st);
	if (r) {
		/* no thread to be had: said as any other failure */
		st->text = NULL;
		st->done_seq = st->seq;
		st->done_result = r;
		older = text;
		mailbox_post(&st->work);
	}
	pthread_mutex_unlock(&st->lock);
	free(older);
	return st->seq;
}

const char *nvme_resv_store_path(const struct nvme_resv_store *st)
{
	return st->path;
}
