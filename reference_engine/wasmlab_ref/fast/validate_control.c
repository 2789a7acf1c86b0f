/* Blocks, branches, calls and exceptions. */
#include <string.h>

#include "validate.h"

static const wl_type *results_of(const wl_frame *f) { return f->results ? f->results : &f->single; }

static bool grow_frames(wl_validator *v) {
    wl_buffer *b = &v->l->frames;
    size_t used = v->n_frames * sizeof(wl_frame);
    if (used + sizeof(wl_frame) > b->capacity) {
        if (!wl_buffer_grow(b, used, used + sizeof(wl_frame))) return wl_no_memory(v->l);
        v->frames = b->data;
        v->frame = v->frames + v->n_frames - 1;
    }
    return true;
}

/* Open a block whose parameters have been popped. */
static bool enter(wl_validator *v, wl_frame frame, uint32_t op) {
    WL_TRY(grow_frames(v));
    frame.op = (uint16_t)op;
    frame.height = (uint32_t)(v->top - v->bottom);
    frame.inits = v->n_inits;
    v->frame = &v->frames[v->n_frames++];
    *v->frame = frame;
    v->base = v->top;
    if (v->n_frames > v->max_depth) v->max_depth = v->n_frames;
    return frame.n_params == 0 || wl_push_types(v, frame.params, frame.n_params);
}

/* Check that the innermost block ends with exactly its results, and close it. */
static bool leave(wl_validator *v, wl_frame *closed) {
    wl_frame *f = v->frame;
    WL_TRY(wl_pop_types(v, results_of(f), f->n_results));
    if (v->top != v->base)
        return wl_wrong(v, "type mismatch: %u operands remain at the end of the block",
                        (unsigned)(v->top - v->base));
    wl_forget_inits(v, f->inits);
    *closed = *f;
    if (--v->n_frames) {
        v->frame--;
        v->base = v->bottom + v->frame->height;
    }
    return true;
}

static bool get_block_type(wl_validator *v, wl_frame *f) {
    wl_reader *r = &v->r;
    const uint8_t *at = r->p;
    int64_t index;
    memset(f, 0, sizeof *f);
    if (at < r->end && *at == 0x40) return wl_get_bytes(r, 1);
    if (at < r->end && wl_is_type_byte(*at)) {
        f->n_results = 1;
        return wl_get_type(r, &f->single) && !wl_rejected(v->l);
    }
    WL_TRY(wl_get_signed(r, 33, &index));
    if (index < 0) return wl_malformed(v->l, at, "malformed block type");
    if (index >= (int64_t)v->m->n_types) return wl_wrong(v, "unknown type %u", (unsigned)index);
    const wl_deftype *t = v->m->types[index];
    if (t->kind != WL_FUNC) return wl_wrong(v, "type mismatch: non-function type %u", (unsigned)index);
    if (v->gated) wl_need_feature(v->l, at, WL_FEATURE_MULTI_VALUE);
    f->n_params = t->u.func.n_params;
    f->params = t->u.func.params;
    f->n_results = t->u.func.n_results;
    f->results = t->u.func.results;
    return true;
}

static bool block(wl_validator *v, uint32_t op) {
    wl_frame f;
    WL_TRY(get_block_type(v, &f));
    if (op == WL_OP_IF) WL_TRY(wl_pop(v, WL_I32));
    return (f.n_params == 0 || wl_pop_types(v, f.params, f.n_params)) && enter(v, f, op);
}

static bool else_(wl_validator *v) {
    wl_frame f;
    if (v->frame->op != WL_OP_IF) return wl_malformed(v->l, v->at, "END opcode expected");
    WL_TRY(leave(v, &f));
    f.unreachable = false;
    return enter(v, f, WL_OP_ELSE);
}

static bool end(wl_validator *v) {
    wl_frame f;
    WL_TRY(leave(v, &f));
    if (f.op == WL_OP_IF) { /* the missing branch yields its parameters */
        bool same = f.n_params == f.n_results;
        for (uint32_t i = 0; same && i < f.n_params; i++)
            same = wl_type_matches(v->engine, f.params[i], results_of(&f)[i]);
        if (!same) return wl_wrong(v, "type mismatch: if without else must leave its parameters as its results");
    }
    if (v->n_frames == 0) return true;
    if (f.n_results == 1) {
        wl_push(v, *results_of(&f));
        return true;
    }
    return wl_push_types(v, results_of(&f), f.n_results);
}

