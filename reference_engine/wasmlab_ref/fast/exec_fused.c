/* Pairs of instructions in one handler: each saves a dispatch.  The list is closed and follows from what address
 * arithmetic, hashing and loops look like anywhere; nothing here is for one program. */
#include "numeric.h"

/* ---- Integers -------------------------------------------------------------------------------------------------------- */

#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define AND(a, b) ((a) & (b))
#define OR(a, b) ((a) | (b))
#define XOR(a, b) ((a) ^ (b))
#define SHL(a, b) ((a) << ((b) & (8 * sizeof(a) - 1)))
#define SHR(a, b) ((a) >> ((b) & (8 * sizeof(a) - 1)))
#define ROTL(a, b) (SHL(a, b) | ((a) >> (-(b) & (8 * sizeof(a) - 1))))

#define FORM(name, T, X, Y, Z, FIRST, SECOND, WORDS) \
    static OP(name##_A) { \
        T x_ = (T)(X), y = (T)(Y), z = (T)(Z), r = FIRST(x_, y); \
        acc = (T)SECOND(r, z); \
        NEXT(WORDS); \
    } \
    static OP(name##_D) { \
        T x_ = (T)(X), y = (T)(Y), z = (T)(Z), r = FIRST(x_, y); \
        acc = (T)SECOND(r, z); \
        U64(ip[1].a) = acc; \
        NEXT(WORDS); \
    }
