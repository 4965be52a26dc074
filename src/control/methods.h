/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to the control server: what each command of the table does. A method has its
 * parameters checked already. 0 with *result (a new reference), or -errno with a sentence that
 * names the object and the remedy.
 */
#ifndef SOFTIOV_CONTROL_METHODS_H
#define SOFTIOV_CONTROL_METHODS_H

#include <jansson.h>

#include "control/protocol.h"
#include "control/server.h"

#define CONTROL_WHY_MAX 4096 /* room for the error list of a configuration file */

typedef int control_method(const struct control_context *ctx, const json_t *params, json_t **result,
			   char why[CONTROL_WHY_MAX]);

control_method control_show;
control_method control_stats;
control_method control_stats_clear;
control_method control_vf_set;
control_method control_device_set;
control_method control_ns_create;
control_method control_ns_resize;
control_method control_ns_attach;
control_method control_ns_detach;
control_method control_ns_delete;
control_method control_ns_set;
control_method control_ns_show;
control_method control_lspci;
control_method control_attach_args;
control_method control_root_plug;
control_method control_root_unplug;
control_method control_worker_list;
control_method control_worker_move;
control_method control_disconnect;
control_method control_reload;
control_method control_version;

/* Whether a method of the table has an implementation. */
control_method *control_method_of(const char *method);

/* Runs a command of the table. */
int control_run(const struct control_context *ctx, const struct control_command *cmd,
		const json_t *params, json_t **result, char why[CONTROL_WHY_MAX]);

/* --- help for methods --- */

const char *param_string(const json_t *params, const char *name); /* NULL: not given */
bool param_bool(const json_t *params, const char *name);	  /* false: not given */

/* -EINVAL with why: "name: text". */
int control_refuse(const char *name, char why[CONTROL_WHY_MAX], const char *text);
/* -ENOENT with why: what is so called, or what was probably meant. kinds says what may be named
 * ("a function or root"). */
int control_no_such(const struct control_context *ctx, const char *name, const char *kinds,
		    char why[CONTROL_WHY_MAX]);

/* Adds to an object; a NULL string becomes null. */
void put_string(json_t *obj, const char *key, const char *value);
void put_int(json_t *obj, const char *key, uint64_t value);
void put_bool(json_t *obj, const char *key, bool value);
/* All workers, as an array (a new reference). */
json_t *control_workers_json(const struct control_context *ctx);
/* Limits, in the words of vf set. */
void put_limits(json_t *obj, const struct nvme_limits *lim);
/* Changes what params says of them. 0, or -EINVAL with why, which begins with name. */
int control_edit_limits(const char *name, const json_t *params, struct nvme_limits *lim,
			char why[CONTROL_WHY_MAX]);
/* The same without the rule that there must be one. */
int control_take_limits(const char *name, const json_t *params, struct nvme_limits *lim,
			char why[CONTROL_WHY_MAX]);
/* *out stays when it is not given. */
void param_size(const json_t *params, const char *name, uint64_t *out);
void put_nvme_device(json_t *obj, const struct device_info *d);
json_t *control_controller_json(const struct nvme_ctrl_status *c);
void put_io_stats(json_t *obj, const struct nvme_io_stats *st);
/* The names of the namespaces that a controller of a device has, as an array. */
json_t *control_namespaces_of(const struct control_context *ctx, const char *device,
			      uint16_t cntlid);
json_t *control_namespace_json(const struct control_context *ctx, const struct softiov_ns_info *i);
/* Policy of a port, in the words of vf set. */
void put_policy(json_t *obj, const struct net_policy *p);

#endif
