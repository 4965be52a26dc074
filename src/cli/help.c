/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

void cli_help(FILE *f)
{
	fputs("Usage: softiov [-j] [-s DIR] VERB [ARGUMENT]...\n"
	      "\n"
	      "Shows and changes the SR-IOV devices of softiovd.\n"
	      "\n",
	      f);
	for (const struct control_command *c = control_commands; c->verb || c->method; c++)
		if (c->verb)
			fprintf(f, "  %-12s %s\n", c->verb, c->summary);
	fputs("\n"
	      "  -j, --json             JSON instead of text\n"
	      "  -s, --runtime-dir DIR  where the daemon's control.sock is; else\n"
	      "                         $XDG_RUNTIME_DIR/softiov, else /run/softiov\n"
	      "  -h, --help             this text; after a verb, that verb's\n"
	      "\n"
	      "Names: nic0 is a device, nic0/pf its physical function, nic0/vf3 a virtual one,\n"
	      "ssd0/ns1 a namespace (a disk) of an NVMe device, host0 a root (a VM that holds\n"
	      "a whole PCIe hierarchy).\n"
	      "\n"
	      "From nothing to a VM with a virtual function:\n"
	      "  softiov doctor                       # is anything missing on this machine?\n"
	      "  printf 'devices: {nic0: {type: ethernet, num-vfs: 2}}' > nic.yaml\n"
	      "  softiovd -c nic.yaml &\n"
	      "  softiov show\n"
	      "  softiov attach-args nic0/vf0         # what to add to QEMU's command line\n"
	      "  softiov stats nic0 --watch\n"
	      "\n"
	      "A disk for it, with a device of type nvme in the configuration:\n"
	      "  softiov ns create ssd0 file disk.img size 4G attach vf0\n"
	      "  softiov attach-args ssd0/vf0\n"
	      "\n"
	      "Exit status: 0 done, 1 refused or failed, 2 wrong arguments, 3 no daemon.\n",
	      f);
}

static void upper_case(const char *name, char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = name[i];

		buf[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
		if (!c)
			break;
	}
}

static void param_form(const struct control_param *p, char *buf, size_t len)
{
	const char *word = control_word(p);

	if (p->positional) {
		upper_case(word, buf, len);
		return;
	}
	switch (p->type) {
	case CONTROL_INT:
		snprintf(buf, len, "%s %d..%d", word, p->min, p->max);
		break;
	case CONTROL_BOOL:
		snprintf(buf, len, "%s on|off", word);
		break;
	case CONTROL_CHOICE:
		snprintf(buf, len, "%s", p->choices);
		break;
	case CONTROL_NAME:
		upper_case(word, buf, len);
		break;
	case CONTROL_MAC:
		snprintf(buf, len, "%s ADDRESS", word);
		break;
	case CONTROL_SIZE:
		snprintf(buf, len, "%s SIZE", word);
		break;
	case CONTROL_PATH:
		snprintf(buf, len, "%s PATH", word);
		break;
	default:
		snprintf(buf, len, "%s %s", word, p->choices ? p->choices : "VALUE");
		break;
	}
}

/* True when some setting is a size, and what that is has to be said. */
static bool has_size(const struct control_command *cmd)
{
	for (const struct control_param *p = cmd->params; p->name; p++)
		if (p->type == CONTROL_SIZE)
			return true;
	return false;
}

static void print_param(const struct control_command *cmd, const struct control_param *p, FILE *f)
{
	char form[80];

	if (p->type == CONTROL_BOOL && strstr(cmd->usage, "--")) {
		snprintf(form, sizeof(form), "--%s", p->name);
	} else if (p->type == CONTROL_CHOICE && strstr(cmd->usage, "SETTING")) {
		snprintf(form, sizeof(form), "%s %s", p->name, p->choices);
	} else {
		param_form(p, form, sizeof(form));
	}
	if (strlen(form) > 30)
		fprintf(f, "  %s\n  %-30s %s\n", form, "", p->help);
	else
		fprintf(f, "  %-30s %s\n", form, p->help);
}

void cli_help_verb(const struct control_command *cmd, FILE *f)
{
	fprintf(f, "Usage: softiov %s%s%s\n\n%s\n", cmd->verb, cmd->usage[0] ? " " : "", cmd->usage,
		cmd->summary);
	if (cmd->params[0].name)
		fputc('\n', f);
	for (const struct control_param *p = cmd->params; p->name; p++)
		print_param(cmd, p, f);
	if (has_size(cmd))
		fputs("\nA SIZE is bytes, with K, M, G or T for powers of 1024: 512M, 1.5G.\n", f);
	if (cmd->examples) {
		const char *s = cmd->examples;

		fputs("\nExamples:\n", f);
		while (*s) {
			size_t n = strcspn(s, "\n");

			fprintf(f, "  %.*s\n", (int)n, s);
			s += n;
			s += *s == '\n';
		}
	}
}
