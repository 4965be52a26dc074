/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to the configuration file's parser: walking a YAML tree along tables of keys, scalars
 * with their limits, and the list of errors.
 */
#ifndef SOFTIOV_CONTROL_CONFIG_READ_H
#define SOFTIOV_CONTROL_CONFIG_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/config_file.h"
#include "control/yaml_tree.h"

#define CONFIG_ERRORS_MAX 50

struct config_error {
	int line;
	char *text; /* "path: problem: remedy" */
};

struct reader {
	const struct config_input *in;
	struct config *cfg;
	char path[512]; /* "nic0.vfs.3": where we are */
	unsigned n_errors, suppressed;
	struct config_error errors[CONFIG_ERRORS_MAX];
	bool no_memory;
};

/* fmt is "problem: remedy"; the path is put before it. */
void config_error(struct reader *r, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The list as text; NULL when memory ran out. */
char *config_errors_text(const struct reader *r);
void config_errors_free(struct reader *r);

/* Extends the path; give the result to path_pop(). key NULL: unchanged. */
size_t path_push(struct reader *r, const char *key);
void path_pop(struct reader *r, size_t mark);

typedef void config_reader(struct reader *r, const struct ynode *n, void *obj);
struct config_key {
	const char *key;
	config_reader *read;
};
/* Calls read() for each entry that keys[] (ended by a NULL key) knows; refuses the rest. */
void read_map(struct reader *r, const struct ynode *map, const struct config_key *keys, void *obj);
/* What devices and VFs take depends on the device's type. Each list ends with a NULL key. */
struct config_keys {
	const struct config_key *common, *own;
	const struct config_key *other; /* of other_type: refused by name */
	const char *type, *other_type;
};
/* As read_map(), by the lists in that order. */
void read_typed_map(struct reader *r, const struct ynode *map, const struct config_keys *keys,
		    void *obj);
bool config_knows(const struct config_key *keys, const char *key);
/* The entry of a map, or NULL. */
const struct ynode *map_find(const struct ynode *map, const char *key);
/* True when n is of this kind; else an error was recorded. A map may be left empty. */
bool want_map(struct reader *r, const struct ynode *n);
bool want_list(struct reader *r, const struct ynode *n);
bool want_scalar(struct reader *r, const struct ynode *n);

/* Each gives true and *out, or records an error. */
bool read_uint(struct reader *r, const struct ynode *n, uint64_t min, uint64_t max, uint64_t *out);
bool read_bool(struct reader *r, const struct ynode *n, bool *out);
bool read_choice(struct reader *r, const struct ynode *n, const char *const *names, unsigned count,
		 unsigned *out);
bool read_mac(struct reader *r, const struct ynode *n, uint8_t mac[6]);
/* "1,5-9" or a list of such; ids 1..4094 into a bitmap of 4096. */
bool read_vlan_set(struct reader *r, const struct ynode *n, uint8_t *bitmap);
bool read_string(struct reader *r, const struct ynode *n, char *buf, size_t len);
/* As text_size() has it, from min to max. */
bool read_size(struct reader *r, const struct ynode *n, uint64_t min, uint64_t max, uint64_t *out);
/* A path, relative to the folder of the file; absolute in buf. */
bool read_path(struct reader *r, const struct ynode *n, char *buf, size_t len);
bool read_name(struct reader *r, const char *name, int line, char buf[CONFIG_NAME_MAX]);
void read_socket(struct reader *r, const struct ynode *n, void *socket);

/* Pieces, one a file. */
void read_device(struct reader *r, const struct ynode *n, struct config_device *dev);
void read_uplink(struct reader *r, const struct ynode *n, void *device);
void read_vfs(struct reader *r, const struct ynode *device, struct config_device *dev);
void read_namespaces(struct reader *r, const struct ynode *device, struct config_device *dev);
/* Of struct config_device, of struct config_vf. */
config_reader read_device_rate, read_pf_max_rate, read_pf_min_rate, read_vf_max_rate,
	read_vf_min_rate;
/* map: where they are given, or a default is. */
void check_rates(struct reader *r, const struct ynode *map, uint32_t max_mbps, uint32_t min_mbps);
void check_device_rates(struct reader *r, const struct ynode *top, const struct config_device *dev);
/* One of iops, iops-burst, bandwidth, bandwidth-burst, as n->key says. */
void read_limit(struct reader *r, const struct ynode *n, struct nvme_limits *lim);
/* A burst needs a rate: refused when map says so, else forgotten. */
void check_limits(struct reader *r, const struct ynode *map, struct nvme_limits *lim);
void read_root(struct reader *r, const struct ynode *n, struct config_root *root);
void check_config(struct reader *r, const struct ynode *top);
void check_nvme(struct reader *r, const struct ynode *top, unsigned device);

/* config_nvme.c: what belongs to devices, VFs of type nvme only. */
extern const struct config_key nvme_device_keys[], nvme_vf_keys[];
config_reader read_later; /* known, but read when the rest is */
void nvme_device_defaults(struct config_device *dev);
/* Fills in what follows from the rest. */
void nvme_device_finish(struct config_device *dev);
/* The first root that holds the device; NULL: none. */
const char *config_root_of(const struct config *cfg, const char *device);
/* The line of a setting of an object of a section, or of the object itself. */
int config_line_of(const struct ynode *top, const char *section, const char *name, const char *key);

#endif
