/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SOFTIOV_NET_SLIRP_LOG_H
#define SOFTIOV_NET_SLIRP_LOG_H

/* Takes over what libslirp logs, once a process. Control thread. */
void slirp_log_init(void);

#endif
