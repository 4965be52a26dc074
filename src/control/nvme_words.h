/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the configuration file and the commands say alike of namespaces and limits: which settings
 * go with which backend, and what a limit may be.
 */
#ifndef SOFTIOV_CONTROL_NVME_WORDS_H
#define SOFTIOV_CONTROL_NVME_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#define NVME_IOPS_MAX	   1000000000 /* a second */
#define NVME_BANDWIDTH_MIN 4096ull    /* bytes a second; less was meant in other units */
#define NVME_BANDWIDTH_MAX (1ull << 50)
#define NVME_NS_SIZE_MIN   512ull
#define NVME_NS_SIZE_MAX   ((1ull << 63) - 1)

/* The words for backends: "file", "device", "memory", "null", "nbd", "pool"; NULL ends them. */
extern const char *const nvme_backends[];
/* The settings that not every backend has; NULL ends them. */
extern const char *const nvme_backend_settings[];

/* True when a backend does not have a setting; then text says so and what to do. */
bool nvme_setting_refused(const char *backend, const char *setting, char *text, size_t len);

#endif
