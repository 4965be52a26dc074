/* SPDX-License-Identifier: BSD-3-Clause */
/* softiov lspci: the daemon's dumps, or what a VMM reads at a socket. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "vfio_user/client.h"

#define CONFIG_SIZE 4096u
#define TIMEOUT_MS  5000

static void print_dump(const uint8_t *cfg, size_t len, const char *what)
{
	printf("00:00.0 %s\n", what);
	for (size_t off = 0; off < len; off += 16) {
		printf(len > 256 ? "%03zx:" : "%02zx:", off);
		for (size_t i = 0; i < 16; i++)
			printf(" %02x", cfg[off + i]);
		putchar('\n');
	}
	putchar('\n');
}

static int read_config(struct vfu_client *c, uint8_t cfg[CONFIG_SIZE], size_t *len)
{
	struct vfio_region_info info = {0};
	int ret, fd = -1;

	ret = vfu_client_region_info(c, VFIO_PCI_CONFIG_REGION_INDEX, &info, NULL, 0, &fd);
	if (ret)
		return ret;
	*len = info.size >= CONFIG_SIZE ? CONFIG_SIZE : 256;
	for (size_t off = 0; !ret && off < *len; off += 256)
		ret = vfu_client_region_read(c, VFIO_PCI_CONFIG_REGION_INDEX, off, cfg + off, 256);
	return ret;
}

static int dump_socket(struct cli *cli, const char *path)
{
	uint8_t cfg[CONFIG_SIZE];
	struct vfu_client *c;
	size_t len;
	int ret;

	ret = vfu_client_connect(path, TIMEOUT_MS, &c);
	if (ret) {
		cli_error(
			"%s: %s: %s", path, strerror(-ret),
			ret == -ENOENT || ret == -ECONNREFUSED
				? "no function or root is served there: softiov show has the paths"
			: ret == -EACCES
				? "its mode does not let you in: see socket: in the configuration"
				: "a VM may hold it: softiov show; without --socket the daemon "
				  "answers");
		return CLI_FAILED;
	}
	ret = read_config(c, cfg, &len);
	vfu_client_close(c);
	if (ret) {
		cli_error("%s: configuration space cannot be read: %s", path, strerror(-ret));
		return CLI_FAILED;
	}
	if (cli->json) {
		json_t *bytes = json_array();

		for (size_t i = 0; i < len; i++)
			json_array_append_new(bytes, json_integer(cfg[i]));
		bytes = json_pack("{s:s, s:o}", "socket", path, "config", bytes);
		cli_print_json(bytes);
		json_decref(bytes);
	} else {
		print_dump(cfg, len, path);
	}
	return CLI_OK;
}

int verb_lspci(struct cli *cli, int argc, char **argv)
{
	const char *path = NULL;
	json_t *result;
	int ret;

	ret = cli_take(&argc, argv, "--socket", &path, false);
	if (ret < 0)
		return CLI_USAGE;
	if (path && argc) {
		cli_error("lspci: give a name or --socket, not both");
		return CLI_USAGE;
	}
	if (path)
		return dump_socket(cli, path);
	ret = cli_call_verb(cli, argc, argv, &result);
	if (!ret && cli->json)
		cli_print_json(result);
	else if (!ret)
		fputs(js(result, "dump"), stdout);
	json_decref(result);
	return ret;
}
