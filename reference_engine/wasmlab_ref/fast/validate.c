/* Validation of function bodies and constant expressions: the stacks, and the instructions whose rule is their row. */
#include <stdio.h>
#include <string.h>

#include "validate.h"

/* ---- Operands -------------------------------------------------------------------------------------------------- */

/* As the text format writes it; a defined type by its index in the module. */
static const char *show(const wl_validator *v, wl_type t, char *buffer, size_t size) {
    static const char *const plain[] = {"bot", "i32", "i64", "f32", "f64", "v128", "i8", "i16"};
    static const char *const heaps[] = {"any",    "eq",     "i31",      "struct", "array", "none", "func",
                                        "nofunc", "extern", "noextern", "exn",    "noexn", "bot"};
    if (!wl_is_ref(t)) return plain[t];
    const char *null = wl_is_nullable(t) ? "null " : "";
    if (wl_heap(t) < WL_FIRST_DEFINED) {
        snprintf(buffer, size, "(ref %s%s)", null, heaps[wl_heap(t)]);
        return buffer;
    }
    uint32_t index = 0; /* ids tell what the engine did before */
    while (index < v->m->n_types && v->m->types[index]->id != wl_heap(t) - WL_FIRST_DEFINED) index++;
    snprintf(buffer, size, "(ref %s%u)", null, (unsigned)index);
    return buffer;
}

bool wl_mismatch(wl_validator *v, wl_type expected, bool there, wl_type have) {
    char a[40], b[40];
    return wl_wrong(v, "type mismatch: instruction requires [%s] but stack has [%s]", show(v, expected, a, sizeof a),
                    there ? show(v, have, b, sizeof b) : "");
}

bool wl_pop_slow(wl_validator *v, wl_type expected) {
    if (v->top == v->base) return v->frame->unreachable || wl_mismatch(v, expected, false, 0);
    wl_type t = *--v->top;
    return wl_type_matches(v->engine, t, expected) || wl_mismatch(v, expected, true, t);
}

bool wl_pop_any(wl_validator *v, wl_type *t) {
    *t = WL_BOT;
    if (v->top > v->base)
        *t = *--v->top;
    else if (!v->frame->unreachable)
        return wl_wrong(v, "type mismatch: instruction requires an operand but stack has []");
    return true;
}

bool wl_pop_ref(wl_validator *v, wl_type *t) {
    char a[40];
    WL_TRY(wl_pop_any(v, t));
    if (wl_is_ref(*t) || *t == WL_BOT) return true;
    return wl_wrong(v, "type mismatch: instruction requires reference type but stack has [%s]", show(v, *t, a, sizeof a));
}

bool wl_charge(wl_validator *v, uint64_t n) {
    if (n <= 1000) return true; /* what the JavaScript API allows functions to have */
    v->l->work += n;
    return v->l->work <= v->l->limits->validation_work || wl_reject(v->l, WL_EXHAUSTED, v->at, "validation exhausted");
}

bool wl_pop_types(wl_validator *v, const wl_type *types, uint32_t n) {
    WL_TRY(wl_charge(v, n));
    while (n) WL_TRY(wl_pop(v, types[--n]));
    return true;
}

static bool reserve(wl_validator *v, size_t n) {
    if ((size_t)(v->limit - v->top) >= n) return true;
    wl_buffer *b = &v->l->stack;
    size_t used = (size_t)(v->top - v->bottom), base = (size_t)(v->base - v->bottom);
    size_t highest = (size_t)(v->highest - v->bottom);
    if (!wl_buffer_grow(b, used * sizeof(wl_type), (used + n) * sizeof(wl_type))) return wl_no_memory(v->l);
    v->bottom = b->data;
    v->top = v->bottom + used;
    v->base = v->bottom + base;
    v->limit = v->bottom + b->capacity / sizeof(wl_type);
    v->highest = v->bottom + highest;
    return true;
}

/* More operands than this no activation may have, and two bytes of code push a thousand. */
#define HIGHEST 10000000

bool wl_push_types(wl_validator *v, const wl_type *types, uint32_t n) {
    WL_TRY(wl_charge(v, n));
    if (WL_UNLIKELY(n > 16) && (size_t)(v->top - v->bottom) + n > HIGHEST)
        return wl_reject(v->l, WL_EXHAUSTED, v->at, "validation exhausted");
    WL_TRY(reserve(v, (size_t)n + WL_HEADROOM));
    if (n) memcpy(v->top, types, n * sizeof *types);
    v->top += n;
    return true;
}

void wl_unreachable(wl_validator *v) {
    v->top = v->base;
    v->frame->unreachable = true;
}

/* ---- Indices --------------------------------------------------------------------------------------------------- */