/* ---- Branches -------------------------------------------------------------------------------------------------- */

bool wl_get_label(wl_validator *v, wl_label *label) {
    uint32_t index;
    WL_TRY(wl_get_u32(&v->r, &index));
    if (index >= v->n_frames) return wl_wrong(v, "unknown label %u", (unsigned)index);
    const wl_frame *f = &v->frames[v->n_frames - 1 - index];
    *label = f->op == WL_OP_LOOP ? (wl_label){f->params, f->n_params} : (wl_label){results_of(f), f->n_results};
    return true;
}

/* Pop what the label takes, all but the last `but`, and push it again. */
static bool pass(wl_validator *v, wl_label label, uint32_t but) {
    uint32_t n = label.n - but;
    return n == 0 || (wl_pop_types(v, label.types, n) && wl_push_types(v, label.types, n));
}

static bool br(wl_validator *v) {
    wl_label label;
    WL_TRY(wl_get_label(v, &label));
    WL_TRY(wl_pop_types(v, label.types, label.n));
    wl_unreachable(v);
    return true;
}

static bool br_if(wl_validator *v) {
    wl_label label;
    return wl_get_label(v, &label) && wl_pop(v, WL_I32) && pass(v, label, 0);
}

/* Whether the operands on the stack, which stay there, are what a label takes. */
static bool check_operands(wl_validator *v, wl_label label) {
    size_t there = (size_t)(v->top - v->base), n = label.n < there ? label.n : there;
    if (label.n > there && !v->frame->unreachable)
        return wl_mismatch(v, label.types[label.n - 1 - there], false, 0);
    for (size_t i = 1; i <= n; i++) {
        wl_type have = *(v->top - i), expected = label.types[label.n - i];
        if (!wl_type_matches(v->engine, have, expected)) return wl_mismatch(v, expected, true, have);
    }
    return true;
}

static bool br_table(wl_validator *v) {
    uint32_t n, arity = 0;
    wl_label label;
    WL_TRY(wl_get_count(&v->r, &n));
    WL_TRY(wl_pop(v, WL_I32));
    const wl_type *checked = NULL;
    for (uint32_t i = 0; i <= n; i++) {
        WL_TRY(wl_get_label(v, &label));
        if (i == 0) arity = label.n;
        if (label.n != arity)
            return wl_wrong(v, "type mismatch: labels of br_table take %u and %u operands", (unsigned)arity,
                            (unsigned)label.n);
        if (arity == 0 || label.types == checked) continue;
        WL_TRY(wl_charge(v, arity) && check_operands(v, label));
        checked = label.types;
    }
    wl_unreachable(v);
    return true;
}

static bool br_on_null(wl_validator *v) {
    wl_label label;
    wl_type t;
    WL_TRY(wl_get_label(v, &label) && wl_pop_ref(v, &t) && pass(v, label, 0));
    wl_push(v, wl_non_null(t));
    return true;
}

/* A label that takes a reference last. */
static bool get_ref_label(wl_validator *v, wl_label *label) {
    WL_TRY(wl_get_label(v, label));
    if (label->n && wl_is_ref(label->types[label->n - 1])) return true;
    return wl_wrong(v, "type mismatch: instruction requires a reference for the label");
}

static bool br_on_non_null(wl_validator *v) {
    wl_label label;
    wl_type t;
    WL_TRY(get_ref_label(v, &label) && wl_pop_ref(v, &t));
    wl_type last = label.types[label.n - 1];
    if (!wl_type_matches(v->engine, wl_non_null(t), last)) return wl_mismatch(v, last, true, t);
    return pass(v, label, 1);
}

