/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "device/device_internal.h"

static const struct config_root_device *entry_of(const struct config_root *root, const char *device)
{
	for (unsigned i = 0; i < root->n_devices; i++) {
		if (!strcmp(root->devices[i].device, device))
			return &root->devices[i];
	}
	return NULL;
}

int shares_plan(const struct config *cfg, const struct config_device *dev, struct pf *pfs,
		unsigned max, char why[WHY_MAX])
{
	unsigned n = 0, open = 0, granted = 0, rest, first = 0;

	for (unsigned i = 0; i < cfg->n_roots; i++) {
		const struct config_root_device *e = entry_of(&cfg->roots[i], dev->name);

		if (!e)
			continue;
		if (n == max)
			return why_set(why, -E2BIG, "%s: more than %u roots have it", dev->name,
				       max);
		snprintf(pfs[n].root, sizeof(pfs[n].root), "%s", cfg->roots[i].name);
		pfs[n].share = e->total_vfs;
		granted += e->total_vfs;
		open += !e->total_vfs;
		n++;
	}
	if (!n) {
		pfs[0].root[0] = '\0';
		pfs[0].first_vf = 0;
		pfs[0].share = dev->total_vfs;
		return 1;
	}
	if (granted > dev->total_vfs)
		return why_set(why, -ERANGE,
			       "%s: its roots are promised %u VFs together but total-vfs is %u; "
			       "raise total-vfs or lower their shares",
			       dev->name, granted, dev->total_vfs);
	/* Roots without a share of their own divide what is left; the first get the remainder. */
	rest = dev->total_vfs - granted;
	for (unsigned i = 0; i < n; i++) {
		if (!pfs[i].share && open) {
			pfs[i].share = rest / open + (rest % open != 0);
			rest -= pfs[i].share;
			open--;
		}
		pfs[i].first_vf = first;
		first += pfs[i].share;
	}
	return n;
}
