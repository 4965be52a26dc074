/* SPDX-License-Identifier: BSD-3-Clause */
/* Files: opening, locking, growing. */
#include "block/file_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/fs.h"

#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0x2000u
#endif

#define LOCK_NAP_NS	 (5 * NS_PER_MS)
#define LOCK_PATIENCE_NS (250 * NS_PER_MS)

/* ---- what files and devices share ---- */

int file_open_flags(const struct block_config *cfg, bool direct)
{
	/* not blocking: a FIFO must not hold up the daemon; has no effect on files and devices */
	return (cfg->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
	       (direct ? O_DIRECT : 0);
}

/* Open file description locks, which bind other backends of this process too; flock() where a
 * file system has no others. */
static int lock_fd(int fd, bool shared)
{
	struct flock fl = {.l_type = shared ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (!fcntl(fd, F_OFD_SETLK, &fl))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return -EBUSY;
	if (!flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB))
		return 0;
	return errno == EWOULDBLOCK ? -EBUSY : -errno;
}

/* A program that was killed holds its locks until the kernel has put away its rings, a little after
 * it is gone: who is started in its place must not be refused. */
static int lock_patiently(int fd, bool shared)
{
	const struct timespec nap = {.tv_nsec = LOCK_NAP_NS};
	int r, left = LOCK_PATIENCE_NS / LOCK_NAP_NS;

	while ((r = lock_fd(fd, shared)) == -EBUSY && left-- > 0)
		nanosleep(&nap, NULL);
	return r;
}

static void unlock_fd(int fd)
{
	struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	fcntl(fd, F_OFD_SETLK, &fl);
	flock(fd, LOCK_UN);
}

int file_lock(struct file_backend *f, char *why, size_t why_len)
{
	struct block_backend *b = &f->base, *other;
	struct stat st;
	int r, flags = fcntl(f->fd, F_GETFL);

	/* io_uring would say EAGAIN where it could wait */
	if (flags >= 0)
		fcntl(f->fd, F_SETFL, flags & ~O_NONBLOCK);
	if (fstat(f->fd, &st))
		return -errno;
	b->has_id = true;
	b->id_device = S_ISBLK(st.st_mode);
	b->id_dev = b->id_device ? st.st_rdev : st.st_dev;
	b->id_ino = b->id_device ? 0 : st.st_ino;
	other = backend_find(b->id_device, b->id_dev, b->id_ino);
	if (other && !(other->read_only && b->read_only)) {
		snprintf(why, why_len,
			 "%s is used by '%s' of this daemon already: attach that namespace to "
			 "several functions instead, or give this one a store of its own",
			 b->cfg.target, other->name);
		return -EBUSY;
	}
	r = lock_patiently(f->fd, b->read_only);
	if (r == -EBUSY) {
		snprintf(why, why_len,
			 "%s is in use by another program (another softiov daemon, or QEMU): stop "
			 "that first, or use another %s; `lsof %s` shows who it is",
			 b->cfg.target, b->id_device ? "device" : "file", b->cfg.target);
		return r;
	}
	if (r)
		log_warn("%s: %s cannot be locked (%s): see to it that nobody else uses it",
			 b->name, b->cfg.target, strerror(-r));
	return 0;
}

/* From the kernel, since 6.1. False: it does not say. */
static bool ask_alignment(struct file_backend *f)
{
#ifdef SYS_statx
	struct statx sx = {0};

	if (syscall(SYS_statx, f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) ||
	    !(sx.stx_mask & STATX_DIOALIGN))
		return false;
	f->mem_align = sx.stx_dio_mem_align;
	f->off_align = sx.stx_dio_offset_align;
	return true;
#else
	return false;
#endif
}

/* By trying what the disk reads. */
static bool try_alignment(struct file_backend *f)
{
	static const unsigned aligns[] = {512, 1024, 2048, 4096};
	uint8_t *buf = aligned_alloc(4096, 8192);
	bool ok = false;
	int i;

	for (i = 0; buf && i < ARRAY_SIZE(aligns) && !ok; i++) {
		f->mem_align = f->off_align = aligns[i];
		ok = pread(f->fd, buf + aligns[i] % 4096, aligns[i], 0) >= 0;
	}
	free(buf);
	return ok;
}

bool file_probe_direct(struct file_backend *f, uint64_t size)
{
	bool ok = ask_alignment(f) || try_alignment(f);

	/* A file whose last block is not whole cannot be written to its end. */
	return ok && is_pow2(f->off_align) && is_pow2(f->mem_align) && f->off_align <= 65536 &&
	       f->mem_align <= 65536 && !(size & (f->off_align - 1));
}

void file_start(struct file_backend *f)
{
	/* None of its calls is done without a thread that waits: its own threads, then, not those
	 * of the rings, which others need. */
	f->no_ring = !f->device && fs_may_hang(f->fd, false, false);
	offload_init(&f->offload, f->base.name, file_run);
	pthread_mutex_init(&f->overlap.lock, NULL);
	f->overlap.used = f->direct && f->off_align > 512;
	f->base.limits.alignment = f->off_align;
	f->sector = MAX(f->sector, 1u);
}

void file_close(struct block_backend *b)
{
	struct file_backend *f = file_of(b);

	ring_forget_file(f->slots);
	offload_fini(&f->offload);
	pthread_mutex_destroy(&f->overlap.lock);
	/* the kernel may hold the file a little longer than we do */
	unlock_fd(f->fd);
	backend_put_away(f->fd, NULL, 0);
}

/* ---- files ---- */

static int refuse(char *why, size_t why_len, int r, const char *path, const char *what)
{
	snprintf(why, why_len, "%s: %s: %s", path, what, strerror(-r));
	return r;
}

static int set_direct(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT))
		return -errno;
	return 0;
}

