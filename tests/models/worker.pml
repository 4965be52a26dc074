/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker, its pollers, kickers, and the control thread: src/worker/worker.c and control.c.
 *
 * Each kicker publishes work for pollers of its choice and kicks. When nothing can move any more,
 * all of it must have been taken, and everybody come to his end. Besides: poll() never runs on a
 * poller that was taken away, and only idle pollers are ever found on the kick list.
 *
 * CONTROL: the control thread removes and adds a poller meanwhile.
 * MOVE: it moves one to a second worker.
 * OFFLINE: poll() of poller 0 lets go of the lock in between (worker_offline()).
 * FD: the last kicker rings an eventfd that the worker watches, instead of kicking.
 * M_*: one step left out or put in another place; each must be found.
 */
#ifndef KICKERS
#define KICKERS 2
#endif
#ifndef POLLERS
#define POLLERS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif

#ifdef MOVE
#define WORKERS 2
#else
#define WORKERS 1
#endif

/* threads; a worker's own number is w */
#define C	 WORKERS
#define K(k)	 (WORKERS + 1 + (k))
#define THREADS	 (WORKERS + 1 + KICKERS)

#define SLEEPING(w) (w)
#define KICKS(w)    (WORKERS + (w)) /* head of the kick list: poller + 1, or 0 */
#define WANT(w)	    (2 * WORKERS + (w))
#define KICKED(p)   (3 * WORKERS + (p))
#define NEXT(p)	    (3 * WORKERS + POLLERS + (p))
#define WORK(i)	    (3 * WORKERS + 2 * POLLERS + (i)) /* i = poller * KICKERS + kicker */
#define VARS	    (3 * WORKERS + 2 * POLLERS + POLLERS * KICKERS)

#include "tso.pml"

/* POLLER_ATTACHED, POLLER_QUEUED */
#define ATTACHED 1
#define QUEUED	 2

/* enum poller_state */
#define IDLE	0
#define NEW	1
#define PENDING 2
#define ACTIVE	3

bit lock[WORKERS];		/* worker.lock */
bit wakefd[WORKERS];		/* an edge that epoll_wait() has not told of yet */
bit fd[POLLERS];		/* the same of a watched fd */
byte state[POLLERS];
byte current[WORKERS];		/* poller + 1, or 0 */
byte seen[POLLERS * KICKERS];	/* work taken */
byte owner[POLLERS];		/* worker + 1; 0: not added */
byte finished;

#define LOCK(t, w) atomic { lock[w] == 0 && FENCE(t); lock[w] = 1 }
#define UNLOCK(t, w) atomic { FENCE(t); lock[w] = 0 }

/* ---- worker.c ---- */

/* worker_wake() */
inline wake(t, w, x)
{
	LOAD(t, SLEEPING(w), x);
	if
	:: x ->
#ifdef M_WAKE_CLEAR_LATE
		wakefd[w] = 1;
		XCHG(t, SLEEPING(w), 0, x)
#else
		XCHG(t, SLEEPING(w), 0, x);
		if
		:: x -> wakefd[w] = 1; x = 0
		:: else
		fi
#endif
	:: else
	fi
}

/* poller_kick() */
inline kick(t, p, x, head, to)
{
#ifdef M_KICK_TEST_FIRST
	LOAD(t, KICKED(p), x);
	if
	:: x & QUEUED
	:: else ->
#endif
	FETCH_OR(t, KICKED(p), QUEUED, x);
	if
	:: x != ATTACHED
	:: else ->
		assert(owner[p]);
		to = owner[p] - 1; /* w = p->worker */
#ifdef M_WAKE_BEFORE_LIST
		wake(t, to, x);
#endif
		do
		:: atomic { LOAD(t, KICKS(to), head); STORE(t, NEXT(p), head) }
		   atomic {
			CAS(t, KICKS(to), head, p + 1, x);
			head = 0;
			if
			:: x -> break
			:: else
			fi
		   }
		od;
#ifndef M_WAKE_BEFORE_LIST
		wake(t, to, x);
#endif
		to = 0
	fi;
#ifdef M_KICK_TEST_FIRST
	fi;
#endif
	x = 0
}

