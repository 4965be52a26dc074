/* SPDX-License-Identifier: BSD-3-Clause */
/* The benchmark's vhost-user front-end against a back-end that is played here, message by message.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../bench/peers/vhost_user.h"
#include "guest.h"
#include "util/bytes.h"

#define OFFERED                                                                                    \
	(GUEST_F_VERSION_1 | GUEST_F_MRG_RXBUF | GUEST_F_EVENT_IDX | GUEST_F_PACKED |              \
	 GUEST_BIT(30) | GUEST_F_MQ | GUEST_F_CTRL_VQ)
#define NEVER 1000u
#define RING  64

struct backend {
	char path[64];
	int listener;
	pthread_t thread;
	uint64_t offered;
	uint32_t refuse, die_at; /* a request: answered with an error; not answered at all */
	/* seen */
	uint64_t features, protocol, size, user;
	uint8_t *mem;
	uint32_t num[2], base[2], enabled, fds;
	uint64_t desc[2], used[2], avail[2];
};

/* A message with the fd that came with it, or -1. Its size, or -1 at the end. */
static int get(int sock, uint8_t *m, int *fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {m, 12};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	uint32_t size;

	*fd = -1;
	if (recvmsg(sock, &mh, MSG_WAITALL) != 12)
		return -1;
	c = CMSG_FIRSTHDR(&mh);
	if (c)
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	size = get_le32(m + 8);
	if (size > 64 || (size && recv(sock, m + 12, size, MSG_WAITALL) != (ssize_t)size))
		return -1;
	return (int)size;
}

static void put(int sock, const uint8_t *m, uint64_t v, uint32_t size)
{
	uint8_t r[20];

	memcpy(r, m, 4);
	put_le32(r + 4, 5); /* version 1, a reply */
	put_le32(r + 8, size);
	put_le64(r + 12, v);
	assert_int_equal(send(sock, r, 12 + size, MSG_NOSIGNAL), 12 + size);
}

static void note(struct backend *b, const uint8_t *m, int fd)
{
	uint32_t i = get_le32(m + 12) & 1;

	b->fds += fd >= 0;
	switch (get_le32(m)) {
	case 2:
		b->features = get_le64(m + 12);
		break;
	case 5:
		b->size = get_le64(m + 28);
		b->user = get_le64(m + 36);
		b->mem = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		break;
	case 8:
		b->num[i] = get_le32(m + 16);
		break;
	case 9:
		b->desc[i] = get_le64(m + 20);
		b->used[i] = get_le64(m + 28);
		b->avail[i] = get_le64(m + 36);
		break;
	case 10:
		b->base[i] = get_le32(m + 16);
		break;
	case 16:
		b->protocol = get_le64(m + 12);
		break;
	case 18:
		b->enabled |= get_le32(m + 16) << i;
		break;
	default:
		break;
	}
}

static void *serve(void *arg)
{
	struct backend *b = arg;
	int sock = accept(b->listener, NULL, NULL), fd;
	uint8_t m[96];

	while (get(sock, m, &fd) >= 0) {
		uint32_t request = get_le32(m);

		if (request == b->die_at)
			break;
		note(b, m, fd);
		if (fd >= 0)
			close(fd);
		if (request == 1)
			put(sock, m, b->offered, 8);
		else if (request == 15)
			put(sock, m, 0xffff, 8);
		else if (request == 11)
			put(sock, m, get_le32(m + 12), 8);
		else if (get_le32(m + 4) & 8)
			put(sock, m, request == b->refuse, 8);
	}
	close(sock);
	return NULL;
}

static void begin(struct backend *b, uint64_t offered)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	*b = (struct backend){.offered = offered, .refuse = NEVER, .die_at = NEVER};
	snprintf(b->path, sizeof(b->path), "/tmp/vhost-user-test-%d", (int)getpid());
	unlink(b->path);
	strcpy(sa.sun_path, b->path);
	b->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(b->listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(b->listener, 1), 0);
}

static int attach(struct backend *b, bool packed, struct vhost_user **v, struct guest **g)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	struct guest_config cfg = {.features = GUEST_F_DEFAULT | (packed ? GUEST_F_PACKED : 0),
				   .queue_size = RING,
				   .no_interrupts = true,
				   .timeout_ms = 2000};

	assert_int_equal(pthread_create(&b->thread, NULL, serve, b), 0);
	assert_int_equal(vhost_user_new(b->path, false, v), 0);
	return vhost_user_attach(*v, &cfg, mac, g);
}

