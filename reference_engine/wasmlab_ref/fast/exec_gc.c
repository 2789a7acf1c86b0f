/* References and aggregates. */
#include "gc.h"

OP(wl_op_as_non_null) {
    if (UNLIKELY(!U64(ip[1].a))) return WL_TRAP_NULL_REFERENCE;
    NEXT(2);
}
OP(wl_op_ref_i31) {
    acc = wl_i31(U32(ip[1].a));
    U64(ip[1].a) = acc;
    NEXT(2);
}
#define I31_GET(name, VALUE) \
    OP(wl_op_##name) { \
        wl_refval r = U64(ip[1].a); \
        if (UNLIKELY(!r)) return WL_TRAP_NULL_I31; \
        acc = (uint32_t)VALUE(r); \
        U64(ip[1].a) = acc; \
        NEXT(2); \
    }
I31_GET(i31_get_s, wl_i31_s)
I31_GET(i31_get_u, wl_i31_u)

/* Word 2 is the wl_type. */
OP(wl_op_ref_test) {
    acc = wl_ref_matches(x, U64(ip[1].a), (wl_type)ip[2].u64);
    U64(ip[1].a) = acc;
    NEXT(3);
}
OP(wl_op_ref_cast) {
    if (UNLIKELY(!wl_ref_matches(x, U64(ip[1].a), (wl_type)ip[2].u64))) return WL_TRAP_CAST;
    NEXT(3);
}
OP(wl_op_br_on_cast) {
    if (wl_ref_matches(x, U64(ip[1].a), (wl_type)ip[2].u64)) BRANCH(ip[1].k);
    NEXT(3);
}
OP(wl_op_br_on_cast_fail) {
    if (!wl_ref_matches(x, U64(ip[1].a), (wl_type)ip[2].u64)) BRANCH(ip[1].k);
    NEXT(3);
}

/* ---- Fields and elements ----------------------------------------------------------------------------------------- */

/* X(name, how it is stored, C type in memory, conversion, accumulator, get slot, put) */
#define STORAGES(X) \
    X(i8s, WL_ST_I8S, int8_t, uint32_t, acc, U32, U64(ip[1].a) = acc) \
    X(i8u, WL_ST_I8U, uint8_t, uint32_t, acc, U32, U64(ip[1].a) = acc) \
    X(i16s, WL_ST_I16S, int16_t, uint32_t, acc, U32, U64(ip[1].a) = acc) \
    X(i16u, WL_ST_I16U, uint16_t, uint32_t, acc, U32, U64(ip[1].a) = acc) \
    X(i32, WL_ST_32, uint32_t, uint32_t, acc, U32, U64(ip[1].a) = acc) \
    X(i64, WL_ST_64, uint64_t, uint64_t, acc, U64, U64(ip[1].a) = acc) \
    X(f32, WL_ST_F32, float, float, fs, F32, F32(ip[1].a) = fs) \
    X(f64, WL_ST_F64, double, double, fd, F64, F64(ip[1].a) = fd)

#define STRUCT_GET(name, M, T, ACC, PUT) \
    static OP(struct_get_##name) { \
        const wl_structure *s = wl_structure_of(U64(ip[1].b)); \
        if (UNLIKELY(!s)) return WL_TRAP_NULL_STRUCTURE; \
        ACC = (T) * (const M *)(s->fields + ip[1].u); \
        PUT; \
        NEXT(2); \
    }
#define ARRAY_GET(name, M, T, ACC, PUT) \
    static OP(array_get_##name) { \
        const wl_array *a = wl_array_of(U64(ip[1].b)); \
        uint32_t i = U32(ip[1].c); \
        if (UNLIKELY(!a)) return WL_TRAP_NULL_ARRAY; \
        if (UNLIKELY(i >= a->length)) return WL_TRAP_ARRAY_BOUNDS; \
        ACC = (T)((const M *)a->elements)[i]; \
        PUT; \
        NEXT(2); \
    }
