/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "control/config_file.h"
#include "control/protocol.h"
#include "control/server.h"
#include "device/device.h"
#include "dma/dma.h"
#include "util/clock.h"
#include "util/log.h"
#include "worker/mailbox.h"

struct daemon {
	const struct daemon_args *args;
	struct config cfg;
	int lock_fd;
	sd_event *event;
	struct softiov *softiov;
	struct control_server *control;
};

static void log_lines(char *text)
{
	char *save;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		log_error("%s", line);
}

static int load(const struct daemon_args *args, struct config *cfg, char **errors)
{
	char dir[PATH_MAX];

	control_default_dir(dir, sizeof(dir));
	return config_load(args->config_path, args->runtime_dir, dir, cfg, errors);
}

static int refuse_move(const struct daemon *d, const struct config *next, char **errors)
{
	if (!strcmp(next->runtime_dir, d->cfg.runtime_dir))
		return 0;
	if (asprintf(errors, "runtime-dir: %s cannot become %s while the daemon runs: restart it\n",
		     d->cfg.runtime_dir, next->runtime_dir) < 0)
		*errors = NULL;
	return -EBUSY;
}

/* SIGHUP and the reload command. Nothing changes unless the whole file is good. */
static int reload(void *opaque, char **errors)
{
	struct daemon *d = opaque;
	char why[WHY_MAX] = "";
	struct config next;
	int ret;

	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
		   (unsigned long long)(clock_now_ns() / NS_PER_US));
	ret = load(d->args, &next, errors);
	if (!ret) {
		ret = refuse_move(d, &next, errors);
		if (!ret) {
			ret = softiov_reload(d->softiov, &next, why);
			if (ret && asprintf(errors, "%s\n", why[0] ? why : strerror(-ret)) < 0)
				*errors = NULL;
		}
		if (ret) {
			config_free(&next);
		} else {
			config_free(&d->cfg);
			d->cfg = next;
			limits_raise(&d->cfg);
		}
	}
	sd_notify(0, "READY=1");
	return ret;
}

static int on_hangup(sd_event_source *s, const struct signalfd_siginfo *si, void *opaque)
{
	struct daemon *d = opaque;
	char *errors = NULL;

	if (!reload(d, &errors)) {
		log_info("configuration read again: %s", d->args->config_path);
	} else {
		if (errors)
			log_lines(errors);
		log_error("the configuration was not taken over");
	}
	free(errors);
	return 0;
}

static int on_end(sd_event_source *s, const struct signalfd_siginfo *si, void *opaque)
{
	struct daemon *d = opaque;

	log_info("ending on %s", si->ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
	return sd_event_exit(d->event, 0);
}

static int on_mailbox(sd_event_source *s, int fd, uint32_t events, void *opaque)
{
	mailbox_run();
	return 0;
}

/* Signals are blocked before any thread starts, so that only the loop ever sees them. */
static int open_loop(struct daemon *d)
{
	sigset_t set;
	int ret;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL))
		return -EINVAL;
	ret = sd_event_new(&d->event);
	if (ret < 0)
		return ret;
	if ((ret = sd_event_add_signal(d->event, NULL, SIGTERM, on_end, d)) < 0 ||
	    (ret = sd_event_add_signal(d->event, NULL, SIGINT, on_end, d)) < 0 ||
	    (ret = sd_event_add_signal(d->event, NULL, SIGHUP, on_hangup, d)) < 0)
		return ret;
	ret = mailbox_init();
	if (ret)
		return ret;
	ret = sd_event_add_io(d->event, NULL, mailbox_fd(), EPOLLIN, on_mailbox, d);
	return ret < 0 ? ret : 0;
}

static int open_devices(struct daemon *d)
{
	struct control_context ctx = {
		.version = SOFTIOV_VERSION,
		.config_path = d->args->config_path,
		.started_ns = clock_now_ns(),
		.reload = reload,
		.opaque = d,
	};
	char why[WHY_MAX] = "";
	int ret;

	ret = softiov_create(d->event, &d->cfg, d->cfg.runtime_dir, &d->softiov, why);
	if (!ret) {
		ctx.softiov = d->softiov;
		ret = control_server_create(d->event, d->cfg.runtime_dir, &ctx, &d->control, why);
	}
	if (ret)
		log_error("%s", why[0] ? why : strerror(-ret));
	/* Not the configuration's fault any more, whatever the errno. */
	return ret == -EINVAL ? -EIO : ret;
}

static int start(struct daemon *d)
{
	int ret;

	d->lock_fd = runtime_dir_open(d->cfg.runtime_dir);
	if (d->lock_fd < 0)
		return d->lock_fd == -EINVAL ? -EIO : d->lock_fd;
	limits_raise(&d->cfg);
	ret = dma_init();
	if (!ret)
		ret = open_loop(d);
	if (ret) {
		log_error("cannot start: %s", strerror(-ret));
		return ret == -EINVAL ? -EIO : ret;
	}
	ret = open_devices(d);
	if (ret)
		return ret;
	/* Nothing is executed after this; set-user-ID programs would gain nothing either. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		log_debug("no_new_privs: %s", strerror(errno));
	return 0;
}

static void finish(struct daemon *d)
{
	control_server_destroy(d->control);
	if (d->softiov)
		softiov_destroy(d->softiov);
	mailbox_fini();
	sd_event_unref(d->event);
	if (d->lock_fd >= 0)
		close(d->lock_fd);
}

static int check(const struct daemon *d)
{
	unsigned vfs = 0;

	for (unsigned i = 0; i < d->cfg.n_devices; i++)
		vfs += d->cfg.devices[i].total_vfs;
	printf("%s: good: %u device%s with up to %u VFs, %u root%s, %u worker%s, sockets in %s\n",
	       d->args->config_path, d->cfg.n_devices, d->cfg.n_devices == 1 ? "" : "s", vfs,
	       d->cfg.n_roots, d->cfg.n_roots == 1 ? "" : "s", d->cfg.workers,
	       d->cfg.workers == 1 ? "" : "s", d->cfg.runtime_dir);
	return 0;
}

int daemon_run(const struct daemon_args *args)
{
	struct daemon d = {.args = args, .lock_fd = -1};
	char *errors = NULL;
	int ret;

	ret = load(args, &d.cfg, &errors);
	if (ret) {
		if (errors)
			log_lines(errors);
		free(errors);
		return -EINVAL;
	}
	if (args->check_only) {
		ret = check(&d);
		config_free(&d.cfg);
		return ret;
	}
	ret = start(&d);
	if (!ret) {
		log_info("ready: softiov -s %s show", d.cfg.runtime_dir);
		sd_notifyf(0, "READY=1\nSTATUS=%u devices, %u roots", d.cfg.n_devices,
			   d.cfg.n_roots);
		ret = sd_event_loop(d.event);
		sd_notify(0, "STOPPING=1");
	}
	finish(&d);
	config_free(&d.cfg);
	return ret;
}