/* take_kicks() */
inline take_kicks(x, p, n)
{
	LOAD(w, KICKS(w), x);
	if
	:: x ->
#ifdef M_TAKE_STORE
		STORE(w, KICKS(w), 0);
#else
		XCHG(w, KICKS(w), 0, x);
#endif
		d_step {
			n = 0;
			do
			:: x == 0 -> break
			:: else ->
				p = x - 1;
				assert(n < POLLERS && owner[p] == w + 1 && state[p] == IDLE);
				state[p] = PENDING;
				x = mem[NEXT(p)];
				n++
			od;
			n = 0;
			p = 0
		}
	:: else
	fi
}

/* poll() of the poller's owner: takes what it sees. n: whether there was some. */
inline poll(p, n, i)
{
#ifdef OFFLINE
	if
	:: p == 0 -> UNLOCK(w, w); LOCK(w, w) /* worker_offline(), worker_online() */
	:: else
	fi;
#endif
	d_step {
		assert(owner[p] == w + 1);
		n = 0;
		i = p * KICKERS;
		do
		:: i == (p + 1) * KICKERS -> break
		:: else ->
			if
			:: seen[i] != mem[WORK(i)] -> seen[i] = mem[WORK(i)]; n = 1
			:: else
			fi;
			i++
		od;
		i = 0
	}
}

/* try_idle(); the poller has no arm(), so what is left of that is the last look. */
inline try_idle(p, idle, x, i)
{
#ifdef M_IDLE_LOOK_FIRST
	poll(p, x, i);
	XCHG(w, KICKED(p), ATTACHED, i);
	i = 0;
#elif defined(M_IDLE_STORE)
	STORE(w, KICKED(p), ATTACHED);
	poll(p, x, i);
#elif defined(M_IDLE_NO_LOOK)
	XCHG(w, KICKED(p), ATTACHED, x);
	x = 0;
#else
	XCHG(w, KICKED(p), ATTACHED, x);
	poll(p, x, i);
#endif
	if
	:: x == 0 -> idle = 1
	:: else ->
#ifdef M_IDLE_NOT_QUEUED
		idle = 0;
#else
		FETCH_OR(w, KICKED(p), QUEUED, x);
#ifdef M_IDLE_STAY
		idle = 0;
#else
		idle = (x != ATTACHED);
#endif
#endif
		x = 0
	fi
}

#define IN_STATE(p, st) (owner[p] == w + 1 && state[p] == st)

/* Ends with p at the next poller in state st, or at POLLERS. */
inline next_in_state(p, st)
{
	do
	:: p < POLLERS && !IN_STATE(p, st) -> p++
	:: else -> break
	od
}

/* the end of retire() */
inline end_current(p, idle)
{
	d_step {
		if
		:: idle -> state[p] = IDLE; idle = 0
		:: else
		fi;
		current[w] = 0;
		p++
	}
}

/* begin_pending() */
inline begin_pending(p, idle, x, i)
{
	do
	:: atomic {
		next_in_state(p, NEW);
		if
		:: p == POLLERS -> p = 0; break
		:: else
		fi;
		state[p] = ACTIVE;
		current[w] = p + 1
	   }
	   try_idle(p, idle, x, i);
	   end_current(p, idle)
	od;
	atomic {
		do
		:: p == POLLERS -> p = 0; break
		:: p < POLLERS && IN_STATE(p, PENDING) -> state[p] = ACTIVE; p++
		:: p < POLLERS && !IN_STATE(p, PENDING) -> p++
		od
	}
}

/* flow_turn(), worker_serve(), or retire_quiet() when the clock says so, which may be at any time;
 * whose turn it is does not matter here */
inline serve(p, idle, x, i)
{
	do
	:: atomic {
		next_in_state(p, ACTIVE);
		if
		:: p == POLLERS -> p = 0; break
		:: else
		fi;
		current[w] = p + 1
	   }
	   if
	   :: poll(p, x, i); x = 0
	   :: try_idle(p, idle, x, i)
	   fi;
	   end_current(p, idle)
	od
}

/* handle_events(), kick_local(): for each fd that epoll_wait() told of */
inline handle_events(p, x)
{
#ifdef FD
	do
	:: p == POLLERS -> p = 0; break
	:: p < POLLERS && events[p] ->
		events[p] = 0;
		if
		:: state[p] == IDLE ->
			FETCH_OR(w, KICKED(p), QUEUED, x);
			if
			:: x == ATTACHED -> state[p] = PENDING
			:: else
			fi;
			x = 0
		:: else
		fi;
		p++
	:: p < POLLERS && !events[p] -> p++
	od
#else
	skip
#endif
}