static void end(struct backend *b, struct vhost_user *v, struct guest *g)
{
	vhost_user_detach(v, g);
	vhost_user_free(v);
	pthread_join(b->thread, NULL);
	close(b->listener);
	unlink(b->path);
	if (b->mem)
		munmap(b->mem, b->size);
}

static void check_set_up(bool packed)
{
	struct backend b;
	struct vhost_user *v;
	struct guest *g;

	begin(&b, OFFERED);
	assert_int_equal(attach(&b, packed, &v, &g), 0);
	/* neither more than was offered, nor what only a VMM serves */
	assert_int_equal(b.features & ~OFFERED, 0);
	assert_int_equal(b.features & (GUEST_F_MQ | GUEST_F_CTRL_VQ), 0);
	assert_int_equal(!!(b.features & GUEST_F_PACKED), packed);
	assert_int_equal(b.protocol, GUEST_BIT(3));
	assert_int_equal(b.enabled, 3);
	assert_int_equal(b.fds, 5); /* memory, two kicks, two calls */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(b.num[i], RING);
		assert_int_equal(b.base[i], packed ? 0x8000 : 0);
		assert_in_range(b.desc[i], b.user, b.user + b.size - 16 * RING);
		assert_in_range(b.used[i], b.user, b.user + b.size - 4);
		assert_in_range(b.avail[i], b.user, b.user + b.size - 4);
	}
	/* the receive ring is full, in memory that both see */
	if (!packed)
		assert_int_equal(get_le16(b.mem + (b.avail[0] - b.user) + 2), RING);
	else
		assert_int_equal(get_le16(b.mem + (b.desc[0] - b.user) + 14), 0x82);
	assert_int_equal(guest_hdr_len(g), 12);
	end(&b, v, g);
}

static void test_split(void **state)
{
	check_set_up(false);
}

static void test_packed(void **state)
{
	check_set_up(true);
}

static void test_lacking(void **state)
{
	static const uint64_t lacks[] = {GUEST_F_PACKED, GUEST_F_MRG_RXBUF, GUEST_F_VERSION_1};
	struct vhost_user *v;
	struct guest *g;
	struct backend b;

	for (unsigned i = 0; i < 3; i++) {
		begin(&b, OFFERED & ~lacks[i]);
		assert_int_equal(attach(&b, true, &v, &g), -ENOTSUP);
		end(&b, v, NULL);
	}
}

/* Whatever it refuses or dies at, the answer is an error, soon. */
static void test_trouble(void **state)
{
	static const uint32_t at[] = {2, 5, 8, 9, 10, 12, 13, 18};
	struct vhost_user *v;
	struct guest *g;
	struct backend b;

	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		begin(&b, OFFERED);
		b.refuse = at[i];
		assert_int_equal(attach(&b, false, &v, &g), -EREMOTEIO);
		end(&b, v, NULL);
		begin(&b, OFFERED);
		b.die_at = at[i];
		assert_in_set((unsigned long)-attach(&b, false, &v, &g),
			      ((unsigned long[]){ECONNRESET, EPIPE}), 2);
		end(&b, v, NULL);
	}
}

static void test_nobody(void **state)
{
	static const uint8_t mac[6] = {2};
	struct guest_config cfg = {.timeout_ms = 50};
	struct vhost_user *v;
	struct guest *g;

	assert_int_equal(vhost_user_new("/tmp/vhost-user-test-none", false, &v), 0);
	assert_int_equal(vhost_user_attach(v, &cfg, mac, &g), -ENOENT);
	vhost_user_free(v);
	assert_int_equal(vhost_user_new("/tmp/vhost-user-test-none", true, &v), 0);
	assert_int_equal(vhost_user_attach(v, &cfg, mac, &g), -ETIMEDOUT);
	vhost_user_free(v);
	assert_int_equal(access("/tmp/vhost-user-test-none", F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),	cmocka_unit_test(test_packed),
		cmocka_unit_test(test_lacking), cmocka_unit_test(test_trouble),
		cmocka_unit_test(test_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
