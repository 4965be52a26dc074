/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "util/util.h"
#include "vfio_user/session.h"

/* Real clients send some 200 bytes. */
#define VERSION_JSON_MAX 4096u

/*
 * The whole answer must fit into the buffer of QEMU's request (about 200 bytes), and each key in it
 * must be one that QEMU accepts. write_multiple is left out on purpose: QEMU 10.1 and 10.2 take it
 * as an order to queue every message.
 */
static const char reply_json[] =
	"{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576}}";
static_assert(VFU_FDS_MAX == 16 && VFU_DATA_MAX == 1048576, "as announced");

static int get_number(const json_t *caps, const char *key, uint64_t *value)
{
	const json_t *v = json_object_get(caps, key);

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return -EINVAL;
	*value = (uint64_t)json_integer_value(v);
	return 0;
}

static int parse_capabilities(struct vfu_session *s, const json_t *root)
{
	const json_t *caps = json_object_get(root, "capabilities");
	uint64_t fds = 1, xfer = VFU_DATA_MAX;

	if (!json_is_object(root) || (caps && !json_is_object(caps)))
		return -EINVAL;
	if (get_number(caps, "max_msg_fds", &fds) || get_number(caps, "max_data_xfer_size", &xfer))
		return -EINVAL;
	s->client_fds = (unsigned)MIN(fds, (uint64_t)VFU_FDS_MAX);
	s->client_xfer = MIN(xfer, (uint64_t)VFU_DATA_MAX);
	return 0;
}

/* json: len bytes, the last of them NUL. */
static int parse_json(struct vfu_session *s, const char *json, size_t len)
{
	json_error_t e;
	json_t *root;
	int err;

	if (len > VERSION_JSON_MAX || json[len - 1] != '\0')
		return -EINVAL;
	root = json_loadb(json, strnlen(json, len), 0, &e);
	if (!root)
		return -EINVAL;
	err = parse_capabilities(s, root);
	json_decref(root);
	return err;
}

/* VERSION. SPDK sends no JSON at all; then every default of the specification holds. */
int vfu_handle_version(struct vfu_session *s, struct vfu_msg *m)
{
	struct vfu_version v;
	int err = 0;

	memcpy(&v, m->body, sizeof(v));
	if (s->negotiated || v.major != 0)
		return -EINVAL;
	if (m->len > sizeof(v))
		err = parse_json(s, (const char *)m->body + sizeof(v), m->len - sizeof(v));
	if (err)
		return err;
	s->negotiated = true;
	vfu_remote_open(s->cfg.remote, s->client_xfer);
	v.minor = 0; /* never above what was proposed */
	vfu_reply(s, m, &v, sizeof(v), reply_json, sizeof(reply_json));
	return 0;
}
