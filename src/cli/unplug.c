/* SPDX-License-Identifier: BSD-3-Clause */
/* softiov root unplug: the guest is asked to let go, which takes it some seconds. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "util/clock.h"

/* The daemon presses a slot's button once in 20 s, so asking it again meanwhile disturbs nobody. */
#define WAIT_NS	 (15 * NS_PER_S)
#define AGAIN_US 1000000

/* Says so once; false when it is time to give up. */
static bool wait_for_guest(uint64_t *end, const json_t *params)
{
	uint64_t now = clock_now_ns();

	if (!*end) {
		*end = now + WAIT_NS;
		fprintf(stderr,
			"softiov: %s is in use; the guest in %s was asked to let go: waiting\n",
			js(params, "device"), js(params, "root"));
	}
	if (now >= *end)
		return false;
	usleep(AGAIN_US);
	return true;
}

int verb_root_unplug(struct cli *cli, int argc, char **argv)
{
	json_t *params = cli_params_or_usage(cli, argc, argv), *reply, *result = NULL;
	uint64_t end = 0;
	int ret;

	if (!params)
		return CLI_USAGE;
	for (;;) {
		ret = cli_ask(cli, cli->cmd->method, params, &reply);
		if (ret || ji(json_object_get(reply, "error"), "code") != -EBUSY ||
		    !wait_for_guest(&end, params))
			break;
		json_decref(reply);
	}
	if (!ret)
		ret = cli_take_reply(reply, &result);
	if (!ret && cli->json)
		cli_print_json(result);
	json_decref(reply);
	json_decref(result);
	json_decref(params);
	return ret;
}
