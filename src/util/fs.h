/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SOFTIOV_UTIL_FS_H
#define SOFTIOV_UTIL_FS_H

#include <stdbool.h>

/*
 * Whether a file lies on a file system that another program or machine answers for, and which so
 * may not answer at all. stacked counts those too that hide another one below. unknown is what
 * holds when it cannot be found out. Any thread.
 */
bool fs_may_hang(int fd, bool stacked, bool unknown);

#endif
