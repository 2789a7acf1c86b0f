/* Floating point and conversions, by bits wherever C or a machine leaves something open. */
#include "exec.h"
#include "numeric.h"

/* ---- NaNs ----------------------------------------------------------------------------------------------------- */

#define NAN_RESULT(T, U, QUIET, CANONICAL, NEGATIVE, name, BITS, VALUE) \
    COLD T name(const wl_store *x, T a, T b) { \
        U p = BITS(a), q = BITS(b); \
        bool p_nan = a != a, q_nan = b != b; \
        switch (x->profile.nan) { \
        case 1: /* x86: the first operand that is a NaN, made quiet; else the negative canonical one */ \
            return VALUE(p_nan ? p | QUIET : q_nan ? q | QUIET : NEGATIVE); \
        case 2: /* arm64: the first signalling operand, else the first NaN; else the positive canonical one */ \
            if (p_nan && !(p & QUIET)) return VALUE(p | QUIET); \
            if (q_nan && !(q & QUIET)) return VALUE(q | QUIET); \
            return VALUE(p_nan ? p : q_nan ? q : CANONICAL); \
        default: return VALUE(CANONICAL); \
        } \
    }
NAN_RESULT(float, uint32_t, 0x00400000u, 0x7fc00000u, 0xffc00000u, wl_nan32, wl_bits32, wl_float)
NAN_RESULT(double, uint64_t, 0x0008000000000000u, 0x7ff8000000000000u, 0xfff8000000000000u, wl_nan64, wl_bits64,
           wl_double)

/* ---- Two operands --------------------------------------------------------------------------------------------- */

