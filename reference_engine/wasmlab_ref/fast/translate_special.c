/* Globals, whole memories, tables, references, aggregates, vectors and atomic instructions. */
#include "translate.h"

/* Operands in consecutive slots from `a` on, `b` the end of the live slots; the result replaces them. */
static wl_word *emit_row(translator *t, wl_handler h, uint32_t n, uint32_t words, int class) {
    wl_flush_top(t, n);
    uint32_t top = wl_next_slot(t), base = n ? t->stack[t->height - n].home : top;
    wl_free_all(t);
    uint32_t at = t->n;
    wl_word *w = wl_emit(t, h, words);
    w[1].a = (uint16_t)base;
    w[1].b = (uint16_t)top;
    for (; n; n--) (void)wl_pop(t);
    if (class >= 0) wl_slot_result(t, (uint8_t)class, class == CLASS_I);
    t->last = NONE;
    return t->code + at;
}

static void global_get(translator *t) {
    static const wl_handler h[3][2] = {{wl_op_global_get, wl_op_global_get_D},
                                       {wl_op_global_get_f64, wl_op_global_get_f64_D},
                                       {wl_op_global_get_f32, wl_op_global_get_f32_D}};
    wl_globalinst *g = t->instance->globals[wl_read_u32(&t->p)];
    uint8_t class = wl_class(g->type);
    wl_free_acc(t, class);
    wl_word *w = wl_emit(t, class == CLASS_V ? wl_op_global_get2 : h[class][0], 3);
    w[2].p = g->value;
    if (class == CLASS_V) {
        w[1].a = (uint16_t)wl_next_slot(t);
        wl_slot_result(t, class, false);
    } else {
        wl_result(t, class, h[class][1]);
    }
}

static void global_set(translator *t) {
    wl_globalinst *g = t->instance->globals[wl_read_u32(&t->p)];
    entry e = wl_pop(t);
    bool in_acc = e.class == CLASS_I && wl_in_acc(t, &e);
    uint32_t slot = in_acc ? 0 : wl_in_slot(t, &e);
    wl_word *w = wl_emit(t, e.class == CLASS_V ? wl_op_global_set2 : in_acc ? wl_op_global_set_A : wl_op_global_set_S, 3);
    w[1].a = (uint16_t)slot;
    w[2].p = g->value;
}

static bool plain(const translator *t, uint32_t memory) { return memory == 0 && !t->module->memories[0].bounds.is64; }

static void memory(translator *t, uint32_t op) {
    wl_meminst **memories = t->instance->memories;
    wl_word *w;
    uint32_t index, second;
    switch (op) {
    case WL_OP_MEMORY_SIZE:
        index = wl_read_u32(&t->p);
        emit_row(t, wl_op_memory_size, 0, 3, CLASS_I)[2].p = memories[index];
        break;
    case WL_OP_MEMORY_GROW:
        index = wl_read_u32(&t->p);
        emit_row(t, wl_op_memory_grow, 1, 3, CLASS_I)[2].p = memories[index];
        break;
    case WL_OP_MEMORY_FILL:
        index = wl_read_u32(&t->p);
        emit_row(t, plain(t, index) ? wl_op_memory_fill_0 : wl_op_memory_fill, 3, 3, -1)[2].p = memories[index];
        break;
    case WL_OP_MEMORY_COPY:
        index = wl_read_u32(&t->p);
        second = wl_read_u32(&t->p);
        w = emit_row(t, plain(t, index) && plain(t, second) ? wl_op_memory_copy_0 : wl_op_memory_copy, 3, 4, -1);
        w[2].p = memories[index];
        w[3].p = memories[second];
        break;
    case WL_OP_MEMORY_INIT:
        index = wl_read_u32(&t->p);
        second = wl_read_u32(&t->p);
        w = emit_row(t, wl_op_memory_init, 3, 3, -1);
        w[1].u = index;
        w[2].p = memories[second];
        break;
    default: emit_row(t, wl_op_data_drop, 0, 2, -1)[1].u = wl_read_u32(&t->p);
    }
}