#define ACCESSES(name, kind, M, T, ACC, GET, PUT) \
    STRUCT_GET(name, M, T, ACC, ) \
    STRUCT_GET(name##_D, M, T, ACC, PUT) \
    ARRAY_GET(name, M, T, ACC, ) \
    ARRAY_GET(name##_D, M, T, ACC, PUT) \
    static OP(struct_set_##name) { \
        wl_structure *s = wl_structure_of(U64(ip[1].a)); \
        if (UNLIKELY(!s)) return WL_TRAP_NULL_STRUCTURE; \
        *(M *)(s->fields + ip[1].u) = (M)GET(ip[1].b); \
        NEXT(2); \
    } \
    static OP(array_set_##name) { \
        wl_array *a = wl_array_of(U64(ip[1].a)); \
        uint32_t i = U32(ip[1].b); \
        if (UNLIKELY(!a)) return WL_TRAP_NULL_ARRAY; \
        if (UNLIKELY(i >= a->length)) return WL_TRAP_ARRAY_BOUNDS; \
        ((M *)a->elements)[i] = (M)GET(ip[1].c); \
        NEXT(2); \
    }
STORAGES(ACCESSES)

static OP(struct_get_v128) {
    const wl_structure *s = wl_structure_of(U64(ip[1].b));
    if (UNLIKELY(!s)) return WL_TRAP_NULL_STRUCTURE;
    memcpy(SLOT(ip[1].a), s->fields + ip[1].u, 16);
    NEXT(2);
}
static OP(struct_set_v128) {
    wl_structure *s = wl_structure_of(U64(ip[1].a));
    if (UNLIKELY(!s)) return WL_TRAP_NULL_STRUCTURE;
    memcpy(s->fields + ip[1].u, SLOT(ip[1].b), 16);
    NEXT(2);
}
static OP(array_get_v128) {
    const wl_array *a = wl_array_of(U64(ip[1].b));
    uint32_t i = U32(ip[1].c);
    if (UNLIKELY(!a)) return WL_TRAP_NULL_ARRAY;
    if (UNLIKELY(i >= a->length)) return WL_TRAP_ARRAY_BOUNDS;
    memcpy(SLOT(ip[1].a), a->elements + (size_t)i * 16, 16);
    NEXT(2);
}
static OP(array_set_v128) {
    wl_array *a = wl_array_of(U64(ip[1].a));
    uint32_t i = U32(ip[1].b);
    if (UNLIKELY(!a)) return WL_TRAP_NULL_ARRAY;
    if (UNLIKELY(i >= a->length)) return WL_TRAP_ARRAY_BOUNDS;
    memcpy(a->elements + (size_t)i * 16, SLOT(ip[1].c), 16);
    NEXT(2);
}

#define STRUCT_GETS(name, kind, M, T, ACC, GET, PUT) [kind] = {struct_get_##name, struct_get_##name##_D},
#define STRUCT_SETS(name, kind, M, T, ACC, GET, PUT) [kind] = struct_set_##name,
#define ARRAY_GETS(name, kind, M, T, ACC, GET, PUT) [kind] = {array_get_##name, array_get_##name##_D},
#define ARRAY_SETS(name, kind, M, T, ACC, GET, PUT) [kind] = array_set_##name,
const wl_handler wl_struct_gets[WL_ST_COUNT][2] = {STORAGES(STRUCT_GETS)[WL_ST_128] = {NULL, struct_get_v128}};
const wl_handler wl_struct_sets[WL_ST_COUNT] = {STORAGES(STRUCT_SETS)[WL_ST_128] = struct_set_v128};
const wl_handler wl_array_gets[WL_ST_COUNT][2] = {STORAGES(ARRAY_GETS)[WL_ST_128] = {NULL, array_get_v128}};
const wl_handler wl_array_sets[WL_ST_COUNT] = {STORAGES(ARRAY_SETS)[WL_ST_128] = array_set_v128};

/* ---- New objects: operands from slot a on, b the end of the live slots, u an immediate, word 2 the type ------------ */

/* The low bytes of a slot: the machine is little-endian. */
static uint32_t store_slot(uint8_t *to, const uint64_t *slot, wl_type type) {
    switch (type) {
    case WL_I8: memcpy(to, slot, 1); return 1;
    case WL_I16: memcpy(to, slot, 2); return 1;
    case WL_I32: case WL_F32: memcpy(to, slot, 4); return 1;
    case WL_V128: memcpy(to, slot, 16); return 2;
    default: memcpy(to, slot, 8); return 1;
    }
}

static wl_array *new_array(wl_store *x, uint8_t *top, const wl_deftype *type, uint64_t n) {
    uint64_t bytes = n * type->u.array.element_size; /* below 2^36 */
    if (bytes > x->limits.heap_bytes || wl_bulk(x, bytes)) return NULL;
    wl_array *a = wl_gc_allocate(x, top, sizeof *a + bytes);
    if (!a) return NULL;
    a->header.type = type;
    a->length = n;
    return a;
}
static wl_structure *new_structure(wl_store *x, uint8_t *top, const wl_deftype *type) {
    wl_structure *s = wl_gc_allocate(x, top, sizeof *s + type->u.structure.size);
    if (s) s->header.type = type;
    return s;
}

#define RESULT(object, words) \
    do { \
        acc = (uintptr_t)(object); \
        U64(ip[1].a) = acc; \
        NEXT(words); \
    } while (0)

void wl_fill_structure(wl_structure *s, const wl_deftype *type, const uint64_t *slots) {
    for (uint32_t i = 0; i < type->u.structure.n_fields; i++) {
        const wl_field *field = &type->u.structure.fields[i];
        slots += store_slot(s->fields + field->offset, slots, field->type);
    }
}
OP(wl_op_struct_new) {
    const wl_deftype *type = ip[2].p;
    wl_structure *s = new_structure(x, SLOT(ip[1].b), type);
    if (!s) return wl_why_no_object(x);
    wl_fill_structure(s, type, &U64(ip[1].a));
    RESULT(s, 3);
}
OP(wl_op_struct_new_default) {
    wl_structure *s = new_structure(x, SLOT(ip[1].b), ip[2].p);
    if (!s) return wl_why_no_object(x);
    RESULT(s, 3);
}

void wl_fill_array(wl_array *a, uint64_t at, const uint64_t *value, uint64_t n) {
    const wl_deftype *type = a->header.type;
    uint32_t size = type->u.array.element_size;
    uint8_t *to = a->elements + at * size;
    if (size == 1) memset(to, (uint8_t)*value, n);
    else
        for (uint64_t i = 0; i < n; i++) store_slot(to + i * size, value, type->u.array.field.type);
}
OP(wl_op_array_new) { /* value, length */
    const wl_deftype *type = ip[2].p;
    const uint64_t *value = &U64(ip[1].a);
    wl_array *a = new_array(x, SLOT(ip[1].b), type, (uint32_t)value[wl_slots(type->u.array.field.type)]);
    if (!a) return wl_why_no_object(x);
    wl_fill_array(a, 0, value, a->length);
    RESULT(a, 3);
}
OP(wl_op_array_new_default) {
    wl_array *a = new_array(x, SLOT(ip[1].b), ip[2].p, U32(ip[1].a));
    if (!a) return wl_why_no_object(x);
    RESULT(a, 3);
}
OP(wl_op_array_new_fixed) {
    const wl_deftype *type = ip[2].p;
    wl_array *a = new_array(x, SLOT(ip[1].b), type, ip[1].u);
    if (!a) return wl_why_no_object(x);
    const uint64_t *slots = &U64(ip[1].a);
    for (uint64_t i = 0; i < a->length; i++)
        slots += store_slot(a->elements + i * type->u.array.element_size, slots, type->u.array.field.type);
    RESULT(a, 3);
}

/* Bytes of a data segment of the running instance; NULL if they are outside. */
static const uint8_t *data_bytes(const wl_store *x, uint32_t index, uint64_t at, uint64_t n) {
    const wl_module *m = x->instance->module;
    const wl_data *d = &m->datas[index];
    uint64_t size = x->instance->dropped[index] ? 0 : d->bytes.size;
    return at > size || n > size - at ? NULL : m->bytes + d->bytes.at + at;
}
OP(wl_op_array_new_data) { /* offset, length */
    const wl_deftype *type = ip[2].p;
    const uint64_t *args = &U64(ip[1].a);
    uint64_t n = (uint32_t)args[1], bytes = n * type->u.array.element_size;
    const uint8_t *from = data_bytes(x, ip[1].u, (uint32_t)args[0], bytes);
    if (!from) return WL_TRAP_MEMORY_BOUNDS;
    wl_array *a = new_array(x, SLOT(ip[1].b), type, n);
    if (!a) return wl_why_no_object(x);
    memcpy(a->elements, from, bytes);
    RESULT(a, 3);
}
OP(wl_op_array_new_elem) {
    const uint64_t *args = &U64(ip[1].a);
    const wl_eleminst *e = &x->instance->elems[ip[1].u];
    uint64_t at = (uint32_t)args[0], n = (uint32_t)args[1];
    if (at > e->n || n > e->n - at) return WL_TRAP_TABLE_BOUNDS;
    wl_array *a = new_array(x, SLOT(ip[1].b), ip[2].p, n);
    if (!a) return wl_why_no_object(x);
    if (n) memcpy(a->elements, e->elements + at, n * sizeof(wl_refval));
    RESULT(a, 3);
}

/* ---- Whole arrays --------------------------------------------------------------------------------------------------- */

OP(wl_op_array_len) {
    const wl_array *a = wl_array_of(U64(ip[1].a));
    if (UNLIKELY(!a)) return WL_TRAP_NULL_ARRAY;
    acc = a->length;
    U64(ip[1].a) = acc;
    NEXT(2);
}
static inline bool outside(const wl_array *a, uint64_t at, uint64_t n) { return at > a->length || n > a->length - at; }

OP(wl_op_array_fill) { /* array, index, value, length */
    const uint64_t *args = &U64(ip[1].a);
    wl_array *a = wl_array_of(args[0]);
    if (!a) return WL_TRAP_NULL_ARRAY;
    uint64_t at = (uint32_t)args[1], n = (uint32_t)args[2 + wl_slots(a->header.type->u.array.field.type)];
    if (outside(a, at, n)) return WL_TRAP_ARRAY_BOUNDS;
    int status = wl_bulk(x, n * a->header.type->u.array.element_size);
    if (status) return status;
    wl_fill_array(a, at, args + 2, n);
    NEXT(3);
}
OP(wl_op_array_copy) { /* to, index, from, index, length */
    const uint64_t *args = &U64(ip[1].a);
    wl_array *to = wl_array_of(args[0]);
    const wl_array *from = wl_array_of(args[2]);
    if (!to || !from) return WL_TRAP_NULL_ARRAY;
    uint64_t i = (uint32_t)args[1], j = (uint32_t)args[3], n = (uint32_t)args[4];
    if (outside(to, i, n) || outside(from, j, n)) return WL_TRAP_ARRAY_BOUNDS;
    uint32_t size = to->header.type->u.array.element_size;
    int status = wl_bulk(x, n * size);
    if (status) return status;
    memmove(to->elements + i * size, from->elements + j * size, n * size);
    NEXT(3);
}
OP(wl_op_array_init_data) { /* array, index, offset, length */
    const uint64_t *args = &U64(ip[1].a);
    wl_array *a = wl_array_of(args[0]);
    if (!a) return WL_TRAP_NULL_ARRAY;
    uint64_t at = (uint32_t)args[1], n = (uint32_t)args[3], size = a->header.type->u.array.element_size;
    if (outside(a, at, n)) return WL_TRAP_ARRAY_BOUNDS;
    const uint8_t *from = data_bytes(x, ip[1].u, (uint32_t)args[2], n * size);
    if (!from) return WL_TRAP_MEMORY_BOUNDS;
    int status = wl_bulk(x, n * size);
    if (status) return status;
    memcpy(a->elements + at * size, from, n * size);
    NEXT(3);
}
OP(wl_op_array_init_elem) {
    const uint64_t *args = &U64(ip[1].a);
    wl_array *a = wl_array_of(args[0]);
    if (!a) return WL_TRAP_NULL_ARRAY;
    const wl_eleminst *e = &x->instance->elems[ip[1].u];
    uint64_t at = (uint32_t)args[1], from = (uint32_t)args[2], n = (uint32_t)args[3];
    if (outside(a, at, n)) return WL_TRAP_ARRAY_BOUNDS;
    if (from > e->n || n > e->n - from) return WL_TRAP_TABLE_BOUNDS;
    int status = wl_bulk(x, n * sizeof(wl_refval));
    if (status) return status;
    if (n) memcpy((wl_refval *)a->elements + at, e->elements + from, n * sizeof(wl_refval));
    NEXT(3);
}