/* A result that is a NaN is made elsewhere, so that no handler needs a stack frame. */
#define FORM(name, T, LHS, RHS, ACC, PUT, WORDS, BODY, NANS) \
    FORM_NAN(name##_A_nan, T, LHS, RHS, ACC, , WORDS, NANS) \
    static OP(name##_A) { \
        T a = (LHS), b = (RHS); \
        BODY(T, ACC, TAIL(name##_A_nan)); \
        NEXT(WORDS); \
    } \
    FORM_NAN(name##_D_nan, T, LHS, RHS, ACC, PUT, WORDS, NANS) \
    static OP(name##_D) { \
        T a = (LHS), b = (RHS); \
        BODY(T, ACC, TAIL(name##_D_nan)); \
        PUT; \
        NEXT(WORDS); \
    }
#define FORM_NAN(name, T, LHS, RHS, ACC, PUT, WORDS, NANS) \
    __attribute__((unused)) COLD static OP(name) { \
        ACC = NANS##_##T(x, LHS, RHS); \
        PUT; \
        NEXT(WORDS); \
    }
#define FORMS(name, T, GET, F, K, ACC, PUT, BODY, NANS) \
    FORM(name##_SS, T, GET(ip[1].b), GET(ip[1].c), ACC, PUT, 2, BODY, NANS) \
    FORM(name##_SK, T, GET(ip[1].b), K, ACC, PUT, 3, BODY, NANS) \
    FORM(name##_AS, T, F, GET(ip[1].c), ACC, PUT, 2, BODY, NANS) \
    FORM(name##_SA, T, GET(ip[1].b), F, ACC, PUT, 2, BODY, NANS) \
    FORM(name##_AK, T, F, K, ACC, PUT, 3, BODY, NANS)
#define TABLE(name) \
    {name##_SS_A, name##_SS_D, name##_SK_A, name##_SK_D, name##_AS_A, \
     name##_AS_D, name##_SA_A, name##_SA_D, name##_AK_A, name##_AK_D}

#define PLAIN_float wl_nan32
#define PLAIN_double wl_nan64
#define EXTREME_float wl_extreme_nan32
#define EXTREME_double wl_extreme_nan64
#define ARITHMETIC(T, ACC, OPERATOR, NAN_) \
    T r = a OPERATOR b; \
    if (UNLIKELY(r != r)) NAN_; \
    ACC = r
#define ADD(T, ACC, NAN_) ARITHMETIC(T, ACC, +, NAN_)
#define SUB(T, ACC, NAN_) ARITHMETIC(T, ACC, -, NAN_)
#define MUL(T, ACC, NAN_) ARITHMETIC(T, ACC, *, NAN_)
#define DIV(T, ACC, NAN_) ARITHMETIC(T, ACC, /, NAN_)
#define MIN(T, ACC, NAN_) \
    if (UNLIKELY(a != a || b != b)) NAN_; \
    ACC = wl_lesser_##T(a, b)
#define MAX(T, ACC, NAN_) \
    if (UNLIKELY(a != a || b != b)) NAN_; \
    ACC = wl_greater_##T(a, b)
#define COPYSIGN(T, ACC, NAN_) ACC = wl_copysign_##T(a, b)
#define EQ(T, ACC, NAN_) acc = a == b
#define NE(T, ACC, NAN_) acc = a != b
#define LT(T, ACC, NAN_) acc = a < b
#define GT(T, ACC, NAN_) acc = a > b
#define LE(T, ACC, NAN_) acc = a <= b
#define GE(T, ACC, NAN_) acc = a >= b

#define PUT64 F64(ip[1].a) = fd
#define PUT32 F32(ip[1].a) = fs
#define PUTI U64(ip[1].a) = acc
#define DEFINE(op, name, NANS) \
    FORMS(f64_##name, double, F64, fd, ip[2].f64, fd, PUT64, op, NANS) \
    FORMS(f32_##name, float, F32, fs, ip[2].f32, fs, PUT32, op, NANS)
#define DEFINE_TEST(op, name) \
    FORMS(f64_##name, double, F64, fd, ip[2].f64, fd, PUTI, op, PLAIN) \
    FORMS(f32_##name, float, F32, fs, ip[2].f32, fs, PUTI, op, PLAIN)
DEFINE(ADD, add, PLAIN)
DEFINE(SUB, sub, PLAIN)
DEFINE(MUL, mul, PLAIN)
DEFINE(DIV, div, PLAIN)
DEFINE(MIN, min, EXTREME)
DEFINE(MAX, max, EXTREME)
DEFINE(COPYSIGN, copysign, PLAIN)
DEFINE_TEST(EQ, eq)
DEFINE_TEST(NE, ne)
DEFINE_TEST(LT, lt)
DEFINE_TEST(GT, gt)
DEFINE_TEST(LE, le)
DEFINE_TEST(GE, ge)

#define ROW(op, name) [WL_OP_F64_##op - WL_OP_F32_EQ] = TABLE(f64_##name), [WL_OP_F32_##op - WL_OP_F32_EQ] = TABLE(f32_##name)
const wl_handler wl_float_binary[76][2 * WL_BINARY_FORMS] = {
    ROW(ADD, add), ROW(SUB, sub), ROW(MUL, mul), ROW(DIV, div), ROW(MIN, min), ROW(MAX, max), ROW(COPYSIGN, copysign),
    ROW(EQ, eq), ROW(NE, ne), ROW(LT, lt), ROW(GT, gt), ROW(LE, le), ROW(GE, ge),
};

/* ---- Compare and branch --------------------------------------------------------------------------------------- */

#define JUMP(name, T, LHS, RHS, CONDITION, WORDS) \
    static OP(name) { \
        T a = (LHS), b = (RHS); \
        if (CONDITION) BRANCH(ip[1].k); \
        NEXT(WORDS); \
    }
#define JUMPS(name, T, GET, F, K, CONDITION) \
    JUMP(br_##name##_SS, T, GET(ip[1].a), GET(ip[1].b), CONDITION, 2) \
    JUMP(br_##name##_SK, T, GET(ip[1].a), K, CONDITION, 3) \
    JUMP(br_##name##_AS, T, F, GET(ip[1].b), CONDITION, 2) \
    JUMP(br_##name##_SA, T, GET(ip[1].a), F, CONDITION, 2) \
    JUMP(br_##name##_AK, T, F, K, CONDITION, 3)
#define BOTH(name, CONDITION) \
    JUMPS(f64_##name, double, F64, fd, ip[2].f64, CONDITION) \
    JUMPS(f32_##name, float, F32, fs, ip[2].f32, CONDITION) \
    JUMPS(f64_not_##name, double, F64, fd, ip[2].f64, !(CONDITION)) \
    JUMPS(f32_not_##name, float, F32, fs, ip[2].f32, !(CONDITION))
BOTH(eq, a == b)
BOTH(ne, a != b)
BOTH(lt, a < b)
BOTH(gt, a > b)
BOTH(le, a <= b)
BOTH(ge, a >= b)
#define JUMP_TABLE(name, inverse) \
    {br_##name##_SS, br_##inverse##_SS, br_##name##_SK, br_##inverse##_SK, br_##name##_AS, \
     br_##inverse##_AS, br_##name##_SA, br_##inverse##_SA, br_##name##_AK, br_##inverse##_AK}
#define JUMP_ROW(op, name) \
    [WL_OP_F64_##op - WL_OP_F32_EQ] = JUMP_TABLE(f64_##name, f64_not_##name), \
    [WL_OP_F32_##op - WL_OP_F32_EQ] = JUMP_TABLE(f32_##name, f32_not_##name)
const wl_handler wl_float_branches[12][2 * WL_BINARY_FORMS] = {
    JUMP_ROW(EQ, eq), JUMP_ROW(NE, ne), JUMP_ROW(LT, lt), JUMP_ROW(GT, gt), JUMP_ROW(LE, le), JUMP_ROW(GE, ge),
};

/* ---- One operand ---------------------------------------------------------------------------------------------- */

/* X(opcode, name, operand: I32 I64 F32 F64, result, body from `a` to `r`) */
#define TRUNC(T, LOW, HIGH) \
    if (UNLIKELY(!(a LOW && a HIGH))) return a != a ? WL_TRAP_INVALID_CONVERSION : WL_TRAP_INTEGER_OVERFLOW; \
    r = (T)a
#define SATURATE(T, LOW, HIGH, MIN, MAX) r = a != a ? 0 : !(a LOW) ? (T)MIN : !(a HIGH) ? (T)MAX : (T)a
/* The bounds: the nearest values of that type that are no longer truncated into range. */
#define F32_S32 >= -0x1p31f, < 0x1p31f
#define F32_U32 > -1.0f, < 0x1p32f
#define F64_S32 > -0x1.00000002p31, < 0x1p31
#define F64_U32 > -1.0, < 0x1p32
#define F32_S64 >= -0x1p63f, < 0x1p63f
#define F32_U64 > -1.0f, < 0x1p64f
#define F64_S64 >= -0x1p63, < 0x1p63
#define F64_U64 > -1.0, < 0x1p64
#define APPLY(macro, ...) macro(__VA_ARGS__)
#define SEXT(from, to) r = (to)(from)a

#define UNARIES(X) \
    X(I32_EQZ, eqz32, I32, I32, r = a == 0) \
    X(I64_EQZ, eqz64, I64, I32, r = a == 0) \
    X(I32_CLZ, clz32, I32, I32, r = a ? (uint32_t)__builtin_clz(a) : 32) \
    X(I32_CTZ, ctz32, I32, I32, r = a ? (uint32_t)__builtin_ctz(a) : 32) \
    X(I32_POPCNT, popcnt32, I32, I32, r = (uint32_t)wl_popcount(a)) \
    X(I64_CLZ, clz64, I64, I64, r = a ? (uint64_t)__builtin_clzll(a) : 64) \
    X(I64_CTZ, ctz64, I64, I64, r = a ? (uint64_t)__builtin_ctzll(a) : 64) \
    X(I64_POPCNT, popcnt64, I64, I64, r = wl_popcount(a)) \
    X(I32_EXTEND8_S, ext8_32, I32, I32, r = (uint32_t)(int8_t)a) \
    X(I32_EXTEND16_S, ext16_32, I32, I32, r = (uint32_t)(int16_t)a) \
    X(I64_EXTEND8_S, ext8_64, I64, I64, r = (uint64_t)(int8_t)a) \
    X(I64_EXTEND16_S, ext16_64, I64, I64, r = (uint64_t)(int16_t)a) \
    X(I64_EXTEND32_S, ext32_64, I64, I64, r = (uint64_t)(int32_t)a) \
    X(I64_EXTEND_I32_S, exts, I32, I64, r = (uint64_t)(int32_t)a) \
    X(I64_EXTEND_I32_U, extu, I32, I64, r = a) \
    X(I32_WRAP_I64, wrap, I64, I32, r = (uint32_t)a) \
    X(F32_ABS, abs32, F32, F32, r = wl_float(wl_bits32(a) & 0x7fffffffu)) \
    X(F32_NEG, neg32, F32, F32, r = wl_float(wl_bits32(a) ^ 0x80000000u)) \
    X(F64_ABS, abs64, F64, F64, r = wl_double(wl_bits64(a) & 0x7fffffffffffffffu)) \
    X(F64_NEG, neg64, F64, F64, r = wl_double(wl_bits64(a) ^ 0x8000000000000000u)) \
    X(F32_CEIL, ceil32, F32, F32, r = wl_ceil32(x, a)) \
    X(F32_FLOOR, floor32, F32, F32, r = wl_floor32(x, a)) \
    X(F32_TRUNC, trunc32, F32, F32, r = wl_trunc32(x, a)) \
    X(F32_NEAREST, nearest32, F32, F32, r = wl_nearest32(x, a)) \
    X(F32_SQRT, sqrt32, F32, F32, r = wl_sqrt32(x, a)) \
    X(F64_CEIL, ceil64, F64, F64, r = wl_ceil64(x, a)) \
    X(F64_FLOOR, floor64, F64, F64, r = wl_floor64(x, a)) \
    X(F64_TRUNC, trunc64, F64, F64, r = wl_trunc64(x, a)) \
    X(F64_NEAREST, nearest64, F64, F64, r = wl_nearest64(x, a)) \
    X(F64_SQRT, sqrt64, F64, F64, r = wl_sqrt64(x, a)) \
    X(I32_TRUNC_F32_S, trunc32_s32, F32, I32, APPLY(TRUNC, int32_t, F32_S32)) \
    X(I32_TRUNC_F32_U, trunc32_u32, F32, I32, APPLY(TRUNC, uint32_t, F32_U32)) \
    X(I32_TRUNC_F64_S, trunc64_s32, F64, I32, APPLY(TRUNC, int32_t, F64_S32)) \
    X(I32_TRUNC_F64_U, trunc64_u32, F64, I32, APPLY(TRUNC, uint32_t, F64_U32)) \
    X(I64_TRUNC_F32_S, trunc32_s64, F32, I64, APPLY(TRUNC, int64_t, F32_S64)) \
    X(I64_TRUNC_F32_U, trunc32_u64, F32, I64, APPLY(TRUNC, uint64_t, F32_U64)) \
    X(I64_TRUNC_F64_S, trunc64_s64, F64, I64, APPLY(TRUNC, int64_t, F64_S64)) \
    X(I64_TRUNC_F64_U, trunc64_u64, F64, I64, APPLY(TRUNC, uint64_t, F64_U64)) \
    X(I32_TRUNC_SAT_F32_S, sat32_s32, F32, I32, APPLY(SATURATE, int32_t, F32_S32, INT32_MIN, INT32_MAX)) \
    X(I32_TRUNC_SAT_F32_U, sat32_u32, F32, I32, APPLY(SATURATE, uint32_t, F32_U32, 0, UINT32_MAX)) \
    X(I32_TRUNC_SAT_F64_S, sat64_s32, F64, I32, APPLY(SATURATE, int32_t, F64_S32, INT32_MIN, INT32_MAX)) \
    X(I32_TRUNC_SAT_F64_U, sat64_u32, F64, I32, APPLY(SATURATE, uint32_t, F64_U32, 0, UINT32_MAX)) \
    X(I64_TRUNC_SAT_F32_S, sat32_s64, F32, I64, APPLY(SATURATE, int64_t, F32_S64, INT64_MIN, INT64_MAX)) \
    X(I64_TRUNC_SAT_F32_U, sat32_u64, F32, I64, APPLY(SATURATE, uint64_t, F32_U64, 0, UINT64_MAX)) \
    X(I64_TRUNC_SAT_F64_S, sat64_s64, F64, I64, APPLY(SATURATE, int64_t, F64_S64, INT64_MIN, INT64_MAX)) \
    X(I64_TRUNC_SAT_F64_U, sat64_u64, F64, I64, APPLY(SATURATE, uint64_t, F64_U64, 0, UINT64_MAX)) \
    X(F32_CONVERT_I32_S, cvt32_s32, I32, F32, r = (float)(int32_t)a) \
    X(F32_CONVERT_I32_U, cvt32_u32, I32, F32, r = (float)a) \
    X(F32_CONVERT_I64_S, cvt32_s64, I64, F32, r = (float)(int64_t)a) \
    X(F32_CONVERT_I64_U, cvt32_u64, I64, F32, r = (float)a) \
    X(F64_CONVERT_I32_S, cvt64_s32, I32, F64, r = (double)(int32_t)a) \
    X(F64_CONVERT_I32_U, cvt64_u32, I32, F64, r = (double)a) \
    X(F64_CONVERT_I64_S, cvt64_s64, I64, F64, r = (double)(int64_t)a) \
    X(F64_CONVERT_I64_U, cvt64_u64, I64, F64, r = (double)a) \
    X(F32_DEMOTE_F64, demote, F64, F32, r = wl_demote(x, a)) \
    X(F64_PROMOTE_F32, promote, F32, F64, r = wl_promote(x, a)) \
    X(I32_REINTERPRET_F32, bits32, F32, I32, r = wl_bits32(a)) \
    X(I64_REINTERPRET_F64, bits64, F64, I64, r = wl_bits64(a)) \
    X(F32_REINTERPRET_I32, float32, I32, F32, r = wl_float(a)) \
    X(F64_REINTERPRET_I64, float64, I64, F64, r = wl_double(a))

#define T_I32 uint32_t
#define T_I64 uint64_t
#define T_F32 float
#define T_F64 double
#define GET_I32 U32(ip[1].b)
#define GET_I64 U64(ip[1].b)
#define GET_F32 F32(ip[1].b)
#define GET_F64 F64(ip[1].b)
#define ACC_I32 acc
#define ACC_I64 acc
#define ACC_F32 fs
#define ACC_F64 fd
#define STORE_I32 U64(ip[1].a) = acc
#define STORE_I64 U64(ip[1].a) = acc
#define STORE_F32 F32(ip[1].a) = fs
#define STORE_F64 F64(ip[1].a) = fd
/* A trapping conversion to int32_t yields a signed value: through uint32_t, slots stay zero-extended. */
#define UNARY(name, from, to, SOURCE, body, STORE) \
    static OP(name) { \
        T_##from a = (T_##from)(SOURCE); \
        T_##to r; \
        body; \
        ACC_##to = r; \
        STORE; \
        NEXT(2); \
    }
#define DEFINE_UNARY(op, name, from, to, body) \
    UNARY(name##_S, from, to, GET_##from, body, ) \
    UNARY(name##_SD, from, to, GET_##from, body, STORE_##to) \
    UNARY(name##_A, from, to, ACC_##from, body, ) \
    UNARY(name##_AD, from, to, ACC_##from, body, STORE_##to)
UNARIES(DEFINE_UNARY)

#define UNARY_ROW(op, name, from, to, body) [WL_OP_##op] = {name##_S, name##_SD, name##_A, name##_AD},
const wl_handler wl_unary[WL_OP_FD][4] = {UNARIES(UNARY_ROW)};