bool wl_get_function(wl_validator *v, uint32_t *index) {
    WL_TRY(wl_get_u32(&v->r, index));
    return *index < v->m->n_funcs || wl_wrong(v, "unknown function %u", (unsigned)*index);
}

bool wl_get_table(wl_validator *v, const wl_table **table) {
    uint32_t index;
    WL_TRY(wl_get_u32(&v->r, &index));
    if (index >= v->m->n_tables) return wl_wrong(v, "unknown table %u", (unsigned)index);
    *table = &v->m->tables[index];
    return true;
}

static bool address_of_memory(wl_validator *v, uint32_t index, wl_type *address) {
    if (WL_UNLIKELY(index >= v->m->n_memories)) return wl_wrong(v, "unknown memory %u", (unsigned)index);
    *address = wl_address(&v->m->memories[index].bounds);
    return true;
}

bool wl_get_memory(wl_validator *v, wl_type *address) {
    uint32_t index;
    return wl_get_u32(&v->r, &index) && address_of_memory(v, index, address);
}

static bool check_data(wl_validator *v, uint32_t index) {
    if (!v->constant) v->l->uses_data = true; /* the standard counts bodies only */
    if (!v->l->has_data_count || index < v->l->data_count) return true; /* without the section it is malformed */
    return wl_wrong(v, "unknown data segment %u", (unsigned)index);
}

bool wl_get_data(wl_validator *v) {
    uint32_t index;
    return wl_get_u32(&v->r, &index) && check_data(v, index);
}

static bool get_data_and_memory(wl_validator *v, wl_type *address) {
    uint32_t index;
    return wl_get_u32(&v->r, &index) && wl_get_memory(v, address) && check_data(v, index);
}

bool wl_get_elem(wl_validator *v, const wl_elem **elem) {
    uint32_t index;
    WL_TRY(wl_get_u32(&v->r, &index));
    if (index >= v->m->n_elems) return wl_wrong(v, "unknown elem segment %u", (unsigned)index);
    *elem = &v->m->elems[index];
    return true;
}

bool wl_get_typed(wl_validator *v, wl_kind kind, const wl_deftype **type) {
    static const char *const names[] = {"function", "structure", "array"};
    uint32_t index;
    WL_TRY(wl_get_u32(&v->r, &index));
    if (index >= v->m->n_types) return wl_wrong(v, "unknown type %u", (unsigned)index);
    *type = v->m->types[index];
    return (*type)->kind == kind || wl_wrong(v, "type mismatch: non-%s type %u", names[kind], (unsigned)index);
}

/* ---- Instructions with a row ----------------------------------------------------------------------------------- */

static bool get_memarg(wl_validator *v, const wl_op_row *row, wl_type *address) {
    wl_memarg m;
    WL_TRY(wl_get_memarg(&v->r, &m));
    WL_TRY(address_of_memory(v, m.memory, address));
    if (m.memory && v->gated) wl_need_feature(v->l, v->at, WL_FEATURE_MULTI_MEMORY);
    if (WL_UNLIKELY(m.align > (row->argument & 7))) return wl_wrong(v, "alignment must not be larger than natural");
    if (WL_UNLIKELY(m.offset > UINT32_MAX) && *address == WL_I32) return wl_wrong(v, "offset out of range");
    return true;
}

static bool get_atomic(wl_validator *v, const wl_op_row *row, wl_type *address) {
    const uint8_t *p = v->r.p;
    WL_TRY(get_memarg(v, row, address));
    return wl_read_memarg(&p).align == row->argument || wl_wrong(v, "atomic alignment must be natural");
}

static bool get_lane(wl_validator *v, uint32_t lanes) {
    uint32_t lane;
    WL_TRY(wl_get_byte(&v->r, &lane));
    return lane < lanes || wl_wrong(v, "invalid lane index %u", (unsigned)lane);
}

static bool get_lanes(wl_validator *v) {
    WL_TRY(wl_get_bytes(&v->r, 16));
    for (int i = -16; i < 0; i++)
        if (v->r.p[i] >= 32) return wl_wrong(v, "invalid lane index %u", (unsigned)v->r.p[i]);
    return true;
}

static wl_type special_operand(uint8_t code, wl_type address) {
    switch (code) {
    case WL_OPERAND_ADDRESS: return address;
    case WL_OPERAND_EQREF: return wl_ref(true, WL_HEAP_EQ);
    case WL_OPERAND_I31REF: return wl_ref(true, WL_HEAP_I31);
    case WL_OPERAND_ARRAYREF: return wl_ref(true, WL_HEAP_ARRAY);
    default: return wl_ref(false, WL_HEAP_I31);
    }
}

static inline wl_type operand(uint8_t code, wl_type address) {
    return WL_LIKELY(code < WL_OPERAND_ADDRESS) ? code : special_operand(code, address);
}

