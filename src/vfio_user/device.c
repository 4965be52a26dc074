/* SPDX-License-Identifier: BSD-3-Clause */
/* What the device is, and its reset. */
#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#include "vfio_user/session.h"

/* Without the RESET flag QEMU would never pass a system reset on. */
int vfu_handle_device_info(struct vfu_session *s, struct vfu_msg *m)
{
	struct {
		uint32_t argsz, flags, num_regions, num_irqs;
	} info = {
		.argsz = sizeof(info),
		.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
		.num_regions = VFU_NUM_REGIONS,
		.num_irqs = VFU_NUM_IRQS,
	};
	uint32_t argsz;

	memcpy(&argsz, m->body, sizeof(argsz));
	if (argsz < sizeof(argsz))
		return -EINVAL;
	vfu_reply_argsz(s, m, &info, sizeof(info), argsz);
	return 0;
}

/* DEVICE_RESET, and the answer: exactly a header. */
int vfu_handle_reset(struct vfu_session *s, struct vfu_msg *m)
{
	vfu_remote_cancel(s->cfg.remote);
	pci_function_reset(s->cfg.fn, PCI_RESET_FLR);
	vfu_remote_resume(s->cfg.remote);
	vfu_reply(s, m, NULL, 0, NULL, 0);
	return 0;
}
