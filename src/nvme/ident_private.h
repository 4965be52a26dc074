/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names that stay the same on this machine and differ from those of others: NQN, serial number,
 * UUID, NGUID. Made with a keyed hash whose key is the machine's id, which guests cannot compute
 * back; never from what a disk holds. Any thread.
 */
#ifndef SOFTIOV_NVME_IDENT_PRIVATE_H
#define SOFTIOV_NVME_IDENT_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#define NVME_NQN_SIZE  224 /* 7.9: 223 bytes at most */
#define NVME_UUID_SIZE 37

/* 16 bytes out of a text; kind keeps uses apart. */
void nvme_ident(const char *kind, const char *text, uint8_t out[16]);
/* The same as a UUID (RFC 9562, version 8). */
void nvme_ident_uuid(const char *kind, const char *text, uint8_t out[16]);
void nvme_uuid_print(const uint8_t uuid[16], char out[NVME_UUID_SIZE]);
/* False: it is none, or it is all zero. */
bool nvme_uuid_parse(const char *text, uint8_t out[16]);

#endif