static bool plain_immediates(wl_validator *v, const wl_op_row *row, wl_type *address) {
    int64_t number;
    const wl_elem *elem;
    switch (row->immediate) {
    case WL_IMM_NONE: return true;
    case WL_IMM_MEM: return get_memarg(v, row, address);
    case WL_IMM_ATOMIC: return get_atomic(v, row, address);
    case WL_IMM_ZERO: return wl_get_zero(&v->r);
    case WL_IMM_I32: return wl_get_signed(&v->r, 32, &number);
    case WL_IMM_I64: return wl_get_signed(&v->r, 64, &number);
    case WL_IMM_F32: return wl_get_bytes(&v->r, 4);
    case WL_IMM_F64: return wl_get_bytes(&v->r, 8);
    case WL_IMM_V128: return wl_get_bytes(&v->r, 16);
    case WL_IMM_LANES: return get_lanes(v);
    case WL_IMM_LANE: return get_lane(v, row->argument);
    case WL_IMM_MEM_LANE: return get_memarg(v, row, address) && get_lane(v, row->argument >> 3);
    case WL_IMM_MEMORY: return wl_get_memory(v, address);
    case WL_IMM_DATA: return wl_get_data(v);
    case WL_IMM_DATA_MEMORY: return get_data_and_memory(v, address);
    case WL_IMM_ELEM: return wl_get_elem(v, &elem);
    default: return wl_wrong(v, "instruction without a rule");
    }
}

static inline bool validate_plain(wl_validator *v, const wl_op_row *row) {
    wl_type address = WL_I32;
    if (row->immediate != WL_IMM_NONE) WL_TRY(plain_immediates(v, row, &address));
    for (uint32_t n = row->n_params; n;) WL_TRY(wl_pop(v, operand(row->params[--n], address)));
    if (row->result) wl_push(v, operand(row->result, address));
    return true;
}

/* ---- Bodies and expressions ------------------------------------------------------------------------------------ */

static bool validate_special(wl_validator *v, uint32_t op) {
    switch (wl_op_rows[op].immediate) {
    case WL_IMM_LOCAL: return wl_validate_local(v, op);
    case WL_IMM_TYPE:
        if (op == WL_OP_CALL_REF || op == WL_OP_RETURN_CALL_REF) break;
        return wl_validate_aggregate(v, op);
    case WL_IMM_TYPE_FIELD:
    case WL_IMM_TYPE_U32:
    case WL_IMM_TYPE_DATA:
    case WL_IMM_TYPE_ELEM:
    case WL_IMM_TYPE_TYPE: return wl_validate_aggregate(v, op);
    case WL_IMM_GLOBAL:
    case WL_IMM_TABLE:
    case WL_IMM_TABLE_TABLE:
    case WL_IMM_ELEM_TABLE:
    case WL_IMM_MEMORY_MEMORY:
    case WL_IMM_HEAP: return wl_validate_reference(v, op);
    default: break;
    }
    switch (op) {
    case WL_OP_REF_IS_NULL:
    case WL_OP_REF_FUNC:
    case WL_OP_REF_AS_NON_NULL:
    case WL_OP_ANY_CONVERT_EXTERN:
    case WL_OP_EXTERN_CONVERT_ANY: return wl_validate_reference(v, op);
    default: return wl_validate_control(v, op);
    }
}

/* As many instructions as have short immediates and find just the operands of their row: no rule of these says more.
 * Whatever is otherwise is left to the rules below, and so is any error. */
static void validate_quickly(wl_validator *v) {
    const uint8_t *p = v->r.p;
    wl_type *top = v->top, *const base = v->base, *const limit = v->limit - 1;
    while (v->r.end - p >= 8 && top < limit) { /* 8: no instruction here is longer */
        const wl_op_row *row = &wl_op_rows[*p];
        size_t length = 1, there = (size_t)(top - base);
        switch (row->immediate) {
        case WL_IMM_NONE: break;
        case WL_IMM_LOCAL: {
            if (p[1] >= v->n_quick) goto out;
            wl_type t = v->few[p[1]];
            if (*p == WL_OP_LOCAL_GET) {
                *top++ = t;
                if (top > v->highest) v->highest = top;
            } else {
                if (there == 0 || top[-1] != t) goto out;
                top -= *p == WL_OP_LOCAL_SET;
            }
            p += 2;
            continue;
        }
        case WL_IMM_I32:
        case WL_IMM_I64:
            if (!(p[1] & 0x80))
                length = 2;
            else if (!(p[2] & 0x80))
                length = 3;
            else if (!(p[3] & 0x80))
                length = 4;
            else
                goto out;
            break;
        case WL_IMM_MEM:
            if (p[1] > row->argument || !v->quick_memory) goto out;
            if (!(p[2] & 0x80))
                length = 3;
            else if (!(p[3] & 0x80))
                length = 4;
            else
                goto out;
            if (there < row->n_params || top[-(int)row->n_params] != WL_I32) goto out;
            if (row->n_params == 2) {
                if (top[-1] != row->params[1]) goto out;
                top -= 2;
            } else {
                top[-1] = row->result;
            }
            p += length;
            continue;
        default: goto out;
        }
        if ((row->flags & WL_FLAG_SPECIAL) || there < row->n_params) goto out;
        switch (row->n_params) {
        case 0: break;
        case 1:
            if (top[-1] != row->params[0]) goto out;
            top -= 1;
            break;
        case 2:
            if (top[-1] != row->params[1] || top[-2] != row->params[0]) goto out;
            top -= 2;
            break;
        default: goto out;
        }
        if (row->result) *top++ = row->result;
        if (top > v->highest) v->highest = top;
        p += length;
    }
out:
    v->r.p = p;
    v->top = top;
}

