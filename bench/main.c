/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "peers/vhost_user.h"

#define EXIT_USAGE 2

static const char usage[] =
	"Usage: softiov-bench [OPTION]...\n"
	"\n"
	"Starts a softiovd, plays guests with VFs of it, and prints how fast frames go from one\n"
	"to the other and how fast disks are: Markdown tables on stdout. No pass or fail. The\n"
	"file disk (256 MiB) is made in the current directory, and removed.\n"
	"\n"
	"  -c, --cases WORDS     only cases with one of these words in their names, by commas;\n"
	"                        workers, neighbour, light, rate, scale (those of --list) only "
	"when\n"
	"                        their names begin so. Without this all but rate and scale\n"
	"      --scale           from 1 VF to 255 (-c scale)\n"
	"  -r, --runs N          how often each is measured, in turn (5)\n"
	"  -s, --seconds S       how long each time (0.4; disks three quarters of it)\n"
	"  -q, --queue-size N    descriptors of a ring, 64 to 1024 (256)\n"
	"      --cores A,B       core of the daemon, core of the guests (last, first)\n"
	"  -d, --daemon PATH     the softiovd to measure\n"
	"      --vhost-user A,B  no softiovd: the two vhost-user sockets of another switch\n"
	"      --listen          that connects to these sockets itself\n"
	"      --peer PID,NAME   its process, and the thread of it that moves the frames\n"
	"  -j, --json FILE       writes every run's figures there, and the tables beside it "
	"(.md);\n"
	"                        of --scale also what bench/scale.gp draws (.dat)\n"
	"  -l, --list            the cases\n"
	"  -h, --help            this text\n";

enum { OPT_CORES = 256, OPT_VHOST_USER, OPT_LISTEN, OPT_PEER, OPT_SCALE };

static const struct option options[] = {
	{"cases", required_argument, NULL, 'c'},
	{"runs", required_argument, NULL, 'r'},
	{"seconds", required_argument, NULL, 's'},
	{"queue-size", required_argument, NULL, 'q'},
	{"cores", required_argument, NULL, OPT_CORES},
	{"daemon", required_argument, NULL, 'd'},
	{"vhost-user", required_argument, NULL, OPT_VHOST_USER},
	{"listen", no_argument, NULL, OPT_LISTEN},
	{"peer", required_argument, NULL, OPT_PEER},
	{"scale", no_argument, NULL, OPT_SCALE},
	{"json", required_argument, NULL, 'j'},
	{"list", no_argument, NULL, 'l'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

struct wishes {
	const char *cases, *json;
	char *sockets; /* of another switch, by a comma */
	bool listen;
};

/* The last core for the daemon: the first tends to have the machine's interrupts. */
static void choose_cores(struct bench *b)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof(set), &set);
	b->daemon_cpu = b->guest_cpu = -1;
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &set))
			continue;
		if (b->guest_cpu < 0)
			b->guest_cpu = i;
		b->daemon_cpu = i;
		b->cpus++;
	}
}

