/* SPDX-License-Identifier: BSD-3-Clause */
/* Words of the command line: options, and parameters by the command table. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "util/util.h"

void cli_error(const char *fmt, ...)
{
	va_list ap;

	fputs("softiov: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void remove_words(int *argc, char **argv, int at, int n)
{
	memmove(argv + at, argv + at + n, (size_t)(*argc - at - n) * sizeof(*argv));
	*argc -= n;
	argv[*argc] = NULL;
}

static bool is_number(const char *s)
{
	char *end;

	return strtod(s, &end) > 0 && !*end;
}

int cli_take(int *argc, char **argv, const char *name, const char **value, bool optional)
{
	size_t len = strlen(name);

	for (int i = 0; i < *argc; i++) {
		bool equals = value && !strncmp(argv[i], name, len) && argv[i][len] == '=';

		if (!equals && strcmp(argv[i], name))
			continue;
		if (equals) {
			*value = argv[i] + len + 1;
			remove_words(argc, argv, i, 1);
		} else if (value && i + 1 < *argc && (!optional || is_number(argv[i + 1]))) {
			*value = argv[i + 1];
			remove_words(argc, argv, i, 2);
		} else if (value && !optional) {
			cli_error("%s needs a value", name);
			return -1;
		} else {
			remove_words(argc, argv, i, 1);
		}
		return 1;
	}
	return 0;
}

int cli_options(struct cli *cli, int *argc, char **argv)
{
	static const char *const flags[] = {"-j", "--json", "-h", "--help"};
	static const char *const dirs[] = {"-s", "--runtime-dir"};
	const char *dir = NULL;
	int found;

	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
		if (!cli_take(argc, argv, flags[i], NULL, false))
			continue;
		if (i < 2)
			cli->json = true;
		else
			cli->help = true;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(dirs); i++) {
		found = cli_take(argc, argv, dirs[i], &dir, false);
		if (found < 0)
			return CLI_USAGE;
		if (!found)
			continue;
		if (strlen(dir) >= sizeof(cli->runtime_dir)) {
			cli_error("%s: too long a path", dirs[i]);
			return CLI_USAGE;
		}
		snprintf(cli->runtime_dir, sizeof(cli->runtime_dir), "%s", dir);
		cli->runtime_dir_given = true;
	}
	return 0;
}

/* The words of the configuration file and of `ip link` are understood as well. */
static const struct {
	const char *word, *param;
} synonyms[] = {
	{"vlan-qos", "qos"},
	{"vlan-proto", "proto"},
	{"protocol", "proto"},
	{"spoof-check", "spoofchk"},
	{"state", "link-state"},
	{"max_tx_rate", "max-tx-rate"},
	{"min_tx_rate", "min-tx-rate"},
	{"rate", "max-tx-rate"},
};

static const struct control_param *find_setting(const struct control_command *cmd, const char *word)
{
	for (unsigned i = 0; i < ARRAY_SIZE(synonyms); i++)
		if (!strcmp(word, synonyms[i].word))
			word = synonyms[i].param;
	for (const struct control_param *p = cmd->params; p->name; p++)
		if (p->type != CONTROL_NAME && !strcmp(control_word(p), word))
			return p;
	return NULL;
}

/* What may stand without its word. */
static bool is_positional(const struct control_param *p)
{
	return p->type == CONTROL_NAME || p->positional;
}

static const struct control_param *next_name(const struct control_command *cmd,
					     const json_t *params, bool required)
{
	for (const struct control_param *p = cmd->params; p->name; p++)
		if (is_positional(p) && p->required == required &&
		    !json_object_get(params, p->name))
			return p;
	return NULL;
}

/* A CHOICE that the word itself answers: "show functions", "lspci --bus". */
static const struct control_param *choice_of(const struct control_command *cmd,
					     const json_t *params, const char *word)
{
	size_t len = strlen(word);

	for (const struct control_param *p = cmd->params; p->name; p++) {
		if (p->type != CONTROL_CHOICE || json_object_get(params, p->name))
			continue;
		for (const char *c = p->choices; *c;) {
			size_t n = strcspn(c, "|");

			if (n == len && !memcmp(c, word, n))
				return p;
			c += n;
			c += *c == '|';
		}
	}
	return NULL;
}

/* The daemon has another working directory. */
static json_t *path_of(const char *word)
{
	char cwd[PATH_MAX], path[PATH_MAX];

	if (!getcwd(cwd, sizeof(cwd)) || text_path(cwd, word, path, sizeof(path)))
		return json_string(word);
	return json_string(path);
}