/* After the size is set: what is read to find out must be there. */
static int choose_direct(struct file_backend *f, char *why, size_t why_len)
{
	const struct block_config *cfg = &f->base.cfg;

	f->mem_align = f->off_align = 1;
	if (cfg->direct == BLOCK_DIRECT_OFF)
		return 0;
	f->direct = !set_direct(f->fd, true) && file_probe_direct(f, block_size(&f->base));
	if (f->direct)
		return 0;
	if (cfg->direct == BLOCK_DIRECT_ON) {
		snprintf(why, why_len,
			 "%s: the file system has no O_DIRECT for a file of %llu bytes (`direct: "
			 "auto` does without)",
			 cfg->target, (unsigned long long)block_size(&f->base));
		return -ENOTSUP;
	}
	set_direct(f->fd, false);
	f->mem_align = f->off_align = 1;
	return 0;
}

static int reserve(struct file_backend *f, uint64_t size)
{
	int r;

	if (!f->base.cfg.preallocate)
		return 0;
	do
		r = fallocate(f->fd, 0, 0, (off_t)size) ? -errno : 0;
	while (r == -EINTR);
	if (r == -EOPNOTSUPP)
		r = -posix_fallocate(f->fd, 0, (off_t)size);
	return r;
}

static int size_file(struct file_backend *f, char *why, size_t why_len)
{
	struct block_config *cfg = &f->base.cfg;
	uint64_t size = cfg->size;
	struct stat st;
	int r;

	if (fstat(f->fd, &st))
		return refuse(why, why_len, -errno, cfg->target, "fstat");
	if (!S_ISREG(st.st_mode)) {
		snprintf(why, why_len, "%s is not a regular file%s", cfg->target,
			 S_ISBLK(st.st_mode) ? ": give it as a device" : "");
		return -EINVAL;
	}
	if (!size)
		size = st.st_size;
	if (!size) {
		snprintf(why, why_len, "%s is empty: give it a size", cfg->target);
		return -EINVAL;
	}
	if (size > (uint64_t)st.st_size) {
		if (cfg->read_only) {
			snprintf(why, why_len,
				 "%s has %llu bytes, fewer than its size says, and "
				 "is to be read only",
				 cfg->target, (unsigned long long)st.st_size);
			return -EINVAL;
		}
		if (ftruncate(f->fd, (off_t)size))
			return refuse(why, why_len, -errno, cfg->target, "making it larger");
		f->grown = true;
		f->grown_from = (uint64_t)st.st_size;
	}
	atomic_store(&f->base.size, size);
	r = cfg->read_only ? 0 : reserve(f, size);
	return r ? refuse(why, why_len, r, cfg->target, "reserving its blocks") : 0;
}

