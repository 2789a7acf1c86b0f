/* Integers: i32 and i64 with one or two operands, and comparisons that branch. */
#include "exec.h"

/* Forms of a binary instruction.  BODY computes `r` from `a` and `b`, or traps. */
#define FORM(name, T, R, LHS, RHS, BODY) \
    static OP(name##_A) { \
        T a = (T)(LHS), b = (T)(RHS); \
        R r; \
        BODY; \
        acc = r; \
        NEXT(2); \
    } \
    static OP(name##_D) { \
        T a = (T)(LHS), b = (T)(RHS); \
        R r; \
        BODY; \
        acc = r; \
        U64(ip[1].a) = acc; \
        NEXT(2); \
    }
#define FORMS(name, T, R, GET, K, BODY) \
    FORM(name##_SS, T, R, GET(ip[1].b), GET(ip[1].c), BODY) \
    FORM(name##_SK, T, R, GET(ip[1].b), K, BODY) \
    FORM(name##_AS, T, R, acc, GET(ip[1].c), BODY) \
    FORM(name##_SA, T, R, GET(ip[1].b), acc, BODY) \
    FORM(name##_AK, T, R, acc, K, BODY)

#define TABLE(name) \
    {name##_SS_A, name##_SS_D, name##_SK_A, name##_SK_D, name##_AS_A, \
     name##_AS_D, name##_SA_A, name##_SA_D, name##_AK_A, name##_AK_D}

#define K32 ip[1].u
#define K64 ((int64_t)ip[1].k)

#define DIVIDE_S(MIN) \
    if (UNLIKELY(b == 0)) return WL_TRAP_DIVIDE_BY_ZERO; \
    if (UNLIKELY(a == MIN && b == -1)) return WL_TRAP_INTEGER_OVERFLOW; \
    r = a / b
#define DIVIDE_U \
    if (UNLIKELY(b == 0)) return WL_TRAP_DIVIDE_BY_ZERO; \
    r = a / b
#define REMAINDER_S \
    if (UNLIKELY(b == 0)) return WL_TRAP_DIVIDE_BY_ZERO; \
    r = b == -1 ? 0 : a % b
#define REMAINDER_U \
    if (UNLIKELY(b == 0)) return WL_TRAP_DIVIDE_BY_ZERO; \
    r = a % b

/* X(opcode, name, operand's C type, result's C type, body), for a width N with unsigned U, signed S. */
#define BINARIES(X, N, U, S, MIN) \
    X(I##N##_EQ, eq##N, U, uint32_t, r = a == b) \
    X(I##N##_NE, ne##N, U, uint32_t, r = a != b) \
    X(I##N##_LT_S, lt_s##N, S, uint32_t, r = a < b) \
    X(I##N##_LT_U, lt_u##N, U, uint32_t, r = a < b) \
    X(I##N##_GT_S, gt_s##N, S, uint32_t, r = a > b) \
    X(I##N##_GT_U, gt_u##N, U, uint32_t, r = a > b) \
    X(I##N##_LE_S, le_s##N, S, uint32_t, r = a <= b) \
    X(I##N##_LE_U, le_u##N, U, uint32_t, r = a <= b) \
    X(I##N##_GE_S, ge_s##N, S, uint32_t, r = a >= b) \
    X(I##N##_GE_U, ge_u##N, U, uint32_t, r = a >= b) \
    X(I##N##_ADD, add##N, U, U, r = a + b) \
    X(I##N##_SUB, sub##N, U, U, r = a - b) \
    X(I##N##_MUL, mul##N, U, U, r = a * b) \
    X(I##N##_DIV_S, div_s##N, S, U, DIVIDE_S(MIN)) \
    X(I##N##_DIV_U, div_u##N, U, U, DIVIDE_U) \
    X(I##N##_REM_S, rem_s##N, S, U, REMAINDER_S) \
    X(I##N##_REM_U, rem_u##N, U, U, REMAINDER_U) \
    X(I##N##_AND, and##N, U, U, r = a & b) \
    X(I##N##_OR, or##N, U, U, r = a | b) \
    X(I##N##_XOR, xor##N, U, U, r = a ^ b) \
    X(I##N##_SHL, shl##N, U, U, r = a << (b & (N - 1))) \
    X(I##N##_SHR_S, shr_s##N, S, U, r = a >> (b & (N - 1))) \
    X(I##N##_SHR_U, shr_u##N, U, U, r = a >> (b & (N - 1))) \
    X(I##N##_ROTL, rotl##N, U, U, r = a << (b & (N - 1)) | a >> (-b & (N - 1))) \
    X(I##N##_ROTR, rotr##N, U, U, r = a >> (b & (N - 1)) | a << (-b & (N - 1)))

#define DEFINE32(op, name, T, R, body) FORMS(name, T, R, U32, K32, body)
#define DEFINE64(op, name, T, R, body) FORMS(name, T, R, U64, K64, body)
BINARIES(DEFINE32, 32, uint32_t, int32_t, INT32_MIN)
BINARIES(DEFINE64, 64, uint64_t, int64_t, INT64_MIN)

#define ROW(op, name, T, R, body) [WL_OP_##op] = TABLE(name),
const wl_handler wl_binary[256][2 * WL_BINARY_FORMS] = {
    BINARIES(ROW, 32, uint32_t, int32_t, INT32_MIN) BINARIES(ROW, 64, uint64_t, int64_t, INT64_MIN)
};

/* ---- Compare and branch --------------------------------------------------------------------------------------- */

/* Displacement in k; a constant operand in a third word.  Operands in slots a and b. */
#define JUMP(name, T, LHS, RHS, OPERATOR, WORDS) \
    static OP(name) { \
        T a = (T)(LHS), b = (T)(RHS); \
        if (a OPERATOR b) BRANCH(ip[1].k); \
        NEXT(WORDS); \
    }
#define JUMPS(op, name, T, GET, OPERATOR) \
    JUMP(br_##name##_SS, T, GET(ip[1].a), GET(ip[1].b), OPERATOR, 2) \
    JUMP(br_##name##_SK, T, GET(ip[1].a), ip[2].u64, OPERATOR, 3) \
    JUMP(br_##name##_AS, T, acc, GET(ip[1].b), OPERATOR, 2) \
    JUMP(br_##name##_SA, T, GET(ip[1].a), acc, OPERATOR, 2) \
    JUMP(br_##name##_AK, T, acc, ip[2].u64, OPERATOR, 3)
#define COMPARISONS(X, N, U, S, GET) \
    X(I##N##_EQ, eq##N, U, GET, ==) \
    X(I##N##_NE, ne##N, U, GET, !=) \
    X(I##N##_LT_S, lt_s##N, S, GET, <) \
    X(I##N##_LT_U, lt_u##N, U, GET, <) \
    X(I##N##_GT_S, gt_s##N, S, GET, >) \
    X(I##N##_GT_U, gt_u##N, U, GET, >) \
    X(I##N##_LE_S, le_s##N, S, GET, <=) \
    X(I##N##_LE_U, le_u##N, U, GET, <=) \
    X(I##N##_GE_S, ge_s##N, S, GET, >=) \
    X(I##N##_GE_U, ge_u##N, U, GET, >=)
COMPARISONS(JUMPS, 32, uint32_t, int32_t, U32)
COMPARISONS(JUMPS, 64, uint64_t, int64_t, U64)

/* Branch on bits: if (a & b) is zero, or is not. */
#define TEST_JUMPS(N, T, GET) \
    JUMP(br_test##N##_SS, T, GET(ip[1].a) & GET(ip[1].b), 0, !=, 2) \
    JUMP(br_test##N##_SK, T, GET(ip[1].a) & ip[2].u64, 0, !=, 3) \
    JUMP(br_test##N##_AS, T, acc & GET(ip[1].b), 0, !=, 2) \
    JUMP(br_test##N##_AK, T, acc & ip[2].u64, 0, !=, 3) \
    JUMP(br_test_not##N##_SS, T, GET(ip[1].a) & GET(ip[1].b), 0, ==, 2) \
    JUMP(br_test_not##N##_SK, T, GET(ip[1].a) & ip[2].u64, 0, ==, 3) \
    JUMP(br_test_not##N##_AS, T, acc & GET(ip[1].b), 0, ==, 2) \
    JUMP(br_test_not##N##_AK, T, acc & ip[2].u64, 0, ==, 3)
TEST_JUMPS(32, uint32_t, U32)
TEST_JUMPS(64, uint64_t, U64)

#define FOUR(name, inverse) \
    {br_##name##_SS, br_##inverse##_SS, br_##name##_SK, br_##inverse##_SK, br_##name##_AS, \
     br_##inverse##_AS, br_##name##_SA, br_##inverse##_SA, br_##name##_AK, br_##inverse##_AK}
#define TEST_ROW(N) \
    {br_test##N##_SS, br_test_not##N##_SS, br_test##N##_SK, br_test_not##N##_SK, br_test##N##_AS, \
     br_test_not##N##_AS, NULL, NULL, br_test##N##_AK, br_test_not##N##_AK}
#define ROWS(N) \
    [WL_OP_I##N##_EQ] = FOUR(eq##N, ne##N), [WL_OP_I##N##_NE] = FOUR(ne##N, eq##N), \
    [WL_OP_I##N##_LT_S] = FOUR(lt_s##N, ge_s##N), [WL_OP_I##N##_LT_U] = FOUR(lt_u##N, ge_u##N), \
    [WL_OP_I##N##_GT_S] = FOUR(gt_s##N, le_s##N), [WL_OP_I##N##_GT_U] = FOUR(gt_u##N, le_u##N), \
    [WL_OP_I##N##_LE_S] = FOUR(le_s##N, gt_s##N), [WL_OP_I##N##_LE_U] = FOUR(le_u##N, gt_u##N), \
    [WL_OP_I##N##_GE_S] = FOUR(ge_s##N, lt_s##N), [WL_OP_I##N##_GE_U] = FOUR(ge_u##N, lt_u##N), \
    [WL_OP_I##N##_AND] = TEST_ROW(N)
const wl_handler wl_branches[256][2 * WL_BINARY_FORMS] = {ROWS(32), ROWS(64)};
