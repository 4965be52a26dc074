/* SPDX-License-Identifier: BSD-3-Clause */
/* softiov: which verb, and the small ones. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "util/util.h"

static const struct {
	const char *verb;
	cli_verb *run;
} verbs[] = {
	{"show", verb_show},
	{"stats", verb_stats},
	{"lspci", verb_lspci},
	{"attach-args", verb_attach_args},
	{"version", verb_version},
	{"doctor", verb_doctor},
	{"help", verb_help},
	{"root unplug", verb_root_unplug},
	{"ns show", verb_ns_show},
	{"ns create", verb_ns_create},
	{"worker list", verb_worker_list},
};

static cli_verb *verb_function(const struct control_command *cmd)
{
	for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(verbs[i].verb, cmd->verb))
			return verbs[i].run;
	return verb_change;
}

int verb_change(struct cli *cli, int argc, char **argv)
{
	json_t *result;
	int ret = cli_call_verb(cli, argc, argv, &result);

	if (!ret && cli->json)
		cli_print_json(result);
	json_decref(result);
	return ret;
}

/* The name is for scripts: ns=$(softiov ns create …). */
int verb_ns_create(struct cli *cli, int argc, char **argv)
{
	json_t *result;
	int ret = cli_call_verb(cli, argc, argv, &result);

	if (!ret && cli->json)
		cli_print_json(result);
	else if (!ret)
		puts(js(result, "name"));
	json_decref(result);
	return ret;
}

int verb_version(struct cli *cli, int argc, char **argv)
{
	json_t *result;
	int ret = cli_call_verb(cli, argc, argv, &result);

	if (cli->json) {
		if (!result)
			result = json_object(); /* without a daemon: what is known here */
		json_object_set_new(result, "cli", json_string(SOFTIOV_VERSION));
		cli_print_json(result);
	} else {
		printf("softiov %s\n", SOFTIOV_VERSION);
		if (!ret)
			printf("softiovd %s, pid %lld, up %lld s, %s, configured by %s\n",
			       js(result, "version"), ji(result, "pid"), ji(result, "uptime-s"),
			       js(result, "runtime-dir"), js(result, "config"));
	}
	json_decref(result);
	return ret;
}

/* "ns" alone: what may follow. False: no verb begins so. */
static bool half_a_verb(const char *word)
{
	size_t len = strlen(word);
	char list[256] = "";

	for (const struct control_command *c = control_commands; c->verb || c->method; c++)
		if (c->verb && !strncmp(c->verb, word, len) && c->verb[len] == ' ')
			snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
				 list[0] ? ", " : "", c->verb + len + 1);
	if (list[0])
		cli_error("%s what? One of: %s", word, list);
	return list[0] != '\0';
}

/* "ns" is right, and the second word is nearly. NULL: it is not. */
static const char *near_half(const char *word, const char *second)
{
	const char *halves[64];
	size_t len = strlen(word);
	unsigned n = 0;

	for (const struct control_command *c = control_commands; c->verb || c->method; c++)
		if (c->verb && !strncmp(c->verb, word, len) && c->verb[len] == ' ' &&
		    n < ARRAY_SIZE(halves))
			halves[n++] = c->verb + len + 1;
	return text_nearest(second, halves, n);
}

int verb_help(struct cli *cli, int argc, char **argv)
{
	const struct control_command *cmd;
	int used;

	if (!argc) {
		cli_help(stdout);
		return CLI_OK;
	}
	cmd = control_find_verb(argc, argv, &used);
	if (cmd && used == argc) {
		cli_help_verb(cmd, stdout);
		return CLI_OK;
	}
	if (!cmd && half_a_verb(argv[0]))
		return CLI_USAGE;
	cli_error("no verb \"%s\": softiov help lists them", argv[0]);
	return CLI_USAGE;
}

static int no_such_verb(int argc, char **argv)
{
	const char *names[64];
	char given[80], *two[2] = {argv[0], argc > 1 ? argv[1] : ""};
	const char *near;
	unsigned n = 0;

	near = argc > 1 ? near_half(argv[0], argv[1]) : NULL;
	if (near) {
		cli_error("no verb \"%.30s %.30s\": did you mean \"softiov %s %s\"?", argv[0],
			  argv[1], argv[0], near);
		return CLI_USAGE;
	}
	if (half_a_verb(argv[0]))
		return CLI_USAGE;
	for (const struct control_command *c = control_commands; c->verb || c->method; c++)
		if (c->verb && n < ARRAY_SIZE(names))
			names[n++] = c->verb;
	snprintf(given, sizeof(given), "%.30s%s%.30s", two[0], two[1][0] ? " " : "", two[1]);
	near = text_nearest(given, names, n);
	if (!near)
		near = text_nearest(argv[0], names, n);
	if (near)
		cli_error("no verb \"%.60s\": did you mean \"softiov %s\"?", argv[0], near);
	else
		cli_error("no verb \"%.60s\": softiov help lists them", argv[0]);
	return CLI_USAGE;
}

static void choose_runtime_dir(struct cli *cli)
{
	char path[PATH_MAX + 32];

	if (cli->runtime_dir_given)
		return;
	control_default_dir(cli->runtime_dir, sizeof(cli->runtime_dir));
	snprintf(path, sizeof(path), "%s/" CONTROL_SOCKET, cli->runtime_dir);
	/* A daemon of the system serves users that run none of their own. */
	if (access(path, F_OK) && !access(CONTROL_SYSTEM_DIR "/" CONTROL_SOCKET, F_OK))
		snprintf(cli->runtime_dir, sizeof(cli->runtime_dir), CONTROL_SYSTEM_DIR);
}

static int run(struct cli *cli, int argc, char **argv)
{
	int used;

	cli->cmd = control_find_verb(argc, argv, &used);
	if (!cli->cmd && cli->help) {
		cli_help(stdout);
		return CLI_OK;
	}
	if (!cli->cmd)
		return no_such_verb(argc, argv);
	if (cli->help) {
		cli_help_verb(cli->cmd, stdout);
		return CLI_OK;
	}
	return verb_function(cli->cmd)(cli, argc - used, argv + used);
}

int main(int argc, char **argv)
{
	struct cli cli = {.json = false};
	int ret;

	signal(SIGPIPE, SIG_DFL);
	argc--;
	argv++;
	if (cli_options(&cli, &argc, argv))
		return CLI_USAGE;
	choose_runtime_dir(&cli);
	if (argc == 1 && !strcmp(argv[0], "--version")) {
		puts("softiov " SOFTIOV_VERSION);
		return CLI_OK;
	}
	if (!argc) {
		cli_help(cli.help ? stdout : stderr);
		return cli.help ? CLI_OK : CLI_USAGE;
	}
	ret = run(&cli, argc, argv);
	if (fflush(stdout) && ret == CLI_OK)
		ret = CLI_FAILED;
	return ret;
}
