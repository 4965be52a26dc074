/* SPDX-License-Identifier: BSD-3-Clause */
#include "util/fs.h"

#include <linux/magic.h>
#include <sys/vfs.h>

/* magic numbers that linux/magic.h lacks */
#define FUSE_MAGIC     0x65735546
#define CIFS_MAGIC     0xFF534D42
#define ECRYPTFS_MAGIC 0xf15f

bool fs_may_hang(int fd, bool stacked, bool unknown)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return unknown;
	switch ((unsigned long)fs.f_type & 0xffffffff) {
	case FUSE_MAGIC:
	case CIFS_MAGIC:
	case NFS_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
	case V9FS_MAGIC:
	case CEPH_SUPER_MAGIC:
	case CODA_SUPER_MAGIC:
	case AFS_SUPER_MAGIC:
	case AFS_FS_MAGIC:
		return true;
	case OVERLAYFS_SUPER_MAGIC:
	case ECRYPTFS_MAGIC:
		return stacked;
	default:
		return false;
	}
}
