/* Vectors: operands in slots b, c and d, the result in slot a.  Lanes are numbered from the low end, as the machine is
 * little-endian. */
#include "numeric.h"

#define VECTOR(T, name) typedef T name __attribute__((vector_size(16), aligned(8), may_alias))
VECTOR(int8_t, i8x16);
VECTOR(uint8_t, u8x16);
VECTOR(int16_t, i16x8);
VECTOR(uint16_t, u16x8);
VECTOR(int32_t, i32x4);
VECTOR(uint32_t, u32x4);
VECTOR(int64_t, i64x2);
VECTOR(uint64_t, u64x2);
VECTOR(float, f32x4);
VECTOR(double, f64x2);
typedef uint64_t u8x16_unaligned __attribute__((vector_size(16), aligned(1), may_alias));
#define LANES_OF(T) (sizeof(T) / sizeof(((T){0})[0]))

#define V(T, operand) (*(T *)SLOT(ip[1].operand))

/* A whole vector at once, and lane by lane. */
#define UNARY(name, T, R, expr) \
    static OP(v_##name) { \
        T a = V(T, b); \
        V(R, a) = (R)(expr); \
        NEXT(2); \
    }
#define BINARY(name, T, R, expr) \
    static OP(v_##name) { \
        T a = V(T, b), b = V(T, c); \
        V(R, a) = (R)(expr); \
        NEXT(2); \
    }
#define TERNARY(name, T, R, expr) \
    static OP(v_##name) { \
        T a = V(T, b), b = V(T, c), c = V(T, d); \
        V(R, a) = (R)(expr); \
        NEXT(2); \
    }
#define LANEWISE(name, T, R, N, expr) \
    static OP(v_##name) { \
        T a = V(T, b), b = V(T, c); \
        R r = {0}; \
        (void)a, (void)b; \
        for (unsigned i = 0; i < N; i++) r[i] = (expr); \
        V(R, a) = r; \
        NEXT(2); \
    }
#define LANEWISE3(name, T, R, N, expr) \
    static OP(v_##name) { \
        T a = V(T, b), b = V(T, c), c = V(T, d); \
        R r = {0}; \
        (void)c; \
        for (unsigned i = 0; i < N; i++) r[i] = (expr); \
        V(R, a) = r; \
        NEXT(2); \
    }
#define TO_SCALAR(name, T, ACC, PUT, expr) \
    static OP(v_##name) { \
        T a = V(T, b); \
        ACC = (expr); \
        PUT; \
        NEXT(2); \
    }
#define PUTI U64(ip[1].a) = acc

/* ---- Integer shapes ------------------------------------------------------------------------------------------------ */

