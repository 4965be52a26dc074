/* SPDX-License-Identifier: BSD-3-Clause */
/* softiovd: start-up, signals, end. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/daemon.h"
#include "util/log.h"

enum { EXIT_USAGE = 2, EXIT_CONFIG = 3 };

static const char usage[] =
	"Usage: softiovd -c FILE [OPTION]...\n"
	"\n"
	"Makes SR-IOV devices in software and offers their functions to virtual machines over\n"
	"vfio-user sockets. Runs in the foreground as an ordinary user; logs to stderr.\n"
	"\n"
	"  -c, --config FILE      the configuration; docs/config.md tells what it takes\n"
	"  -s, --runtime-dir DIR  where the sockets are made; else runtime-dir in the file, else\n"
	"                         $XDG_RUNTIME_DIR/softiov, else /run/softiov\n"
	"      --check            check the file, say what is wrong with it, and end\n"
	"  -v, --verbose          log more\n"
	"  -h, --help             this text\n"
	"      --version          the version\n"
	"\n"
	"Signals: SIGHUP reads the file again, SIGTERM and SIGINT end it cleanly.\n"
	"Exit status: 0 ended as asked, 1 failed, 2 wrong arguments, 3 wrong configuration.\n"
	"\n"
	"A first try:\n"
	"  printf 'devices: {nic0: {type: ethernet, num-vfs: 2}}' > nic.yaml\n"
	"  softiovd -c nic.yaml &\n"
	"  softiov show\n"
	"  softiov attach-args nic0/vf0\n";

enum { OPT_CHECK = 256, OPT_VERSION };

static const struct option options[] = {
	{"config", required_argument, NULL, 'c'},
	{"runtime-dir", required_argument, NULL, 's'},
	{"check", no_argument, NULL, OPT_CHECK},
	{"verbose", no_argument, NULL, 'v'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

/* -1: go on; else the exit status. */
static int parse_arguments(int argc, char **argv, struct daemon_args *args)
{
	int c;

	while ((c = getopt_long(argc, argv, "c:s:vh", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			args->config_path = optarg;
			break;
		case 's':
			args->runtime_dir = optarg;
			break;
		case 'v':
			log_set_level(LOG_LEVEL_DEBUG);
			break;
		case OPT_CHECK:
			args->check_only = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		case OPT_VERSION:
			puts("softiovd " SOFTIOV_VERSION);
			return EXIT_SUCCESS;
		default:
			fputs("Try softiovd --help\n", stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "softiovd: what is \"%s\"? Try softiovd --help\n", argv[optind]);
		return EXIT_USAGE;
	}
	if (!args->config_path) {
		fputs("softiovd: no configuration: give one with -c FILE (softiovd --help has an "
		      "example)\n",
		      stderr);
		return EXIT_USAGE;
	}
	return -1;
}

/* The daemon's directory may be changed by whoever starts it; these must stay what they say. */
static int make_absolute(const char **path, const char *what)
{
	char cwd[PATH_MAX], *abs;

	if (!*path || (*path)[0] == '/')
		return 0;
	if (!getcwd(cwd, sizeof(cwd)) || asprintf(&abs, "%s/%s", cwd, *path) < 0) {
		fprintf(stderr, "softiovd: %s: %s\n", what, strerror(errno));
		return -errno;
	}
	*path = abs; /* lives as long as the process */
	return 0;
}

int main(int argc, char **argv)
{
	struct daemon_args args = {.config_path = NULL};
	int ret;

	ret = parse_arguments(argc, argv, &args);
	if (ret >= 0)
		return ret;
	/* Sockets get their modes explicitly; directories are to be passable, files private to
	 * their owner's writes. */
	umask(022);
	signal(SIGPIPE, SIG_IGN);
	if (make_absolute(&args.runtime_dir, "--runtime-dir"))
		return EXIT_FAILURE;
	ret = daemon_run(&args);
	return ret == -EINVAL ? EXIT_CONFIG : ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
