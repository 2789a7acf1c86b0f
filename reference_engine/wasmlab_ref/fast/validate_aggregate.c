/* References, tables and globals; structures and arrays. */
#include "validate.h"

static wl_type ref_of(const wl_deftype *t, bool nullable) { return wl_ref(nullable, t->id + WL_FIRST_DEFINED); }

/* ---- References ------------------------------------------------------------------------------------------------ */

/* The largest type of the hierarchy that a heap type belongs to. */
static uint32_t top_of(const wl_engine *e, uint32_t heap) {
    static const uint8_t tops[] = {WL_HEAP_ANY, WL_HEAP_FUNC, WL_HEAP_EXTERN, WL_HEAP_EXN};
    uint32_t i = 0;
    while (i < 3 && !wl_heap_matches(e, heap, tops[i])) i++;
    return tops[i];
}

static bool get_global(wl_validator *v, bool set) {
    uint32_t index, n = v->constant ? v->l->n_const_globals : v->m->n_globals;
    WL_TRY(wl_get_u32(&v->r, &index));
    if (index >= n) return wl_wrong(v, "unknown global %u", (unsigned)index);
    const wl_global *g = &v->m->globals[index];
    if (set) {
        if (!g->mutable_) return wl_wrong(v, "immutable global");
        return wl_pop(v, g->type);
    }
    if (v->constant && g->mutable_) return wl_wrong(v, "constant expression required");
    if (v->constant && index >= v->m->n_imported_globals) wl_need_feature(v->l, v->at, WL_FEATURE_GC);
    wl_push(v, g->type);
    return true;
}

static bool ref_func(wl_validator *v) {
    uint32_t index;
    WL_TRY(wl_get_function(v, &index));
    if (v->constant) {
        WL_TRY(wl_declare(v->l, index));
    } else if (!v->l->declared || !(v->l->declared[index >> 3] >> (index & 7) & 1)) {
        return wl_wrong(v, "undeclared function reference %u", (unsigned)index);
    }
    wl_push(v, ref_of(v->m->funcs[index], false));
    return true;
}

static bool with_heap(wl_validator *v, uint32_t op) {
    uint32_t heap;
    WL_TRY(wl_get_heap(&v->r, &heap));
    if (wl_rejected(v->l)) return false;
    if (op == WL_OP_REF_NULL) {
        wl_push(v, wl_ref(true, heap));
        return true;
    }
    WL_TRY(wl_pop(v, wl_ref(true, top_of(v->engine, heap))));
    bool test = op == WL_OP_REF_TEST || op == WL_OP_REF_TEST_NULL;
    wl_push(v, test ? (wl_type)WL_I32 : wl_ref(op == WL_OP_REF_CAST_NULL, heap));
    return true;
}

static bool convert(wl_validator *v, uint32_t from, uint32_t to) {
    wl_type t;
    WL_TRY(wl_pop_ref(v, &t));
    if (t == WL_BOT) t = wl_ref(false, WL_HEAP_BOT);
    if (!wl_heap_matches(v->engine, wl_heap(t), from)) return wl_mismatch(v, wl_ref(true, from), true, t);
    wl_push(v, wl_ref(wl_is_nullable(t), to));
    return true;
}

/* ---- Tables, and copying between memories ---------------------------------------------------------------------- */

static bool with_table(wl_validator *v, uint32_t op) {
    const wl_table *t;
    WL_TRY(wl_get_table(v, &t));
    wl_type address = wl_address(&t->bounds);
    switch (op) {
    case WL_OP_TABLE_GET: WL_TRY(wl_pop(v, address)); break;
    case WL_OP_TABLE_SET: return wl_pop(v, t->type) && wl_pop(v, address);
    case WL_OP_TABLE_GROW: WL_TRY(wl_pop(v, address) && wl_pop(v, t->type)); break;
    case WL_OP_TABLE_FILL: return wl_pop(v, address) && wl_pop(v, t->type) && wl_pop(v, address);
    default: break;
    }
    wl_push(v, op == WL_OP_TABLE_GET ? t->type : address);
    return true;
}

static bool copy(wl_validator *v, wl_type to, wl_type from) {
    wl_type length = to == WL_I64 && from == WL_I64 ? WL_I64 : WL_I32;
    return wl_pop(v, length) && wl_pop(v, from) && wl_pop(v, to);
}

static bool table_copy(wl_validator *v) {
    const wl_table *to, *from;
    WL_TRY(wl_get_table(v, &to) && wl_get_table(v, &from));
    if (!wl_type_matches(v->engine, from->type, to->type))
        return wl_wrong(v, "type mismatch: elements of the tables do not match");
    return copy(v, wl_address(&to->bounds), wl_address(&from->bounds));
}

static bool memory_copy(wl_validator *v) {
    wl_type to, from;
    return wl_get_memory(v, &to) && wl_get_memory(v, &from) && copy(v, to, from);
}

