/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A driver thread and a device thread on one ring, each of which sleeps until the other notifies
 * it: a lost notification is a time-out here, a missing barrier shows under TSan.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "ring_env.h"

#define CHAINS	  20000
#define RING_SIZE 32

struct duo {
	struct env e;
	sem_t kick, irq;
	_Atomic bool lost;
	uint64_t device_sum;
	unsigned kicks, irqs;
};

static void wait_for(struct duo *d, sem_t *sem)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	if (sem_timedwait(sem, &until))
		atomic_store(&d->lost, true);
}

static void *device(void *arg)
{
	struct duo *d = arg;
	unsigned done = 0, burst;
	struct vq_chain c;
	uint64_t v;

	while (done < CHAINS && !atomic_load(&d->lost)) {
		vq_begin(d->e.vq, dma_view_get(d->e.dma));
		vq_disarm(d->e.vq);
		for (burst = 0; burst < 8 && env_pop(&d->e, &c) == 1; burst++) {
			memcpy(&v, c.bufs[0].ptr, 8);
			d->device_sum += v;
			v *= 3;
			memcpy(c.bufs[1].ptr, &v, 8);
			vq_push(d->e.vq, &c, 8);
			done++;
		}
		if (vq_publish(d->e.vq)) {
			d->irqs++;
			sem_post(&d->irq);
		}
		if (!burst && !vq_arm(d->e.vq))
			wait_for(d, &d->kick);
	}
	return NULL;
}

static void drive(struct duo *d)
{
	unsigned added = 0, taken = 0, slot;
	uint64_t v, cookie, *mem = (uint64_t *)env_ptr(&d->e, 0);
	uint32_t len;

	while (taken < CHAINS && !atomic_load(&d->lost)) {
		gvq_disable_irq(&d->e.drv);
		while (gvq_take(&d->e.drv, &cookie, &len)) {
			slot = (unsigned)(cookie % RING_SIZE) * 2;
			assert_int_equal(mem[slot + 1], cookie * 3);
			taken++;
		}
		for (; added < CHAINS && added - taken < RING_SIZE / 2; added++) {
			slot = added % RING_SIZE * 2;
			struct gvq_seg segs[2] = {{env_addr(8 * slot), 8, false},
						  {env_addr(8 * slot + 8), 8, true}};

			v = added;
			mem[slot] = v;
			if (gvq_add(&d->e.drv, segs, 2, added))
				break;
			if (added % 3 == 0 && gvq_publish(&d->e.drv)) {
				d->kicks++;
				sem_post(&d->kick);
			}
		}
		if (gvq_publish(&d->e.drv)) {
			d->kicks++;
			sem_post(&d->kick);
		}
		if (!gvq_enable_irq(&d->e.drv) && taken < CHAINS)
			wait_for(d, &d->irq);
	}
}

static void test_notifications(void **state)
{
	FOR_EACH_MODE(m, 8)
	{
		struct duo *d = calloc(1, sizeof(*d));
		pthread_t t;

		env_open(&d->e, m, RING_SIZE);
		sem_init(&d->kick, 0, 0);
		sem_init(&d->irq, 0, 0);
		assert_int_equal(pthread_create(&t, NULL, device, d), 0);
		drive(d);
		pthread_join(t, NULL);
		assert_false(atomic_load(&d->lost));
		assert_int_equal(d->device_sum, (uint64_t)CHAINS * (CHAINS - 1) / 2);
		print_message("packed %d event_idx %d indirect %d: %u kicks, %u interrupts\n",
			      m.packed, m.event_idx, m.indirect, d->kicks, d->irqs);
		env_close(&d->e);
		free(d);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_notifications),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
