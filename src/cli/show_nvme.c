/* SPDX-License-Identifier: BSD-3-Clause */
/* softiov show, ns show: what NVMe devices have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/table.h"

bool is_nvme(const json_t *o)
{
	return !strcmp(js(o, "type"), "nvme");
}

bool has_type(const json_t *list, bool nvme)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) if (is_nvme(o) == nvme) return true;
	/* An empty list is shown as it ever was. */
	return !json_array_size(list) && !nvme;
}

/* "20.0k IOPS, 210 MB/s"; bursts are for the detailed view. */
static void print_limits(const json_t *o, char *buf, size_t len)
{
	char iops[16], rate[16];

	if (ji(o, "iops"))
		snprintf(iops, sizeof(iops), "%s", human_count((uint64_t)ji(o, "iops"), rate));
	if (ji(o, "bandwidth"))
		human_bytes((uint64_t)ji(o, "bandwidth"), rate);
	if (ji(o, "iops") && ji(o, "bandwidth"))
		snprintf(buf, len, "%s IOPS, %s/s", iops, rate);
	else if (ji(o, "iops"))
		snprintf(buf, len, "%s IOPS", iops);
	else if (ji(o, "bandwidth"))
		snprintf(buf, len, "%s/s", rate);
	else
		buf[0] = '\0';
}

static void print_pool(const json_t *pool, char *buf, size_t len)
{
	char used[16], capacity[16];

	buf[0] = '\0';
	if (json_is_object(pool))
		snprintf(buf, len, "%s of %s", human_bytes((uint64_t)ji(pool, "used"), used),
			 human_bytes((uint64_t)ji(pool, "capacity"), capacity));
}

void show_nvme_devices(const json_t *list)
{
	struct table t;
	size_t i;
	json_t *d;

	table_init(&t, "DEVICE|TYPE|>VFS|>OF|>NAMESPACES|>OF|>POOL USED|NQN");
	json_array_foreach(list, i, d)
	{
		char pool[48];

		if (!is_nvme(d))
			continue;
		print_pool(json_object_get(d, "pool"), pool, sizeof(pool));
		table_cell(&t, "%s", js(d, "name"));
		table_cell(&t, "%s", js(d, "type"));
		table_cell(&t, "%lld", ji(d, "num-vfs"));
		table_cell(&t, "%lld", ji(d, "total-vfs"));
		table_cell(&t, "%lld", ji(d, "num-namespaces"));
		table_cell(&t, "%lld", ji(d, "max-namespaces"));
		table_cell(&t, "%s", pool);
		table_cell(&t, "%s", js(d, "nqn"));
	}
	table_print(&t, stdout);
	table_free(&t);
}

void show_nvme_functions(const json_t *list)
{
	struct table t;
	size_t i;
	json_t *f;

	table_init(&t, "FUNCTION|HELD BY|STATE|>CNTLID|>QUEUES|NAMESPACES|LIMITS|SOCKET");
	json_array_foreach(list, i, f)
	{
		const json_t *c = json_object_get(f, "controller");
		char holder[64], limits[64], *names;

		if (!is_nvme(f))
			continue;
		show_holder(f, holder, sizeof(holder));
		print_limits(f, limits, sizeof(limits));
		names = show_attached(json_object_get(f, "namespaces"));
		table_cell(&t, "%s", js(f, "name"));
		table_cell(&t, "%s", holder);
		table_cell(&t, "%s", js(c, "state"));
		table_cell(&t, "%lld", ji(c, "cntlid"));
		table_cell(&t, "%lld/%lld", ji(c, "queues"), ji(c, "queues-max"));
		table_cell(&t, "%s", names ? names : "");
		table_cell(&t, "%s", limits);
		table_cell(&t, "%s", js(f, "socket"));
		free(names);
	}
	table_print(&t, stdout);
	table_free(&t);
}

/* The word before a number at the end ("vf" of "ssd0/vf3"), and the number; false: has none. */
static bool numbered(const char *name, const char **word, int *word_len, unsigned long *number)
{
	const char *slash = strchr(name, '/');
	size_t len;

	*word = slash ? slash + 1 : name;
	len = strcspn(*word, "0123456789");
	*word_len = (int)len;
	*number = strtoul(*word + len, NULL, 10);
	return (*word)[len] != '\0';
}

char *show_attached(const json_t *names)
{
	char *text = NULL;
	size_t len, n = json_array_size(names);
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		const char *word, *next;
		unsigned long first, last, number;
		int word_len, next_len;
		bool counted = numbered(json_string_value(json_array_get(names, i)), &word,
					&word_len, &first);

		fprintf(f, "%s%s", i ? "," : "", word);
		last = first;
		while (counted && i + 1 < n &&
		       numbered(json_string_value(json_array_get(names, i + 1)), &next, &next_len,
				&number) &&
		       next_len == word_len && !memcmp(next, word, (size_t)word_len) &&
		       number == last + 1) {
			last = number;
			i++;
		}
		if (last > first)
			fprintf(f, "%s%.*s%lu", last == first + 1 ? "," : "-", word_len, word,
				last);
	}
	fclose(f);
	return text;
}