static bool table_init(wl_validator *v) {
    uint32_t index;
    const wl_table *table;
    WL_TRY(wl_get_u32(&v->r, &index) && wl_get_table(v, &table));
    if (index >= v->m->n_elems) return wl_wrong(v, "unknown elem segment %u", (unsigned)index);
    const wl_elem *elem = &v->m->elems[index];
    if (!wl_type_matches(v->engine, elem->type, table->type))
        return wl_wrong(v, "type mismatch: element segment does not match the table");
    return wl_pop(v, WL_I32) && wl_pop(v, WL_I32) && wl_pop(v, wl_address(&table->bounds));
}

bool wl_validate_reference(wl_validator *v, uint32_t op) {
    wl_type t;
    switch (op) {
    case WL_OP_GLOBAL_GET: return get_global(v, false);
    case WL_OP_GLOBAL_SET: return get_global(v, true);
    case WL_OP_REF_FUNC: return ref_func(v);
    case WL_OP_REF_IS_NULL:
        WL_TRY(wl_pop_ref(v, &t));
        wl_push(v, WL_I32);
        return true;
    case WL_OP_REF_AS_NON_NULL:
        WL_TRY(wl_pop_ref(v, &t));
        wl_push(v, wl_non_null(t));
        return true;
    case WL_OP_ANY_CONVERT_EXTERN: return convert(v, WL_HEAP_EXTERN, WL_HEAP_ANY);
    case WL_OP_EXTERN_CONVERT_ANY: return convert(v, WL_HEAP_ANY, WL_HEAP_EXTERN);
    case WL_OP_MEMORY_COPY: return memory_copy(v);
    case WL_OP_TABLE_COPY: return table_copy(v);
    case WL_OP_TABLE_INIT: return table_init(v);
    case WL_OP_TABLE_GET:
    case WL_OP_TABLE_SET:
    case WL_OP_TABLE_GROW:
    case WL_OP_TABLE_SIZE:
    case WL_OP_TABLE_FILL: return with_table(v, op);
    default: return with_heap(v, op);
    }
}

/* ---- Structures ------------------------------------------------------------------------------------------------ */

static bool struct_new(wl_validator *v, const wl_deftype *t, bool with_default) {
    uint32_t n = t->u.structure.n_fields;
    const wl_field *fields = t->u.structure.fields;
    WL_TRY(wl_charge(v, n));
    while (n--) {
        if (!with_default)
            WL_TRY(wl_pop(v, wl_unpacked(fields[n].type)));
        else if (!wl_is_defaultable(fields[n].type))
            return wl_wrong(v, "type mismatch: not all of the fields are defaultable");
    }
    wl_push(v, ref_of(t, false));
    return true;
}

/* Reading with a sign is for packed types, and only so. */
static bool check_sign(wl_validator *v, wl_type storage, bool sign) {
    if (wl_is_packed(storage) == sign) return true;
    return wl_wrong(v, "type mismatch: %s", sign ? "field is not packed" : "field is packed");
}

static bool struct_field(wl_validator *v, uint32_t op) {
    const wl_deftype *t;
    uint32_t index;
    WL_TRY(wl_get_typed(v, WL_STRUCT, &t) && wl_get_u32(&v->r, &index));
    if (index >= t->u.structure.n_fields) return wl_wrong(v, "unknown field %u", (unsigned)index);
    wl_field field = t->u.structure.fields[index];
    if (op == WL_OP_STRUCT_SET) {
        if (!field.mutable_) return wl_wrong(v, "immutable field");
        return wl_pop(v, wl_unpacked(field.type)) && wl_pop(v, ref_of(t, true));
    }
    WL_TRY(check_sign(v, field.type, op != WL_OP_STRUCT_GET) && wl_pop(v, ref_of(t, true)));
    wl_push(v, wl_unpacked(field.type));
    return true;
}

/* ---- Arrays ---------------------------------------------------------------------------------------------------- */

static bool need_mutable(wl_validator *v, const wl_deftype *array) {
    return array->u.array.field.mutable_ || wl_wrong(v, "immutable array");
}

static bool need_numeric(wl_validator *v, const wl_deftype *array) {
    return !wl_is_ref(array->u.array.field.type) || wl_wrong(v, "array type is not numeric or vector");
}

static bool need_elements(wl_validator *v, const wl_elem *elem, const wl_deftype *array) {
    if (wl_type_matches(v->engine, elem->type, array->u.array.field.type)) return true;
    return wl_wrong(v, "type mismatch: element segment does not match the array");
}

static bool pop_i32s(wl_validator *v, int n) {
    while (n--) WL_TRY(wl_pop(v, WL_I32));
    return true;
}

