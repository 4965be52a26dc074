/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small things every room uses: container_of, sizes, alignment, checked ranges.
 */
#ifndef SOFTIOV_UTIL_UTIL_H
#define SOFTIOV_UTIL_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a)			(sizeof(a) / sizeof((a)[0]))
#define BIT(n)				(1u << (n))
#define BIT_ULL(n)			(1ull << (n))
#define likely(x)			__builtin_expect(!!(x), 1)
#define unlikely(x)			__builtin_expect(!!(x), 0)
#define CACHE_LINE			64
#define PAGE_SIZE_4K			4096u

/* 1 when the thread sanitizer watches, which knows neither fences nor every system call. */
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

/*
 * memcpy() from or to memory that a guest, or several, may use at the same time: what it makes of
 * that is its own affair, and no race of ours. Nor can the thread sanitizer know how the guest
 * orders its commands.
 */
#if UNDER_TSAN
__attribute__((noinline, no_sanitize("thread"), unused)) static void
copy_shared(void *dst, const void *src, size_t n)
{
	const volatile uint8_t *from = src;
	volatile uint8_t *to = dst;

	for (size_t i = 0; i < n; i++)
		to[i] = from[i];
}
#else
static inline void copy_shared(void *dst, const void *src, size_t n)
{
	__builtin_memcpy(dst, src, n);
}
#endif

#define MIN(a, b)                                                                                  \
	({                                                                                         \
		__auto_type min_a_ = (a);                                                          \
		__auto_type min_b_ = (b);                                                          \
		min_a_ < min_b_ ? min_a_ : min_b_;                                                 \
	})
#define MAX(a, b)                                                                                  \
	({                                                                                         \
		__auto_type max_a_ = (a);                                                          \
		__auto_type max_b_ = (b);                                                          \
		max_a_ > max_b_ ? max_a_ : max_b_;                                                 \
	})

static inline bool is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}

/* Rounds up to a power-of-two alignment; the caller has checked that it cannot wrap. */
static inline uint64_t align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

/*
 * True when [off, off + len) lies within [0, size). Never adds the two guest-controlled
 * numbers, so it cannot wrap.
 */
static inline bool range_ok(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

/* True when [start, start + len) does not wrap past 2^64 (len may end exactly at 2^64). */
static inline bool range_no_wrap(uint64_t start, uint64_t len)
{
	return len == 0 || len - 1 <= UINT64_MAX - start;
}

#endif
