/* SPDX-License-Identifier: BSD-3-Clause */
#include "nvme/ident_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/bytes.h"

#define MACHINE_ID "/etc/machine-id" /* 32 hexadecimal digits, machine-id(5) */

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool read_hex(const char *text, uint8_t *byte)
{
	int hi = nibble(text[0]), lo = hi < 0 ? -1 : nibble(text[1]);

	if (lo < 0)
		return false;
	*byte = (uint8_t)(hi << 4 | lo);
	return true;
}

/* Without one all machines have the same names: better than names that change. */
static void machine_key(uint8_t key[16])
{
	int fd = open(MACHINE_ID, O_RDONLY | O_CLOEXEC);
	char text[33] = "";
	ssize_t n = 0;

	memset(key, 0, 16);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	for (unsigned i = 0; n == 32 && i < 16; i++) {
		if (!read_hex(text + 2 * i, &key[i]))
			break;
	}
}

/* ---- SipHash-2-4 (Aumasson and Bernstein, 2012) ---- */

struct sip {
	uint64_t v[4];
};

static uint64_t rotl(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static void sip_round(struct sip *s)
{
	uint64_t *v = s->v;

	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] = rotl(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] = rotl(v[2], 32);
}

static void sip_word(struct sip *s, uint64_t m)
{
	s->v[3] ^= m;
	sip_round(s);
	sip_round(s);
	s->v[0] ^= m;
}

static uint64_t siphash(const uint8_t key[16], const uint8_t *data, size_t len)
{
	uint64_t k0 = get_le64(key), k1 = get_le64(key + 8), last = (uint64_t)len << 56;
	struct sip s = {{k0 ^ 0x736f6d6570736575ull, k1 ^ 0x646f72616e646f6dull,
			 k0 ^ 0x6c7967656e657261ull, k1 ^ 0x7465646279746573ull}};
	size_t i;

	for (i = 0; i + 8 <= len; i += 8)
		sip_word(&s, get_le64(data + i));
	for (unsigned shift = 0; i < len; i++, shift += 8)
		last |= (uint64_t)data[i] << shift;
	sip_word(&s, last);
	s.v[2] ^= 0xff;
	for (unsigned r = 0; r < 4; r++)
		sip_round(&s);
	return s.v[0] ^ s.v[1] ^ s.v[2] ^ s.v[3];
}

/* ---- names ---- */

void nvme_ident(const char *kind, const char *text, uint8_t out[16])
{
	uint8_t key[16], data[64 + 8192];
	int n;

	machine_key(key);
	n = snprintf((char *)data + 1, sizeof(data) - 1, "%s\n%s", kind, text);
	n = n < (int)sizeof(data) - 2 ? n : (int)sizeof(data) - 2;
	for (unsigned half = 0; half < 2; half++) {
		data[0] = (uint8_t)half;
		put_le64(out + 8 * half, siphash(key, data, (size_t)n + 1));
	}
}

void nvme_ident_uuid(const char *kind, const char *text, uint8_t out[16])
{
	nvme_ident(kind, text, out);
	out[6] = (out[6] & 0x0f) | 0x80; /* version 8: made by a way of one's own */
	out[8] = (out[8] & 0x3f) | 0x80; /* variant */
}

/* 8-4-4-4-12 digits: a dash before the bytes 4, 6, 8 and 10. */
static bool dash_before(unsigned i)
{
	return i == 4 || i == 6 || i == 8 || i == 10;
}

void nvme_uuid_print(const uint8_t uuid[16], char out[NVME_UUID_SIZE])
{
	for (unsigned i = 0; i < 16; i++) {
		if (dash_before(i))
			*out++ = '-';
		snprintf(out, 3, "%02x", uuid[i]);
		out += 2;
	}
}

bool nvme_uuid_parse(const char *text, uint8_t out[16])
{
	uint8_t any = 0;

	for (unsigned i = 0; i < 16; i++, text += 2) {
		if (dash_before(i) && *text++ != '-')
			return false;
		if (!read_hex(text, &out[i]))
			return false;
		any |= out[i];
	}
	return !*text && any;
}