static void file_find_limits(struct file_backend *f)
{
	struct block_limits *lim = &f->base.limits;
	struct stat st = {0};

	lim->granularity = fstat(f->fd, &st) ? 4096 : (uint32_t)MIN(st.st_blksize, 1 << 20);
	lim->volatile_cache = true;
	/* beyond the end of the file this changes nothing */
	if (!f->base.read_only &&
	    !fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		       (off_t)align_up(MAX(block_size(&f->base), (uint64_t)st.st_size), 1 << 20),
		       4096)) {
		lim->discard_granularity = lim->granularity;
		lim->discard_zeroes = true;
	}
}

static int open_path(struct file_backend *f, char *why, size_t why_len)
{
	const struct block_config *cfg = &f->base.cfg;
	int flags = file_open_flags(cfg, false);

	f->fd = open(cfg->target, flags);
	if (f->fd < 0 && errno == ENOENT && cfg->size && !cfg->read_only) {
		f->fd = open(cfg->target, flags | O_CREAT | O_EXCL, 0600);
		f->created = f->fd >= 0;
	}
	if (f->fd >= 0)
		return 0;
	if (errno != ENOENT)
		return refuse(why, why_len, -errno, cfg->target, "opening it");
	snprintf(why, why_len, "%s does not exist%s", cfg->target,
		 cfg->read_only ? ", and is to be read only: make it first"
		 : cfg->size	? ", and its folder does not either: make that first"
				: ": give it a size, and it is made");
	return -ENOENT;
}

static void file_undo(struct block_backend *b)
{
	struct file_backend *f = file_of(b);

	if (f->created && unlink(b->cfg.target))
		log_warn("%s: %s, just made, cannot be removed: %s", b->name, b->cfg.target,
			 strerror(errno));
	else if (!f->created && f->grown && ftruncate(f->fd, (off_t)f->grown_from))
		log_warn("%s: %s keeps the size that it was given: %s", b->name, b->cfg.target,
			 strerror(errno));
}

static int file_open(struct block_backend *b, char *why, size_t why_len)
{
	struct file_backend *f = file_of(b);
	int r;

	r = open_path(f, why, why_len);
	if (r)
		return r;
	r = file_lock(f, why, why_len);
	if (!r)
		r = size_file(f, why, why_len);
	if (!r)
		r = choose_direct(f, why, why_len);
	if (r) {
		file_undo(b);
		close(f->fd);
		return r;
	}
	file_find_limits(f);
	file_start(f);
	return 0;
}

static int file_resize(struct block_backend *b, uint64_t size, char *why, size_t why_len)
{
	struct file_backend *f = file_of(b);
	uint64_t old = block_size(b);
	struct stat st;
	int r;

	if (size & (f->off_align - 1)) {
		snprintf(why, why_len, "%s: the size must be a multiple of %u bytes", b->cfg.target,
			 f->off_align);
		return -EINVAL;
	}
	if (fstat(f->fd, &st))
		return refuse(why, why_len, -errno, b->cfg.target, "fstat");
	if (size < old) {
		atomic_store(&b->size, size);
		worker_synchronize();
	}
	if ((size < old || size > (uint64_t)st.st_size) && ftruncate(f->fd, (off_t)size)) {
		r = -errno;
		atomic_store(&b->size, MIN(old, (uint64_t)st.st_size));
		return refuse(why, why_len, r, b->cfg.target, "changing its size");
	}
	r = reserve(f, size);
	if (r) {
		if (size > (uint64_t)st.st_size && ftruncate(f->fd, st.st_size))
			log_warn("%s: %s keeps the size that could not be reserved", b->name,
				 b->cfg.target);
		return refuse(why, why_len, r, b->cfg.target, "reserving its blocks");
	}
	atomic_store(&b->size, size);
	return 0;
}

static uint64_t file_allocated(const struct block_backend *b)
{
	struct stat st;

	return fstat(file_of(b)->fd, &st) ? block_size(b) : (uint64_t)st.st_blocks * 512;
}

const struct backend_impl block_file_impl = {
	.object_size = sizeof(struct file_backend),
	.open = file_open,
	.close = file_close,
	.undo = file_undo,
	.resize = file_resize,
	.submit = file_submit,
	.restart = file_restart,
	.ring_done = file_ring_done,
	.delivered = file_delivered,
	.cancel = file_cancel,
	.allocated = file_allocated,
};
