/* SPDX-License-Identifier: BSD-3-Clause */
#include "nvme/status_private.h"

#include <errno.h>

/* What may go better when tried again says so: without Do Not Retry. */
uint16_t nvme_status_of(int err, int write)
{
	if (err >= 0)
		return 0;
	switch (-err) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return NVME_ST_GENERIC(NVME_SC_CAP_EXCEEDED);
	case ECANCELED:
		return NVME_SC_ABORT_REQ;
	case EFAULT:
		return NVME_SC_DATA_XFER_ERROR;
	case EROFS:
	case EPERM:
	case EACCES:
		return NVME_ST_GENERIC(NVME_SC_NS_WRITE_PROTECTED);
	case ERANGE:
		return NVME_ST_GENERIC(NVME_SC_LBA_RANGE);
	case ENOTSUP:
		return NVME_ST_GENERIC(NVME_SC_INVALID_OPCODE);
	case EILSEQ: /* what the medium's checksum refuses */
	case EIO:
	case ENODATA:
		break;
	default:
		return NVME_SC_INTERNAL;
	}
	return write ? NVME_ST_MEDIA(NVME_SC_WRITE_FAULT) : NVME_ST_MEDIA(NVME_SC_READ_ERROR);
}
