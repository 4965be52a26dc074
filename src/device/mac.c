/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>

#include <systemd/sd-id128.h>

#include "device/device_internal.h"

/* FNV-1a; any well-spread hash would do, this is no secret. */
static uint64_t hash(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len--)
		h = (h ^ *p++) * 0x100000001b3ull;
	return h;
}

/*
 * 02:hh:hh:hh:ii:ii: locally administered; three bytes from the machine and the device's name, so
 * that two machines on one network do not give the same; two bytes the function.
 */
void mac_generate(const char *device, unsigned index, uint8_t mac[ETH_ALEN])
{
	uint64_t h = 0xcbf29ce484222325ull;
	sd_id128_t machine;

	if (sd_id128_get_machine(&machine) >= 0)
		h = hash(h, &machine, sizeof(machine));
	h = hash(h, device, strlen(device));
	mac[0] = 0x02;
	mac[1] = h >> 40;
	mac[2] = h >> 24;
	mac[3] = h >> 8;
	mac[4] = index >> 8;
	mac[5] = index;
}