#ifdef FD
#define FD_READY (fd[0] || fd[POLLERS - 1])
#define TAKE_FDS events[0] = fd[0]; events[POLLERS - 1] = fd[POLLERS - 1]; \
	fd[0] = 0; fd[POLLERS - 1] = 0
#else
#define FD_READY 0
#define TAKE_FDS skip
#endif

#define RESTS(p) (owner[p] != w + 1 || state[p] == IDLE)
#define NOTHING_TO_DO (RESTS(0) && RESTS(POLLERS - 1))

/* has_reason_to_stay() */
inline look_for_reasons(stay, x)
{
	LOAD(w, KICKS(w), x);
	atomic {
		stay = (x != 0);
		LOAD(w, WANT(w), x);
		stay = stay || x || !NOTHING_TO_DO;
		x = 0
	}
}

/* sleep_until_event() */
inline sleep_until_event(stay, x)
{
#ifdef M_SLEEP_LOOK_FIRST
	look_for_reasons(stay, x);
	STORE_FENCE(w, SLEEPING(w), 1);
#else
#ifdef M_SLEEP_NO_FENCE
	STORE(w, SLEEPING(w), 1);
#else
	STORE_FENCE(w, SLEEPING(w), 1);
#endif
#ifndef M_SLEEP_NO_LOOK
	look_for_reasons(stay, x);
#endif
#endif
	if
	:: stay -> stay = 0
	:: else ->
		UNLOCK(w, w); /* go_quiescent() */
asleep:		d_step { (wakefd[w] || FD_READY) -> wakefd[w] = 0; TAKE_FDS }
		LOCK(w, w)	   /* go_running() */
	fi;
	STORE_FENCE(w, SLEEPING(w), 0);
#ifdef M_FD_FORGET
	d_step { events[0] = 0; events[POLLERS - 1] = 0 }
#endif
	handle_events(p, x)
}

/* worker_main() */
proctype worker(byte w)
{
	byte p, x, i;
	bit idle, stay;
#ifdef FD
	bit events[POLLERS];
#endif

	LOCK(w, w);
	do
	:: atomic { FENCE(w); LOAD(w, WANT(w), x) } /* epoch_add() */
	   if
	   :: x -> /* yield_to_control() */
		UNLOCK(w, w);
		atomic { mem[WANT(w)] == 0 && lock[w] == 0; lock[w] = 1 }
		x = 0
	   :: else
	   fi;
	   take_kicks(x, p, i);
	   begin_pending(p, idle, x, i);
	   serve(p, idle, x, i);
#ifdef FD
	   if
	   :: d_step { FD_READY -> wakefd[w] = 0; TAKE_FDS }; handle_events(p, x) /* look_around() */
	   :: skip
	   fi;
#endif
	   if
	   :: NOTHING_TO_DO -> sleep_until_event(stay, x)
	   :: else
	   fi
	od
}

/* Anybody who has work for a poller */
proctype kicker(byte k)
{
	byte n, p, x, head, to;

	do
	:: n == ROUNDS -> break
	:: n < ROUNDS ->
		atomic {
			n++;
			if
			:: p = 0
			:: p = POLLERS - 1
			fi;
			LOAD(K(k), WORK(p * KICKERS + k), x);
			STORE(K(k), WORK(p * KICKERS + k), x + 1);
			x = 0
		}
#ifdef FD
		if
		:: k == KICKERS - 1 -> atomic { FENCE(K(k)); fd[p] = 1 } /* eventfd_write() */
		:: else ->
#endif
		kick(K(k), p, x, head, to);
#ifdef FD
		fi;
#endif
		p = 0
	od;
	finished++
}

/* ---- control.c ---- */

inline control_lock(w)
{
	STORE_FENCE(C, WANT(w), 1);
	LOCK(C, w)
}

inline control_unlock(w)
{
	STORE_FENCE(C, WANT(w), 0);
	UNLOCK(C, w)
}

