/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A virtqueue, both ends of it asleep when there is nothing to do: src/virtio/split.c and packed.c,
 * polled as src/worker/worker.c does it, against a driver that keeps the rules (virtio 1.3, 2.7.10,
 * 2.8.10, 2.8.14).
 *
 * The driver sends CHAINS chains, in batches, and sleeps in between until it is interrupted. When
 * nothing can move any more it must have had all of them back: then no kick was lost, and no
 * interrupt.
 *
 * PACKED: the packed ring. EVENT_IDX: that feature. M_*: one step left out or in another place; with
 * DRIVER in its name it is a guest's mistake, which hurts nobody else.
 */
#ifndef CHAINS
#define CHAINS 4
#endif

#define DEV	0
#define DRV	1
#define THREADS 2

#ifdef PACKED
#define SIZE 3
#else
#define SIZE 2
#define MOD  (2 * SIZE) /* indices count so far, the real ones to 2^16 */
#endif

#define DEV_EVENT 0 /* avail_event or used.flags; packed: the device's event structure */
#define DRV_EVENT 1
#define KICKED	  2 /* POLLER_QUEUED */
#define RING	  3 /* split: avail idx, used idx; packed: flags of each slot */
#define AVAIL_IDX RING
#define USED_IDX  (RING + 1)
#define VARS	  (RING + SIZE)

#include "tso.pml"

bit doorbell; /* a kick is on its way to the device */
bit irq;      /* an interrupt is on its way to the driver */
bit finished;

#ifdef PACKED
/* ---- packed: a position is slot + wrap * 4, an event is that + flags * 8 ---- */
#define F_AVAIL 1
#define F_USED	2
#define ENABLE	0
#define DISABLE 8
#define DESC	16
#define FIRST	4

#define SLOT(pos) ((pos) & 3)
#define WRAP(pos) ((pos) >> 2)
#define NEXT(pos) (SLOT(pos) + 1 == SIZE -> 4 - (WRAP(pos) * 4) : (pos) + 1)

#define AVAIL_FLAGS(pos) (WRAP(pos) -> F_AVAIL : F_USED)
#define USED_FLAGS(pos)	 (WRAP(pos) -> F_AVAIL + F_USED : 0)

/* packed_is_avail() through is_avail(); the driver's counterpart */
#define IS_AVAIL(f, pos) ((f) == AVAIL_FLAGS(pos))
#define IS_USED(f, pos)	 ((f) == USED_FLAGS(pos))

#define LOOK_AVAIL(x, pos) LOAD(DEV, RING + SLOT(pos), x); x = IS_AVAIL(x, pos)
#define LOOK_USED(x, pos)  LOAD(DRV, RING + SLOT(pos), x); x = IS_USED(x, pos)

/* What is stored of n chains from pos on (packed_push(), packed_publish()): the first one last. */
#define SHOW(t, flags, pos, n) \
	if \
	:: n == 2 -> STORE(t, RING + SLOT(NEXT(pos)), flags(NEXT(pos))) \
	:: else \
	fi; \
	STORE(t, RING + SLOT(pos), flags(pos))
#define SHOW_AVAIL(pos, n) SHOW(DRV, AVAIL_FLAGS, pos, n)
#define SHOW_USED(pos, n)  SHOW(DEV, USED_FLAGS, pos, n)
#define ADVANCE(pos, n) pos = (n == 2 -> NEXT(NEXT(pos)) : NEXT(pos))

#define OFF(new, ev) (SLOT(ev) - (WRAP((ev) & 7) != WRAP(new) -> SIZE : 0))
#ifdef M_EVENT_NO_WRAP
#define IN_RANGE(ev, new, n) (SLOT(ev) >= SLOT(new) - (n) && SLOT(ev) < SLOT(new))
#elif defined(M_EVENT_LAST_ONLY)
#define IN_RANGE(ev, new, n) (OFF(new, ev) == SLOT(new) - 1)
#else
/* packed_need_event() */
#define IN_RANGE(ev, new, n) (OFF(new, ev) >= SLOT(new) - (n) && OFF(new, ev) < SLOT(new))
#endif
#define NEED(ev, new, n) \
	((ev) >= DESC -> IN_RANGE((ev) - DESC, new, n) : (ev) < DISABLE)
#ifdef EVENT_IDX
#define ASK(pos) (DESC + (pos))
#else
#define ASK(pos) ENABLE
#endif
#define ASK_NOT(pos) DISABLE

#else
/* ---- split ---- */
#define FIRST 0

#define LOOK_AVAIL(x, pos) LOAD(DEV, AVAIL_IDX, x); x = (x + MOD - pos) % MOD
#define LOOK_USED(x, pos)  LOAD(DRV, USED_IDX, x); x = (x + MOD - pos) % MOD

#define SHOW_AVAIL(pos, n) STORE(DRV, AVAIL_IDX, (pos + n) % MOD)
#define SHOW_USED(pos, n)  STORE(DEV, USED_IDX, (pos + n) % MOD)
#define ADVANCE(pos, n)	   pos = (pos + n) % MOD

#ifdef EVENT_IDX
#ifdef M_EVENT_LAST_ONLY
#define NEED(ev, new, n) ((ev) == (new + MOD - 1) % MOD)
#else
/* vring_need_event() */
#define NEED(ev, new, n) ((new + 2 * MOD - (ev) - 1) % MOD < (n))
#endif
#define ASK(pos) (pos)
#else
#define NEED(ev, new, n) ((ev) == 0)
#define ASK(pos) 0
#define ASK_NOT(pos) 1
#endif
#endif