/* "PID,THREAD" */
static bool parse_peer(struct bench *b, char *text)
{
	char *comma = strchr(text, ',');

	b->daemon.pid = (pid_t)atoi(text);
	if (b->daemon.pid <= 0 || !comma)
		return false;
	b->thread = comma + 1;
	return true;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct bench *b, struct wishes *w)
{
	int c;

	while ((c = getopt_long(argc, argv, "c:r:s:q:d:j:lh", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			w->cases = optarg;
			break;
		case 'r':
			b->runs = (unsigned)atoi(optarg);
			break;
		case 's':
			b->seconds = atof(optarg);
			break;
		case 'q':
			b->queue_size = (uint16_t)atoi(optarg);
			break;
		case OPT_CORES:
			if (sscanf(optarg, "%d,%d", &b->daemon_cpu, &b->guest_cpu) != 2)
				return EXIT_USAGE;
			break;
		case OPT_SCALE:
			w->cases = "scale";
			break;
		case OPT_VHOST_USER:
			w->sockets = optarg;
			break;
		case OPT_LISTEN:
			w->listen = true;
			break;
		case OPT_PEER:
			if (!parse_peer(b, optarg))
				return EXIT_USAGE;
			break;
		case 'd':
			b->softiovd = optarg;
			break;
		case 'j':
			w->json = optarg;
			break;
		case 'l':
			for (unsigned i = 0; i < bench_num_cases; i++)
				puts(bench_cases[i].name);
			return EXIT_SUCCESS;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			return EXIT_USAGE;
		}
	}
	if (optind < argc || !b->runs || b->runs > RUNS_MAX || b->seconds <= 0 ||
	    b->queue_size < 64 || b->queue_size > 1024 || (b->queue_size & (b->queue_size - 1))) {
		fputs("softiov-bench: wrong arguments. Try --help\n", stderr);
		return EXIT_USAGE;
	}
	return -1;
}

/* The words mean parts of the simple cases' names, and beginnings of the others'. */
static bool wanted(const char *words, const struct bench_case *c)
{
	char *copy, *word, *rest;
	bool hit = false;

	if (!words)
		return !c->optional;
	copy = strdup(words);
	for (word = strtok_r(copy, ",", &rest); word && !hit; word = strtok_r(NULL, ",", &rest))
		hit = c->kind < WORKERS ? strstr(c->name, word) != NULL
					: !strncmp(c->name, word, strlen(word));
	free(copy);
	return hit;
}

/* Nobody but softiov has disks, or sleeps. */
static bool possible(const struct wishes *w, enum case_kind kind)
{
	return !w->sockets || kind == ONE_WAY || kind == BUSY;
}

static unsigned choose_cases(const struct wishes *w, struct result *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < bench_num_cases; i++)
		if (possible(w, bench_cases[i].kind) && wanted(w->cases, &bench_cases[i]))
			r[n++].what = &bench_cases[i];
	return n;
}

/* Interleaved: whatever disturbs the machine for a while disturbs all cases alike. */
static int measure(struct bench *b, struct result *r, unsigned n)
{
	int err;

	for (unsigned run = 0; run < b->runs; run++) {
		fprintf(stderr, "run %u of %u\n", run + 1, b->runs);
		for (unsigned i = 0; i < n; i++) {
			err = bench_run(b, &r[i]);
			if (err) {
				fprintf(stderr, "softiov-bench: %s: %s\n", r[i].what->name,
					strerror(-err));
				return err;
			}
		}
	}
	return 0;
}

/* The disk of the file cases: made empty, filled by the first of them. */
static int make_image(struct bench *b)
{
	char cwd[PATH_MAX];
	int fd;

	snprintf(b->image, sizeof(b->image), "softiov-bench-XXXXXX");
	fd = mkstemp(b->image);
	if (fd < 0 || !getcwd(cwd, sizeof(cwd)))
		return -errno;
	close(fd);
	return 0;
}

static int start(struct bench *b, bool storage)
{
	char config[PATH_MAX + 1024], cwd[PATH_MAX] = "";
	int n, err = storage ? make_image(b) : 0;

	if (err) {
		fprintf(stderr, "softiov-bench: no file can be made here: %s\n", strerror(-err));
		return err;
	}
	n = snprintf(config, sizeof(config),
		     "workers: 1\n"
		     "devices:\n"
		     "  nic0: {type: ethernet, total-vfs: 2, num-vfs: 2, mtu: 9000, queue-size: "
		     "1024}\n");
	if (storage)
		snprintf(config + n, sizeof(config) - (size_t)n,
			 "  ssd0:\n"
			 "    type: nvme\n"
			 "    total-vfs: 1\n"
			 "    num-vfs: 1\n"
			 "    queues: 2\n"
			 "    namespaces:\n"
			 "      1: {null: %llu, attach: [vf0]}\n"
			 "      2: {memory: %llu, attach: [vf0]}\n"
			 "      3: {file: \"%s/%s\", size: %llu, preallocate: true, attach: "
			 "[vf0]}\n",
			 (unsigned long long)bench_disk_size(NULL_DISK),
			 (unsigned long long)bench_disk_size(MEMORY_DISK),
			 getcwd(cwd, sizeof(cwd)) ? cwd : ".", b->image,
			 (unsigned long long)bench_disk_size(FILE_DISK));
	err = daemon_start(&b->daemon, b->softiovd, config, b->daemon_cpu);
	if (err)
		fprintf(stderr, "softiov-bench: %s does not start\n", b->softiovd);
	return err;
}