static void table(translator *t, uint32_t op) {
    wl_tableinst **tables = t->instance->tables;
    uint32_t index = wl_read_u32(&t->p), second;
    wl_word *w;
    switch (op) {
    case WL_OP_TABLE_GET: emit_row(t, wl_op_table_get, 1, 3, CLASS_I)[2].p = tables[index]; break;
    case WL_OP_TABLE_SET: emit_row(t, wl_op_table_set, 2, 3, -1)[2].p = tables[index]; break;
    case WL_OP_TABLE_SIZE: emit_row(t, wl_op_table_size, 0, 3, CLASS_I)[2].p = tables[index]; break;
    case WL_OP_TABLE_GROW: emit_row(t, wl_op_table_grow, 2, 3, CLASS_I)[2].p = tables[index]; break;
    case WL_OP_TABLE_FILL: emit_row(t, wl_op_table_fill, 3, 3, -1)[2].p = tables[index]; break;
    case WL_OP_TABLE_COPY:
        second = wl_read_u32(&t->p);
        w = emit_row(t, wl_op_table_copy, 3, 4, -1);
        w[2].p = tables[index];
        w[3].p = tables[second];
        break;
    case WL_OP_TABLE_INIT:
        second = wl_read_u32(&t->p);
        w = emit_row(t, wl_op_table_init, 3, 3, -1);
        w[1].u = index;
        w[2].p = tables[second];
        break;
    default: emit_row(t, wl_op_elem_drop, 0, 2, -1)[1].u = index;
    }
}

/* ---- Aggregates ------------------------------------------------------------------------------------------------------ */

static unsigned stored_as(wl_type type, bool is_signed) {
    switch (type) {
    case WL_I8: return is_signed ? WL_ST_I8S : WL_ST_I8U;
    case WL_I16: return is_signed ? WL_ST_I16S : WL_ST_I16U;
    case WL_I32: return WL_ST_32;
    case WL_F32: return WL_ST_F32;
    case WL_F64: return WL_ST_F64;
    case WL_V128: return WL_ST_128;
    default: return WL_ST_64;
    }
}

static const wl_deftype *read_deftype(translator *t) { return t->module->types[wl_read_u32(&t->p)]; }

/* A value out of an object, with `n` operands in slots b and c. */
static wl_word *emit_get(translator *t, const wl_handler h[2], wl_type type, entry *first, entry *second) {
    uint32_t a = wl_in_slot(t, first), b = second ? wl_in_slot(t, second) : 0;
    uint8_t class = wl_class(wl_unpacked(type));
    wl_free_acc(t, class);
    wl_word *w = wl_emit(t, h[class == CLASS_V], 2);
    w[1].b = (uint16_t)a;
    w[1].c = (uint16_t)b;
    if (class == CLASS_V) {
        w[1].a = (uint16_t)first->home;
        wl_slot_result(t, class, false);
    } else {
        wl_result(t, class, h[1]);
    }
    return w;
}

static void struct_get(translator *t, uint32_t op) {
    const wl_deftype *type = read_deftype(t);
    const wl_field *field = &type->u.structure.fields[wl_read_u32(&t->p)];
    entry e = wl_pop(t);
    wl_word *w = emit_get(t, wl_struct_gets[stored_as(field->type, op == WL_OP_STRUCT_GET_S)], field->type, &e, NULL);
    w[1].u = field->offset;
}

static void struct_set(translator *t) {
    const wl_deftype *type = read_deftype(t);
    const wl_field *field = &type->u.structure.fields[wl_read_u32(&t->p)];
    entry value = wl_pop(t), e = wl_pop(t);
    uint32_t a = wl_in_slot(t, &e), b = wl_in_slot(t, &value);
    wl_word *w = wl_emit(t, wl_struct_sets[stored_as(field->type, false)], 2);
    w[1].a = (uint16_t)a;
    w[1].b = (uint16_t)b;
    w[1].u = field->offset;
}

static void array_get(translator *t, uint32_t op) {
    wl_type type = read_deftype(t)->u.array.field.type;
    entry index = wl_pop(t), e = wl_pop(t);
    (void)emit_get(t, wl_array_gets[stored_as(type, op == WL_OP_ARRAY_GET_S)], type, &e, &index);
}

static void array_set(translator *t) {
    wl_type type = read_deftype(t)->u.array.field.type;
    entry value = wl_pop(t), index = wl_pop(t), e = wl_pop(t);
    uint32_t a = wl_in_slot(t, &e), b = wl_in_slot(t, &index), c = wl_in_slot(t, &value);
    wl_word *w = wl_emit(t, wl_array_sets[stored_as(type, false)], 2);
    w[1].a = (uint16_t)a;
    w[1].b = (uint16_t)b;
    w[1].c = (uint16_t)c;
}

