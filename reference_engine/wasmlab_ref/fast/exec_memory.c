/* Memories, tables and globals. */
#include "exec.h"

/* ---- Loads and stores of memory 0, addressed by i32 ------------------------------------------------------------ */

/* Beyond what is there: either it is made to be there and the instruction is tried again, or it is a trap. */
COLD OP(wl_op_memory_miss) {
    wl_meminst *m = x->instance->memory0;
    if (x->miss > m->size) return WL_TRAP_MEMORY_BOUNDS;
    if (!wl_commit(m, x->miss)) return WL_OUT_OF_MEMORY;
    RELOAD();
    DISPATCH;
}

/* What a miss wants is computed again there: to keep it here would cost every access a register. */
#define CHECK(name, ADDRESS, SIZE) \
    uint64_t at = (uint64_t)(uint32_t)(ADDRESS) + ip[1].u; \
    if (UNLIKELY(at + (SIZE) > mem_len)) TAIL(name##_miss)
#define CHECK_MISS(name, ADDRESS, SIZE) \
    COLD static OP(name##_miss) { \
        x->miss = (uint64_t)(uint32_t)(ADDRESS) + ip[1].u + (SIZE); \
        TAIL(wl_op_memory_miss); \
    }

#define LOAD_FORM(name, ADDRESS, M, T, ACC, PUT) \
    CHECK_MISS(name, ADDRESS, sizeof(M)) \
    static OP(name) { \
        CHECK(name, ADDRESS, sizeof(M)); \
        M v; \
        memcpy(&v, mem + at, sizeof v); \
        ACC = (T)v; \
        PUT; \
        NEXT(2); \
    }
#define LOAD_FORMS(op, name, M, T, ACC, PUT) \
    LOAD_FORM(load_##name##_S, U32(ip[1].b), M, T, ACC, ) \
    LOAD_FORM(load_##name##_SD, U32(ip[1].b), M, T, ACC, PUT) \
    LOAD_FORM(load_##name##_A, acc, M, T, ACC, ) \
    LOAD_FORM(load_##name##_AD, acc, M, T, ACC, PUT) \
    LOAD_FORM(load_##name##_K, 0, M, T, ACC, ) \
    LOAD_FORM(load_##name##_KD, 0, M, T, ACC, PUT) \
    static OP(load_##name##_any) { \
        const wl_meminst *m = ip[2].p; \
        uint64_t at; \
        if (UNLIKELY(__builtin_add_overflow(U64(ip[1].b), ip[3].u64, &at) || at + sizeof(M) > m->committed || \
                     at > m->committed)) \
            TAIL(miss_any_##name); \
        M v; \
        memcpy(&v, m->data + at, sizeof v); \
        ACC = (T)v; \
        PUT; \
        NEXT(4); \
    }
#define PUTI U64(ip[1].a) = acc
#define LOADS(X) \
    X(I32_LOAD, i32, uint32_t, uint32_t, acc, PUTI) \
    X(I64_LOAD, i64, uint64_t, uint64_t, acc, PUTI) \
    X(F32_LOAD, f32, float, float, fs, F32(ip[1].a) = fs) \
    X(F64_LOAD, f64, double, double, fd, F64(ip[1].a) = fd) \
    X(I32_LOAD8_S, i32_8s, int8_t, uint32_t, acc, PUTI) \
    X(I32_LOAD8_U, i32_8u, uint8_t, uint32_t, acc, PUTI) \
    X(I32_LOAD16_S, i32_16s, int16_t, uint32_t, acc, PUTI) \
    X(I32_LOAD16_U, i32_16u, uint16_t, uint32_t, acc, PUTI) \
    X(I64_LOAD8_S, i64_8s, int8_t, uint64_t, acc, PUTI) \
    X(I64_LOAD8_U, i64_8u, uint8_t, uint64_t, acc, PUTI) \
    X(I64_LOAD16_S, i64_16s, int16_t, uint64_t, acc, PUTI) \
    X(I64_LOAD16_U, i64_16u, uint16_t, uint64_t, acc, PUTI) \
    X(I64_LOAD32_S, i64_32s, int32_t, uint64_t, acc, PUTI) \
    X(I64_LOAD32_U, i64_32u, uint32_t, uint64_t, acc, PUTI)

/* As wl_op_memory_miss where the memory is an operand: address in slot `slot`, memory and offset in words 2 and 3. */
static inline int miss_any(wl_store *x, const wl_word *ip, uint64_t address, uint64_t size) {
    wl_meminst *m = ip[2].p;
    uint64_t at;
    if (__builtin_add_overflow(address, ip[3].u64, &at) || __builtin_add_overflow(at, size, &at) || at > m->size)
        return WL_TRAP_MEMORY_BOUNDS;
    return wl_commit(m, at) ? WL_DONE : WL_OUT_OF_MEMORY;
}
#define MISS(name, slot, size) \
    COLD static OP(miss_any_##name) { \
        int status = miss_any(x, ip, U64(ip[1].slot), size); \
        if (status) return status; \
        RELOAD(); /* it may be memory 0 too */ \
        DISPATCH; \
    }
#define LOAD_MISS(op, name, M, T, ACC, PUT) MISS(name, b, sizeof(M))
LOADS(LOAD_MISS)
LOADS(LOAD_FORMS)
#define LOAD_ROW(op, name, M, T, ACC, PUT) \
    [WL_OP_##op - WL_OP_I32_LOAD] = {load_##name##_S, load_##name##_SD, load_##name##_A, \
                                     load_##name##_AD, load_##name##_K, load_##name##_KD},
#define LOAD_ANY_ROW(op, name, M, T, ACC, PUT) [WL_OP_##op - WL_OP_I32_LOAD] = load_##name##_any,
const wl_handler wl_loads[64][6] = {LOADS(LOAD_ROW)};
const wl_handler wl_loads_any[64] = {LOADS(LOAD_ANY_ROW)};

#define STORE_FORM(name, ADDRESS, M, VALUE, WORDS) \
    CHECK_MISS(name, ADDRESS, sizeof(M)) \
    static OP(name) { \
        CHECK(name, ADDRESS, sizeof(M)); \
        M v = (M)(VALUE); \
        memcpy(mem + at, &v, sizeof v); \
        NEXT(WORDS); \
    }
#define STORE_FORMS(name, M, ACC, GET) \
    STORE_FORM(store_##name##_SS, U32(ip[1].a), M, GET(ip[1].b), 2) \
    STORE_FORM(store_##name##_SA, U32(ip[1].a), M, ACC, 2) \
    STORE_FORM(store_##name##_AS, acc, M, GET(ip[1].b), 2) \
    STORE_FORM(store_##name##_AA, acc, M, ACC, 2) \
    STORE_FORM(store_##name##_KS, 0, M, GET(ip[1].b), 2) \
    STORE_FORM(store_##name##_KA, 0, M, ACC, 2) \
    static OP(store_##name##_any) { \
        wl_meminst *m = ip[2].p; \
        uint64_t at; \
        if (UNLIKELY(__builtin_add_overflow(U64(ip[1].a), ip[3].u64, &at) || at + sizeof(M) > m->committed || \
                     at > m->committed)) \
            TAIL(miss_any_store_##name); \
        M v = (M)GET(ip[1].b); \
        memcpy(m->data + at, &v, sizeof v); \
        NEXT(4); \
    }
#define STORE_CONSTANT(name, M) \
    STORE_FORM(store_##name##_SK, U32(ip[1].a), M, ip[2].u64, 3) \
    STORE_FORM(store_##name##_AK, acc, M, ip[2].u64, 3) \
    STORE_FORM(store_##name##_KK, 0, M, ip[2].u64, 3)
MISS(store_i8, a, 1)
MISS(store_i16, a, 2)
MISS(store_i32, a, 4)
MISS(store_i64, a, 8)
MISS(store_f32, a, 4)
MISS(store_f64, a, 8)
STORE_FORMS(i8, uint8_t, acc, U32)
STORE_FORMS(i16, uint16_t, acc, U32)
STORE_FORMS(i32, uint32_t, acc, U32)
STORE_FORMS(i64, uint64_t, acc, U64)
STORE_FORMS(f32, float, fs, F32)
STORE_FORMS(f64, double, fd, F64)
STORE_CONSTANT(i8, uint8_t)
STORE_CONSTANT(i16, uint16_t)
STORE_CONSTANT(i32, uint32_t)
STORE_CONSTANT(i64, uint64_t)
#define STORE_ROW(name, k) \
    {store_##name##_SS, store_##name##_SA, store_##name##_AS, store_##k##_SK, store_##k##_AK, \
     store_##name##_AA, store_##name##_KS, store_##name##_KA, store_##k##_KK}
#define STORES(X) \
    X(I32_STORE, i32, i32) X(I64_STORE, i64, i64) X(F32_STORE, f32, i32) X(F64_STORE, f64, i64) \
    X(I32_STORE8, i8, i8) X(I32_STORE16, i16, i16) X(I64_STORE8, i8, i8) X(I64_STORE16, i16, i16) \
    X(I64_STORE32, i32, i32)
#define STORE_ENTRY(op, name, k) [WL_OP_##op - WL_OP_I32_STORE] = STORE_ROW(name, k),
#define STORE_ANY_ENTRY(op, name, k) [WL_OP_##op - WL_OP_I32_STORE] = store_##name##_any,
const wl_handler wl_stores[64][WL_STORE_FORMS] = {STORES(STORE_ENTRY)};
const wl_handler wl_stores_any[64] = {STORES(STORE_ANY_ENTRY)};

/* ---- Globals: word 2 is the address ---------------------------------------------------------------------------- */

#define GLOBAL(name, T, ACC, PUT) \
    OP(wl_op_##name) { \
        ACC = *(const T *)ip[2].p; \
        PUT; \
        NEXT(3); \
    }
GLOBAL(global_get, uint64_t, acc, )
GLOBAL(global_get_D, uint64_t, acc, U64(ip[1].a) = acc)
GLOBAL(global_get_f64, double, fd, )
GLOBAL(global_get_f64_D, double, fd, F64(ip[1].a) = fd)
GLOBAL(global_get_f32, float, fs, )
GLOBAL(global_get_f32_D, float, fs, F32(ip[1].a) = fs)
OP(wl_op_global_get2) {
    memcpy(SLOT(ip[1].a), ip[2].p, 16);
    NEXT(3);
}
OP(wl_op_global_set_S) {
    *(uint64_t *)ip[2].p = U64(ip[1].a);
    NEXT(3);
}
OP(wl_op_global_set_A) {
    *(uint64_t *)ip[2].p = acc;
    NEXT(3);
}
OP(wl_op_global_set2) {
    memcpy(ip[2].p, SLOT(ip[1].a), 16);
    NEXT(3);
}

/* ---- Whole memories: operands in slots from `a` on, i32 zero-extended; the result goes to slot a --------------- */

static inline bool outside(uint64_t at, uint64_t n, uint64_t size) { return at > size || n > size - at; }

OP(wl_op_memory_size) {
    acc = wl_pages(ip[2].p);
    U64(ip[1].a) = acc;
    NEXT(3);
}
COLD OP(wl_op_memory_grow) {
    wl_meminst *m = ip[2].p;
    int64_t old = wl_memory_grow(x, m, U64(ip[1].a));
    acc = m->is64 ? (uint64_t)old : (uint32_t)old;
    U64(ip[1].a) = acc;
    RELOAD();
    NEXT(3);
}
OP(wl_op_memory_fill) {
    wl_meminst *m = ip[2].p;
    const uint64_t *args = &U64(ip[1].a);
    if (outside(args[0], args[2], m->size)) return WL_TRAP_MEMORY_BOUNDS;
    int status = wl_bulk(x, args[2]);
    if (status) return status;
    if (!wl_commit(m, args[0] + args[2])) return WL_OUT_OF_MEMORY;
    if (args[2]) memset(m->data + args[0], (uint8_t)args[1], args[2]);
    RELOAD();
    NEXT(3);
}
OP(wl_op_memory_copy) {
    wl_meminst *to = ip[2].p, *from = ip[3].p;
    const uint64_t *args = &U64(ip[1].a);
    uint64_t n = args[2];
    if (outside(args[0], n, to->size) || outside(args[1], n, from->size)) return WL_TRAP_MEMORY_BOUNDS;
    int status = wl_bulk(x, n);
    if (status) return status;
    if (!wl_commit(to, args[0] + n) || !wl_commit(from, args[1] + n)) return WL_OUT_OF_MEMORY;
    if (n) memmove(to->data + args[0], from->data + args[1], n);
    RELOAD();
    NEXT(4);
}
/* Within what is there of memory 0, addressed by i32: where most of them are, and nothing is left to do but the copy.
 * No accumulator holds anything (see emit_row). */
#define WHOLE(name, WORDS, OUTSIDE, DO) \
    OP(wl_op_memory_##name##_0) { \
        const uint64_t *args = &U64(ip[1].a); \
        uint64_t n = args[2], left = (uint64_t)x->fuel - (n >> 6); \
        if (UNLIKELY(args[0] + n > mem_len || (OUTSIDE) || (int64_t)left < 0)) TAIL(wl_op_memory_##name); \
        x->fuel = (int64_t)left; \
        if (n) DO; \
        acc = 0, fd = 0, fs = 0; \
        NEXT(WORDS); \
    }
WHOLE(fill, 3, false, memset(mem + args[0], (uint8_t)args[1], n))
WHOLE(copy, 4, args[1] + n > mem_len, memmove(mem + args[0], mem + args[1], n))
OP(wl_op_memory_init) {
    const uint64_t *args = &U64(ip[1].a);
    int status = wl_memory_init(x->instance, ip[2].p, ip[1].u, args[0], (uint32_t)args[1], (uint32_t)args[2]);
    if (status) return status;
    RELOAD();
    NEXT(3);
}
OP(wl_op_data_drop) {
    x->instance->dropped[ip[1].u] = true;
    NEXT(2);
}

/* ---- Tables ----------------------------------------------------------------------------------------------------- */

OP(wl_op_table_get) {
    const wl_tableinst *t = ip[2].p;
    uint64_t i = U64(ip[1].a);
    if (UNLIKELY(i >= t->size)) return WL_TRAP_TABLE_BOUNDS;
    acc = t->elements[i];
    U64(ip[1].a) = acc;
    NEXT(3);
}
OP(wl_op_table_set) {
    wl_tableinst *t = ip[2].p;
    uint64_t i = U64(ip[1].a);
    if (UNLIKELY(i >= t->size)) return WL_TRAP_TABLE_BOUNDS;
    t->elements[i] = U64(ip[1].a + 1);
    NEXT(3);
}
OP(wl_op_table_size) {
    acc = ((wl_tableinst *)ip[2].p)->size;
    U64(ip[1].a) = acc;
    NEXT(3);
}
COLD OP(wl_op_table_grow) { /* initial value, number */
    wl_tableinst *t = ip[2].p;
    const uint64_t *args = &U64(ip[1].a);
    int64_t old = wl_table_grow(x, t, args[1], args[0]);
    int status = old < 0 ? WL_DONE : wl_bulk(x, args[1]);
    if (status) return status;
    acc = t->is64 ? (uint64_t)old : (uint32_t)old;
    U64(ip[1].a) = acc;
    NEXT(3);
}
OP(wl_op_table_fill) {
    wl_tableinst *t = ip[2].p;
    const uint64_t *args = &U64(ip[1].a);
    if (outside(args[0], args[2], t->size)) return WL_TRAP_TABLE_BOUNDS;
    int status = wl_bulk(x, args[2]);
    if (status) return status;
    for (uint64_t i = 0; i < args[2]; i++) t->elements[args[0] + i] = args[1];
    NEXT(3);
}
OP(wl_op_table_copy) {
    wl_tableinst *to = ip[2].p, *from = ip[3].p;
    const uint64_t *args = &U64(ip[1].a);
    if (outside(args[0], args[2], to->size) || outside(args[1], args[2], from->size)) return WL_TRAP_TABLE_BOUNDS;
    int status = wl_bulk(x, args[2]);
    if (status) return status;
    if (args[2]) memmove(to->elements + args[0], from->elements + args[1], args[2] * sizeof(wl_refval));
    NEXT(4);
}
OP(wl_op_table_init) {
    const uint64_t *args = &U64(ip[1].a);
    int status = wl_table_init(x->instance, ip[2].p, ip[1].u, args[0], (uint32_t)args[1], (uint32_t)args[2]);
    if (status) return status;
    NEXT(3);
}
OP(wl_op_elem_drop) {
    wl_eleminst *e = &x->instance->elems[ip[1].u];
    e->n = 0;
    NEXT(2);
}
