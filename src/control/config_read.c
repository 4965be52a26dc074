/* SPDX-License-Identifier: BSD-3-Clause */
#include "control/config_read.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/text.h"
#include "util/util.h"

void config_error(struct reader *r, int line, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	int n;

	if (r->n_errors == CONFIG_ERRORS_MAX) {
		r->suppressed++;
		return;
	}
	n = snprintf(text, sizeof(text), "%s%s", r->path, r->path[0] ? ": " : "");
	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - n, fmt, ap);
	va_end(ap);
	r->errors[r->n_errors].line = line;
	r->errors[r->n_errors].text = strdup(text);
	if (r->errors[r->n_errors].text)
		r->n_errors++;
	else
		r->no_memory = true;
}

/* Insertion sort: few, mostly in order, and those of one line keep their order. */
static void sort_by_line(struct config_error *e, unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		for (unsigned j = i; j && e[j - 1].line > e[j].line; j--) {
			struct config_error t = e[j];

			e[j] = e[j - 1];
			e[j - 1] = t;
		}
	}
}

char *config_errors_text(const struct reader *r)
{
	struct config_error sorted[CONFIG_ERRORS_MAX];
	char *text = NULL;
	size_t len;
	FILE *f;

	f = open_memstream(&text, &len);
	if (!f)
		return NULL;
	memcpy(sorted, r->errors, sizeof(sorted[0]) * r->n_errors);
	sort_by_line(sorted, r->n_errors);
	for (unsigned i = 0; i < r->n_errors; i++) {
		fprintf(f, "%s:", r->in->file);
		if (sorted[i].line)
			fprintf(f, "%d:", sorted[i].line);
		fprintf(f, " %s\n", sorted[i].text);
	}
	if (r->suppressed)
		fprintf(f, "%s: and %u more errors\n", r->in->file, r->suppressed);
	if (r->no_memory)
		fprintf(f, "%s: out of memory\n", r->in->file);
	return fclose(f) ? NULL : text;
}

void config_errors_free(struct reader *r)
{
	for (unsigned i = 0; i < r->n_errors; i++)
		free(r->errors[i].text);
	r->n_errors = 0;
}

size_t path_push(struct reader *r, const char *key)
{
	size_t mark = strlen(r->path);

	if (key)
		snprintf(r->path + mark, sizeof(r->path) - mark, "%s%.64s", mark ? "." : "", key);
	for (char *p = r->path + mark; *p; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?'; /* nothing from a file reaches a terminal as a command */
	return mark;
}

void path_pop(struct reader *r, size_t mark)
{
	r->path[mark] = '\0';
}

static const char *kind_name(const struct ynode *n)
{
	static const char *const names[] = {"a single value", "a list", "a map of settings"};

	return names[n->kind];
}

bool want_map(struct reader *r, const struct ynode *n)
{
	if (n->kind == YNODE_MAP || (n->kind == YNODE_SCALAR && !n->value[0]))
		return true;
	config_error(r, n->line, "%s where settings were expected: write key: value, indented",
		     kind_name(n));
	return false;
}

bool want_list(struct reader *r, const struct ynode *n)
{
	if (n->kind == YNODE_LIST)
		return true;
	config_error(r, n->line, "%s where a list was expected: write [a, b]", kind_name(n));
	return false;
}

bool want_scalar(struct reader *r, const struct ynode *n)
{
	if (n->kind != YNODE_SCALAR) {
		config_error(r, n->line, "%s where a single value was expected: write one word",
			     kind_name(n));
		return false;
	}
	if (!n->value[0]) {
		config_error(r, n->line, "nothing given: write a value, or remove the key");
		return false;
	}
	return true;
}

const struct ynode *map_find(const struct ynode *map, const char *key)
{
	for (const struct ynode *n = map ? map->first : NULL; n; n = n->next)
		if (n->key && !strcmp(n->key, key))
			return n;
	return NULL;
}

bool config_knows(const struct config_key *keys, const char *key)
{
	for (; keys && keys->key; keys++)
		if (!strcmp(keys->key, key))
			return true;
	return false;
}

static void unknown_key(struct reader *r, const struct ynode *n, const struct config_keys *keys)
{
	const struct config_key *const lists[] = {keys->common, keys->own};
	const char *names[64];
	char list[512] = "";
	unsigned count = 0;
	const char *near;

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		for (const struct config_key *k = lists[i]; k && k->key; k++) {
			if (count == ARRAY_SIZE(names))
				break;
			snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
				 count ? ", " : "", k->key);
			names[count++] = k->key;
		}
	}
	near = text_nearest(n->key, names, count);
	if (near)
		config_error(r, n->line, "unknown key: did you mean \"%s\"?", near);
	else
		config_error(r, n->line, "unknown key: use one of %s", list);
}

