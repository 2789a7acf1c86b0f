/* Numerics that scalars and lanes share.  Nothing here depends on libm, on the rounding of C casts out of range, or on
 * what a machine does with NaNs: results that are NaNs are what the store's profile says. */
#ifndef WASMLAB_NUMERIC_H
#define WASMLAB_NUMERIC_H

#include "exec.h"

static inline uint32_t wl_bits32(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static inline uint64_t wl_bits64(double f) {
    uint64_t u;
    memcpy(&u, &f, 8);
    return u;
}
static inline float wl_float(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline double wl_double(uint64_t u) {
    double f;
    memcpy(&f, &u, 8);
    return f;
}

/* Without a call into the compiler's library where the machine has no instruction for it. */
static inline uint64_t wl_popcount(uint64_t u) {
    u -= u >> 1 & 0x5555555555555555u;
    u = (u & 0x3333333333333333u) + (u >> 2 & 0x3333333333333333u);
    return ((u + (u >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56;
}

static inline float wl_copysign_float(float a, float b) {
    return wl_float((wl_bits32(a) & 0x7fffffffu) | (wl_bits32(b) & 0x80000000u));
}
static inline double wl_copysign_double(double a, double b) {
    return wl_double((wl_bits64(a) & 0x7fffffffffffffffu) | (wl_bits64(b) & 0x8000000000000000u));
}

/* The NaN of min and max, where x86 prefers the second operand. */
static inline float wl_extreme_nan32(const wl_store *x, float a, float b) {
    return x->profile.nan == 1 ? wl_nan32(x, b, a) : wl_nan32(x, a, b);
}
static inline double wl_extreme_nan64(const wl_store *x, double a, double b) {
    return x->profile.nan == 1 ? wl_nan64(x, b, a) : wl_nan64(x, a, b);
}

/* Of operands that are no NaNs; -0 is less than +0. */
#define WL_MIN_MAX(T, NAN_RESULT, BITS, VALUE) \
    static inline T wl_lesser_##T(T a, T b) { return a < b ? a : b < a ? b : VALUE(BITS(a) | BITS(b)); } \
    static inline T wl_greater_##T(T a, T b) { return a > b ? a : b > a ? b : VALUE(BITS(a) & BITS(b)); } \
    static inline T wl_min_##T(const wl_store *x, T a, T b) { \
        return UNLIKELY(a != a || b != b) ? NAN_RESULT(x, a, b) : wl_lesser_##T(a, b); \
    } \
    static inline T wl_max_##T(const wl_store *x, T a, T b) { \
        return UNLIKELY(a != a || b != b) ? NAN_RESULT(x, a, b) : wl_greater_##T(a, b); \
    }
WL_MIN_MAX(float, wl_extreme_nan32, wl_bits32, wl_float)
WL_MIN_MAX(double, wl_extreme_nan64, wl_bits64, wl_double)

/* As wl_nan32 and wl_nan64 for one operand, without a call. */
static inline float wl_quiet32(const wl_store *x, float a) {
    uint8_t nan = x->profile.nan;
    if (a != a && (nan == 1 || nan == 2)) return wl_float(wl_bits32(a) | 0x00400000u);
    return wl_float(nan == 1 ? 0xffc00000u : 0x7fc00000u);
}
static inline double wl_quiet64(const wl_store *x, double a) {
    uint8_t nan = x->profile.nan;
    if (a != a && (nan == 1 || nan == 2)) return wl_double(wl_bits64(a) | 0x0008000000000000u);
    return wl_double(nan == 1 ? 0xfff8000000000000u : 0x7ff8000000000000u);
}

/* Rounding: from 2^23 (2^52) on every number is an integer, below a cast is in range. */
#define WL_ROUND(T, N, INT, LIMIT, ABS) \
    static inline T wl_trunc##N(const wl_store *x, T a) { \
        if (UNLIKELY(a != a)) return wl_quiet##N(x, a); \
        return ABS < LIMIT ? wl_copysign_##T((T)(INT)a, a) : a; \
    } \
    static inline T wl_floor##N(const wl_store *x, T a) { \
        T t = wl_trunc##N(x, a); \
        return t > a ? t - 1 : t; \
    } \
    static inline T wl_ceil##N(const wl_store *x, T a) { \
        T t = wl_trunc##N(x, a); \
        return t < a ? wl_copysign_##T(t + 1, a) : t; \
    } \
    static inline T wl_nearest##N(const wl_store *x, T a) { \
        if (UNLIKELY(a != a)) return wl_quiet##N(x, a); \
        if (!(ABS < LIMIT)) return a; \
        T magnitude = ABS; \
        INT whole = (INT)magnitude; \
        T rest = magnitude - (T)whole; \
        if (rest > (T)0.5 || (rest == (T)0.5 && (whole & 1))) whole++; \
        return wl_copysign_##T((T)whole, a); \
    }
WL_ROUND(float, 32, int32_t, 0x1p23f, wl_float(wl_bits32(a) & 0x7fffffffu))
WL_ROUND(double, 64, int64_t, 0x1p52, wl_double(wl_bits64(a) & 0x7fffffffffffffffu))

static inline float wl_sqrt32(const wl_store *x, float a) {
    float r = __builtin_sqrtf(a);
    return UNLIKELY(r != r) ? wl_quiet32(x, a) : r;
}
static inline double wl_sqrt64(const wl_store *x, double a) {
    double r = __builtin_sqrt(a);
    return UNLIKELY(r != r) ? wl_quiet64(x, a) : r;
}

/* A NaN keeps its sign and the top of its payload, but in the canonical profiles. */
static inline float wl_demote(const wl_store *x, double a) {
    if (LIKELY(a == a)) return (float)a;
    uint64_t u = wl_bits64(a);
    if (x->profile.nan != 1 && x->profile.nan != 2) return wl_float(0x7fc00000u);
    return wl_float((uint32_t)(u >> 32 & 0x80000000u) | 0x7fc00000u | (uint32_t)(u >> 29 & 0x3fffffu));
}
static inline double wl_promote(const wl_store *x, float a) {
    if (LIKELY(a == a)) return (double)a;
    uint64_t u = wl_bits32(a);
    if (x->profile.nan != 1 && x->profile.nan != 2) return wl_double(0x7ff8000000000000u);
    return wl_double((u & 0x80000000u) << 32 | 0x7ff8000000000000u | (u & 0x3fffffu) << 29);
}

#endif