/* {row of operands}, type, immediate */
static void aggregate(translator *t, uint32_t op) {
    const wl_deftype *type = read_deftype(t);
    wl_handler h;
    uint32_t n, second = 0;
    int class = CLASS_I;
    switch (op) {
    case WL_OP_STRUCT_NEW: h = wl_op_struct_new, n = type->u.structure.n_fields; break;
    case WL_OP_STRUCT_NEW_DEFAULT: h = wl_op_struct_new_default, n = 0; break;
    case WL_OP_ARRAY_NEW: h = wl_op_array_new, n = 2; break;
    case WL_OP_ARRAY_NEW_DEFAULT: h = wl_op_array_new_default, n = 1; break;
    case WL_OP_ARRAY_NEW_FIXED: h = wl_op_array_new_fixed, second = n = wl_read_u32(&t->p); break;
    case WL_OP_ARRAY_NEW_DATA: h = wl_op_array_new_data, second = wl_read_u32(&t->p), n = 2; break;
    case WL_OP_ARRAY_NEW_ELEM: h = wl_op_array_new_elem, second = wl_read_u32(&t->p), n = 2; break;
    case WL_OP_ARRAY_FILL: h = wl_op_array_fill, n = 4, class = -1; break;
    case WL_OP_ARRAY_COPY: h = wl_op_array_copy, (void)wl_read_u32(&t->p), n = 5, class = -1; break;
    case WL_OP_ARRAY_INIT_DATA: h = wl_op_array_init_data, second = wl_read_u32(&t->p), n = 4, class = -1; break;
    default: h = wl_op_array_init_elem, second = wl_read_u32(&t->p), n = 4, class = -1;
    }
    wl_word *w = emit_row(t, h, n, 3, class);
    w[1].u = second;
    w[2].p = (void *)(uintptr_t)type;
}

/* A test that leaves its operand as it is. */
static wl_word *emit_check(translator *t, wl_handler h, uint32_t words) {
    entry *e = &t->stack[t->height - 1];
    if (e->where != IN_LOCAL) wl_flush(t, t->height - 1);
    uint32_t slot = e->where == IN_LOCAL ? e->slot : e->home;
    wl_word *w = wl_emit(t, h, words);
    w[1].a = (uint16_t)slot;
    return w;
}

/* ---- Vectors ---------------------------------------------------------------------------------------------------------- */

static void vector_constant(translator *t, const uint8_t lanes[16]) {
    uint64_t k[2];
    memcpy(k, lanes, 16);
    uint32_t slot = wl_hoist(t, k, 2);
    if (slot != NONE) {
        entry *e = wl_push(t, CLASS_V, IN_LOCAL);
        e->slot = slot;
        t->references[slot]++;
        return;
    }
    wl_word *w = wl_emit(t, wl_op_const2, 4);
    w[1].a = (uint16_t)wl_next_slot(t);
    memcpy(&w[2], lanes, 16);
    wl_slot_result(t, CLASS_V, false);
    t->vector = t->last;
}

static void vector(translator *t, uint32_t op) {
    const wl_op_row *row = &wl_op_rows[op];
    wl_memarg m = {0, 0, 0};
    uint8_t lanes[16] = {0}, lane = 0;
    uint32_t words = 2;
    bool has_memory = row->immediate == WL_IMM_MEM || row->immediate == WL_IMM_MEM_LANE;
    if (has_memory) m = wl_read_memarg(&t->p), words = 4;
    if (row->immediate == WL_IMM_LANE || row->immediate == WL_IMM_MEM_LANE) lane = *t->p++;
    if (row->immediate == WL_IMM_LANES || row->immediate == WL_IMM_V128) {
        memcpy(lanes, t->p, 16);
        t->p += 16;
        words = 4;
    }
    if (op == WL_OP_V128_CONST) {
        vector_constant(t, lanes);
        return;
    }
    entry e[3];
    uint32_t slots[3] = {0, 0, 0}, n = row->n_params, home = n ? t->stack[t->height - n].home : wl_next_slot(t);
    for (uint32_t i = n; i-- > 0;) e[i] = wl_pop(t);
    for (uint32_t i = 0; i < n; i++) slots[i] = wl_in_slot(t, &e[i]);
    int class = row->result ? wl_class(row->result) : -1;
    if (class >= 0 && class != CLASS_V) wl_free_acc(t, (uint8_t)class);
    if (has_memory && plain(t, m.memory) && (op == WL_OP_V128_LOAD || op == WL_OP_V128_STORE)) {
        wl_word *w = wl_emit(t, op == WL_OP_V128_LOAD ? wl_op_v128_load : wl_op_v128_store, 2);
        w[1].a = (uint16_t)(op == WL_OP_V128_LOAD ? home : slots[1]);
        w[1].b = (uint16_t)slots[0];
        w[1].u = (uint32_t)m.offset;
    } else {
        wl_handler h = op == WL_OP_I8X16_SHUFFLE ? wl_shuffle() : op == WL_OP_I8X16_SWIZZLE ? wl_swizzle() : wl_vector[op - WL_OP_FD];
        wl_word *w = wl_emit(t, h, words);
        w[1].a = (uint16_t)home;
        w[1].b = (uint16_t)slots[0];
        w[1].c = (uint16_t)slots[1];
        w[1].d = (uint16_t)slots[2];
        if (row->immediate == WL_IMM_LANE || row->immediate == WL_IMM_MEM_LANE) w[1].d = lane;
        if (has_memory) {
            w[2].p = t->instance->memories[m.memory];
            w[3].u64 = m.offset;
        } else if (words == 4) {
            memcpy(&w[2], lanes, 16);
        }
    }
    if (class >= 0) wl_slot_result(t, (uint8_t)class, class != CLASS_V);
    if (class == CLASS_V) t->vector = t->last;
}