/* Its sockets; the switch itself runs already. */
static int meet(struct bench *b, const struct wishes *w)
{
	char *comma = strchr(w->sockets, ',');
	int err;

	if (!comma || !b->daemon.pid) {
		fputs("softiov-bench: --vhost-user wants two sockets, and --peer\n", stderr);
		return -EINVAL;
	}
	*comma = '\0';
	err = vhost_user_new(w->sockets, w->listen, &b->peer[0]);
	if (!err)
		err = vhost_user_new(comma + 1, w->listen, &b->peer[1]);
	if (err)
		fprintf(stderr, "softiov-bench: %s: %s\n", w->sockets, strerror(-err));
	return err;
}

/* What is to be measured, ours or another's. */
static int set_up(struct bench *b, const struct wishes *w, bool storage)
{
	return w->sockets ? meet(b, w) : start(b, storage);
}

static int tear_down(struct bench *b)
{
	bool ours = !b->peer[0];

	vhost_user_free(b->peer[0]);
	vhost_user_free(b->peer[1]);
	return ours && daemon_stop(&b->daemon) ? -ECHILD : 0;
}

/* The name with another ending. */
static char *beside(const char *json, const char *ending)
{
	size_t len = strlen(json);
	char *path;

	if (len > 5 && !strcmp(json + len - 5, ".json"))
		len -= 5;
	return asprintf(&path, "%.*s%s", (int)len, json, ending) < 0 ? NULL : path;
}

static int write_tables(const char *path, const struct bench *b, const struct machine *m,
			const struct result *r, unsigned n)
{
	FILE *f = path ? fopen(path, "we") : NULL;

	if (!f)
		return -errno;
	report_tables(f, b, m, r, n);
	return fclose(f) ? -errno : 0;
}

static int write_files(const char *json, const struct bench *b, const struct machine *m,
		       const struct result *r, unsigned n)
{
	char *tables = beside(json, ".md"), *data = beside(json, ".dat");
	int err = report_json(json, b, m, r, n);

	if (!err)
		err = write_tables(tables, b, m, r, n);
	if (!err && data && bench_has_kind(r, n, SCALE))
		err = report_scale_data(data, r, n);
	if (err)
		fprintf(stderr, "softiov-bench: %s cannot be written, or what goes beside it: %s\n",
			json, strerror(-err));
	free(tables);
	free(data);
	return err;
}

static int bench(struct bench *b, const struct wishes *w, struct result *r, unsigned n)
{
	struct machine m;
	int err;

	machine_begin(&m);
	b->ticks_per_ns = m.ghz;
	bench_pin(-1); /* these are all, from now on */
	err = set_up(b, w, bench_has_kind(r, n, STORAGE));
	if (err)
		return err;
	bench_pin(b->guest_cpu);
	err = measure(b, r, n);
	machine_end(&m);
	if (tear_down(b) && !err)
		err = -ECHILD;
	if (err)
		return err;
	report_tables(stdout, b, &m, r, n);
	return w->json ? write_files(w->json, b, &m, r, n) : 0;
}

int main(int argc, char **argv)
{
	struct bench b = {.softiovd = SOFTIOVD,
			  .runs = 5,
			  .seconds = 0.4,
			  .queue_size = 256,
			  .thread = "worker/0"};
	struct wishes w = {NULL};
	struct result *r;
	unsigned n;
	int ret;

	choose_cores(&b);
	ret = parse(argc, argv, &b, &w);
	if (ret >= 0)
		return ret;
	r = calloc(bench_num_cases, sizeof(*r));
	n = r ? choose_cases(&w, r) : 0;
	if (!n) {
		fputs("softiov-bench: no such case; --list shows them\n", stderr);
		free(r);
		return EXIT_USAGE;
	}
	ret = bench(&b, &w, r, n);
	if (b.image[0])
		unlink(b.image);
	free(r);
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
