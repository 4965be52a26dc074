/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words that people write, the same in the configuration file, the control protocol and the
 * command line: numbers, on/off, MAC addresses, VLAN sets. No input/output; any thread.
 */
#ifndef SOFTIOV_CONTROL_TEXT_H
#define SOFTIOV_CONTROL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_MAC_LEN 18 /* with the NUL */

/* Decimal or 0x…; no sign, no blanks. 0 or -EINVAL. */
int text_uint(const char *s, uint64_t *out);
/* on/off, true/false, yes/no. 0 or -EINVAL. */
int text_bool(const char *s, bool *out);
/* A unicast MAC address. NULL, or what is wrong with it and what to write. */
const char *text_mac(const char *s, uint8_t mac[6]);
const char *text_mac_format(const uint8_t mac[6], char buf[TEXT_MAC_LEN]);

/* "1,5-9" into a bitmap of 4096 bits (bits are added). 0 or -EINVAL; ids 1..4094. */
int text_vlan_set(const char *s, uint8_t *bitmap);
/* The reverse; cut with "…" when it does not fit. */
void text_vlan_set_format(const uint8_t *bitmap, char *buf, size_t len);

/* The name nearest to word (case folded), if it is near enough to be meant; else NULL. */
const char *text_nearest(const char *word, const char *const *names, unsigned count);

#endif