#define PAIR(name, T, GET, FIRST, SECOND) \
    FORM(name##_SSS, T, GET(ip[1].b), GET(ip[1].c), GET(ip[1].d), FIRST, SECOND, 2) \
    FORM(name##_SSK, T, GET(ip[1].b), GET(ip[1].c), (int64_t)ip[2].high, FIRST, SECOND, 3) \
    FORM(name##_SKS, T, GET(ip[1].b), (int64_t)ip[2].low, GET(ip[1].d), FIRST, SECOND, 3) \
    FORM(name##_SKK, T, GET(ip[1].b), (int64_t)ip[2].low, (int64_t)ip[2].high, FIRST, SECOND, 3) \
    FORM(name##_ASS, T, acc, GET(ip[1].c), GET(ip[1].d), FIRST, SECOND, 2) \
    FORM(name##_ASK, T, acc, GET(ip[1].c), (int64_t)ip[2].high, FIRST, SECOND, 3) \
    FORM(name##_AKS, T, acc, (int64_t)ip[2].low, GET(ip[1].d), FIRST, SECOND, 3) \
    FORM(name##_AKK, T, acc, (int64_t)ip[2].low, (int64_t)ip[2].high, FIRST, SECOND, 3)
#define SECONDS(name, T, GET, FIRST) \
    PAIR(name##_add, T, GET, FIRST, ADD) \
    PAIR(name##_and, T, GET, FIRST, AND) \
    PAIR(name##_or, T, GET, FIRST, OR) \
    PAIR(name##_xor, T, GET, FIRST, XOR)
#define FIRSTS(N, T, GET) \
    SECONDS(i##N##_add, T, GET, ADD) \
    SECONDS(i##N##_sub, T, GET, SUB) \
    SECONDS(i##N##_mul, T, GET, MUL) \
    SECONDS(i##N##_and, T, GET, AND) \
    SECONDS(i##N##_or, T, GET, OR) \
    SECONDS(i##N##_xor, T, GET, XOR) \
    SECONDS(i##N##_shl, T, GET, SHL) \
    SECONDS(i##N##_shr, T, GET, SHR) \
    SECONDS(i##N##_rotl, T, GET, ROTL)
FIRSTS(32, uint32_t, U32)
FIRSTS(64, uint64_t, U64)

#define BOTH(name) {name##_A, name##_D}
#define ROW(name) \
    {BOTH(name##_SSS), BOTH(name##_SSK), BOTH(name##_SKS), BOTH(name##_SKK), \
     BOTH(name##_ASS), BOTH(name##_ASK), BOTH(name##_AKS), BOTH(name##_AKK)}
#define ROWS(name) {ROW(name##_add), ROW(name##_and), ROW(name##_or), ROW(name##_xor)}
#define TABLE(N) \
    {ROWS(i##N##_add), ROWS(i##N##_sub), ROWS(i##N##_mul), ROWS(i##N##_and), ROWS(i##N##_or), \
     ROWS(i##N##_xor), ROWS(i##N##_shl), ROWS(i##N##_shr), ROWS(i##N##_rotl)}
const wl_handler wl_fused[2][WL_FUSED_FIRST][WL_FUSED_SECOND][8][2] = {TABLE(32), TABLE(64)};

/* ---- f64 --------------------------------------------------------------------------------------------------------------- */

/* Two operations that round twice.  If the first gives a NaN the second does, so that one test is enough. */
#define RIGHT(OPERATION, r, z) OPERATION(r, z)
#define LEFT(OPERATION, r, z) OPERATION(z, r)
#define RIGHT_NAN(r, z) wl_nan64(x, r, z)
#define LEFT_NAN(r, z) wl_nan64(x, z, r)
#define F64_FORM(name, X, FIRST, SECOND, SIDE, PUT) \
    COLD static OP(name##_nan) { \
        double x_ = (X), y = F64(ip[1].c), z = F64(ip[1].d), r = FIRST(x_, y); \
        if (r != r) r = wl_nan64(x, x_, y); \
        fd = SIDE(SECOND, r, z); \
        if (fd != fd) fd = SIDE##_NAN(r, z); \
        PUT; \
        NEXT(2); \
    } \
    static OP(name) { \
        double x_ = (X), y = F64(ip[1].c), z = F64(ip[1].d), r = FIRST(x_, y); \
        r = SIDE(SECOND, r, z); \
        if (UNLIKELY(r != r)) TAIL(name##_nan); \
        fd = r; \
        PUT; \
        NEXT(2); \
    }
#define F64_PAIR(name, FIRST, SECOND, SIDE) \
    F64_FORM(name##_S_A, F64(ip[1].b), FIRST, SECOND, SIDE, ) \
    F64_FORM(name##_S_D, F64(ip[1].b), FIRST, SECOND, SIDE, F64(ip[1].a) = fd) \
    F64_FORM(name##_A_A, fd, FIRST, SECOND, SIDE, ) \
    F64_FORM(name##_A_D, fd, FIRST, SECOND, SIDE, F64(ip[1].a) = fd)
#define F64_SECONDS(name, FIRST) \
    F64_PAIR(name##_add, FIRST, ADD, RIGHT) F64_PAIR(name##_radd, FIRST, ADD, LEFT) \
    F64_PAIR(name##_sub, FIRST, SUB, RIGHT) F64_PAIR(name##_rsub, FIRST, SUB, LEFT) \
    F64_PAIR(name##_mul, FIRST, MUL, RIGHT) F64_PAIR(name##_rmul, FIRST, MUL, LEFT)
F64_SECONDS(f64_add, ADD)
F64_SECONDS(f64_sub, SUB)
F64_SECONDS(f64_mul, MUL)
#define F64_ROW(name) {{name##_S_A, name##_S_D}, {name##_A_A, name##_A_D}}
#define F64_ROWS(name) \
    {{F64_ROW(name##_add), F64_ROW(name##_radd)}, {F64_ROW(name##_sub), F64_ROW(name##_rsub)}, \
     {F64_ROW(name##_mul), F64_ROW(name##_rmul)}}
const wl_handler wl_fused_f64[3][3][2][2][2] = {F64_ROWS(f64_add), F64_ROWS(f64_sub), F64_ROWS(f64_mul)};

/* ---- Loads -------------------------------------------------------------------------------------------------------------- */

/* As in exec_memory.c, a miss computes again what it wants. */
#define MISS(name, SUM, SIZE) \
    COLD static OP(name##_miss) { \
        x->miss = (uint64_t)(uint32_t)(SUM) + ip[1].u + (SIZE); \
        TAIL(wl_op_memory_miss); \
    }
#define AT(name, SUM, SIZE) \
    uint64_t at = (uint64_t)(uint32_t)(SUM) + ip[1].u; \
    if (UNLIKELY(at + (SIZE) > mem_len)) TAIL(name##_miss);

/* a: result, b: slot, u: offset; word 2: {low: constant} or the second slot. */
#define LOAD_FORM(name, SUM, M, T, ACC, PUT) \
    MISS(name, SUM, sizeof(M)) \
    static OP(name) { \
        AT(name, SUM, sizeof(M)) \
        M v; \
        memcpy(&v, mem + at, sizeof v); \
        ACC = (T)v; \
        PUT; \
        NEXT(3); \
    }
#define LOAD_FORMS(name, M, T, ACC, PUT) \
    LOAD_FORM(load_##name##_SK, U32(ip[1].b) + (uint32_t)ip[2].low, M, T, ACC, ) \
    LOAD_FORM(load_##name##_SK_D, U32(ip[1].b) + (uint32_t)ip[2].low, M, T, ACC, PUT) \
    LOAD_FORM(load_##name##_SS, U32(ip[1].b) + U32(ip[2].a), M, T, ACC, ) \
    LOAD_FORM(load_##name##_SS_D, U32(ip[1].b) + U32(ip[2].a), M, T, ACC, PUT) \
    LOAD_FORM(load_##name##_AK, (uint32_t)acc + (uint32_t)ip[2].low, M, T, ACC, ) \
    LOAD_FORM(load_##name##_AK_D, (uint32_t)acc + (uint32_t)ip[2].low, M, T, ACC, PUT)
#define PUTI U64(ip[1].a) = acc
#define LOADS(X) \
    X(i32, uint32_t, uint32_t, acc, PUTI) X(i64, uint64_t, uint64_t, acc, PUTI) \
    X(f32, float, float, fs, F32(ip[1].a) = fs) X(f64, double, double, fd, F64(ip[1].a) = fd) \
    X(i32_8s, int8_t, uint32_t, acc, PUTI) X(i32_8u, uint8_t, uint32_t, acc, PUTI) \
    X(i32_16s, int16_t, uint32_t, acc, PUTI) X(i32_16u, uint16_t, uint32_t, acc, PUTI) \
    X(i64_8s, int8_t, uint64_t, acc, PUTI) X(i64_8u, uint8_t, uint64_t, acc, PUTI) \
    X(i64_16s, int16_t, uint64_t, acc, PUTI) X(i64_16u, uint16_t, uint64_t, acc, PUTI) \
    X(i64_32s, int32_t, uint64_t, acc, PUTI) X(i64_32u, uint32_t, uint64_t, acc, PUTI)
LOADS(LOAD_FORMS)
#define LOAD_ROW(name, M, T, ACC, PUT) \
    {{load_##name##_SK, load_##name##_SK_D}, {load_##name##_SS, load_##name##_SS_D}, \
     {load_##name##_AK, load_##name##_AK_D}},
const wl_handler wl_loads_sum[14][3][2] = {LOADS(LOAD_ROW)};

/* ---- Steps of loops -------------------------------------------------------------------------------------------------- */

/* Nothing is written before the branch is certain: where fuel is short the instruction starts again. */
#define STEP_FORM(name, T, OPERATOR, AMOUNT, OTHER) \
    static OP(name) { \
        uint32_t sum = U32(ip[1].a) + (uint32_t)(AMOUNT); \
        if ((T)sum OPERATOR(T)(OTHER)) { \
            int64_t by = ip[1].k, cost = by >> 63; \
            OPAQUE(cost); \
            if (UNLIKELY((x->fuel += cost) < 0)) TAIL(wl_op_out_of_slice); \
            acc = sum; \
            U64(ip[1].a) = acc; \
            ip += by + WL_BRANCH_WORDS; \
            OPAQUE(ip); \
            DISPATCH; \
        } \
        acc = sum; \
        U64(ip[1].a) = acc; \
        NEXT(3); \
    }
#define STEP(name, T, OPERATOR) \
    STEP_FORM(step_##name##_KK, T, OPERATOR, ip[2].low, ip[2].high) \
    STEP_FORM(step_##name##_SK, T, OPERATOR, U32(ip[2].a), ip[2].high) \
    STEP_FORM(step_##name##_KS, T, OPERATOR, ip[2].low, U32(ip[1].b)) \
    STEP_FORM(step_##name##_SS, T, OPERATOR, U32(ip[2].a), U32(ip[1].b))
STEP(eq, uint32_t, ==)
STEP(ne, uint32_t, !=)
STEP(lt_s, int32_t, <)
STEP(lt_u, uint32_t, <)
STEP(gt_s, int32_t, >)
STEP(gt_u, uint32_t, >)
STEP(le_s, int32_t, <=)
STEP(le_u, uint32_t, <=)
STEP(ge_s, int32_t, >=)
STEP(ge_u, uint32_t, >=)
#define STEP_ROW(name) {step_##name##_KK, step_##name##_SK, step_##name##_KS, step_##name##_SS}
const wl_handler wl_steps[10][4] = {STEP_ROW(eq),   STEP_ROW(ne),   STEP_ROW(lt_s), STEP_ROW(lt_u), STEP_ROW(gt_s),
                                    STEP_ROW(gt_u), STEP_ROW(le_s), STEP_ROW(le_u), STEP_ROW(ge_s), STEP_ROW(ge_u)};

/* ---- Stores ----------------------------------------------------------------------------------------------------------- */

#define SUM_SK (U32(ip[1].b) + (uint32_t)ip[2].low)
#define SUM_AK ((uint32_t)acc + (uint32_t)ip[2].low)
#define STORE(name, M, SUM, VALUE, WORDS) \
    MISS(name, SUM, sizeof(M)) \
    static OP(name) { \
        AT(name, SUM, sizeof(M)) \
        M v = (M)(VALUE); \
        memcpy(mem + at, &v, sizeof v); \
        NEXT(WORDS); \
    }
#define STORES(name, M) \
    STORE(store_##name##_SK_S, M, SUM_SK, U64(ip[1].a), 3) \
    STORE(store_##name##_SK_K, M, SUM_SK, ip[3].u64, 4) \
    STORE(store_##name##_AK_S, M, SUM_AK, U64(ip[1].a), 3) \
    STORE(store_##name##_AK_K, M, SUM_AK, ip[3].u64, 4)
STORES(8, uint8_t)
STORES(16, uint16_t)
STORES(32, uint32_t)
STORES(64, uint64_t)
#define STORE_ROW(name) {{store_##name##_SK_S, store_##name##_SK_K}, {store_##name##_AK_S, store_##name##_AK_K}}
const wl_handler wl_stores_sum[4][2][2] = {STORE_ROW(8), STORE_ROW(16), STORE_ROW(32), STORE_ROW(64)};

/* ---- Loads with an operation ----------------------------------------------------------------------------------------- */

/* Word 2: {a: the operand's slot, b: second slot of the address, u: its constant}. */
#define THEN_SUM_S U32(ip[1].b)
#define THEN_SUM_A ((uint32_t)acc)
#define THEN_SUM_SK (U32(ip[1].b) + ip[2].u)
#define THEN_SUM_SS (U32(ip[1].b) + U32(ip[2].b))
#define THEN_SUM_AK ((uint32_t)acc + ip[2].u)
#define THEN_SUM_K 0u

#define THEN_FORM(name, T, GET, SUM, OPERATION, PUT) \
    MISS(name, SUM, sizeof(T)) \
    static OP(name) { \
        AT(name, SUM, sizeof(T)) \
        T v; \
        memcpy(&v, mem + at, sizeof v); \
        acc = (T)OPERATION(v, GET(ip[2].a)); \
        PUT; \
        NEXT(3); \
    }
#define THEN_ADDRESS(name, T, GET, SUM, OPERATION) \
    THEN_FORM(name##_A, T, GET, SUM, OPERATION, ) THEN_FORM(name##_D, T, GET, SUM, OPERATION, U64(ip[1].a) = acc)
#define THEN(name, T, GET, OPERATION) \
    THEN_ADDRESS(name##_S, T, GET, THEN_SUM_S, OPERATION) \
    THEN_ADDRESS(name##_A, T, GET, THEN_SUM_A, OPERATION) \
    THEN_ADDRESS(name##_SK, T, GET, THEN_SUM_SK, OPERATION) \
    THEN_ADDRESS(name##_SS, T, GET, THEN_SUM_SS, OPERATION) \
    THEN_ADDRESS(name##_AK, T, GET, THEN_SUM_AK, OPERATION) \
    THEN_ADDRESS(name##_K, T, GET, THEN_SUM_K, OPERATION)
THEN(then32_add, uint32_t, U32, ADD)
THEN(then32_and, uint32_t, U32, AND)
THEN(then32_or, uint32_t, U32, OR)
THEN(then32_xor, uint32_t, U32, XOR)
THEN(then64_add, uint64_t, U64, ADD)
THEN(then64_and, uint64_t, U64, AND)
THEN(then64_or, uint64_t, U64, OR)
THEN(then64_xor, uint64_t, U64, XOR)

#define F64_THEN_FORM(name, SUM, SECOND, SIDE, PUT) \
    COLD static OP(name##_nan) { \
        double v, z = F64(ip[2].a); \
        memcpy(&v, mem + (uint64_t)(uint32_t)(SUM) + ip[1].u, sizeof v); \
        fd = SIDE##_NAN(v, z); \
        PUT; \
        NEXT(3); \
    } \
    MISS(name, SUM, sizeof(double)) \
    static OP(name) { \
        AT(name, SUM, sizeof(double)) \
        double v, z = F64(ip[2].a); \
        memcpy(&v, mem + at, sizeof v); \
        v = SIDE(SECOND, v, z); \
        if (UNLIKELY(v != v)) TAIL(name##_nan); \
        fd = v; \
        PUT; \
        NEXT(3); \
    }
#define F64_THEN_ADDRESS(name, SUM, SECOND, SIDE) \
    F64_THEN_FORM(name##_A, SUM, SECOND, SIDE, ) F64_THEN_FORM(name##_D, SUM, SECOND, SIDE, F64(ip[1].a) = fd)
#define F64_THEN(name, SECOND, SIDE) \
    F64_THEN_ADDRESS(name##_S, THEN_SUM_S, SECOND, SIDE) \
    F64_THEN_ADDRESS(name##_A, THEN_SUM_A, SECOND, SIDE) \
    F64_THEN_ADDRESS(name##_SK, THEN_SUM_SK, SECOND, SIDE) \
    F64_THEN_ADDRESS(name##_SS, THEN_SUM_SS, SECOND, SIDE) \
    F64_THEN_ADDRESS(name##_AK, THEN_SUM_AK, SECOND, SIDE) \
    F64_THEN_ADDRESS(name##_K, THEN_SUM_K, SECOND, SIDE)
F64_THEN(thenf_add, ADD, RIGHT)
F64_THEN(thenf_radd, ADD, LEFT)
F64_THEN(thenf_sub, SUB, RIGHT)
F64_THEN(thenf_rsub, SUB, LEFT)
F64_THEN(thenf_mul, MUL, RIGHT)
F64_THEN(thenf_rmul, MUL, LEFT)

#define THEN_ROW(name) \
    {BOTH(name##_S), BOTH(name##_A), BOTH(name##_SK), BOTH(name##_SS), BOTH(name##_AK), BOTH(name##_K)}
const wl_handler wl_load_then[3][4][2][WL_ADDRESSES][2] = {
    {{THEN_ROW(then32_add)}, {THEN_ROW(then32_and)}, {THEN_ROW(then32_or)}, {THEN_ROW(then32_xor)}},
    {{THEN_ROW(then64_add)}, {THEN_ROW(then64_and)}, {THEN_ROW(then64_or)}, {THEN_ROW(then64_xor)}},
    {{THEN_ROW(thenf_add), THEN_ROW(thenf_radd)},
     {THEN_ROW(thenf_sub), THEN_ROW(thenf_rsub)},
     {THEN_ROW(thenf_mul), THEN_ROW(thenf_rmul)}},
};