void show_namespaces(const json_t *list)
{
	struct table t;
	size_t i;
	json_t *ns;

	table_init(&t, "NAMESPACE|BACKEND|>SIZE|>USED|>BLOCK|ATTACHED TO|LIMITS|STATE");
	json_array_foreach(list, i, ns)
	{
		char size[16], used[16], limits[64];
		char *names = show_attached(json_object_get(ns, "attached"));
		bool room = ji(ns, "allocated") >= 0 && strcmp(js(ns, "backend"), "null");

		print_limits(ns, limits, sizeof(limits));
		table_cell(&t, "%s", js(ns, "name"));
		table_cell(&t, "%s%s%s%s", js(ns, "backend"), js(ns, "target")[0] ? " " : "",
			   js(ns, "target"), jb(ns, "read-only") ? ", read-only" : "");
		table_cell(&t, "%s", human_bytes((uint64_t)ji(ns, "size"), size));
		table_cell(&t, "%s", room ? human_bytes((uint64_t)ji(ns, "allocated"), used) : "");
		table_cell(&t, "%lld", ji(ns, "block-size"));
		table_cell(&t, "%s", names ? names : "");
		table_cell(&t, "%s", limits);
		table_cell(&t, "%s%s%s", js(ns, "state"),
			   js(ns, "reservation")[0] ? ", reserved: " : "", js(ns, "reservation"));
		free(names);
	}
	table_print(&t, stdout);
	table_free(&t);
}

static void show_limits(const json_t *o)
{
	char burst[16], rate[16];

	if (ji(o, "iops"))
		show_line("iops", "%lld a second", ji(o, "iops"));
	if (ji(o, "iops-burst"))
		show_line("", "%lld at once after a rest", ji(o, "iops-burst"));
	if (ji(o, "bandwidth"))
		show_line("bandwidth", "%s a second",
			  human_bytes((uint64_t)ji(o, "bandwidth"), rate));
	if (ji(o, "bandwidth-burst"))
		show_line("", "%s at once after a rest",
			  human_bytes((uint64_t)ji(o, "bandwidth-burst"), burst));
	if (!ji(o, "iops") && !ji(o, "bandwidth"))
		show_line("limits", "none");
}

static void show_resources(const json_t *c)
{
	if (jb(c, "primary"))
		show_line("resources",
			  "%lld private queues; %lld of %lld flexible ones given to VFs",
			  ji(c, "private-queues"), ji(c, "flexible-assigned"),
			  ji(c, "flexible-total"));
	else
		show_line("resources", "%lld queues, %lld interrupts (admin included)",
			  ji(c, "queue-resources"), ji(c, "interrupt-resources"));
}

void show_nvme_function(const json_t *f)
{
	const json_t *c = json_object_get(f, "controller");
	char *names = show_attached(json_object_get(f, "namespaces"));
	char holder[64], bytes[16];

	show_holder(f, holder, sizeof(holder));
	printf("%s: %s of %s, %s NVMe controller\n", js(f, "name"),
	       strcmp(js(f, "kind"), "pf") ? "virtual function" : "physical function",
	       js(f, "pf")[0] ? js(f, "pf") : js(f, "device"),
	       jb(c, "primary") ? "primary" : "secondary");
	show_line("held by", "%s", holder);
	if (js(f, "root")[0])
		show_line("root", "%s%s%s", js(f, "root"), js(f, "rid")[0] ? ", at " : "",
			  js(f, "rid"));
	show_line("socket", "%s", js(f, "socket")[0] ? js(f, "socket") : "none, its root holds it");
	show_client(json_object_get(f, "client"));
	show_line("controller", "%s%s, CNTLID %lld", js(c, "state"),
		  jb(c, "shutdown") ? " (shut down)" : "", ji(c, "cntlid"));
	show_line("queues", "%lld of %lld I/O queues in use%s", ji(c, "queues"),
		  ji(c, "queues-max"), jb(c, "doorbell-buffer") ? ", doorbells in memory" : "");
	show_resources(c);
	show_line("namespaces", "%s", names && names[0] ? names : "none: softiov ns attach");
	show_limits(f);
	show_line("commands", "%lld, and %lld admin", ji(c, "commands"), ji(c, "admin-commands"));
	show_line("signals", "%lld kicks, %lld interrupts", ji(c, "kicks"), ji(c, "interrupts"));
	if (ji(f, "refused"))
		show_line("refused", "%lld connections, see the daemon's log", ji(f, "refused"));
	show_line("costs", "%s of the daemon's memory",
		  human_bytes((uint64_t)ji(f, "memory"), bytes));
	free(names);
}

void show_namespace(const json_t *ns)
{
	char *names = show_attached(json_object_get(ns, "attached"));
	char size[16], used[16];

	printf("%s: namespace %lld of %s\n", js(ns, "name"), ji(ns, "nsid"), js(ns, "device"));
	show_line("backend", "%s%s%s%s", js(ns, "backend"), js(ns, "target")[0] ? " " : "",
		  js(ns, "target"), jb(ns, "read-only") ? ", read-only" : "");
	show_line("state", "%s", js(ns, "state"));
	show_line("size", "%lld bytes (%s), blocks of %lld", ji(ns, "size"),
		  human_bytes((uint64_t)ji(ns, "size"), size), ji(ns, "block-size"));
	show_line("used", "%s on the host", human_bytes((uint64_t)ji(ns, "allocated"), used));
	show_line("uuid", "%s", js(ns, "uuid"));
	show_line("attached to", "%s", names && names[0] ? names : "nobody: softiov ns attach");
	show_limits(ns);
	if (ji(ns, "registrants") || js(ns, "reservation")[0])
		show_line("reservation", "%s, %lld registered",
			  js(ns, "reservation")[0] ? js(ns, "reservation") : "none",
			  ji(ns, "registrants"));
	show_line("made by", "%s",
		  jb(ns, "configured") ? "the configuration file" : "ns create, or a root's guest");
	free(names);
}
