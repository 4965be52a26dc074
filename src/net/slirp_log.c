/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What libslirp logs through glib, guests may have caused: it goes to our log, rate-limited. In a
 * file of its own since glib has macros of the names of ours.
 */
#include <glib.h>

#include "net/slirp_log.h"
#include "util/log.h"

static void log_line(const gchar *domain, GLogLevelFlags level, const gchar *msg, gpointer opaque)
{
	static struct log_limit limit;

	log_guest(&limit, "libslirp: %s", msg);
}

void slirp_log_init(void)
{
	static guint handler;

	if (!handler)
		handler = g_log_set_handler("Slirp", G_LOG_LEVEL_MASK, log_line, NULL);
}