static bool array_new_fixed(wl_validator *v) {
    const wl_deftype *t;
    uint32_t n;
    WL_TRY(wl_get_typed(v, WL_ARRAY, &t) && wl_get_u32(&v->r, &n));
    wl_type element = wl_unpacked(t->u.array.field.type);
    size_t there = (size_t)(v->top - v->base);
    if (n > there && !v->frame->unreachable)
        return wl_wrong(v, "type mismatch: instruction requires %u operands but stack has %u", (unsigned)n,
                        (unsigned)there);
    for (size_t i = n < there ? n : there; i; i--) WL_TRY(wl_pop(v, element));
    wl_push(v, ref_of(t, false));
    return true;
}

static bool array_new(wl_validator *v, const wl_deftype *t, bool with_default) {
    wl_type storage = t->u.array.field.type;
    if (with_default && !wl_is_defaultable(storage))
        return wl_wrong(v, "type mismatch: element type is not defaultable");
    WL_TRY(pop_i32s(v, 1) && (with_default || wl_pop(v, wl_unpacked(storage))));
    wl_push(v, ref_of(t, false));
    return true;
}

static bool array_copy(wl_validator *v) {
    const wl_deftype *to, *from;
    WL_TRY(wl_get_typed(v, WL_ARRAY, &to) && wl_get_typed(v, WL_ARRAY, &from) && need_mutable(v, to));
    if (!wl_type_matches(v->engine, from->u.array.field.type, to->u.array.field.type))
        return wl_wrong(v, "array types do not match");
    return pop_i32s(v, 2) && wl_pop(v, ref_of(from, true)) && pop_i32s(v, 1) && wl_pop(v, ref_of(to, true));
}

static bool from_segment(wl_validator *v, uint32_t op) {
    const wl_deftype *t;
    const wl_elem *elem;
    bool data = op == WL_OP_ARRAY_NEW_DATA || op == WL_OP_ARRAY_INIT_DATA;
    bool fresh = op == WL_OP_ARRAY_NEW_DATA || op == WL_OP_ARRAY_NEW_ELEM;
    WL_TRY(wl_get_typed(v, WL_ARRAY, &t) && (fresh || need_mutable(v, t)));
    WL_TRY(data ? wl_get_data(v) && need_numeric(v, t) : wl_get_elem(v, &elem) && need_elements(v, elem, t));
    if (!fresh) return pop_i32s(v, 3) && wl_pop(v, ref_of(t, true));
    WL_TRY(pop_i32s(v, 2));
    wl_push(v, ref_of(t, false));
    return true;
}

static bool array_access(wl_validator *v, uint32_t op, const wl_deftype *t) {
    wl_type storage = t->u.array.field.type;
    switch (op) {
    case WL_OP_ARRAY_SET:
        return need_mutable(v, t) && wl_pop(v, wl_unpacked(storage)) && pop_i32s(v, 1) && wl_pop(v, ref_of(t, true));
    case WL_OP_ARRAY_FILL:
        return need_mutable(v, t) && pop_i32s(v, 1) && wl_pop(v, wl_unpacked(storage)) && pop_i32s(v, 1) &&
               wl_pop(v, ref_of(t, true));
    default:
        WL_TRY(check_sign(v, storage, op != WL_OP_ARRAY_GET) && pop_i32s(v, 1) && wl_pop(v, ref_of(t, true)));
        wl_push(v, wl_unpacked(storage));
        return true;
    }
}

bool wl_validate_aggregate(wl_validator *v, uint32_t op) {
    const wl_deftype *t;
    switch (op) {
    case WL_OP_STRUCT_NEW: return wl_get_typed(v, WL_STRUCT, &t) && struct_new(v, t, false);
    case WL_OP_STRUCT_NEW_DEFAULT: return wl_get_typed(v, WL_STRUCT, &t) && struct_new(v, t, true);
    case WL_OP_STRUCT_GET:
    case WL_OP_STRUCT_GET_S:
    case WL_OP_STRUCT_GET_U:
    case WL_OP_STRUCT_SET: return struct_field(v, op);
    case WL_OP_ARRAY_NEW: return wl_get_typed(v, WL_ARRAY, &t) && array_new(v, t, false);
    case WL_OP_ARRAY_NEW_DEFAULT: return wl_get_typed(v, WL_ARRAY, &t) && array_new(v, t, true);
    case WL_OP_ARRAY_NEW_FIXED: return array_new_fixed(v);
    case WL_OP_ARRAY_COPY: return array_copy(v);
    case WL_OP_ARRAY_NEW_DATA:
    case WL_OP_ARRAY_NEW_ELEM:
    case WL_OP_ARRAY_INIT_DATA:
    case WL_OP_ARRAY_INIT_ELEM: return from_segment(v, op);
    default: return wl_get_typed(v, WL_ARRAY, &t) && array_access(v, op, t);
    }
}
