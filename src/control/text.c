/* SPDX-License-Identifier: BSD-3-Clause */
#include "control/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

#define WORD_MAX 32

int text_uint(const char *s, uint64_t *out)
{
	char *end;

	if (!isdigit((unsigned char)s[0]))
		return -EINVAL;
	errno = 0;
	*out = strtoull(s, &end, s[0] == '0' && (s[1] | 0x20) == 'x' ? 16 : 10);
	return *end || errno ? -EINVAL : 0;
}

int text_decimal(const char *s, double *out)
{
	double unit = 1;

	if (!isdigit((unsigned char)s[0]))
		return -EINVAL;
	for (*out = 0; isdigit((unsigned char)*s); s++)
		*out = *out * 10 + (*s - '0');
	if (*s == '.' && isdigit((unsigned char)s[1])) {
		for (s++; isdigit((unsigned char)*s); s++)
			*out += (*s - '0') * (unit /= 10);
	}
	return *s ? -EINVAL : 0;
}

#define FRACTION_DIGITS 9
#define FRACTION_STEP	4096

static const char size_units[] = "KMGTP";

/* "GiB" or "G" to its end: the power of two, or -EINVAL. */
static int size_shift(const char *s)
{
	const char *unit;

	if (!*s)
		return 0;
	unit = strchr(size_units, toupper((unsigned char)*s));
	if (!unit || (s[1] && strcasecmp(s + 1, "iB")))
		return -EINVAL;
	return 10 * (int)(unit - size_units + 1);
}

int text_size(const char *s, uint64_t *out)
{
	uint64_t whole, fraction = 0, scale = 1;
	char *end;
	int shift;

	if (!isdigit((unsigned char)s[0]))
		return -EINVAL;
	errno = 0;
	whole = strtoull(s, &end, 10);
	if (errno)
		return -EINVAL;
	if (*end == '.') {
		unsigned digits = 0;

		while (isdigit((unsigned char)*++end)) {
			if (++digits > FRACTION_DIGITS)
				return -EINVAL;
			fraction = fraction * 10 + (uint64_t)(*end - '0');
			scale *= 10;
		}
		if (!digits)
			return -EINVAL;
	}
	shift = size_shift(end);
	/* Half a byte is nothing to ask for. */
	if (shift < 0 || (scale > 1 && !shift) || whole > UINT64_MAX >> shift)
		return -EINVAL;
	whole <<= shift;
	if (fraction) {
		unsigned __int128 scaled = (unsigned __int128)fraction << shift;
		uint64_t part = (uint64_t)(scaled / scale);

		if (part > UINT64_MAX - whole)
			return -EINVAL;
		whole += part;
		if (scaled % scale)
			whole -= whole % FRACTION_STEP;
	}
	*out = whole;
	return 0;
}

const char *text_size_format(uint64_t size, char buf[TEXT_SIZE_LEN])
{
	char unit[2] = "";

	for (unsigned u = 0; size && !(size % 1024) && size_units[u]; u++) {
		size /= 1024;
		unit[0] = size_units[u];
	}
	snprintf(buf, TEXT_SIZE_LEN, "%llu%s", (unsigned long long)size, unit);
	return buf;
}

int text_bool(const char *s, bool *out)
{
	static const char *const yes[] = {"on", "true", "yes"};
	static const char *const no[] = {"off", "false", "no"};

	for (unsigned i = 0; i < ARRAY_SIZE(yes); i++) {
		*out = !strcasecmp(s, yes[i]);
		if (*out || !strcasecmp(s, no[i]))
			return 0;
	}
	return -EINVAL;
}

const char *text_mac(const char *s, uint8_t mac[6])
{
	static const char *const form = "write a MAC address as 02:00:00:00:00:10";
	static const uint8_t zero[6];
	uint8_t m[6];

	for (unsigned i = 0; i < 6; i++, s += 2) {
		char hex[3] = {0};

		if (i && *s != ':' && *s != '-')
			return form;
		s += i > 0;
		if (!isxdigit((unsigned char)s[0]) || !isxdigit((unsigned char)s[1]))
			return form;
		memcpy(hex, s, 2);
		m[i] = (uint8_t)strtoul(hex, NULL, 16);
	}
	if (*s)
		return form;
	if (m[0] & 1)
		return "a multicast address: the first byte must be even, such as 02";
	if (!memcmp(m, zero, 6))
		return "the zero address: leave it out to have one generated";
	memcpy(mac, m, 6);
	return NULL;
}

const char *text_mac_format(const uint8_t mac[6], char buf[TEXT_MAC_LEN])
{
	snprintf(buf, TEXT_MAC_LEN, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		 mac[4], mac[5]);
	return buf;
}