/* unkick() */
inline unkick(w, p, at, next, ok)
{
	ok = 0;
	LOAD(C, KICKS(w), at);
	if
	:: at == p + 1 ->
		LOAD(C, NEXT(p), next);
#ifdef M_UNKICK_STORE
		STORE_FENCE(C, KICKS(w), next);
		ok = 1;
#else
		CAS(C, KICKS(w), p + 1, next, ok);
		if
		:: !ok -> LOAD(C, KICKS(w), at) /* as the compare-exchange leaves it */
		:: else
		fi
#endif
	:: else
	fi;
	do
	:: ok || at == 0 -> break
	:: !ok && at != 0 ->
		LOAD(C, NEXT(at - 1), next);
		if
		:: next == p + 1 ->
			LOAD(C, NEXT(p), next);
			STORE_FENCE(C, NEXT(at - 1), next);
			ok = 1
		:: else -> at = next
		fi
	od;
	at = 0;
	next = 0
}

/* detach() */
inline detach(w, p, at, next, ok)
{
	if
	:: state[p] == IDLE ->
		CAS(C, KICKED(p), ATTACHED, 0, ok);
#ifndef M_DETACH_NO_WAIT
		do
		:: ok -> break
		:: !ok -> unkick(w, p, at, next, ok)
		od
#endif
	:: else -> state[p] = IDLE
	fi;
	ok = 0;
	STORE_FENCE(C, KICKED(p), 0)
}

/* worker_remove() */
inline remove(w, p, at, next, ok)
{
	control_lock(w);
	do
	:: current[w] != p + 1 -> break
	:: current[w] == p + 1 ->
		control_unlock(w);
		current[w] != p + 1; /* nanosleep() */
		control_lock(w)
	od;
	detach(w, p, at, next, ok);
	owner[p] = 0;
	control_unlock(w)
}

/* worker_attach() */
inline attach(w, p, st, x)
{
	owner[p] = w + 1;
#ifdef M_MOVE_IDLE
	XCHG(C, KICKED(p), ATTACHED, x);
	state[p] = IDLE;
#else
	XCHG(C, KICKED(p), ATTACHED | QUEUED, x);
	state[p] = st;
#endif
	x = 0
}

/* worker_add() */
inline add(w, p, x)
{
	control_lock(w);
	attach(w, p, NEW, x);
	control_unlock(w);
#ifndef M_ADD_NO_WAKE
	wake(C, w, x)
#endif
}

/* poller_move() (move.c) from worker 0 to worker 1 */
inline move(p, at, next, ok)
{
	control_lock(0);
	control_lock(1);
	detach(0, p, at, next, ok);
	attach(1, p, PENDING, at);
	control_unlock(1);
	control_unlock(0);
#ifndef M_MOVE_NO_WAKE
	wake(C, 1, at)
#endif
}

proctype control()
{
	byte p, at, next;
	bit ok;

	p = POLLERS - 1; /* the pollers are alike, but for poller 0 and OFFLINE */
#ifdef CONTROL
	remove(0, p, at, next, ok);
	add(0, p, at);
#endif
#ifdef MOVE
	move(p, at, next, ok);
#endif
	finished++
}

#define LEFT(i) (mem[WORK(i)] != seen[i])
#if POLLERS * KICKERS == 4
#define WORK_LEFT (LEFT(0) || LEFT(1) || LEFT(2) || LEFT(3))
#elif POLLERS * KICKERS == 6
#define WORK_LEFT (LEFT(0) || LEFT(1) || LEFT(2) || LEFT(3) || LEFT(4) || LEFT(5))
#elif POLLERS * KICKERS == 2
#define WORK_LEFT (LEFT(0) || LEFT(1))
#else
#define WORK_LEFT LEFT(0)
#endif

#ifdef LIVE
ltl taken { [] (WORK_LEFT -> <> !WORK_LEFT) }
#endif

init {
	byte i;

	atomic {
		do
		:: i == POLLERS -> break
		:: else ->
			/* added before all begins */
			owner[i] = 1;
			mem[KICKED(i)] = ATTACHED | QUEUED;
			state[i] = NEW;
			i++
		od;
		i = 0;
		run worker(0);
#ifdef MOVE
		run worker(1);
#endif
		run control();
		do
		:: i == KICKERS -> break
		:: else -> run kicker(i); i++
		od;
		i = 0;
		do
		:: i == THREADS -> break
		:: else -> run drain(i); i++
		od
	}
	timeout;
	assert(finished == KICKERS + 1);
	assert(!WORK_LEFT)
}