/* ---- the device ---- */

/* vq_publish() of n chains, and the interrupt */
inline publish(used, n, x)
{
#ifdef M_PUBLISH_LOOK_FIRST
	LOAD(DEV, DRV_EVENT, x);
	SHOW_USED(used, n);
	FENCE(DEV);
#else
	SHOW_USED(used, n);
#ifndef M_PUBLISH_NO_FENCE
	FENCE(DEV);
#endif
	LOAD(DEV, DRV_EVENT, x);
#endif
	atomic {
		ADVANCE(used, n);
		if
		:: NEED(x, used, n) -> irq = 1
		:: else
		fi;
		x = 0
	}
}

/* poll(): up to two chains, more are for the next turn. n: how many there were. */
inline poll(avail, used, n, x)
{
	n = 0;
	do
	:: atomic {
		LOOK_AVAIL(x, avail);
		if
		:: x > 0 && n < 2 -> ADVANCE(avail, 1); n++
		:: x > 0 && n > 0 -> break /* the burst is over */
		:: x == 0 -> break
		fi
	   }
	od;
	x = 0;
	if
	:: n > 0 -> publish(used, n, x)
	:: else
	fi
}

/* vq_arm(): asks for a kick, looks again */
inline arm(avail, x)
{
#ifdef M_ARM_LOOK_FIRST
	LOOK_AVAIL(x, avail);
	STORE(DEV, DEV_EVENT, ASK(avail));
	FENCE(DEV)
#else
	STORE(DEV, DEV_EVENT, ASK(avail));
#ifndef M_ARM_NO_FENCE
	FENCE(DEV);
#endif
#ifdef M_ARM_NO_LOOK
	x = 0
#else
	LOOK_AVAIL(x, avail)
#endif
#endif
}

/* vq_disarm() */
inline disarm(avail)
{
#ifdef ASK_NOT
	STORE(DEV, DEV_EVENT, ASK_NOT(avail))
#else
	skip /* split with EVENT_IDX: the event left behind asks for nothing */
#endif
}

proctype device()
{
	byte avail = FIRST, used = FIRST, n, x;

	do
	:: poll(avail, used, n, x);
	   if
	   :: n > 0
	   :: n == 0 -> /* a quiet spell: try_idle() */
#ifdef M_ARM_BEFORE_IDLE
		arm(avail, x);
		n = x;
		XCHG(DEV, KICKED, 0, x);
#else
		XCHG(DEV, KICKED, 0, x);
		arm(avail, x);
		n = x;
#endif
		/* try_idle() polls once more, which would hide what vq_arm() lacks. */
		if
		:: n == 0 -> mem[KICKED] /* asleep */
		:: else
		fi;
		x = 0;
		disarm(avail)
	   fi;
	   n = 0
	od
}

/* Who carries the doorbell: the control thread, or the kernel with an eventfd. */
proctype carrier()
{
	do
	:: atomic { doorbell -> doorbell = 0; mem[KICKED] = 1 }
	od
}

/* ---- the driver ---- */

proctype driver()
{
	byte avail = FIRST, used = FIRST, out, left = CHAINS, n, x;

	do
	:: /* takes back what was used */
	   atomic {
		LOOK_USED(x, used);
		if
		:: x > 0 && out > 0 -> ADVANCE(used, 1); out--; x = 0
		:: else ->
			x = 0;
			if
			:: left == 0 && out == 0 -> break
			/* sends some more */
			:: left > 0 && out < SIZE -> n = 1
			:: left > 1 && out + 1 < SIZE -> n = 2
			/* waits */
			:: out > 0 -> n = 0
			fi
		fi
	   }
	   if
	   :: n > 0 ->
		SHOW_AVAIL(avail, n);
#ifndef M_DRIVER_NO_FENCE
		FENCE(DRV);
#endif
		LOAD(DRV, DEV_EVENT, x);
		atomic {
			ADVANCE(avail, n);
			out = out + n;
			left = left - n;
			if
			:: NEED(x, avail, n) -> doorbell = 1
			:: else
			fi;
			n = 0;
			x = 0
		}
	   :: n == 0 && out > 0 ->
		STORE(DRV, DRV_EVENT, ASK(used));
#ifndef M_DRIVER_ARM_NO_FENCE
		FENCE(DRV);
#endif
		LOOK_USED(x, used);
		if
		:: x > 0
		:: else -> atomic { irq -> irq = 0 }
		fi;
		x = 0;
#ifdef ASK_NOT
		STORE(DRV, DRV_EVENT, ASK_NOT(used))
#endif
	   :: n == 0 && out == 0
	   fi
	od;
	finished = 1
}

#ifdef LIVE
ltl served { <> (finished) }
#endif

init {
	atomic {
#ifdef PACKED
		/* as gvq_init() leaves it: no slot is available, or used, in the first lap */
		mem[DEV_EVENT] = DISABLE;
		mem[DRV_EVENT] = DISABLE;
#endif
		run device();
		run carrier();
		run driver();
		run drain(DEV);
		run drain(DRV)
	}
	timeout;
	assert(finished)
}