static int vlan_id(const char **s, unsigned *out)
{
	char *end;
	unsigned long v;

	if (!isdigit((unsigned char)**s))
		return -EINVAL;
	v = strtoul(*s, &end, 10);
	if (v < 1 || v > 4094)
		return -EINVAL;
	*s = end;
	*out = (unsigned)v;
	return 0;
}

int text_vlan_set(const char *s, uint8_t *bitmap)
{
	unsigned from, to;

	for (;;) {
		if (vlan_id(&s, &from))
			return -EINVAL;
		to = from;
		if (*s == '-') {
			s++;
			if (vlan_id(&s, &to) || to < from)
				return -EINVAL;
		}
		for (unsigned v = from; v <= to; v++)
			bitmap[v / 8] |= (uint8_t)BIT(v % 8);
		if (!*s)
			return 0;
		if (*s++ != ',')
			return -EINVAL;
	}
}

void text_vlan_set_format(const uint8_t *bitmap, char *buf, size_t len)
{
	size_t n = 0;

	buf[0] = '\0';
	for (unsigned v = 1; v < 4095; v++) {
		unsigned from = v;
		char one[16];
		size_t w;

		if (!(bitmap[v / 8] & BIT(v % 8)))
			continue;
		while (v + 1 < 4095 && bitmap[(v + 1) / 8] & BIT((v + 1) % 8))
			v++;
		w = (size_t)(from == v ? snprintf(one, sizeof(one), "%s%u", n ? "," : "", v)
				       : snprintf(one, sizeof(one), "%s%u-%u", n ? "," : "", from,
						  v));
		if (n + w + 4 >= len) {
			snprintf(buf + n, len - n, "…");
			return;
		}
		memcpy(buf + n, one, w + 1);
		n += w;
	}
}

int text_uuid(const char *s)
{
	bool zero = true;

	for (unsigned i = 0; i < TEXT_UUID_LEN - 1; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? s[i] != '-' : !isxdigit((unsigned char)s[i]))
			return -EINVAL;
		zero = zero && (dash || s[i] == '0');
	}
	return s[TEXT_UUID_LEN - 1] || zero ? -EINVAL : 0;
}

bool text_nbd_uri(const char *s)
{
	static const char *const schemes[] = {"nbd://",	      "nbds://",      "nbd+unix://",
					      "nbds+unix://", "nbd+vsock://", "nbds+vsock://"};

	for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++)
		if (!strncasecmp(s, schemes[i], strlen(schemes[i])) && s[strlen(schemes[i])])
			return true;
	return false;
}

int text_path(const char *dir, const char *path, char *buf, size_t len)
{
	const char *parts[2] = {path[0] == '/' ? "" : dir, path};
	size_t n = 0;

	for (unsigned i = 0; i < 2; i++) {
		for (const char *p = parts[i]; *p;) {
			size_t w = strcspn(p, "/");

			if (w && !(w == 1 && *p == '.')) {
				if (w + 1 >= len - n)
					return -ENAMETOOLONG;
				buf[n++] = '/';
				memcpy(buf + n, p, w);
				n += w;
			}
			p += w;
			p += *p == '/';
		}
	}
	if (!n)
		buf[n++] = '/';
	buf[n] = '\0';
	return 0;
}

/* Letters to insert, remove, replace, or swap with a neighbour. */
static unsigned edit_distance(const char *a, size_t la, const char *b, size_t lb)
{
	unsigned d[WORD_MAX + 1][WORD_MAX + 1];

	for (size_t i = 0; i <= la; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= lb; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		for (size_t j = 1; j <= lb; j++) {
			unsigned cost = tolower((unsigned char)a[i - 1]) !=
					tolower((unsigned char)b[j - 1]);

			d[i][j] = d[i - 1][j - 1] + cost;
			d[i][j] = MIN(d[i][j], d[i - 1][j] + 1);
			d[i][j] = MIN(d[i][j], d[i][j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = MIN(d[i][j], d[i - 2][j - 2] + 1);
		}
	}
	return d[la][lb];
}

const char *text_nearest(const char *word, const char *const *names, unsigned count)
{
	const char *best = NULL;
	unsigned best_d = 4;
	size_t len = strlen(word);

	if (!len || len > WORD_MAX)
		return NULL;
	for (unsigned i = 0; i < count; i++) {
		size_t nl = strlen(names[i]);
		unsigned d;

		if (nl > WORD_MAX)
			continue;
		d = edit_distance(word, len, names[i], nl);
		/* Half of the letters must be right, else it is another word. */
		if (d < best_d && d * 2 <= MAX(len, nl)) {
			best = names[i];
			best_d = d;
		}
	}
	return best;
}
