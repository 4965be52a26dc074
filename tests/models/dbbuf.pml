/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shadow doorbells of NVMe (5.7), a group asleep when there is nothing to do: src/nvme/dbbuf.c and
 * group.c, polled as src/worker/worker.c does it, against a host that does as Linux'
 * nvme_dbbuf_update_and_check_event().
 *
 * The host sends COMMANDS commands, in batches, and sleeps in between until it is interrupted.
 * Commands are done at once; there are fewer completion entries than commands, so that the device
 * waits for the host to take some, too. When nothing can move any more all must have been done; and
 * never is a command fetched that was not sent.
 *
 * HUSH: awake again, the device tells the host so at once; with try_idle()'s last look.
 * LATE: one command was sent by the register before the shadows came.
 * M_*: one step left out or in another place; with DRIVER in its name it is a host's mistake.
 */
#ifndef COMMANDS
#define COMMANDS 4
#endif
#ifndef SQ_SIZE
#define SQ_SIZE 3
#endif
#ifndef CQ_SIZE
#define CQ_SIZE 2
#endif

#define DEV	0
#define DRV	1
#define THREADS 2

#define TAIL	   0 /* shadow of the tail doorbell */
#define TAIL_EVENT 1 /* its EventIdx */
#define HEAD	   2 /* of the completion queue's head doorbell */
#define HEAD_EVENT 3
#define TAIL_RUNG  4 /* nvme_doorbell.rung */
#define POSTED	   5 /* completions: position and phase */
#define KICKED	   6 /* POLLER_QUEUED */
#define VARS	   7

#include "tso.pml"

bit tail_msg, head_msg; /* writes to registers on their way; what they say is in the shadow, too */
bit irq, finished;
byte waiting; /* commands sent, not fetched */

#ifdef LATE
#define START 1
#else
#define START 0
#endif

#define DISTANCE(from, to, size) ((to) >= (from) -> (to) - (from) : (to) + size - (from))
#define BEFORE(v, size)		 ((v) -> (v) - 1 : size - 1)

/* ---- the device ---- */

/* struct nvme_doorbell */
typedef doorbell {
	byte value, event;
	bit synced;
};
doorbell tail, ack; /* of no interest to anybody else */

/* nvme_dbbuf_take() of a value that has come */
inline take(d, v, event_slot, size)
{
	if
	:: v != d.value ->
		d.value = v;
		if
		:: DISTANCE(d.event, v, size) > size / 2 ->
			d.event = BEFORE(v, size);
			STORE(DEV, event_slot, d.event)
		:: else
		fi
	:: else
	fi
}

/* nvme_doorbell_read(), nvme_dbbuf_read() of the tail; what the shadow held at first is 0 */
inline read_tail(v)
{
	LOAD(DEV, TAIL, v);
#ifdef LATE
	if
	:: !tail.synced && v == 0 ->
		LOAD(DEV, TAIL_RUNG, rung);
		if
		:: rung ->
			tail.synced = 1;
#ifndef M_UNSYNCED_ONE_READ
			LOAD(DEV, TAIL, v);
#endif
			rung = 0
		:: else -> v = tail.value
		fi
	:: else -> tail.synced = 1
	fi;
#endif
	take(tail, v, TAIL_EVENT, SQ_SIZE)
}

/* nvme_cq_acknowledge() */
inline acknowledge(v)
{
	atomic {
		LOAD(DEV, HEAD, v);
		take(ack, v, HEAD_EVENT, CQ_SIZE)
	}
}

/* nvme_cq_room() */
#define ROOM (CQ_SIZE - 1 - DISTANCE(ack.value, posted % CQ_SIZE, CQ_SIZE))

/* group_poll(): fetches what there is room for, completes it, interrupts. */
inline poll(n, v)
{
	n = 0;
	acknowledge(v);
	read_tail(v);
	atomic {
		do
		:: head != tail.value && ROOM > 0 && n < 2 ->
			assert(waiting > 0);
			waiting--;
			head = (head + 1) % SQ_SIZE;
			posted = (posted + 1) % (2 * CQ_SIZE);
			n++
		:: else -> break
		od;
#ifdef M_IRQ_FIRST
		if
		:: n > 0 -> irq = 1
		:: else
		fi
#endif
	}
	if
	:: n > 0 ->
		STORE(DEV, POSTED, posted);
#ifndef M_IRQ_FIRST
		atomic { FENCE(DEV); irq = 1 } /* eventfd_write() */
#endif
	:: else
	fi;
	v = 0
}

/* nvme_dbbuf_publish() */
inline publish(d, event_slot)
{
	if
	:: d.event != d.value ->
		d.event = d.value;
		STORE(DEV, event_slot, d.event)
	:: else
	fi
}

/* has_work() */
inline has_work(n, v)
{
	acknowledge(v);
	if
	:: ROOM == 0 -> n = 0
	:: else ->
		read_tail(v);
		n = (head != tail.value)
	fi;
	v = 0
}