static const struct config_key *find_key(const struct config_keys *keys, const char *key)
{
	const struct config_key *const lists[] = {keys->common, keys->own};

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++)
		for (const struct config_key *k = lists[i]; k && k->key; k++)
			if (!strcmp(k->key, key))
				return k;
	return NULL;
}

void read_typed_map(struct reader *r, const struct ynode *map, const struct config_keys *keys,
		    void *obj)
{
	if (!want_map(r, map))
		return;
	for (const struct ynode *n = map->first; n; n = n->next) {
		const struct config_key *k = find_key(keys, n->key);
		size_t mark = path_push(r, n->key);
		const struct ynode *before = map_find(map, n->key);

		if (!k && config_knows(keys->other, n->key))
			config_error(r, n->line, "belongs to type %s, this is %s: remove it",
				     keys->other_type, keys->type);
		else if (!k)
			unknown_key(r, n, keys);
		else if (before != n)
			config_error(r, n->line,
				     "given twice, first on line %d: remove one of the two",
				     before->line);
		else
			k->read(r, n, obj);
		path_pop(r, mark);
	}
}

void read_map(struct reader *r, const struct ynode *map, const struct config_key *keys, void *obj)
{
	const struct config_keys all = {.common = keys};

	read_typed_map(r, map, &all, obj);
}

bool read_uint(struct reader *r, const struct ynode *n, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t v;

	if (!want_scalar(r, n))
		return false;
	if (text_uint(n->value, &v) || v < min || v > max) {
		config_error(r, n->line, "\"%.40s\": give a number from %llu to %llu", n->value,
			     (unsigned long long)min, (unsigned long long)max);
		return false;
	}
	*out = v;
	return true;
}

bool read_bool(struct reader *r, const struct ynode *n, bool *out)
{
	if (!want_scalar(r, n))
		return false;
	if (text_bool(n->value, out)) {
		config_error(r, n->line, "\"%.40s\": write on or off", n->value);
		return false;
	}
	return true;
}

bool read_choice(struct reader *r, const struct ynode *n, const char *const *names, unsigned count,
		 unsigned *out)
{
	char list[512] = "";

	if (!want_scalar(r, n))
		return false;
	for (unsigned i = 0; i < count; i++) {
		if (!strcasecmp(n->value, names[i])) {
			*out = i;
			return true;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
			 i ? (i + 1 == count ? " or " : ", ") : "", names[i]);
	}
	config_error(r, n->line, "\"%.40s\": write %s", n->value, list);
	return false;
}

bool read_mac(struct reader *r, const struct ynode *n, uint8_t mac[6])
{
	const char *why;

	if (!want_scalar(r, n))
		return false;
	why = text_mac(n->value, mac);
	if (why)
		config_error(r, n->line, "\"%.40s\": %s", n->value, why);
	return !why;
}

static bool vlan_set_scalar(struct reader *r, const struct ynode *n, uint8_t *bitmap)
{
	if (!want_scalar(r, n))
		return false;
	if (!text_vlan_set(n->value, bitmap))
		return true;
	config_error(r, n->line, "\"%.40s\": give VLAN ids from 1 to 4094, such as 1 or 5-9",
		     n->value);
	return false;
}

bool read_vlan_set(struct reader *r, const struct ynode *n, uint8_t *bitmap)
{
	bool ok = true;

	if (n->kind != YNODE_LIST)
		return vlan_set_scalar(r, n, bitmap);
	for (const struct ynode *e = n->first; e; e = e->next)
		ok = vlan_set_scalar(r, e, bitmap) && ok;
	return ok;
}

bool read_string(struct reader *r, const struct ynode *n, char *buf, size_t len)
{
	if (!want_scalar(r, n))
		return false;
	if (strlen(n->value) >= len) {
		config_error(r, n->line, "%zu characters: give at most %zu", strlen(n->value),
			     len - 1);
		return false;
	}
	for (const char *p = n->value; *p; p++) {
		if (iscntrl((unsigned char)*p)) {
			config_error(r, n->line, "a control character in it: remove it");
			return false;
		}
	}
	snprintf(buf, len, "%s", n->value);
	return true;
}