/* Instructions to the `end` of the outermost frame. */
static bool validate_instructions(wl_validator *v) {
    while (v->n_frames) {
        uint32_t op;
        if (WL_UNLIKELY(v->limit - v->top < WL_HEADROOM)) WL_TRY(reserve(v, WL_HEADROOM));
        if (v->quick) validate_quickly(v);
        if (v->top > v->highest) v->highest = v->top;
        if (WL_UNLIKELY(v->limit - v->top < WL_HEADROOM)) WL_TRY(reserve(v, WL_HEADROOM));
        v->at = v->r.p;
        WL_TRY(wl_get_op(&v->r, &op));
        const wl_op_row *row = &wl_op_rows[op];
        v->features |= 1u << row->feature;
        if (WL_UNLIKELY(v->gated)) {
            wl_need_feature(v->l, v->at, 1u << row->feature);
            if (v->constant && row->n_params == 2) wl_need_feature(v->l, v->at, WL_FEATURE_EXTENDED_CONST);
        }
        if (WL_UNLIKELY(v->constant) && !(row->flags & WL_FLAG_CONST) && op != WL_OP_END)
            return wl_wrong(v, "constant expression required");
        if (row->flags & WL_FLAG_SPECIAL)
            WL_TRY(validate_special(v, op));
        else
            WL_TRY(validate_plain(v, row));
        if (WL_UNLIKELY(v->gated) && wl_rejected(v->l)) return false;
    }
    return true;
}

static void begin(wl_validator *v, wl_reader *r) {
    memset(v, 0, offsetof(wl_validator, few));
    v->r = *r;
    v->l = r->l;
    v->m = r->l->m;
    v->engine = r->l->engine;
    v->at = r->p;
    v->bottom = v->base = v->top = v->highest = r->l->stack.data;
    v->limit = v->bottom + r->l->stack.capacity / sizeof(wl_type);
    v->frame = v->frames = r->l->frames.data;
    v->n_frames = v->max_depth = 1;
    v->gated = (~r->l->limits->features & WL_ALL_FEATURES) != 0;
}

static uint32_t max_height(const wl_validator *v) {
    uint32_t height = (uint32_t)(v->highest - v->bottom);
    return height > v->n_results ? height : v->n_results;
}

bool wl_validate_body(wl_reader *r, uint32_t function, wl_body *body) {
    wl_validator v;
    const wl_deftype *type = r->l->m->funcs[function];
    begin(&v, r);
    body->locals = (uint32_t)(r->p - r->l->bytes);
    WL_TRY(wl_get_locals(&v, type));
    body->code = (uint32_t)(v.r.p - r->l->bytes);
    v.results = type->u.func.results;
    v.n_results = type->u.func.n_results;
    v.quick = !v.gated;
    v.quick_memory = v.m->n_memories && !v.m->memories[0].bounds.is64;
    *v.frame = (wl_frame){.results = v.results, .n_results = v.n_results, .op = WL_OP_END};
    WL_TRY(validate_instructions(&v));
    body->end = (uint32_t)(v.r.p - r->l->bytes);
    body->n_locals = v.n_locals > UINT32_MAX ? UINT32_MAX : (uint32_t)v.n_locals;
    body->max_height = max_height(&v);
    body->max_depth = v.max_depth;
    body->uses_v128 = (v.features & (WL_FEATURE_SIMD | WL_FEATURE_RELAXED_SIMD)) || r->l->mentions_v128;
    body->has_handlers = v.has_handlers;
    body->has_loops = v.has_loops;
    r->p = v.r.p;
    return true;
}

bool wl_validate_const(wl_reader *r, wl_type expected, uint32_t *height) {
    wl_validator v;
    begin(&v, r);
    v.constant = true;
    *v.frame = (wl_frame){.single = expected, .n_results = 1, .op = WL_OP_END};
    WL_TRY(validate_instructions(&v));
    *height = max_height(&v);
    r->p = v.r.p;
    return true;
}