/* group_arm() */
inline arm(n, v)
{
#ifdef M_ARM_LOOK_FIRST
	has_work(n, v);
#endif
#ifndef M_ARM_STAYS_BEHIND
	publish(tail, TAIL_EVENT);
#endif
#ifndef M_ARM_FORGETS_ROOM
	if
	:: ROOM == 0 -> publish(ack, HEAD_EVENT)
	:: else
	fi;
#endif
#ifndef M_ARM_NO_FENCE
	FENCE(DEV);
#endif
#ifndef M_ARM_LOOK_FIRST
#ifdef M_ARM_NO_LOOK
	n = 0
#else
	has_work(n, v)
#endif
#endif
}

/* EventIdx just behind the host, who then rings once in a lap at most */
inline hush(d, event_slot, size)
{
	d.event = BEFORE(d.value, size);
	STORE(DEV, event_slot, d.event)
}

/* group_poll() of a group that was woken: wake_up() */
inline wake_up()
{
#ifdef HUSH
	if
	:: woken ->
		woken = 0;
		if
		:: tail.synced -> hush(tail, TAIL_EVENT, SQ_SIZE); hush(ack, HEAD_EVENT, CQ_SIZE)
		:: else
		fi
	:: else
	fi
#else
	skip
#endif
}

proctype device()
{
	byte head = START, posted = START, n, v;
	bit rung, woken;

	do
	:: wake_up();
	   poll(n, v);
	   if
	   :: n > 0
	   :: n == 0 -> /* a quiet spell: retire(), try_idle() */
idle:
#ifdef M_ARM_BEFORE_IDLE
		arm(n, v);
		XCHG(DEV, KICKED, 0, v);
#else
		XCHG(DEV, KICKED, 0, v);
		arm(n, v);
#endif
#ifdef HUSH
#ifndef M_WOKEN_STAYS
		woken = 0; /* group_arm() */
#endif
		/* Without HUSH there is no last look, which would hide what group_arm() lacks. */
		if
		:: n == 0 -> wake_up(); poll(n, v)
		:: else
		fi;
		woken = 1; /* group_disarm(), when it has work or is woken */
#endif
		v = 0;
		if
		:: n == 0 -> /* asleep */
			mem[KICKED];
			if
			:: goto idle /* others were polled first, for too long */
			:: skip
			fi
		:: else
		fi
	   fi;
	   n = 0
	od
}

/* nvme_queues_doorbell() on the control thread, with poller_kick() */
proctype control()
{
	do
#ifdef LATE
	:: atomic { tail_msg -> tail_msg = 0; mem[TAIL_RUNG] = 1 }
	   mem[KICKED] = 1
#else
	:: atomic { tail_msg -> tail_msg = 0; mem[KICKED] = 1 }
#endif
	:: atomic { head_msg -> head_msg = 0; mem[KICKED] = 1 }
	od
}

/* ---- the host ---- */

/* nvme_dbbuf_need_event(), in its 16 bits */
#define NEED(event, new, old) ((((new) - (event) - 1) & 65535) < (((new) - (old)) & 65535))

/* nvme_dbbuf_update_and_check_event(), and the register's write */
inline ring(slot, event_slot, msg, new, old, v)
{
	atomic { LOAD(DRV, slot, old); STORE(DRV, slot, new) }
#ifndef M_DRIVER_NO_FENCE
	FENCE(DRV);
#endif
	atomic {
		LOAD(DRV, event_slot, v);
		if
		:: NEED(v, new, old) -> msg = 1
		:: else
		fi;
		old = 0;
		v = 0
	}
}

proctype driver()
{
	byte sq = START, cq = START, left = COMMANDS, out, n, old, v;

	do
	:: atomic { /* takes completions */
		LOAD(DRV, POSTED, v);
		n = DISTANCE(cq, v, (2 * CQ_SIZE));
		if
		:: n > 0 -> cq = v; out = out - n
		:: else
		fi;
		v = 0
	   }
	   if
	   :: n > 0 -> ring(HEAD, HEAD_EVENT, head_msg, cq % CQ_SIZE, old, v)
	   :: n == 0 && left > 0 && out < SQ_SIZE - 1 ->
		atomic {
			sq = (sq + 1) % SQ_SIZE; left--; out++; waiting++;
			if
#ifndef LATE
			:: left > 0 && out < SQ_SIZE - 1 ->
				sq = (sq + 1) % SQ_SIZE; left--; out++; waiting++
#endif
			:: skip
			fi
		}
		ring(TAIL, TAIL_EVENT, tail_msg, sq, old, v)
	   :: n == 0 && out > 0 -> atomic { irq -> irq = 0 }
	   :: n == 0 && out == 0 && left == 0 -> break
	   fi;
	   n = 0
	od;
	finished = 1
}

#ifdef LIVE
ltl served { <> (finished) }
#endif

init {
	atomic {
		/* nvme_dbbuf_begin() */
		tail.value = START;
		tail.event = START;
		tail.synced = (START == 0);
		mem[TAIL_EVENT] = START;
		ack.value = START;
		ack.event = START;
		mem[HEAD] = START;
		mem[HEAD_EVENT] = START;
		mem[POSTED] = START;
		run device();
		run control();
		run driver();
		run drain(DEV);
		run drain(DRV)
	}
	timeout;
	assert(finished)
}