bool read_size(struct reader *r, const struct ynode *n, uint64_t min, uint64_t max, uint64_t *out)
{
	char from[TEXT_SIZE_LEN], to[TEXT_SIZE_LEN];
	uint64_t v;

	if (!want_scalar(r, n))
		return false;
	if (text_size(n->value, &v)) {
		config_error(r, n->line,
			     "\"%.40s\": give bytes, with K, M, G or T for more, such as 512M or "
			     "1.5G",
			     n->value);
		return false;
	}
	if (v < min || v > max) {
		config_error(r, n->line, "\"%.40s\": give a size from %s to %s", n->value,
			     text_size_format(min, from), text_size_format(max, to));
		return false;
	}
	*out = v;
	return true;
}

/* The folder of the configuration file, absolute. */
static int config_dir(const struct reader *r, char *buf, size_t len)
{
	const char *file = r->in->file, *slash = strrchr(file, '/');
	char dir[PATH_MAX] = "", cwd[PATH_MAX];

	if (slash && (size_t)(slash - file) >= sizeof(dir))
		return -ENAMETOOLONG;
	if (slash)
		memcpy(dir, file, (size_t)(slash - file));
	if (slash == file)
		dir[0] = '/';
	if (dir[0] == '/')
		return text_path("/", dir, buf, len);
	if (!getcwd(cwd, sizeof(cwd)))
		return -errno;
	return text_path(cwd, dir, buf, len);
}

bool read_path(struct reader *r, const struct ynode *n, char *buf, size_t len)
{
	char path[PATH_MAX], dir[PATH_MAX];

	if (!read_string(r, n, path, sizeof(path)))
		return false;
	if (config_dir(r, dir, sizeof(dir)) || text_path(dir, path, buf, len)) {
		buf[0] = '\0';
		config_error(r, n->line, "\"%.80s\": too long a path: choose a shorter one", path);
		return false;
	}
	return true;
}

bool read_name(struct reader *r, const char *name, int line, char buf[CONFIG_NAME_MAX])
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	if (!name[0] || name[len] || name[0] == '-' || name[0] == '_' || len >= CONFIG_NAME_MAX) {
		config_error(r, line,
			     "not a usable name: use up to %d lower-case letters, digits, - and _, "
			     "beginning with a letter or digit",
			     CONFIG_NAME_MAX - 1);
		return false;
	}
	snprintf(buf, CONFIG_NAME_MAX, "%s", name);
	return true;
}

static void read_owner(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_socket *s = obj;
	const struct passwd *pw;
	uint64_t id;

	if (!want_scalar(r, n))
		return;
	if (text_uint(n->value, &id) == 0 && id < UINT32_MAX) {
		s->owner = (uid_t)id;
	} else if ((pw = getpwnam(n->value))) {
		s->owner = pw->pw_uid;
	} else {
		config_error(r, n->line, "no user \"%.40s\": create it, or give a number",
			     n->value);
		return;
	}
	s->owner_set = true;
}

static void read_group(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_socket *s = obj;
	const struct group *gr;
	uint64_t id;

	if (!want_scalar(r, n))
		return;
	if (text_uint(n->value, &id) == 0 && id < UINT32_MAX) {
		s->group = (gid_t)id;
	} else if ((gr = getgrnam(n->value))) {
		s->group = gr->gr_gid;
	} else {
		config_error(r, n->line, "no group \"%.40s\": create it, or give a number",
			     n->value);
		return;
	}
	s->group_set = true;
}

static void read_mode(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_socket *s = obj;
	const char *p;

	if (!want_scalar(r, n))
		return;
	p = n->value;
	if (!strncmp(p, "0o", 2))
		p += 2;
	if (strlen(p) < 3 || strlen(p) > 4 || p[strspn(p, "01234567")] ||
	    strtoul(p, NULL, 8) > 0777) {
		config_error(r, n->line, "\"%.40s\": give an octal mode such as \"0660\"",
			     n->value);
		return;
	}
	s->mode = (mode_t)strtoul(p, NULL, 8);
	s->mode_set = true;
}

void read_socket(struct reader *r, const struct ynode *n, void *socket)
{
	static const struct config_key keys[] = {
		{"owner", read_owner}, {"group", read_group}, {"mode", read_mode}, {NULL, NULL}};

	read_map(r, n, keys, socket);
}