#define INTEGERS(S, U, I, N, s) \
    BINARY(I##_eq, S, S, a == b) \
    BINARY(I##_ne, S, S, a != b) \
    BINARY(I##_lt_s, S, S, a < b) \
    BINARY(I##_gt_s, S, S, a > b) \
    BINARY(I##_le_s, S, S, a <= b) \
    BINARY(I##_ge_s, S, S, a >= b) \
    BINARY(I##_add, U, U, a + b) \
    BINARY(I##_sub, U, U, a - b) \
    UNARY(I##_neg, U, U, -a) \
    UNARY(I##_abs, U, U, (((U)((S)a < 0)) & -a) | (~(U)((S)a < 0) & a)) \
    SHIFT(I##_shl, U, a << n) \
    SHIFT(I##_shr_s, S, a >> n) \
    SHIFT(I##_shr_u, U, a >> n) \
    TO_SCALAR(I##_all_true, U, acc, PUTI, all_true((u64x2)(a == 0))) \
    TO_SCALAR(I##_bitmask, S, acc, PUTI, bitmask_##I(a)) \
    static OP(v_##I##_splat) { \
        U r = {0}; \
        V(U, a) = r + (s)U64(ip[1].b); \
        NEXT(2); \
    } \
    static OP(v_##I##_replace_lane) { \
        U r = V(U, b); \
        r[ip[1].d & (N - 1)] = (s)U64(ip[1].c); \
        V(U, a) = r; \
        NEXT(2); \
    }
#define UNSIGNED_TOO(S, U, I) \
    BINARY(I##_lt_u, U, U, a < b) \
    BINARY(I##_gt_u, U, U, a > b) \
    BINARY(I##_le_u, U, U, a <= b) \
    BINARY(I##_ge_u, U, U, a >= b) \
    BINARY(I##_min_s, S, S, ((a < b) & a) | (~(a < b) & b)) \
    BINARY(I##_max_s, S, S, ((a > b) & a) | (~(a > b) & b)) \
    BINARY(I##_min_u, U, U, ((U)(a < b) & a) | (~(U)(a < b) & b)) \
    BINARY(I##_max_u, U, U, ((U)(a > b) & a) | (~(U)(a > b) & b))
#define SHIFT(name, T, expr) \
    static OP(v_##name) { \
        T a = V(T, b); \
        unsigned n = U32(ip[1].c) & (sizeof a[0] * 8 - 1); \
        V(T, a) = expr; \
        NEXT(2); \
    }
static inline uint32_t all_true(u64x2 zero_lanes) { return !(zero_lanes[0] | zero_lanes[1]); }
#define BITMASK(I, S) \
    static inline uint32_t bitmask_##I(S a) { \
        uint32_t r = 0; \
        for (unsigned i = 0; i < LANES_OF(S); i++) r |= (uint32_t)(a[i] < 0) << i; \
        return r; \
    }
BITMASK(i8x16, i8x16)
BITMASK(i16x8, i16x8)
BITMASK(i32x4, i32x4)
BITMASK(i64x2, i64x2)
INTEGERS(i8x16, u8x16, i8x16, 16, uint8_t)
INTEGERS(i16x8, u16x8, i16x8, 8, uint16_t)
INTEGERS(i32x4, u32x4, i32x4, 4, uint32_t)
INTEGERS(i64x2, u64x2, i64x2, 2, uint64_t)
UNSIGNED_TOO(i8x16, u8x16, i8x16)
UNSIGNED_TOO(i16x8, u16x8, i16x8)
UNSIGNED_TOO(i32x4, u32x4, i32x4)
BINARY(i16x8_mul, u16x8, u16x8, a * b)
BINARY(i32x4_mul, u32x4, u32x4, a * b)
BINARY(i64x2_mul, u64x2, u64x2, a * b)

static inline int32_t clamp(int32_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : v; }
#define SATURATING(I, S, U, N, MIN, MAX, UMAX) \
    LANEWISE(I##_add_sat_s, S, S, N, (int32_t)clamp(a[i] + b[i], MIN, MAX)) \
    LANEWISE(I##_sub_sat_s, S, S, N, (int32_t)clamp(a[i] - b[i], MIN, MAX)) \
    LANEWISE(I##_add_sat_u, U, U, N, (uint32_t)clamp(a[i] + b[i], 0, UMAX)) \
    LANEWISE(I##_sub_sat_u, U, U, N, (uint32_t)clamp(a[i] - b[i], 0, UMAX)) \
    LANEWISE(I##_avgr_u, U, U, N, (uint32_t)(a[i] + b[i] + 1) >> 1)
SATURATING(i8x16, i8x16, u8x16, 16, -128, 127, 255)
SATURATING(i16x8, i16x8, u16x8, 8, -32768, 32767, 65535)
LANEWISE(i8x16_popcnt, u8x16, u8x16, 16, (uint8_t)wl_popcount(a[i]))
LANEWISE(i16x8_q15mulr_sat_s, i16x8, i16x8, 8, (int16_t)clamp((a[i] * b[i] + 0x4000) >> 15, -32768, 32767))

/* Both operands of a narrowing, one after the other; halves of one operand in the others. */
#define NARROW(name, T, R, N, LOW, HIGH) \
    LANEWISE(name, T, R, 2 * N, clamp(i < N ? a[i & (N - 1)] : b[i & (N - 1)], LOW, HIGH))
NARROW(i8x16_narrow_i16x8_s, i16x8, i8x16, 8, -128, 127)
NARROW(i8x16_narrow_i16x8_u, i16x8, u8x16, 8, 0, 255)
NARROW(i16x8_narrow_i32x4_s, i32x4, i16x8, 4, -32768, 32767)
NARROW(i16x8_narrow_i32x4_u, i32x4, u16x8, 4, 0, 65535)
#define WIDEN(to, from, T, TU, R, RU, N, M) \
    LANEWISE(to##_extend_low_##from##_s, T, R, N, a[i]) \
    LANEWISE(to##_extend_high_##from##_s, T, R, N, a[i + N]) \
    LANEWISE(to##_extend_low_##from##_u, TU, RU, N, a[i]) \
    LANEWISE(to##_extend_high_##from##_u, TU, RU, N, a[i + N]) \
    LANEWISE(to##_extmul_low_##from##_s, T, R, N, (M)a[i] * b[i]) \
    LANEWISE(to##_extmul_high_##from##_s, T, R, N, (M)a[i + N] * b[i + N]) \
    LANEWISE(to##_extmul_low_##from##_u, TU, RU, N, (u##M)a[i] * b[i]) \
    LANEWISE(to##_extmul_high_##from##_u, TU, RU, N, (u##M)a[i + N] * b[i + N])
WIDEN(i16x8, i8x16, i8x16, u8x16, i16x8, u16x8, 8, int32_t)
WIDEN(i32x4, i16x8, i16x8, u16x8, i32x4, u32x4, 4, int32_t)
WIDEN(i64x2, i32x4, i32x4, u32x4, i64x2, u64x2, 2, int64_t)
LANEWISE(i16x8_extadd_pairwise_i8x16_s, i8x16, i16x8, 8, a[2 * i] + a[2 * i + 1])
LANEWISE(i16x8_extadd_pairwise_i8x16_u, u8x16, u16x8, 8, a[2 * i] + a[2 * i + 1])
LANEWISE(i32x4_extadd_pairwise_i16x8_s, i16x8, i32x4, 4, a[2 * i] + a[2 * i + 1])
LANEWISE(i32x4_extadd_pairwise_i16x8_u, u16x8, u32x4, 4, a[2 * i] + a[2 * i + 1])
LANEWISE(i32x4_dot_i16x8_s, i16x8, u32x4, 4,
         (uint32_t)(a[2 * i] * b[2 * i]) + (uint32_t)(a[2 * i + 1] * b[2 * i + 1]))

/* A lane alone, from where the vector lies. */
#define EXTRACT(name, T, ACC, PUT, LAST) \
    static OP(v_##name) { \
        T v; \
        memcpy(&v, SLOT(ip[1].b) + (ip[1].d & LAST) * sizeof v, sizeof v); \
        ACC = WIDE_##ACC(v); \
        PUT; \
        NEXT(2); \
    }
#define WIDE_acc(v) _Generic((v), int8_t: (uint32_t)(v), int16_t: (uint32_t)(v), default: (v))
#define WIDE_fs(v) (v)
#define WIDE_fd(v) (v)
EXTRACT(i8x16_extract_lane_s, int8_t, acc, PUTI, 15)
EXTRACT(i8x16_extract_lane_u, uint8_t, acc, PUTI, 15)
EXTRACT(i16x8_extract_lane_s, int16_t, acc, PUTI, 7)
EXTRACT(i16x8_extract_lane_u, uint16_t, acc, PUTI, 7)
EXTRACT(i32x4_extract_lane, uint32_t, acc, PUTI, 3)
EXTRACT(i64x2_extract_lane, uint64_t, acc, PUTI, 1)

/* ---- Bits and bytes --------------------------------------------------------------------------------------------- */

UNARY(v128_not, u64x2, u64x2, ~a)
BINARY(v128_and, u64x2, u64x2, a & b)
BINARY(v128_andnot, u64x2, u64x2, a & ~b)
BINARY(v128_or, u64x2, u64x2, a | b)
BINARY(v128_xor, u64x2, u64x2, a ^ b)
TERNARY(v128_bitselect, u64x2, u64x2, (a & c) | (b & ~c))
TO_SCALAR(v128_any_true, u64x2, acc, PUTI, (a[0] | a[1]) != 0)

/* ---- Floating-point shapes ---------------------------------------------------------------------------------------- */

/* Whether a mask of lanes has any. */
static inline bool any(i8x16 mask) {
#if defined(__SSE2__)
    typedef char bytes __attribute__((vector_size(16)));
    return __builtin_ia32_pmovmskb128((bytes)mask) != 0;
#else
    u64x2 halves = (u64x2)mask;
    return (halves[0] | halves[1]) != 0;
#endif
}

/* The lesser (greater) of each two lanes, of zeros the one with (without) a sign; NaNs lane by lane. */
#define MIN_MAX_LANES(name, T, N, U, SCALAR, FIRST, SECOND, OF_EQUALS) \
    COLD static OP(name##_nan) { \
        T a = V(T, b), b = V(T, c), r = a; \
        for (unsigned i = 0; i < N; i++) r[i] = SCALAR(x, a[i], b[i]); \
        V(T, a) = r; \
        NEXT(2); \
    } \
    static OP(v_##name) { \
        T a = V(T, b), b = V(T, c); \
        if (UNLIKELY(any((i8x16)(a != a) | (i8x16)(b != b)))) TAIL(name##_nan); \
        U first = (U)(FIRST), second = (U)(SECOND); \
        V(U, a) = (first & (U)a) | (second & (U)b) | (~(first | second) & ((U)a OF_EQUALS (U)b)); \
        NEXT(2); \
    }

/* Lanes that are NaNs are made again, one by one. */
#define ARITHMETIC(name, T, M, N, U, NAN_RESULT, OPERATOR) \
    COLD static OP(name##_nan) { \
        T a = V(T, b), b = V(T, c), r = a OPERATOR b; \
        for (unsigned i = 0; i < N; i++) \
            if (r[i] != r[i]) r[i] = NAN_RESULT(x, a[i], b[i]); \
        V(T, a) = r; \
        NEXT(2); \
    } \
    static OP(v_##name) { \
        T a = V(T, b), b = V(T, c), r = a OPERATOR b; \
        if (UNLIKELY(any((i8x16)(r != r)))) TAIL(name##_nan); \
        V(T, a) = r; \
        NEXT(2); \
    }
#define FLOATS(F, T, M, N, I, U, NAN_RESULT, SIGN, n) \
    ARITHMETIC(F##_add, T, M, N, U, NAN_RESULT, +) \
    ARITHMETIC(F##_sub, T, M, N, U, NAN_RESULT, -) \
    ARITHMETIC(F##_mul, T, M, N, U, NAN_RESULT, *) \
    ARITHMETIC(F##_div, T, M, N, U, NAN_RESULT, /) \
    BINARY(F##_eq, T, I, a == b) \
    BINARY(F##_ne, T, I, a != b) \
    BINARY(F##_lt, T, I, a < b) \
    BINARY(F##_gt, T, I, a > b) \
    BINARY(F##_le, T, I, a <= b) \
    BINARY(F##_ge, T, I, a >= b) \
    UNARY(F##_abs, U, U, a & ~SIGN) \
    UNARY(F##_neg, U, U, a ^ SIGN) \
    BINARY(F##_pmin, T, U, ((U)(b < a) & (U)b) | (~(U)(b < a) & (U)a)) \
    BINARY(F##_pmax, T, U, ((U)(a < b) & (U)b) | (~(U)(a < b) & (U)a)) \
    MIN_MAX_LANES(F##_min, T, N, U, wl_min_##M, a < b, b < a, |) \
    MIN_MAX_LANES(F##_max, T, N, U, wl_max_##M, a > b, b > a, &) \
    LANEWISE(F##_sqrt, T, T, N, wl_sqrt##n(x, a[i])) \
    LANEWISE(F##_ceil, T, T, N, wl_ceil##n(x, a[i])) \
    LANEWISE(F##_floor, T, T, N, wl_floor##n(x, a[i])) \
    LANEWISE(F##_trunc, T, T, N, wl_trunc##n(x, a[i])) \
    LANEWISE(F##_nearest, T, T, N, wl_nearest##n(x, a[i]))
FLOATS(f32x4, f32x4, float, 4, i32x4, u32x4, wl_nan32, 0x80000000u, 32)
FLOATS(f64x2, f64x2, double, 2, i64x2, u64x2, wl_nan64, 0x8000000000000000u, 64)

static OP(v_f32x4_splat) {
    u32x4 r = {0};
    V(u32x4, a) = r + U32(ip[1].b);
    NEXT(2);
}
static OP(v_f32x4_replace_lane) {
    u32x4 r = V(u32x4, b);
    r[ip[1].d & 3] = U32(ip[1].c);
    V(u32x4, a) = r;
    NEXT(2);
}
EXTRACT(f32x4_extract_lane, float, fs, F32(ip[1].a) = fs, 3)
EXTRACT(f64x2_extract_lane, double, fd, F64(ip[1].a) = fd, 1)

static inline int32_t trunc_s(double v) {
    return v != v ? 0 : v <= -0x1p31 ? INT32_MIN : v >= 0x1p31 ? INT32_MAX : (int32_t)v;
}
static inline uint32_t trunc_u(double v) { return !(v > -1.0) ? 0 : v >= 0x1p32 ? UINT32_MAX : (uint32_t)v; }
LANEWISE(i32x4_trunc_sat_f32x4_s, f32x4, i32x4, 4, trunc_s((double)a[i]))
LANEWISE(i32x4_trunc_sat_f32x4_u, f32x4, u32x4, 4, trunc_u((double)a[i]))
LANEWISE(i32x4_trunc_sat_f64x2_s_zero, f64x2, i32x4, 2, trunc_s(a[i]))
LANEWISE(i32x4_trunc_sat_f64x2_u_zero, f64x2, u32x4, 2, trunc_u(a[i]))
LANEWISE(f32x4_convert_i32x4_s, i32x4, f32x4, 4, (float)a[i])
LANEWISE(f32x4_convert_i32x4_u, u32x4, f32x4, 4, (float)a[i])
LANEWISE(f64x2_convert_low_i32x4_s, i32x4, f64x2, 2, (double)a[i])
LANEWISE(f64x2_convert_low_i32x4_u, u32x4, f64x2, 2, (double)a[i])
LANEWISE(f32x4_demote_f64x2_zero, f64x2, f32x4, 2, wl_demote(x, a[i]))
LANEWISE(f64x2_promote_low_f32x4, f32x4, f64x2, 2, wl_promote(x, a[i]))

/* ---- Relaxed: what each chooses is in the store's profile ------------------------------------------------------------ */

#define CHOICE(op) (x->profile.relaxed[WL_OP_##op - WL_OP_I8X16_RELAXED_SWIZZLE])

LANEWISE(i8x16_relaxed_swizzle, u8x16, u8x16, 16,
         b[i] < 16 ? a[b[i] & 15] : b[i] < 128 && CHOICE(I8X16_RELAXED_SWIZZLE) ? a[b[i] & 15] : 0)

static int32_t relaxed_s(double v, uint8_t choice) {
    bool outside = !(v > -0x1.00000002p31 && v < 0x1p31);
    return outside && choice ? INT32_MIN : trunc_s(v);
}
static uint32_t relaxed_u(double v, uint8_t choice) {
    bool outside = !(v > -1.0 && v < 0x1p32);
    if (!outside || !choice) return trunc_u(v);
    return choice == 1 ? UINT32_MAX : choice == 2 ? UINT32_MAX - 1 : 0x80000000u;
}
LANEWISE(i32x4_relaxed_trunc_f32x4_s, f32x4, i32x4, 4, relaxed_s((double)a[i], CHOICE(I32X4_RELAXED_TRUNC_F32X4_S)))
LANEWISE(i32x4_relaxed_trunc_f32x4_u, f32x4, u32x4, 4, relaxed_u((double)a[i], CHOICE(I32X4_RELAXED_TRUNC_F32X4_U)))
LANEWISE(i32x4_relaxed_trunc_f64x2_s_zero, f64x2, i32x4, 2, relaxed_s(a[i], CHOICE(I32X4_RELAXED_TRUNC_F64X2_S_ZERO)))
LANEWISE(i32x4_relaxed_trunc_f64x2_u_zero, f64x2, u32x4, 2, relaxed_u(a[i], CHOICE(I32X4_RELAXED_TRUNC_F64X2_U_ZERO)))

#define MULTIPLY_ADD(T, M, NAN_RESULT, FMA, BITS, SIGN, VALUE) \
    static M madd_##M(const wl_store *x, M a, M b, M c, uint8_t fused) { \
        if (fused && a == a && b == b && c == c) { \
            M r = FMA(a, b, c); \
            return r == r ? r : NAN_RESULT(x, a * b == a * b ? a * b : (M)0, a * b == a * b ? c : (M)0); \
        } \
        if (fused) return a != a || b != b ? NAN_RESULT(x, a, b) : NAN_RESULT(x, c, c); \
        M product = a * b; \
        if (product != product) product = NAN_RESULT(x, a, b); \
        M r = product + c; \
        return r == r ? r : NAN_RESULT(x, product, c); \
    } \
    static M negated_##M(M a) { return VALUE(BITS(a) ^ SIGN); }
MULTIPLY_ADD(float, float, wl_nan32, __builtin_fmaf, wl_bits32, 0x80000000u, wl_float)
MULTIPLY_ADD(double, double, wl_nan64, __builtin_fma, wl_bits64, 0x8000000000000000u, wl_double)
LANEWISE3(f32x4_relaxed_madd, f32x4, f32x4, 4, madd_float(x, a[i], b[i], c[i], CHOICE(F32X4_RELAXED_MADD)))
LANEWISE3(f64x2_relaxed_madd, f64x2, f64x2, 2, madd_double(x, a[i], b[i], c[i], CHOICE(F64X2_RELAXED_MADD)))
LANEWISE3(f32x4_relaxed_nmadd, f32x4, f32x4, 4,
          madd_float(x, negated_float(a[i]), b[i], c[i], CHOICE(F32X4_RELAXED_NMADD)))
LANEWISE3(f64x2_relaxed_nmadd, f64x2, f64x2, 2,
          madd_double(x, negated_double(a[i]), b[i], c[i], CHOICE(F64X2_RELAXED_NMADD)))

#define LANESELECT(shape, SHAPE, S) \
    static OP(v_##shape##_relaxed_laneselect) { \
        S a = V(S, b), b = V(S, c), m = V(S, d); \
        uint8_t choice = CHOICE(SHAPE##_RELAXED_LANESELECT); \
        if (choice == 2) m = (S)(V(i8x16, d) < 0); \
        else if (choice) m = m < 0; \
        V(S, a) = (a & m) | (b & ~m); \
        NEXT(2); \
    }
LANESELECT(i8x16, I8X16, i8x16)
LANESELECT(i16x8, I16X8, i16x8)
LANESELECT(i32x4, I32X4, i32x4)
LANESELECT(i64x2, I64X2, i64x2)

#define MIN_MAX(M, BITS) \
    static M relaxed_min_##M(const wl_store *x, M a, M b, uint8_t choice) { \
        bool settled = a < b || b < a || (a == b && BITS(a) == BITS(b)); \
        if (settled || !choice) return wl_min_##M(x, a, b); \
        if (choice < 3) return choice == 1 ? a : b; \
        return a != a ? b : b != b ? a : wl_lesser_##M(a, b); \
    } \
    static M relaxed_max_##M(const wl_store *x, M a, M b, uint8_t choice) { \
        bool settled = a < b || b < a || (a == b && BITS(a) == BITS(b)); \
        if (settled || !choice) return wl_max_##M(x, a, b); \
        if (choice < 3) return choice == 1 ? a : b; \
        return a != a ? b : b != b ? a : wl_greater_##M(a, b); \
    }
MIN_MAX(float, wl_bits32)
MIN_MAX(double, wl_bits64)
LANEWISE(f32x4_relaxed_min, f32x4, f32x4, 4, relaxed_min_float(x, a[i], b[i], CHOICE(F32X4_RELAXED_MIN)))
LANEWISE(f32x4_relaxed_max, f32x4, f32x4, 4, relaxed_max_float(x, a[i], b[i], CHOICE(F32X4_RELAXED_MAX)))
LANEWISE(f64x2_relaxed_min, f64x2, f64x2, 2, relaxed_min_double(x, a[i], b[i], CHOICE(F64X2_RELAXED_MIN)))
LANEWISE(f64x2_relaxed_max, f64x2, f64x2, 2, relaxed_max_double(x, a[i], b[i], CHOICE(F64X2_RELAXED_MAX)))
LANEWISE(i16x8_relaxed_q15mulr_s, i16x8, i16x8, 8,
         CHOICE(I16X8_RELAXED_Q15MULR_S)
             ? (int16_t)((a[i] * b[i] + 0x4000) >> 15)
             : (int16_t)clamp((a[i] * b[i] + 0x4000) >> 15, -32768, 32767))

/* The second operand's lanes are signed, or unsigned by choice; the sum of two products saturates where they are. */
static inline int32_t dot(i8x16 a, i8x16 b, unsigned i, bool is_unsigned) {
    int32_t low = is_unsigned ? (uint8_t)b[2 * i] : b[2 * i], high = is_unsigned ? (uint8_t)b[2 * i + 1] : b[2 * i + 1];
    return clamp(a[2 * i] * low + a[2 * i + 1] * high, -32768, 32767);
}
LANEWISE(i16x8_relaxed_dot_i8x16_i7x16_s, i8x16, i16x8, 8,
         (int16_t)dot(a, b, i, CHOICE(I16X8_RELAXED_DOT_I8X16_I7X16_S)))
static OP(v_i32x4_relaxed_dot_i8x16_i7x16_add_s) {
    i8x16 a = V(i8x16, b), b = V(i8x16, c);
    u32x4 r = V(u32x4, d);
    bool is_unsigned = CHOICE(I32X4_RELAXED_DOT_I8X16_I7X16_ADD_S);
    for (unsigned i = 0; i < 4; i++)
        r[i] += (uint32_t)(dot(a, b, 2 * i, is_unsigned) + dot(a, b, 2 * i + 1, is_unsigned));
    V(u32x4, a) = r;
    NEXT(2);
}

/* ---- Memory: address in slot b, memory and offset in words 2 and 3 -------------------------------------------------- */

COLD static OP(miss) {
    wl_meminst *m = ip[2].p;
    if (x->miss > m->size || x->miss == 0) return WL_TRAP_MEMORY_BOUNDS;
    if (!wl_commit(m, x->miss)) return WL_OUT_OF_MEMORY;
    RELOAD();
    DISPATCH;
}
#define AT(size) \
    const wl_meminst *m = ip[2].p; \
    uint64_t at, end; \
    bool over = __builtin_add_overflow(U64(ip[1].b), ip[3].u64, &at); \
    over |= __builtin_add_overflow(at, (uint64_t)(size), &end); \
    if (UNLIKELY(over || end > m->committed)) { \
        x->miss = over ? 0 : end; \
        TAIL(miss); \
    } \
    uint8_t *p = m->data + at
#define LOAD(name, size, R, N, T, expr) \
    static OP(v_##name) { \
        AT(size); \
        R r = {0}; \
        for (unsigned i = 0; i < N; i++) { \
            T v; \
            memcpy(&v, p + (expr) * sizeof v, sizeof v); \
            r[i] = v; \
        } \
        V(R, a) = r; \
        NEXT(4); \
    }
LOAD(v128_load, 16, u64x2, 2, uint64_t, i)
LOAD(v128_load8x8_s, 8, i16x8, 8, int8_t, i)
LOAD(v128_load8x8_u, 8, u16x8, 8, uint8_t, i)
LOAD(v128_load16x4_s, 8, i32x4, 4, int16_t, i)
LOAD(v128_load16x4_u, 8, u32x4, 4, uint16_t, i)
LOAD(v128_load32x2_s, 8, i64x2, 2, int32_t, i)
LOAD(v128_load32x2_u, 8, u64x2, 2, uint32_t, i)
LOAD(v128_load8_splat, 1, u8x16, 16, uint8_t, 0 * i)
LOAD(v128_load16_splat, 2, u16x8, 8, uint16_t, 0 * i)
LOAD(v128_load32_splat, 4, u32x4, 4, uint32_t, 0 * i)
LOAD(v128_load64_splat, 8, u64x2, 2, uint64_t, 0 * i)
LOAD(v128_load32_zero, 4, u32x4, 1, uint32_t, i)
LOAD(v128_load64_zero, 8, u64x2, 1, uint64_t, i)
static OP(v_v128_store) {
    AT(16);
    memcpy(p, SLOT(ip[1].c), 16);
    NEXT(4);
}
#define LANE(bits, size) \
    static OP(v_v128_load##bits##_lane) { \
        AT(size); \
        uint8_t lanes[16]; \
        memcpy(lanes, SLOT(ip[1].c), 16); \
        memcpy(lanes + (ip[1].d * size & 15), p, size); \
        memcpy(SLOT(ip[1].a), lanes, 16); \
        NEXT(4); \
    } \
    static OP(v_v128_store##bits##_lane) { \
        AT(size); \
        memcpy(p, SLOT(ip[1].c) + (ip[1].d * size & 15), size); \
        NEXT(4); \
    }
LANE(8, 1)
LANE(16, 2)
LANE(32, 4)
LANE(64, 8)

/* Memory 0, addressed by i32. */
COLD static OP(miss_16) {
    x->miss = (uint64_t)U32(ip[1].b) + ip[1].u + 16;
    TAIL(wl_op_memory_miss);
}
#define CHECK \
    uint64_t at = (uint64_t)U32(ip[1].b) + ip[1].u; \
    if (UNLIKELY(at + 16 > mem_len)) TAIL(miss_16)
OP(wl_op_v128_load) {
    CHECK;
    V(u64x2, a) = *(const u8x16_unaligned *)(mem + at);
    NEXT(2);
}
OP(wl_op_v128_store) {
    CHECK;
    *(u8x16_unaligned *)(mem + at) = V(u64x2, a);
    NEXT(2);
}

#define ROW(op, name) [WL_OP_##op - WL_OP_FD] = v_##name,
const wl_handler wl_vector[WL_OP_FD_SIZE] = {
    /* lanes of f64 are moved as those of i64 are */
    ROW(V128_LOAD, v128_load)
    ROW(V128_LOAD8X8_S, v128_load8x8_s)
    ROW(V128_LOAD8X8_U, v128_load8x8_u)
    ROW(V128_LOAD16X4_S, v128_load16x4_s)
    ROW(V128_LOAD16X4_U, v128_load16x4_u)
    ROW(V128_LOAD32X2_S, v128_load32x2_s)
    ROW(V128_LOAD32X2_U, v128_load32x2_u)
    ROW(V128_LOAD8_SPLAT, v128_load8_splat)
    ROW(V128_LOAD16_SPLAT, v128_load16_splat)
    ROW(V128_LOAD32_SPLAT, v128_load32_splat)
    ROW(V128_LOAD64_SPLAT, v128_load64_splat)
    ROW(V128_STORE, v128_store)
    ROW(I8X16_SPLAT, i8x16_splat)
    ROW(I16X8_SPLAT, i16x8_splat)
    ROW(I32X4_SPLAT, i32x4_splat)
    ROW(I64X2_SPLAT, i64x2_splat)
    ROW(F32X4_SPLAT, f32x4_splat)
    ROW(F64X2_SPLAT, i64x2_splat)
    ROW(I8X16_EXTRACT_LANE_S, i8x16_extract_lane_s)
    ROW(I8X16_EXTRACT_LANE_U, i8x16_extract_lane_u)
    ROW(I8X16_REPLACE_LANE, i8x16_replace_lane)
    ROW(I16X8_EXTRACT_LANE_S, i16x8_extract_lane_s)
    ROW(I16X8_EXTRACT_LANE_U, i16x8_extract_lane_u)
    ROW(I16X8_REPLACE_LANE, i16x8_replace_lane)
    ROW(I32X4_EXTRACT_LANE, i32x4_extract_lane)
    ROW(I32X4_REPLACE_LANE, i32x4_replace_lane)
    ROW(I64X2_EXTRACT_LANE, i64x2_extract_lane)
    ROW(I64X2_REPLACE_LANE, i64x2_replace_lane)
    ROW(F32X4_EXTRACT_LANE, f32x4_extract_lane)
    ROW(F32X4_REPLACE_LANE, f32x4_replace_lane)
    ROW(F64X2_EXTRACT_LANE, f64x2_extract_lane)
    ROW(F64X2_REPLACE_LANE, i64x2_replace_lane)
    ROW(I8X16_EQ, i8x16_eq)
    ROW(I8X16_NE, i8x16_ne)
    ROW(I8X16_LT_S, i8x16_lt_s)
    ROW(I8X16_LT_U, i8x16_lt_u)
    ROW(I8X16_GT_S, i8x16_gt_s)
    ROW(I8X16_GT_U, i8x16_gt_u)
    ROW(I8X16_LE_S, i8x16_le_s)
    ROW(I8X16_LE_U, i8x16_le_u)
    ROW(I8X16_GE_S, i8x16_ge_s)
    ROW(I8X16_GE_U, i8x16_ge_u)
    ROW(I16X8_EQ, i16x8_eq)
    ROW(I16X8_NE, i16x8_ne)
    ROW(I16X8_LT_S, i16x8_lt_s)
    ROW(I16X8_LT_U, i16x8_lt_u)
    ROW(I16X8_GT_S, i16x8_gt_s)
    ROW(I16X8_GT_U, i16x8_gt_u)
    ROW(I16X8_LE_S, i16x8_le_s)
    ROW(I16X8_LE_U, i16x8_le_u)
    ROW(I16X8_GE_S, i16x8_ge_s)
    ROW(I16X8_GE_U, i16x8_ge_u)
    ROW(I32X4_EQ, i32x4_eq)
    ROW(I32X4_NE, i32x4_ne)
    ROW(I32X4_LT_S, i32x4_lt_s)
    ROW(I32X4_LT_U, i32x4_lt_u)
    ROW(I32X4_GT_S, i32x4_gt_s)
    ROW(I32X4_GT_U, i32x4_gt_u)
    ROW(I32X4_LE_S, i32x4_le_s)
    ROW(I32X4_LE_U, i32x4_le_u)
    ROW(I32X4_GE_S, i32x4_ge_s)
    ROW(I32X4_GE_U, i32x4_ge_u)
    ROW(F32X4_EQ, f32x4_eq)
    ROW(F32X4_NE, f32x4_ne)
    ROW(F32X4_LT, f32x4_lt)
    ROW(F32X4_GT, f32x4_gt)
    ROW(F32X4_LE, f32x4_le)
    ROW(F32X4_GE, f32x4_ge)
    ROW(F64X2_EQ, f64x2_eq)
    ROW(F64X2_NE, f64x2_ne)
    ROW(F64X2_LT, f64x2_lt)
    ROW(F64X2_GT, f64x2_gt)
    ROW(F64X2_LE, f64x2_le)
    ROW(F64X2_GE, f64x2_ge)
    ROW(V128_NOT, v128_not)
    ROW(V128_AND, v128_and)
    ROW(V128_ANDNOT, v128_andnot)
    ROW(V128_OR, v128_or)
    ROW(V128_XOR, v128_xor)
    ROW(V128_BITSELECT, v128_bitselect)
    ROW(V128_ANY_TRUE, v128_any_true)
    ROW(V128_LOAD8_LANE, v128_load8_lane)
    ROW(V128_LOAD16_LANE, v128_load16_lane)
    ROW(V128_LOAD32_LANE, v128_load32_lane)
    ROW(V128_LOAD64_LANE, v128_load64_lane)
    ROW(V128_STORE8_LANE, v128_store8_lane)
    ROW(V128_STORE16_LANE, v128_store16_lane)
    ROW(V128_STORE32_LANE, v128_store32_lane)
    ROW(V128_STORE64_LANE, v128_store64_lane)
    ROW(V128_LOAD32_ZERO, v128_load32_zero)
    ROW(V128_LOAD64_ZERO, v128_load64_zero)
    ROW(F32X4_DEMOTE_F64X2_ZERO, f32x4_demote_f64x2_zero)
    ROW(F64X2_PROMOTE_LOW_F32X4, f64x2_promote_low_f32x4)
    ROW(I8X16_ABS, i8x16_abs)
    ROW(I8X16_NEG, i8x16_neg)
    ROW(I8X16_POPCNT, i8x16_popcnt)
    ROW(I8X16_ALL_TRUE, i8x16_all_true)
    ROW(I8X16_BITMASK, i8x16_bitmask)
    ROW(I8X16_NARROW_I16X8_S, i8x16_narrow_i16x8_s)
    ROW(I8X16_NARROW_I16X8_U, i8x16_narrow_i16x8_u)
    ROW(F32X4_CEIL, f32x4_ceil)
    ROW(F32X4_FLOOR, f32x4_floor)
    ROW(F32X4_TRUNC, f32x4_trunc)
    ROW(F32X4_NEAREST, f32x4_nearest)
    ROW(I8X16_SHL, i8x16_shl)
    ROW(I8X16_SHR_S, i8x16_shr_s)
    ROW(I8X16_SHR_U, i8x16_shr_u)
    ROW(I8X16_ADD, i8x16_add)
    ROW(I8X16_ADD_SAT_S, i8x16_add_sat_s)
    ROW(I8X16_ADD_SAT_U, i8x16_add_sat_u)
    ROW(I8X16_SUB, i8x16_sub)
    ROW(I8X16_SUB_SAT_S, i8x16_sub_sat_s)
    ROW(I8X16_SUB_SAT_U, i8x16_sub_sat_u)
    ROW(F64X2_CEIL, f64x2_ceil)
    ROW(F64X2_FLOOR, f64x2_floor)
    ROW(I8X16_MIN_S, i8x16_min_s)
    ROW(I8X16_MIN_U, i8x16_min_u)
    ROW(I8X16_MAX_S, i8x16_max_s)
    ROW(I8X16_MAX_U, i8x16_max_u)
    ROW(F64X2_TRUNC, f64x2_trunc)
    ROW(I8X16_AVGR_U, i8x16_avgr_u)
    ROW(I16X8_EXTADD_PAIRWISE_I8X16_S, i16x8_extadd_pairwise_i8x16_s)
    ROW(I16X8_EXTADD_PAIRWISE_I8X16_U, i16x8_extadd_pairwise_i8x16_u)
    ROW(I32X4_EXTADD_PAIRWISE_I16X8_S, i32x4_extadd_pairwise_i16x8_s)
    ROW(I32X4_EXTADD_PAIRWISE_I16X8_U, i32x4_extadd_pairwise_i16x8_u)
    ROW(I16X8_ABS, i16x8_abs)
    ROW(I16X8_NEG, i16x8_neg)
    ROW(I16X8_Q15MULR_SAT_S, i16x8_q15mulr_sat_s)
    ROW(I16X8_ALL_TRUE, i16x8_all_true)
    ROW(I16X8_BITMASK, i16x8_bitmask)
    ROW(I16X8_NARROW_I32X4_S, i16x8_narrow_i32x4_s)
    ROW(I16X8_NARROW_I32X4_U, i16x8_narrow_i32x4_u)
    ROW(I16X8_EXTEND_LOW_I8X16_S, i16x8_extend_low_i8x16_s)
    ROW(I16X8_EXTEND_HIGH_I8X16_S, i16x8_extend_high_i8x16_s)
    ROW(I16X8_EXTEND_LOW_I8X16_U, i16x8_extend_low_i8x16_u)
    ROW(I16X8_EXTEND_HIGH_I8X16_U, i16x8_extend_high_i8x16_u)
    ROW(I16X8_SHL, i16x8_shl)
    ROW(I16X8_SHR_S, i16x8_shr_s)
    ROW(I16X8_SHR_U, i16x8_shr_u)
    ROW(I16X8_ADD, i16x8_add)
    ROW(I16X8_ADD_SAT_S, i16x8_add_sat_s)
    ROW(I16X8_ADD_SAT_U, i16x8_add_sat_u)
    ROW(I16X8_SUB, i16x8_sub)
    ROW(I16X8_SUB_SAT_S, i16x8_sub_sat_s)
    ROW(I16X8_SUB_SAT_U, i16x8_sub_sat_u)
    ROW(F64X2_NEAREST, f64x2_nearest)
    ROW(I16X8_MUL, i16x8_mul)
    ROW(I16X8_MIN_S, i16x8_min_s)
    ROW(I16X8_MIN_U, i16x8_min_u)
    ROW(I16X8_MAX_S, i16x8_max_s)
    ROW(I16X8_MAX_U, i16x8_max_u)
    ROW(I16X8_AVGR_U, i16x8_avgr_u)
    ROW(I16X8_EXTMUL_LOW_I8X16_S, i16x8_extmul_low_i8x16_s)
    ROW(I16X8_EXTMUL_HIGH_I8X16_S, i16x8_extmul_high_i8x16_s)
    ROW(I16X8_EXTMUL_LOW_I8X16_U, i16x8_extmul_low_i8x16_u)
    ROW(I16X8_EXTMUL_HIGH_I8X16_U, i16x8_extmul_high_i8x16_u)
    ROW(I32X4_ABS, i32x4_abs)
    ROW(I32X4_NEG, i32x4_neg)
    ROW(I32X4_ALL_TRUE, i32x4_all_true)
    ROW(I32X4_BITMASK, i32x4_bitmask)
    ROW(I32X4_EXTEND_LOW_I16X8_S, i32x4_extend_low_i16x8_s)
    ROW(I32X4_EXTEND_HIGH_I16X8_S, i32x4_extend_high_i16x8_s)
    ROW(I32X4_EXTEND_LOW_I16X8_U, i32x4_extend_low_i16x8_u)
    ROW(I32X4_EXTEND_HIGH_I16X8_U, i32x4_extend_high_i16x8_u)
    ROW(I32X4_SHL, i32x4_shl)
    ROW(I32X4_SHR_S, i32x4_shr_s)
    ROW(I32X4_SHR_U, i32x4_shr_u)
    ROW(I32X4_ADD, i32x4_add)
    ROW(I32X4_SUB, i32x4_sub)
    ROW(I32X4_MUL, i32x4_mul)
    ROW(I32X4_MIN_S, i32x4_min_s)
    ROW(I32X4_MIN_U, i32x4_min_u)
    ROW(I32X4_MAX_S, i32x4_max_s)
    ROW(I32X4_MAX_U, i32x4_max_u)
    ROW(I32X4_DOT_I16X8_S, i32x4_dot_i16x8_s)
    ROW(I32X4_EXTMUL_LOW_I16X8_S, i32x4_extmul_low_i16x8_s)
    ROW(I32X4_EXTMUL_HIGH_I16X8_S, i32x4_extmul_high_i16x8_s)
    ROW(I32X4_EXTMUL_LOW_I16X8_U, i32x4_extmul_low_i16x8_u)
    ROW(I32X4_EXTMUL_HIGH_I16X8_U, i32x4_extmul_high_i16x8_u)
    ROW(I64X2_ABS, i64x2_abs)
    ROW(I64X2_NEG, i64x2_neg)
    ROW(I64X2_ALL_TRUE, i64x2_all_true)
    ROW(I64X2_BITMASK, i64x2_bitmask)
    ROW(I64X2_EXTEND_LOW_I32X4_S, i64x2_extend_low_i32x4_s)
    ROW(I64X2_EXTEND_HIGH_I32X4_S, i64x2_extend_high_i32x4_s)
    ROW(I64X2_EXTEND_LOW_I32X4_U, i64x2_extend_low_i32x4_u)
    ROW(I64X2_EXTEND_HIGH_I32X4_U, i64x2_extend_high_i32x4_u)
    ROW(I64X2_SHL, i64x2_shl)
    ROW(I64X2_SHR_S, i64x2_shr_s)
    ROW(I64X2_SHR_U, i64x2_shr_u)
    ROW(I64X2_ADD, i64x2_add)
    ROW(I64X2_SUB, i64x2_sub)
    ROW(I64X2_MUL, i64x2_mul)
    ROW(I64X2_EQ, i64x2_eq)
    ROW(I64X2_NE, i64x2_ne)
    ROW(I64X2_LT_S, i64x2_lt_s)
    ROW(I64X2_GT_S, i64x2_gt_s)
    ROW(I64X2_LE_S, i64x2_le_s)
    ROW(I64X2_GE_S, i64x2_ge_s)
    ROW(I64X2_EXTMUL_LOW_I32X4_S, i64x2_extmul_low_i32x4_s)
    ROW(I64X2_EXTMUL_HIGH_I32X4_S, i64x2_extmul_high_i32x4_s)
    ROW(I64X2_EXTMUL_LOW_I32X4_U, i64x2_extmul_low_i32x4_u)
    ROW(I64X2_EXTMUL_HIGH_I32X4_U, i64x2_extmul_high_i32x4_u)
    ROW(F32X4_ABS, f32x4_abs)
    ROW(F32X4_NEG, f32x4_neg)
    ROW(F32X4_SQRT, f32x4_sqrt)
    ROW(F32X4_ADD, f32x4_add)
    ROW(F32X4_SUB, f32x4_sub)
    ROW(F32X4_MUL, f32x4_mul)
    ROW(F32X4_DIV, f32x4_div)
    ROW(F32X4_MIN, f32x4_min)
    ROW(F32X4_MAX, f32x4_max)
    ROW(F32X4_PMIN, f32x4_pmin)
    ROW(F32X4_PMAX, f32x4_pmax)
    ROW(F64X2_ABS, f64x2_abs)
    ROW(F64X2_NEG, f64x2_neg)
    ROW(F64X2_SQRT, f64x2_sqrt)
    ROW(F64X2_ADD, f64x2_add)
    ROW(F64X2_SUB, f64x2_sub)
    ROW(F64X2_MUL, f64x2_mul)
    ROW(F64X2_DIV, f64x2_div)
    ROW(F64X2_MIN, f64x2_min)
    ROW(F64X2_MAX, f64x2_max)
    ROW(F64X2_PMIN, f64x2_pmin)
    ROW(F64X2_PMAX, f64x2_pmax)
    ROW(I32X4_TRUNC_SAT_F32X4_S, i32x4_trunc_sat_f32x4_s)
    ROW(I32X4_TRUNC_SAT_F32X4_U, i32x4_trunc_sat_f32x4_u)
    ROW(F32X4_CONVERT_I32X4_S, f32x4_convert_i32x4_s)
    ROW(F32X4_CONVERT_I32X4_U, f32x4_convert_i32x4_u)
    ROW(I32X4_TRUNC_SAT_F64X2_S_ZERO, i32x4_trunc_sat_f64x2_s_zero)
    ROW(I32X4_TRUNC_SAT_F64X2_U_ZERO, i32x4_trunc_sat_f64x2_u_zero)
    ROW(F64X2_CONVERT_LOW_I32X4_S, f64x2_convert_low_i32x4_s)
    ROW(F64X2_CONVERT_LOW_I32X4_U, f64x2_convert_low_i32x4_u)
    ROW(I8X16_RELAXED_SWIZZLE, i8x16_relaxed_swizzle)
    ROW(I32X4_RELAXED_TRUNC_F32X4_S, i32x4_relaxed_trunc_f32x4_s)
    ROW(I32X4_RELAXED_TRUNC_F32X4_U, i32x4_relaxed_trunc_f32x4_u)
    ROW(I32X4_RELAXED_TRUNC_F64X2_S_ZERO, i32x4_relaxed_trunc_f64x2_s_zero)
    ROW(I32X4_RELAXED_TRUNC_F64X2_U_ZERO, i32x4_relaxed_trunc_f64x2_u_zero)
    ROW(F32X4_RELAXED_MADD, f32x4_relaxed_madd)
    ROW(F32X4_RELAXED_NMADD, f32x4_relaxed_nmadd)
    ROW(F64X2_RELAXED_MADD, f64x2_relaxed_madd)
    ROW(F64X2_RELAXED_NMADD, f64x2_relaxed_nmadd)
    ROW(I8X16_RELAXED_LANESELECT, i8x16_relaxed_laneselect)
    ROW(I16X8_RELAXED_LANESELECT, i16x8_relaxed_laneselect)
    ROW(I32X4_RELAXED_LANESELECT, i32x4_relaxed_laneselect)
    ROW(I64X2_RELAXED_LANESELECT, i64x2_relaxed_laneselect)
    ROW(F32X4_RELAXED_MIN, f32x4_relaxed_min)
    ROW(F32X4_RELAXED_MAX, f32x4_relaxed_max)
    ROW(F64X2_RELAXED_MIN, f64x2_relaxed_min)
    ROW(F64X2_RELAXED_MAX, f64x2_relaxed_max)
    ROW(I16X8_RELAXED_Q15MULR_S, i16x8_relaxed_q15mulr_s)
    ROW(I16X8_RELAXED_DOT_I8X16_I7X16_S, i16x8_relaxed_dot_i8x16_i7x16_s)
    ROW(I32X4_RELAXED_DOT_I8X16_I7X16_ADD_S, i32x4_relaxed_dot_i8x16_i7x16_add_s)
};
