/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words that people write, the same in the configuration file, the control protocol and the
 * command line: numbers, sizes, on/off, MAC addresses, VLAN sets, UUIDs, paths. No input/output;
 * any thread.
 */
#ifndef SOFTIOV_CONTROL_TEXT_H
#define SOFTIOV_CONTROL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_MAC_LEN  18 /* with the NUL */
#define TEXT_SIZE_LEN 24
#define TEXT_UUID_LEN 37

/* Decimal or 0x…; no sign, no blanks. 0 or -EINVAL. */
int text_uint(const char *s, uint64_t *out);
/* "2", "0.5", whatever the locale; no sign, no exponent. 0 or -EINVAL. */
int text_decimal(const char *s, double *out);
/*
 * Bytes: "4096", "4K", "1.5G", "10T"; K, M, G, T, P are powers of 1024, in either case, with "iB"
 * or without. A fraction that is no whole number of bytes (0.1G) is rounded down to 4 KiB. 0 or
 * -EINVAL.
 */
int text_size(const char *s, uint64_t *out);
/* The reverse, exact: the largest unit that divides it. */
const char *text_size_format(uint64_t size, char buf[TEXT_SIZE_LEN]);
/* on/off, true/false, yes/no. 0 or -EINVAL. */
int text_bool(const char *s, bool *out);
/* A unicast MAC address. NULL, or what is wrong with it and what to write. */
const char *text_mac(const char *s, uint8_t mac[6]);
const char *text_mac_format(const uint8_t mac[6], char buf[TEXT_MAC_LEN]);

/* "1,5-9" into a bitmap of 4096 bits (bits are added). 0 or -EINVAL; ids 1..4094. */
int text_vlan_set(const char *s, uint8_t *bitmap);
/* The reverse; cut with "…" when it does not fit. */
void text_vlan_set_format(const uint8_t *bitmap, char *buf, size_t len);

/* 8-4-4-4-12 hexadecimal digits, not all zero. 0 or -EINVAL. */
int text_uuid(const char *s);

/* Whether it begins as an NBD URI does; the rest is libnbd's to read. */
bool text_nbd_uri(const char *s);

/*
 * The path as seen from dir, an absolute one: joined unless it is absolute itself, without "./" and
 * double slashes. ".." stays: what it means is the file system's to say. 0 or -ENAMETOOLONG.
 */
int text_path(const char *dir, const char *path, char *buf, size_t len);

/* The name nearest to word (case folded), if it is near enough to be meant; else NULL. */
const char *text_nearest(const char *word, const char *const *names, unsigned count);

#endif
