/* SPDX-License-Identifier: BSD-3-Clause */
/* What all backends share. */
#include "block/block.h"

#include "util/util.h"

const char *block_type_name(enum block_type type)
{
	static const char *const names[] = {"file", "device", "memory", "null", "nbd"};

	return (unsigned)type < ARRAY_SIZE(names) ? names[type] : "unknown";
}
