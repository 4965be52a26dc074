/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory as x86 has it (total store order): a thread's stores wait in a buffer of its own, first
 * in first out; its own loads see them there, other threads not yet. A locked instruction and
 * mfence wait until the buffer is empty. Who includes this defines THREADS and VARS.
 */
#define DEPTH 2

byte mem[VARS];
typedef buffer {
	byte cnt;
	byte adr[DEPTH];
	byte dat[DEPTH];
};
buffer sb[THREADS];

inline STORE(t, a, put)
{
	atomic {
		sb[t].cnt < DEPTH;
		sb[t].adr[sb[t].cnt] = a;
		sb[t].dat[sb[t].cnt] = put;
		sb[t].cnt++
	}
}

inline LOAD(t, a, got)
{
	d_step {
		if
		:: sb[t].cnt == 2 && sb[t].adr[1] == a -> got = sb[t].dat[1]
		:: else ->
			if
			:: sb[t].cnt >= 1 && sb[t].adr[0] == a -> got = sb[t].dat[0]
			:: else -> got = mem[a]
			fi
		fi
	}
}

#define FENCE(t) (sb[t].cnt == 0)

/* A sequentially consistent store: xchg */
inline STORE_FENCE(t, a, put)
{
	atomic { FENCE(t); mem[a] = put }
}

/* got = *a, *a = put */
inline XCHG(t, a, put, got)
{
	atomic { FENCE(t); got = mem[a]; mem[a] = put }
}

/* got = *a, *a |= put */
inline FETCH_OR(t, a, put, got)
{
	atomic { FENCE(t); got = mem[a]; mem[a] = mem[a] | put }
}

/* ok = (*a == old); then *a = put */
inline CAS(t, a, old, put, ok)
{
	atomic {
		FENCE(t);
		ok = (mem[a] == old);
		if
		:: ok -> mem[a] = put
		:: else
		fi
	}
}

/* What the processor does some time: one for each thread. */
proctype drain(byte t)
{
end:	do
	:: d_step {
		sb[t].cnt > 0 ->
		mem[sb[t].adr[0]] = sb[t].dat[0];
		sb[t].adr[0] = sb[t].adr[1];
		sb[t].dat[0] = sb[t].dat[1];
		sb[t].cnt--;
		sb[t].adr[sb[t].cnt] = 0;
		sb[t].dat[sb[t].cnt] = 0
	}
	od
}