static json_t *value_of(const struct control_param *p, const char *word)
{
	uint64_t v;
	bool on;

	switch (p->type) {
	case CONTROL_INT:
		return text_uint(word, &v) || v > INT_MAX ? json_string(word)
							  : json_integer((json_int_t)v);
	case CONTROL_BOOL:
		return text_bool(word, &on) ? json_string(word) : json_boolean(on);
	case CONTROL_PATH:
		return path_of(word);
	default:
		return json_string(word);
	}
}

static int set_value(json_t *params, const struct control_param *p, const char *word)
{
	return json_object_set_new(params, p->name, value_of(p, word)) ? -EINVAL : 0;
}

/* A name that was left out: the setting after it was taken for it. NULL: it was not. */
static const struct control_param *missing_name(const struct control_command *cmd,
						const json_t *params)
{
	for (const struct control_param *p = cmd->params; p->name; p++) {
		const char *given = json_string_value(json_object_get(params, p->name));

		if (p->type == CONTROL_NAME && p->required && given && find_setting(cmd, given))
			return p;
	}
	return NULL;
}

static int unknown_word(const struct control_command *cmd, const json_t *params, const char *word,
			char *why, size_t why_len)
{
	const struct control_param *missing = missing_name(cmd, params);
	const char *names[CONTROL_PARAMS_MAX];
	const char *near;
	unsigned n = 0;

	for (const struct control_param *p = cmd->params; p->name; p++)
		if (p->type != CONTROL_NAME)
			names[n++] = control_word(p);
	near = text_nearest(word + strspn(word, "-"), names, n);
	if (missing)
		snprintf(why, why_len, "%s is missing: %s", missing->name, missing->help);
	else if (near)
		snprintf(why, why_len, "\"%.60s\" is unknown here: did you mean \"%s%s\"?", word,
			 word[0] == '-' ? "--" : "", near);
	else
		snprintf(why, why_len, "\"%.60s\" is one word too many: softiov help %s", word,
			 cmd->verb);
	return -EINVAL;
}

/* Takes one or two words. The number of words taken, or -EINVAL. */
static int take_word(const struct control_command *cmd, json_t *params, int argc, char **argv,
		     char *why, size_t why_len)
{
	const struct control_param *p;
	const char *word = argv[0];

	p = word[0] == '-' ? NULL : next_name(cmd, params, true);
	if (p)
		return set_value(params, p, word) ? -EINVAL : 1;
	p = find_setting(cmd, word[0] == '-' && word[1] == '-' ? word + 2 : word);
	if (p && json_object_get(params, p->name)) {
		snprintf(why, why_len, "%s is given twice", control_word(p));
		return -EINVAL;
	}
	if (p && p->type == CONTROL_BOOL && word[0] == '-')
		return json_object_set_new(params, p->name, json_true()) ? -EINVAL : 1;
	if (p && argc < 2) {
		if (p->type == CONTROL_BOOL && strstr(cmd->usage, "--"))
			snprintf(why, why_len, "write --%s: %s", word, p->help);
		else
			snprintf(why, why_len, "%s needs a value: %s", word, p->help);
		return -EINVAL;
	}
	if (p)
		return set_value(params, p, argv[1]) ? -EINVAL : 2;
	p = choice_of(cmd, params, word + (strncmp(word, "--", 2) ? 0 : 2));
	if (p)
		return json_object_set_new(params, p->name, json_string(word + strspn(word, "-")))
			       ? -EINVAL
			       : 1;
	p = word[0] == '-' ? NULL : next_name(cmd, params, false);
	if (p)
		return set_value(params, p, word) ? -EINVAL : 1;
	return unknown_word(cmd, params, word, why, why_len);
}

json_t *cli_params(const struct control_command *cmd, int argc, char **argv, char *why,
		   size_t why_len)
{
	json_t *params = json_object();

	why[0] = '\0';
	while (params && argc) {
		int n = take_word(cmd, params, argc, argv, why, why_len);

		if (n < 0) {
			if (!why[0])
				snprintf(why, why_len, "\"%.60s\" cannot be used", argv[0]);
			json_decref(params);
			return NULL;
		}
		argc -= n;
		argv += n;
	}
	if (params && control_check_params(cmd, params, why, why_len)) {
		json_decref(params);
		return NULL;
	}
	return params;
}