static bool br_on_cast(wl_validator *v, bool fail) {
    uint32_t flags, source_heap, target_heap;
    wl_label label;
    WL_TRY(wl_get_byte(&v->r, &flags));
    if (flags > 3) return wl_malformed(v->l, v->r.p - 1, "malformed cast flags");
    WL_TRY(get_ref_label(v, &label) && wl_get_heap(&v->r, &source_heap) && wl_get_heap(&v->r, &target_heap));
    if (wl_rejected(v->l)) return false;
    wl_type source = wl_ref(flags & 1, source_heap), target = wl_ref((flags & 2) != 0, target_heap);
    wl_type rest = wl_is_nullable(target) ? wl_non_null(source) : source;
    if (!wl_type_matches(v->engine, target, source)) return wl_wrong(v, "type mismatch: cast to no sub type");
    wl_type taken = fail ? rest : target, last = label.types[label.n - 1];
    if (!wl_type_matches(v->engine, taken, last)) return wl_mismatch(v, last, true, taken);
    WL_TRY(wl_pop(v, source) && pass(v, label, 1));
    wl_push(v, fail ? target : rest);
    return true;
}

/* ---- Calls ----------------------------------------------------------------------------------------------------- */

static bool call(wl_validator *v, const wl_deftype *t) {
    WL_TRY(wl_pop_types(v, t->u.func.params, t->u.func.n_params));
    if (t->u.func.n_results == 1) {
        wl_push(v, *t->u.func.results);
        return true;
    }
    return wl_push_types(v, t->u.func.results, t->u.func.n_results);
}

static bool tail_call(wl_validator *v, const wl_deftype *t) {
    bool same = t->u.func.n_results == v->n_results;
    WL_TRY(wl_charge(v, v->n_results));
    for (uint32_t i = 0; same && i < v->n_results; i++)
        same = wl_type_matches(v->engine, t->u.func.results[i], v->results[i]);
    if (!same) return wl_wrong(v, "type mismatch: results of the callee are not those of the function");
    WL_TRY(wl_pop_types(v, t->u.func.params, t->u.func.n_params));
    wl_unreachable(v);
    return true;
}

static bool call_direct(wl_validator *v, bool tail) {
    uint32_t index;
    WL_TRY(wl_get_function(v, &index));
    const wl_deftype *t = v->m->funcs[index];
    return tail ? tail_call(v, t) : call(v, t);
}

static bool call_ref(wl_validator *v, bool tail) {
    const wl_deftype *t;
    WL_TRY(wl_get_typed(v, WL_FUNC, &t));
    WL_TRY(wl_pop(v, wl_ref(true, t->id + WL_FIRST_DEFINED)));
    return tail ? tail_call(v, t) : call(v, t);
}

static bool call_indirect(wl_validator *v, bool tail) {
    const wl_deftype *t;
    const wl_table *table;
    WL_TRY(wl_get_typed(v, WL_FUNC, &t) && wl_get_table(v, &table));
    if (!wl_type_matches(v->engine, table->type, wl_ref(true, WL_HEAP_FUNC)))
        return wl_wrong(v, "type mismatch: a table of functions is required");
    WL_TRY(wl_pop(v, wl_address(&table->bounds)));
    return tail ? tail_call(v, t) : call(v, t);
}

static bool return_(wl_validator *v) {
    WL_TRY(wl_pop_types(v, v->results, v->n_results));
    wl_unreachable(v);
    return true;
}

/* ---- Exceptions ------------------------------------------------------------------------------------------------ */

static bool get_tag(wl_validator *v, const wl_deftype **type) {
    uint32_t index;
    WL_TRY(wl_get_u32(&v->r, &index));
    if (index >= v->m->n_tags) return wl_wrong(v, "unknown tag %u", (unsigned)index);
    *type = v->m->tags[index];
    return true;
}

static bool throw_(wl_validator *v) {
    const wl_deftype *t;
    WL_TRY(get_tag(v, &t) && wl_pop_types(v, t->u.func.params, t->u.func.n_params));
    wl_unreachable(v);
    return true;
}

