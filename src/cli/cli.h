/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line: one function a verb. Options that hold everywhere are taken out of argv
 * first; what a verb takes besides comes from the command table (control/protocol.h).
 */
#ifndef SOFTIOV_CLI_CLI_H
#define SOFTIOV_CLI_CLI_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

#include "control/protocol.h"

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,	     /* the daemon refused, or doctor found something that fails */
	CLI_USAGE = 2,	     /* wrong arguments */
	CLI_UNREACHABLE = 3, /* no daemon */
};

struct cli {
	bool json;
	bool help;
	char runtime_dir[PATH_MAX];
	bool runtime_dir_given;
	const struct control_command *cmd;
};

/* Prints "softiov: …" on stderr. */
void cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Takes the options that hold for all verbs out of argv. 0 or CLI_USAGE (said). */
int cli_options(struct cli *cli, int *argc, char **argv);
/* Takes "--name" or "--name VALUE" / "--name=VALUE" out of argv. value NULL: a flag. optional:
 * the value is taken only when it is a number. 1 found, 0 not, -1 value missing (said). */
int cli_take(int *argc, char **argv, const char *name, const char **value, bool optional);

/*
 * Words after the verb into a command's parameters: names by position, the rest as SETTING VALUE
 * or --flag. A new object, or NULL with why.
 */
json_t *cli_params(const struct control_command *cmd, int argc, char **argv, char *why,
		   size_t why_len);

/* One call. 0 and *result (a new reference), or the exit status after having said what is wrong.
 */
int cli_call(struct cli *cli, const char *method, json_t *params, json_t **result);
/* The two halves of it, for who needs the error's code: the whole reply (a new reference; NULL when
 * it is no JSON), and what it says, an error on stderr. Exit statuses as above. */
int cli_ask(struct cli *cli, const char *method, json_t *params, json_t **reply);
int cli_take_reply(const json_t *reply, json_t **result);
/* cli_params() of the verb; NULL after having said what is wrong and the usage. */
json_t *cli_params_or_usage(const struct cli *cli, int argc, char **argv);
/* Parses the rest of argv by the table and calls the verb's method. */
int cli_call_verb(struct cli *cli, int argc, char **argv, json_t **result);

void cli_print_json(const json_t *v);
/* Member access for results; "" , 0 and false when missing. */
const char *js(const json_t *o, const char *key);
long long ji(const json_t *o, const char *key);
bool jb(const json_t *o, const char *key);

typedef int cli_verb(struct cli *cli, int argc, char **argv);
cli_verb verb_show;
cli_verb verb_stats;
cli_verb verb_change; /* every verb that prints nothing but what it changed */
cli_verb verb_ns_create;
cli_verb verb_ns_show;
cli_verb verb_lspci;
cli_verb verb_root_unplug;
cli_verb verb_worker_list;
cli_verb verb_attach_args;
cli_verb verb_version;
cli_verb verb_doctor;
cli_verb verb_help;

/* One line of a description: "  label        text". */
void show_line(const char *label, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Of a function, what both types have: who holds it, and the client's share in it. */
void show_holder(const json_t *f, char *buf, size_t len);
void show_client(const json_t *client);
/* show_nvme.c: tables of lists, and one of each in detail. Entries of other types are left out. */
void show_nvme_devices(const json_t *list);
void show_nvme_functions(const json_t *list);
void show_namespaces(const json_t *list);
void show_nvme_function(const json_t *f);
void show_namespace(const json_t *ns);
/* worker.c: its table. */
void show_workers(const json_t *list);
/* "vf0-vf3,vf7" from full names; free() it. */
char *show_attached(const json_t *names);
bool is_nvme(const json_t *o);
/* Whether a list has an entry of a type. */
bool has_type(const json_t *list, bool nvme);

/* stats_nvme.c: of controllers and namespaces. */
void stats_nvme_tables(const json_t *result);
void stats_nvme_one(const json_t *o);
void stats_nvme_rates(const json_t *now, const json_t *before, double seconds);
/* stats.c: growth of a counter a second; 0 when it was cleared in between, or before is NULL. */
double stats_rate(const json_t *now, const json_t *before, const char *key, double seconds);
const json_t *stats_find(const json_t *list, const char *name);

/* The text of `softiov help` and `softiov help VERB`. */
void cli_help(FILE *f);
void cli_help_verb(const struct control_command *cmd, FILE *f);

/* attach-args' texts, for one VMM, as pure functions of what the daemon said. */
char *attach_qemu(const char *name, const char *kind, const char *socket);
char *attach_cloud_hypervisor(const char *name, const char *kind, const char *socket);
char *attach_libvirt(const char *name, const char *kind, const char *socket);

#endif