/* ---- Atomic instructions ------------------------------------------------------------------------------------------------ */

static void atomic(translator *t, uint32_t op) {
    const wl_op_row *row = &wl_op_rows[op];
    if (op == WL_OP_ATOMIC_FENCE) {
        t->p++;
        return;
    }
    wl_memarg m = wl_read_memarg(&t->p);
    wl_handler h = op == WL_OP_MEMORY_ATOMIC_NOTIFY ? wl_op_atomic_notify
                   : op < WL_OP_I32_ATOMIC_LOAD     ? wl_atomic_waits[op == WL_OP_MEMORY_ATOMIC_WAIT64]
                                                    : wl_atomics[(op - WL_OP_I32_ATOMIC_LOAD) / 7][row->argument];
    wl_word *w = emit_row(t, h, row->n_params, 4, row->result ? CLASS_I : -1);
    w[2].p = t->instance->memories[m.memory];
    w[3].u64 = m.offset;
}

void wl_translate_special(translator *t, uint32_t op) {
    if (op >= WL_OP_FE) {
        atomic(t, op);
        return;
    }
    if (op >= WL_OP_FD) {
        vector(t, op);
        return;
    }
    uint32_t heap;
    switch (op) {
    case WL_OP_GLOBAL_GET: global_get(t); break;
    case WL_OP_GLOBAL_SET: global_set(t); break;
    case WL_OP_MEMORY_SIZE: case WL_OP_MEMORY_GROW: case WL_OP_MEMORY_FILL: case WL_OP_MEMORY_COPY:
    case WL_OP_MEMORY_INIT: case WL_OP_DATA_DROP: memory(t, op); break;
    case WL_OP_TABLE_GET: case WL_OP_TABLE_SET: case WL_OP_TABLE_SIZE: case WL_OP_TABLE_GROW: case WL_OP_TABLE_FILL:
    case WL_OP_TABLE_COPY: case WL_OP_TABLE_INIT: case WL_OP_ELEM_DROP: table(t, op); break;
    case WL_OP_REF_AS_NON_NULL: (void)emit_check(t, wl_op_as_non_null, 2); break;
    case WL_OP_REF_CAST: case WL_OP_REF_CAST_NULL:
        heap = wl_read_heap(t->module, &t->p);
        emit_check(t, wl_op_ref_cast, 3)[2].u64 = wl_ref(op == WL_OP_REF_CAST_NULL, heap);
        break;
    case WL_OP_REF_TEST: case WL_OP_REF_TEST_NULL:
        heap = wl_read_heap(t->module, &t->p);
        emit_row(t, wl_op_ref_test, 1, 3, CLASS_I)[2].u64 = wl_ref(op == WL_OP_REF_TEST_NULL, heap);
        break;
    case WL_OP_REF_I31: (void)emit_row(t, wl_op_ref_i31, 1, 2, CLASS_I); break;
    case WL_OP_I31_GET_S: (void)emit_row(t, wl_op_i31_get_s, 1, 2, CLASS_I); break;
    case WL_OP_I31_GET_U: (void)emit_row(t, wl_op_i31_get_u, 1, 2, CLASS_I); break;
    case WL_OP_ANY_CONVERT_EXTERN: case WL_OP_EXTERN_CONVERT_ANY: break; /* represented alike */
    case WL_OP_STRUCT_GET: case WL_OP_STRUCT_GET_S: case WL_OP_STRUCT_GET_U: struct_get(t, op); break;
    case WL_OP_STRUCT_SET: struct_set(t); break;
    case WL_OP_ARRAY_GET: case WL_OP_ARRAY_GET_S: case WL_OP_ARRAY_GET_U: array_get(t, op); break;
    case WL_OP_ARRAY_SET: array_set(t); break;
    case WL_OP_ARRAY_LEN: (void)emit_row(t, wl_op_array_len, 1, 2, CLASS_I); break;
    default: aggregate(t, op);
    }
}
