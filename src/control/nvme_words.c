/* SPDX-License-Identifier: BSD-3-Clause */
#include "control/nvme_words.h"

#include <stdio.h>
#include <string.h>

const char *const nvme_backends[] = {"file", "device", "memory", "null", "nbd", "pool", NULL};

const char *const nvme_backend_settings[] = {"size", "preallocate", "direct", "read-only", NULL};

/* In the order of nvme_backend_settings: those that have it. */
static const char *const backends_of[] = {"file, device and nbd", "file", "file and device",
					  "file, device and nbd"};

static bool has(const char *list, const char *word)
{
	size_t len = strlen(word);

	while (*list) {
		size_t n = strcspn(list, ", ");

		if (n == len && !memcmp(list, word, n))
			return true;
		list += n;
		list += strspn(list, ", ");
	}
	return false;
}

bool nvme_setting_refused(const char *backend, const char *setting, char *text, size_t len)
{
	for (unsigned i = 0; nvme_backend_settings[i]; i++) {
		if (strcmp(nvme_backend_settings[i], setting) || has(backends_of[i], backend))
			continue;
		snprintf(text, len,
			 i == 0 ? "belongs to %s; here %s says it: remove it"
				: "belongs to %s, this is %s: remove it",
			 backends_of[i], backend);
		return true;
	}
	return false;
}
