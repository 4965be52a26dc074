/* SPDX-License-Identifier: BSD-3-Clause */
/* Block devices: opening and limits; the rest is like files. */
#include "block/file_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* A word of the device's queue, which a partition's disk has for it. False: there is none. */
static bool queue_word(uint64_t rdev, const char *name, char *word, size_t len)
{
	static const char *const places[] = {"queue", "../queue"};
	char path[128];
	ssize_t n = -1;
	int fd, i;

	for (i = 0; i < ARRAY_SIZE(places) && n < 0; i++) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/%s", major(rdev), minor(rdev),
			 places[i], name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		n = read(fd, word, len - 1);
		close(fd);
	}
	if (n <= 0)
		return false;
	word[n] = '\0';
	return true;
}

static uint32_t queue_number(uint64_t rdev, const char *name)
{
	char word[32];
	unsigned long v;

	if (!queue_word(rdev, name, word, sizeof(word)))
		return 0;
	v = strtoul(word, NULL, 10);
	return (uint32_t)MIN(v, (unsigned long)BIT(30));
}

static int device_size(struct file_backend *f, uint64_t *size)
{
	return ioctl(f->fd, BLKGETSIZE64, size) ? -errno : 0;
}

static void device_limits(struct file_backend *f, uint64_t rdev)
{
	struct block_limits *lim = &f->base.limits;
	char cache[32] = "write back";
	unsigned physical = 0;

	ioctl(f->fd, BLKPBSZGET, &physical);
	lim->granularity = MAX(physical, 512u);
	queue_word(rdev, "write_cache", cache, sizeof(cache));
	/* the page cache is one in any case */
	lim->volatile_cache = !f->direct || !strncmp(cache, "write back", 10);
	if (queue_number(rdev, "discard_max_bytes"))
		lim->discard_granularity = MAX(queue_number(rdev, "discard_granularity"), 512u);
}

static int choose_direct(struct file_backend *f, uint64_t size, char *why, size_t why_len)
{
	const struct block_config *cfg = &f->base.cfg;
	int sector = 0, flags = fcntl(f->fd, F_GETFL);

	f->mem_align = f->off_align = 1;
	if (ioctl(f->fd, BLKSSZGET, &sector) || sector < 512 || !is_pow2(sector))
		sector = 512;
	f->sector = (uint32_t)sector;
	if (cfg->direct == BLOCK_DIRECT_OFF)
		return 0;
	f->direct = flags >= 0 && !fcntl(f->fd, F_SETFL, flags | O_DIRECT);
	if (f->direct && !file_probe_direct(f, size))
		f->mem_align = f->off_align = (uint32_t)sector;
	if (f->direct || cfg->direct == BLOCK_DIRECT_AUTO)
		return 0;
	snprintf(why, why_len, "%s: the device has no O_DIRECT", cfg->target);
	return -ENOTSUP;
}

static int set_size(struct file_backend *f, char *why, size_t why_len)
{
	struct block_config *cfg = &f->base.cfg;
	uint64_t size;
	int r = device_size(f, &size);

	if (r) {
		snprintf(why, why_len, "%s: its size: %s", cfg->target, strerror(-r));
		return r;
	}
	if (!size || cfg->size > size) {
		snprintf(why, why_len, "%s has %llu bytes, fewer than its size says", cfg->target,
			 (unsigned long long)size);
		return -EINVAL;
	}
	atomic_store(&f->base.size, cfg->size ? cfg->size : size);
	return 0;
}

static int open_device(struct file_backend *f, struct stat *st, char *why, size_t why_len)
{
	const struct block_config *cfg = &f->base.cfg;
	int r;

	/* O_EXCL: against the kernel's own users (a mounted file system, a RAID) */
	f->fd = open(cfg->target, file_open_flags(cfg, false) | (cfg->read_only ? 0 : O_EXCL));
	if (f->fd < 0) {
		r = -errno;
		snprintf(why, why_len, "%s: %s", cfg->target,
			 r == -EBUSY ? "it is in use (mounted, part of a RAID or LVM, or opened by "
				       "another program): unmount or stop that first"
				     : strerror(-r));
		return r;
	}
	if (fstat(f->fd, st) || !S_ISBLK(st->st_mode)) {
		snprintf(why, why_len, "%s is not a block device%s", cfg->target,
			 S_ISREG(st->st_mode) ? ": give it as a file" : "");
		close(f->fd);
		return -ENOTBLK;
	}
	return 0;
}

static int device_open(struct block_backend *b, char *why, size_t why_len)
{
	struct file_backend *f = file_of(b);
	struct stat st = {0};
	int r;

	f->device = true;
	r = open_device(f, &st, why, why_len);
	if (r)
		return r;
	r = file_lock(f, why, why_len);
	if (!r)
		r = set_size(f, why, why_len);
	if (!r)
		r = choose_direct(f, block_size(b), why, why_len);
	if (r) {
		close(f->fd);
		return r;
	}
	device_limits(f, st.st_rdev);
	file_start(f);
	return 0;
}

/* Size 0: whatever the device has now. */
static int device_resize(struct block_backend *b, uint64_t size, char *why, size_t why_len)
{
	uint64_t now;
	int r = device_size(file_of(b), &now);

	if (!r && size > now)
		r = -ENOSPC;
	if (r) {
		snprintf(why, why_len, "%s: %s", b->cfg.target,
			 r == -ENOSPC ? "the device is not that large" : strerror(-r));
		return r;
	}
	atomic_store(&b->size, size ? size : now);
	return 0;
}

const struct backend_impl block_device_impl = {
	.object_size = sizeof(struct file_backend),
	.open = device_open,
	.close = file_close,
	.resize = device_resize,
	.submit = file_submit,
	.restart = file_restart,
	.ring_done = file_ring_done,
	.delivered = file_delivered,
	.cancel = file_cancel,
};