static bool get_catch(wl_validator *v) {
    uint32_t kind, n = 0;
    const wl_deftype *tag = NULL;
    wl_label label;
    WL_TRY(wl_get_byte(&v->r, &kind));
    if (kind > 3) return wl_malformed(v->l, v->r.p - 1, "malformed catch clause");
    if (kind < 2) {
        WL_TRY(get_tag(v, &tag));
        n = tag->u.func.n_params;
    }
    WL_TRY(wl_get_label(v, &label) && wl_charge(v, n));
    bool with_ref = kind & 1, same = label.n == n + with_ref;
    for (uint32_t i = 0; same && i < n; i++)
        same = wl_type_matches(v->engine, tag->u.func.params[i], label.types[i]);
    if (same && with_ref) same = wl_type_matches(v->engine, wl_ref(false, WL_HEAP_EXN), label.types[n]);
    return same || wl_wrong(v, "type mismatch: catch clause gives not what its label requires");
}

static bool try_table(wl_validator *v) {
    wl_frame f;
    uint32_t n;
    WL_TRY(get_block_type(v, &f) && wl_get_count(&v->r, &n));
    for (; n; n--) WL_TRY(get_catch(v)); /* labels of the surrounding blocks */
    v->has_handlers = true;
    return (f.n_params == 0 || wl_pop_types(v, f.params, f.n_params)) && enter(v, f, WL_OP_TRY_TABLE);
}

/* ---- Parametric instructions ----------------------------------------------------------------------------------- */

static bool select_(wl_validator *v) {
    wl_type a, b;
    WL_TRY(wl_pop(v, WL_I32) && wl_pop_any(v, &a) && wl_pop_any(v, &b));
    if (wl_is_ref(a) || wl_is_ref(b) || (a != b && a != WL_BOT && b != WL_BOT))
        return wl_wrong(v, "type mismatch: select requires two equal number or vector types");
    wl_push(v, a == WL_BOT ? b : a);
    return true;
}

static bool select_typed(wl_validator *v) {
    uint32_t n;
    wl_type t;
    WL_TRY(wl_get_count(&v->r, &n));
    if (n != 1) return wl_wrong(v, "invalid result arity");
    WL_TRY(wl_get_type(&v->r, &t));
    if (wl_rejected(v->l)) return false;
    WL_TRY(wl_pop(v, WL_I32) && wl_pop(v, t) && wl_pop(v, t));
    wl_push(v, t);
    return true;
}

bool wl_validate_control(wl_validator *v, uint32_t op) {
    wl_type t;
    switch (op) {
    case WL_OP_UNREACHABLE: wl_unreachable(v); return true;
    case WL_OP_LOOP: v->has_loops = true; /* fall through */
    case WL_OP_BLOCK:
    case WL_OP_IF: return block(v, op);
    case WL_OP_ELSE: return else_(v);
    case WL_OP_END: return end(v);
    case WL_OP_BR: return br(v);
    case WL_OP_BR_IF: return br_if(v);
    case WL_OP_BR_TABLE: return br_table(v);
    case WL_OP_BR_ON_NULL: return br_on_null(v);
    case WL_OP_BR_ON_NON_NULL: return br_on_non_null(v);
    case WL_OP_BR_ON_CAST: return br_on_cast(v, false);
    case WL_OP_BR_ON_CAST_FAIL: return br_on_cast(v, true);
    case WL_OP_RETURN: return return_(v);
    case WL_OP_CALL: return call_direct(v, false);
    case WL_OP_CALL_REF: return call_ref(v, false);
    case WL_OP_CALL_INDIRECT: return call_indirect(v, false);
    case WL_OP_RETURN_CALL: return call_direct(v, true);
    case WL_OP_RETURN_CALL_REF: return call_ref(v, true);
    case WL_OP_RETURN_CALL_INDIRECT: return call_indirect(v, true);
    case WL_OP_THROW: return throw_(v);
    case WL_OP_THROW_REF:
        WL_TRY(wl_pop(v, wl_ref(true, WL_HEAP_EXN)));
        wl_unreachable(v);
        return true;
    case WL_OP_TRY_TABLE: return try_table(v);
    case WL_OP_DROP: return wl_pop_any(v, &t);
    case WL_OP_SELECT: return select_(v);
    case WL_OP_SELECT_T: return select_typed(v);
    default: return wl_wrong(v, "instruction without a rule");
    }
}
