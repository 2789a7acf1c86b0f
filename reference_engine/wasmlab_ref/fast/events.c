/* Notes of what runs: see events.h. */
#include "events.h"

#ifdef WASMLAB_EVENTS
#include <stdlib.h>

#include "gc.h"
#include "translate.h"

enum { OPERANDS = 5 };
enum { EDGE_NESTED = 1, EDGE_CROSSES = 2, EDGE_LEAVES = 4 }; /* what a branch passes on its way */

typedef struct note {
    struct note *next;
    wl_funcinst *func;
    uint32_t op, offset;
    uint32_t n;           /* operands that are looked at; labels of br_table but one */
    bool handled;         /* within a try_table of its function */
    uint8_t edge;
    uint8_t access;       /* 3 reads, 4 writes */
    uint32_t bytes;       /* accessed */
    uint64_t k;           /* offset of an access; wl_type of a test */
    const void *p, *type; /* call_indirect: table and type; call: function */
    uint8_t edges[];      /* br_table */
} note;

struct wl_events {
    wl_seen seen;
    note *notes;
    const note *now; /* of the instruction that runs */
    uint8_t *fp;
    bool pending;    /* how it ends is still to be seen */
    uint64_t operand[OPERANDS]; /* the topmost first */
    wl_event *trace;
    size_t n, most;
};

bool wl_events_new(wl_store *x) { return (x->events = calloc(1, sizeof *x->events)) != NULL; }

void wl_events_free(wl_store *x) {
    if (!x->events) return;
    for (note *n = x->events->notes, *next; n; n = next) {
        next = n->next;
        free(n);
    }
    free(x->events->trace);
    free(x->events);
}

const wl_seen *wl_store_seen(wl_store *x) { return &x->events->seen; }
void wl_store_clear(wl_store *x) {
    memset(&x->events->seen, 0, sizeof x->events->seen);
    x->events->n = 0;
}
void wl_store_trace(wl_store *x, size_t most) {
    wl_event *trace = most && most < SIZE_MAX / sizeof *trace ? malloc(most * sizeof *trace) : NULL;
    free(x->events->trace);
    x->events->trace = trace;
    x->events->n = 0;
    x->events->most = trace ? most : 0;
}
const wl_event *wl_store_events(wl_store *x, size_t *n) {
    *n = x->events->n;
    return x->events->trace;
}

void wl_took(wl_store *x, wl_rule rule) { x->events->seen.rules[rule] = 1; }
static void ended(wl_store *x, uint32_t op, unsigned end) { x->events->seen.ops[op] |= 1u << end; }

static void happened(wl_store *x, const note *n, uint32_t kind, uint64_t a, uint64_t b) {
    struct wl_events *e = x->events;
    if (e->n < e->most) e->trace[e->n++] = (wl_event){n->func->index, n->offset, n->op, kind, a, b};
}

/* ---- References and values ----------------------------------------------------------------------------------------- */

/* The rules that type a reference; what a reference that has type `type` is is not always in its bits. */
static void saw_reference(wl_store *x, wl_refval r, wl_type type) {
    uint32_t heap = wl_heap(type);
    wl_took(x, WL_RULE_REF_SUB);
    if (!r) wl_took(x, WL_RULE_REF_NULL);
    else if (WL_TAG(r) == WL_TAG_HOST) wl_took(x, WL_RULE_REF_HOST);
    else if (WL_TAG(r) == WL_TAG_I31) wl_took(x, WL_RULE_REF_I31);
    else if (heap == WL_HEAP_EXN || heap == WL_HEAP_NOEXN) wl_took(x, WL_RULE_REF_EXN);
    else if (heap == WL_HEAP_FUNC || heap == WL_HEAP_NOFUNC ||
             (heap >= WL_FIRST_DEFINED && wl_type_of_id(x->engine, heap - WL_FIRST_DEFINED)->kind == WL_FUNC))
        wl_took(x, WL_RULE_REF_FUNC);
    else wl_took(x, ((const wl_object *)(uintptr_t)r)->type->kind == WL_STRUCT ? WL_RULE_REF_STRUCT : WL_RULE_REF_ARRAY);
}

void wl_saw_argument(wl_store *x, wl_type type, const uint64_t *slots) {
    if (type == WL_V128) {
        wl_took(x, WL_RULE_VEC);
        wl_took(x, WL_RULE_VAL_VEC);
    } else if (!wl_is_ref(type)) {
        wl_took(x, WL_RULE_NUM);
        wl_took(x, WL_RULE_VAL_NUM);
    } else {
        saw_reference(x, slots[0], type);
        wl_took(x, WL_RULE_VAL_REF);
        if (slots[0] && wl_heap(type) == WL_HEAP_EXTERN) wl_took(x, WL_RULE_REF_EXTERN);
    }
}

/* ---- How instructions end ---------------------------------------------------------------------------------------------- */

static bool is_null_trap(int status) {
    return status >= WL_TRAP_NULL_FUNCTION && status <= WL_TRAP_NULL_REFERENCE;
}

static bool ends_outside(wl_refval array, uint64_t at, uint64_t n) {
    return at + n > wl_array_of(array)->length; /* both were 32 bits */
}

/* How instruction `op` with operands o ended, `status` 0 or a trap. */
static unsigned end_of(uint32_t op, const uint64_t *o, int status, uint64_t result) {
    switch (op) {
    case WL_OP_SELECT: case WL_OP_SELECT_T: return (uint32_t)o[0] ? WL_END_true : WL_END_false;
    case WL_OP_REF_IS_NULL: return o[0] ? WL_END_false : WL_END_true;
    case WL_OP_REF_EQ: return o[0] != o[1] ? WL_END_false : o[0] ? WL_END_true : WL_END_null;
    case WL_OP_ANY_CONVERT_EXTERN: case WL_OP_EXTERN_CONVERT_ANY: return o[0] ? WL_END_addr : WL_END_null;
    case WL_OP_REF_CAST: case WL_OP_REF_CAST_NULL: return status ? WL_END_fail : WL_END_succ;
    case WL_OP_MEMORY_GROW: case WL_OP_TABLE_GROW:
        return result == UINT64_MAX || result == UINT32_MAX ? WL_END_fail : WL_END_succ;
    case WL_OP_MEMORY_FILL: case WL_OP_MEMORY_INIT: case WL_OP_TABLE_FILL: case WL_OP_TABLE_INIT: case WL_OP_ARRAY_FILL:
        return is_null_trap(status) ? WL_END_null : status ? WL_END_oob : o[0] ? WL_END_succ : WL_END_zero;
    case WL_OP_ARRAY_INIT_DATA: case WL_OP_ARRAY_INIT_ELEM:
        if (is_null_trap(status)) return WL_END_null;
        if (status) return ends_outside(o[3], o[2], o[0]) ? WL_END_oob1 : WL_END_oob2;
        return o[0] ? WL_END_succ : WL_END_zero;
    case WL_OP_MEMORY_COPY: case WL_OP_TABLE_COPY:
        return status ? WL_END_oob : !o[0] ? WL_END_zero : o[2] <= o[1] ? WL_END_le : WL_END_gt;
    case WL_OP_ARRAY_COPY:
        if (!o[4]) return WL_END_null1;
        if (!o[2]) return WL_END_null2;
        if (status) return ends_outside(o[4], o[3], o[0]) ? WL_END_oob1 : WL_END_oob2;
        return !o[0] ? WL_END_zero : o[3] <= o[1] ? WL_END_le : WL_END_gt;
    default: return is_null_trap(status) ? WL_END_null : status ? WL_END_oob : WL_END_val;
    }
}

static void settle(wl_store *x, int status, uint64_t result) {
    struct wl_events *e = x->events;
    if (!e->pending) return;
    e->pending = false;
    uint32_t op = e->now->op;
    if (op == WL_OP_REF_TEST || op == WL_OP_REF_TEST_NULL) {
        ended(x, op, wl_ref_matches(x, e->operand[0], (wl_type)e->now->k) ? WL_END_true : WL_END_false);
        saw_reference(x, e->operand[0], (wl_type)e->now->k);
        return;
    }
    if (op == WL_OP_REF_CAST || op == WL_OP_REF_CAST_NULL) saw_reference(x, e->operand[0], (wl_type)e->now->k);
    ended(x, op, end_of(op, e->operand, status, result));
}

/* ---- Control ------------------------------------------------------------------------------------------------------------ */

static void take_edge(wl_store *x, unsigned edge) {
    if (edge & EDGE_NESTED) wl_took(x, WL_RULE_BR_SUCC);
    if (edge & EDGE_CROSSES) wl_took(x, WL_RULE_BR_HANDLER);
    wl_took(x, WL_RULE_BR_ZERO);
    if (edge & EDGE_LEAVES) wl_took(x, WL_RULE_FRAME_VALS);
}

static void branches(wl_store *x, const note *n, bool taken, unsigned edge) {
    happened(x, n, 2, taken, 0);
    if (taken) take_edge(x, edge);
}

static void calls(wl_store *x, const note *n, const wl_funcinst *f, bool tail) {
    if (f) happened(x, n, 1, f->index, 0);
    if (!tail) {
        wl_took(x, f ? WL_RULE_CALL_REF_FUNC : WL_RULE_CALL_REF_NULL);
        return;
    }
    wl_took(x, WL_RULE_RETURN_REF_LABEL);
    wl_took(x, f ? WL_RULE_RETURN_REF_ADDR : WL_RULE_RETURN_REF_NULL);
    if (f) wl_took(x, WL_RULE_CALL_REF_FUNC);
}

static void calls_indirectly(wl_store *x, const note *n, bool tail) {
    const wl_tableinst *t = n->p;
    uint64_t i = x->events->operand[0];
    wl_took(x, tail ? WL_RULE_RETURN_CALL_INDIRECT : WL_RULE_CALL_INDIRECT);
    wl_took(x, i < t->size ? WL_RULE_TABLE_GET_VAL : WL_RULE_TABLE_GET_OOB);
    if (i >= t->size) return;
    const wl_funcinst *f = (const wl_funcinst *)(uintptr_t)t->elements[i];
    bool matches = !f || wl_deftype_matches(f->type, n->type);
    wl_took(x, matches ? WL_RULE_CAST_SUCCEED : WL_RULE_CAST_FAIL);
    if (matches) calls(x, n, f, tail);
}

/* Instructions whose rules their operands decide; false: how it ends is still to be seen. */
static bool transfers(wl_store *x, const note *n) {
    const uint64_t *o = x->events->operand;
    bool taken = (uint32_t)o[0] != 0;
    switch (n->op) {
    case WL_OP_BLOCK: wl_took(x, WL_RULE_BLOCK); return true;
    case WL_OP_LOOP: wl_took(x, WL_RULE_LOOP); return true;
    case WL_OP_TRY_TABLE: wl_took(x, WL_RULE_TRY_TABLE); return true;
    case WL_OP_IF:
        wl_took(x, taken ? WL_RULE_IF_TRUE : WL_RULE_IF_FALSE);
        wl_took(x, WL_RULE_BLOCK);
        return true;
    case WL_OP_BR: branches(x, n, true, n->edge); return true;
    case WL_OP_BR_IF:
        wl_took(x, taken ? WL_RULE_BR_IF_TRUE : WL_RULE_BR_IF_FALSE);
        branches(x, n, taken, n->edge);
        return true;
    case WL_OP_BR_TABLE: {
        uint32_t i = (uint32_t)o[0];
        wl_took(x, i < n->n ? WL_RULE_BR_TABLE_LT : WL_RULE_BR_TABLE_GE);
        branches(x, n, true, n->edges[i < n->n ? i : n->n]);
        return true;
    }
    case WL_OP_BR_ON_NULL: case WL_OP_BR_ON_NON_NULL:
        ended(x, n->op, o[0] ? WL_END_addr : WL_END_null);
        branches(x, n, !o[0] == (n->op == WL_OP_BR_ON_NULL), n->edge);
        return true;
    case WL_OP_BR_ON_CAST: case WL_OP_BR_ON_CAST_FAIL: {
        bool matches = wl_ref_matches(x, o[0], (wl_type)n->k);
        saw_reference(x, o[0], (wl_type)n->k);
        ended(x, n->op, matches ? WL_END_succ : WL_END_fail);
        branches(x, n, matches == (n->op == WL_OP_BR_ON_CAST), n->edge);
        return true;
    }
    case WL_OP_RETURN:
        if (n->handled) wl_took(x, WL_RULE_RETURN_HANDLER);
        wl_took(x, WL_RULE_RETURN_LABEL);
        wl_took(x, WL_RULE_RETURN_FRAME);
        return true;
    case WL_OP_CALL:
        wl_took(x, WL_RULE_CALL);
        calls(x, n, n->p, false);
        return true;
    case WL_OP_RETURN_CALL:
        wl_took(x, WL_RULE_RETURN_CALL);
        if (n->handled) wl_took(x, WL_RULE_RETURN_REF_HANDLER);
        calls(x, n, n->p, true);
        return true;
    case WL_OP_CALL_REF: calls(x, n, (const wl_funcinst *)(uintptr_t)o[0], false); return true;
    case WL_OP_RETURN_CALL_REF:
        if (n->handled) wl_took(x, WL_RULE_RETURN_REF_HANDLER);
        calls(x, n, (const wl_funcinst *)(uintptr_t)o[0], true);
        return true;
    case WL_OP_CALL_INDIRECT: calls_indirectly(x, n, false); return true;
    case WL_OP_RETURN_CALL_INDIRECT: calls_indirectly(x, n, true); return true;
    default: return false;
    }
}

/* ---- Handlers ------------------------------------------------------------------------------------------------------------ */

/* a: slot behind the operands, b: slot of an address; word 2: the note */
static OP(before) {
    const note *n = ip[2].p;
    struct wl_events *e = x->events;
    e->now = n;
    e->fp = fp;
    e->seen.instructions++;
    ended(x, n->op, WL_END_ran);
    uint32_t count = n->op == WL_OP_BR_TABLE ? 1 : n->n;
    for (uint32_t i = 0; i < count; i++) e->operand[i] = U64(ip[1].a - 1 - i);
    happened(x, n, 0, count ? e->operand[0] : 0, count > 1 ? e->operand[1] : 0);
    if (n->access) happened(x, n, n->access, U64(ip[1].b) + n->k, n->bytes);
    e->pending = !transfers(x, n);
    NEXT(3);
}
/* b: slot of the result */
static OP(after) {
    settle(x, WL_DONE, U64(ip[1].b));
    NEXT(2);
}
static OP(passes_label) {
    wl_took(x, WL_RULE_LABEL_VALS);
    if (ip[1].a) wl_took(x, WL_RULE_HANDLER_VALS);
    if (ip[1].b) wl_took(x, WL_RULE_FRAME_VALS);
    NEXT(2);
}

/* ---- Translation ---------------------------------------------------------------------------------------------------------- */

/* How many operands from the top decide about rules. */
static uint32_t operands_of(uint32_t op) {
    switch (op) {
    case WL_OP_IF: case WL_OP_BR_IF: case WL_OP_BR_TABLE: case WL_OP_BR_ON_NULL: case WL_OP_BR_ON_NON_NULL:
    case WL_OP_BR_ON_CAST: case WL_OP_BR_ON_CAST_FAIL: case WL_OP_CALL_REF: case WL_OP_RETURN_CALL_REF:
    case WL_OP_CALL_INDIRECT: case WL_OP_RETURN_CALL_INDIRECT: case WL_OP_SELECT: case WL_OP_SELECT_T:
    case WL_OP_REF_IS_NULL: case WL_OP_ANY_CONVERT_EXTERN: case WL_OP_EXTERN_CONVERT_ANY: case WL_OP_REF_TEST:
    case WL_OP_REF_TEST_NULL: case WL_OP_REF_CAST: case WL_OP_REF_CAST_NULL: case WL_OP_MEMORY_FILL:
    case WL_OP_MEMORY_INIT: case WL_OP_TABLE_FILL: case WL_OP_TABLE_INIT: case WL_OP_ARRAY_FILL: return 1;
    case WL_OP_REF_EQ: return 2;
    case WL_OP_MEMORY_COPY: case WL_OP_TABLE_COPY: return 3;
    case WL_OP_ARRAY_INIT_DATA: case WL_OP_ARRAY_INIT_ELEM: return 4;
    case WL_OP_ARRAY_COPY: return 5;
    default: return 0;
    }
}

static uint32_t handlers(const translator *t, uint32_t label) { /* outside of a label */
    const control *c = &t->frames[t->depth - 1 - label];
    return c->handlers - (c->kind == FRAME_TRY);
}

/* What a branch from under `depth` handlers to a label passes. */
static uint8_t edge_to(const translator *t, uint32_t label, uint32_t depth, bool nested) {
    bool leaves = t->frames[t->depth - 1 - label].kind == FRAME_FUNC;
    return (uint8_t)((nested ? EDGE_NESTED : 0) | (depth > handlers(t, label) ? EDGE_CROSSES : 0) |
                     (leaves ? EDGE_LEAVES : 0));
}
static uint8_t branch_edge(const translator *t, uint32_t label) {
    return edge_to(t, label, t->frames[t->depth - 1].handlers, label != 0);
}
unsigned wl_note_catch(const translator *t, uint32_t label) { /* the try_table's own label is there already */
    return edge_to(t, label + 1, t->frames[t->depth - 1].handlers - 1, label != 0);
}

static note *new_note(translator *t, uint32_t op) {
    const uint8_t *p = t->p;
    uint32_t labels = op == WL_OP_BR_TABLE ? wl_read_u32(&p) : 0;
    note *n = calloc(1, sizeof *n + (op == WL_OP_BR_TABLE ? (size_t)labels + 1 : 0));
    if (!n) wl_fail(t, WL_OUT_OF_MEMORY);
    n->next = t->x->events->notes;
    t->x->events->notes = n;
    n->func = t->func;
    n->op = op;
    n->n = op == WL_OP_BR_TABLE ? labels : operands_of(op);
    n->offset = t->at;
    n->handled = t->frames[t->depth - 1].handlers > 0;
    return n;
}

/* What the immediates say. */
static void read_immediates(translator *t, note *n) {
    const uint8_t *p = t->p;
    const wl_op_row *row = &wl_op_rows[n->op];
    uint32_t flags;
    switch (n->op) {
    case WL_OP_BR: case WL_OP_BR_IF: case WL_OP_BR_ON_NULL: case WL_OP_BR_ON_NON_NULL:
        n->edge = branch_edge(t, wl_read_u32(&p));
        break;
    case WL_OP_BR_TABLE:
        (void)wl_read_u32(&p);
        for (uint32_t i = 0; i <= n->n; i++) n->edges[i] = branch_edge(t, wl_read_u32(&p));
        break;
    case WL_OP_BR_ON_CAST: case WL_OP_BR_ON_CAST_FAIL:
        flags = *p++;
        n->edge = branch_edge(t, wl_read_u32(&p));
        (void)wl_read_heap(t->module, &p);
        n->k = wl_ref(flags & 2, wl_read_heap(t->module, &p));
        break;
    case WL_OP_REF_TEST: case WL_OP_REF_CAST: n->k = wl_ref(false, wl_read_heap(t->module, &p)); break;
    case WL_OP_REF_TEST_NULL: case WL_OP_REF_CAST_NULL: n->k = wl_ref(true, wl_read_heap(t->module, &p)); break;
    case WL_OP_CALL: case WL_OP_RETURN_CALL: n->p = t->instance->funcs[wl_read_u32(&p)]; break;
    case WL_OP_CALL_INDIRECT: case WL_OP_RETURN_CALL_INDIRECT:
        n->type = t->module->types[wl_read_u32(&p)];
        n->p = t->instance->tables[wl_read_u32(&p)];
        break;
    default: break;
    }
    if (row->immediate == WL_IMM_MEM || row->immediate == WL_IMM_MEM_LANE || row->immediate == WL_IMM_ATOMIC) {
        wl_memarg m = wl_read_memarg(&p);
        n->k = m.offset;
        n->bytes = 1u << (row->argument & 7);
        n->access = row->result && n->op < WL_OP_I32_ATOMIC_RMW_ADD ? 3 : 4; /* that and what follows changes, too */
    }
}

void wl_note_before(translator *t, uint32_t op) {
    const control *c = &t->frames[t->depth - 1];
    if (op == WL_OP_END || op == WL_OP_ELSE) {
        wl_word *w = wl_emit(t, passes_label, 2);
        w[1].a = op == WL_OP_END && c->kind == FRAME_TRY;
        w[1].b = c->kind == FRAME_FUNC;
        t->note = NULL;
        return;
    }
    note *n = new_note(t, op);
    read_immediates(t, n);
    uint32_t operands = n->access ? wl_op_rows[op].n_params : op == WL_OP_BR_TABLE ? 1 : n->n;
    wl_flush_top(t, operands);
    wl_word *w = wl_emit(t, before, 3);
    w[1].a = (uint16_t)wl_next_slot(t);
    w[1].b = n->access ? (uint16_t)t->stack[t->height - operands].home : 0;
    w[2].p = n;
    t->note = n;
}

void wl_note_after(translator *t) {
    if (!t->note) return;
    uint32_t op = ((const note *)t->note)->op;
    bool grows = op == WL_OP_MEMORY_GROW || op == WL_OP_TABLE_GROW;
    if (grows) wl_flush_top(t, 1);
    wl_emit(t, after, 2)[1].b = grows ? (uint16_t)t->stack[t->height - 1].home : 0;
}

/* ---- Traps and exceptions ------------------------------------------------------------------------------------------------- */

wl_place wl_enter_run(wl_store *x) {
    wl_place outer = {x->events->now, x->events->fp};
    x->events->now = NULL;
    x->events->pending = false;
    return outer;
}

static bool is_handled(const wl_code *code, const wl_word *ip) {
    uint32_t at = (uint32_t)(ip - code->words);
    for (uint32_t i = 0; i < code->n_tries; i++)
        if (at >= wl_tries(code)[i].begin && at < wl_tries(code)[i].end) return true;
    return false;
}

/* A trap on its way through the frames of a run. */
static void trapped(wl_store *x, int status) {
    const note *n = x->events->now;
    if (!n) return; /* of a host function that was called from outside */
    settle(x, status, 0);
    bool gone = n->op == WL_OP_RETURN_CALL || n->op == WL_OP_RETURN_CALL_REF ||
                (n->op == WL_OP_RETURN_CALL_INDIRECT && status == WL_TRAP_HOST);
    if (n->handled && !gone) wl_took(x, WL_RULE_TRAP_HANDLER);
    const wl_funcinst *f = n->func;
    uint8_t *fp = x->events->fp;
    for (uint32_t foreign = x->n_foreign;;) {
        wl_took(x, WL_RULE_TRAP_INSTRS);
        wl_took(x, WL_RULE_TRAP_LABEL);
        wl_took(x, WL_RULE_TRAP_FRAME);
        wl_frame h = *(const wl_frame *)(fp + f->header);
        if (h.ip == wl_code_exit + 1) return;
        fp = h.fp;
        if (h.ip == wl_code_foreign_return + 1) h.ip = x->foreign[--foreign].ip;
        if (h.ip == wl_code_exit + 1) return;
        f = h.ip[-1].p;
        if (is_handled(f->code, h.ip - 1)) wl_took(x, WL_RULE_TRAP_HANDLER);
    }
}

void wl_leave_run(wl_store *x, wl_place outer, int status) {
    if (status > WL_DONE && status < WL_THREW) trapped(x, status);
    x->events->now = outer.note;
    x->events->fp = outer.fp;
    x->events->pending = false;
}

void wl_saw_thrown(wl_store *x) { settle(x, WL_DONE, 0); }

void wl_saw_catch(wl_store *x, const wl_catch *c) {
    wl_took(x, WL_RULE_CATCH + c->kind);
    take_edge(x, c->edge);
}

void wl_saw_straight(wl_store *x, uint32_t op, unsigned end) { x->events->seen.ops[op] |= 1u << WL_END_ran | 1u << end; }
void wl_saw_constant(wl_store *x, uint32_t op, int status, uint64_t top) {
    bool converts = op == WL_OP_ANY_CONVERT_EXTERN || op == WL_OP_EXTERN_CONVERT_ANY;
    wl_saw_straight(x, op, status ? WL_END_ran : !converts ? WL_END_val : top ? WL_END_addr : WL_END_null);
}

/* ---- Linking ----------------------------------------------------------------------------------------------------------------- */

/* Each of these says whether its types match, as the validation rules do, and notes the rules on the way. */

static bool applied(wl_store *x, wl_rule rule) {
    wl_took(x, rule);
    return true;
}

static bool deftypes(wl_store *x, const wl_deftype *sub, const wl_deftype *sup) {
    if (sub == sup) return applied(x, WL_RULE_DEF_REFL);
    return wl_deftype_matches(sub, sup) && applied(x, WL_RULE_DEF_SUPER);
}

/* From an abstract heap type up to one above it. */
static bool climbs(wl_store *x, uint32_t sub, uint32_t sup) {
    static const struct {
        uint32_t parent;
        wl_rule rule;
    } up[] = {[WL_HEAP_EQ] = {WL_HEAP_ANY, WL_RULE_HEAP_EQ}, [WL_HEAP_I31] = {WL_HEAP_EQ, WL_RULE_HEAP_I31},
              [WL_HEAP_STRUCT] = {WL_HEAP_EQ, WL_RULE_HEAP_STRUCT_EQ},
              [WL_HEAP_ARRAY] = {WL_HEAP_EQ, WL_RULE_HEAP_ARRAY_EQ}};
    if (sub == sup) return applied(x, WL_RULE_HEAP_REFL);
    if (sub == WL_HEAP_NONE || sub == WL_HEAP_NOFUNC || sub == WL_HEAP_NOEXTERN || sub == WL_HEAP_NOEXN) {
        uint32_t top = sub == WL_HEAP_NONE ? WL_HEAP_ANY : sub == WL_HEAP_NOFUNC ? WL_HEAP_FUNC :
                       sub == WL_HEAP_NOEXTERN ? WL_HEAP_EXTERN : WL_HEAP_EXN;
        return climbs(x, sup, top) && applied(x, sub == WL_HEAP_NONE ? WL_RULE_HEAP_NONE :
                                              sub == WL_HEAP_NOFUNC ? WL_RULE_HEAP_NOFUNC :
                                              sub == WL_HEAP_NOEXTERN ? WL_RULE_HEAP_NOEXTERN : WL_RULE_HEAP_NOEXN);
    }
    for (bool again = false; sub >= WL_HEAP_EQ && sub <= WL_HEAP_ARRAY; again = true) {
        wl_took(x, up[sub].rule);
        if (again) wl_took(x, WL_RULE_HEAP_TRANS);
        sub = up[sub].parent;
        if (sub == sup) return true;
    }
    return false;
}

static bool heaps(wl_store *x, uint32_t sub, uint32_t sup) {
    if (!wl_heap_matches(x->engine, sub, sup)) return false;
    bool defined = sub >= WL_FIRST_DEFINED;
    const wl_deftype *t = defined ? wl_type_of_id(x->engine, sub - WL_FIRST_DEFINED) : NULL;
    if (sup >= WL_FIRST_DEFINED) {
        const wl_deftype *to = wl_type_of_id(x->engine, sup - WL_FIRST_DEFINED);
        if (t) return deftypes(x, t, to) && applied(x, WL_RULE_HEAP_DEF);
        return applied(x, to->kind == WL_FUNC ? WL_RULE_HEAP_NOFUNC : WL_RULE_HEAP_NONE);
    }
    if (!t) return climbs(x, sub, sup);
    wl_took(x, t->kind == WL_FUNC ? WL_RULE_HEAP_FUNC : t->kind == WL_STRUCT ? WL_RULE_HEAP_STRUCT : WL_RULE_HEAP_ARRAY);
    return climbs(x, t->kind == WL_FUNC ? WL_HEAP_FUNC : t->kind == WL_STRUCT ? WL_HEAP_STRUCT : WL_HEAP_ARRAY, sup);
}

static bool values(wl_store *x, wl_type sub, wl_type sup) {
    if (wl_is_ref(sub)) {
        if (!wl_is_ref(sup) || (wl_is_nullable(sub) && !wl_is_nullable(sup))) return false;
        return heaps(x, wl_heap(sub), wl_heap(sup)) &&
               applied(x, wl_is_nullable(sup) ? WL_RULE_REFTYPE_NULL : WL_RULE_REFTYPE_NONNULL);
    }
    if (sub != sup) return false;
    wl_took(x, sub == WL_V128 ? WL_RULE_VECTYPE : WL_RULE_NUMTYPE);
    return applied(x, sub == WL_V128 ? WL_RULE_VALTYPE_VEC : WL_RULE_VALTYPE_NUM);
}
static bool global_values(wl_store *x, wl_type sub, wl_type sup) {
    return values(x, sub, sup) && (!wl_is_ref(sub) || applied(x, WL_RULE_VALTYPE_REF));
}

static bool limits(wl_store *x, uint64_t size, bool has_max, uint64_t max, bool is64, const wl_bounds *b) {
    if (is64 != b->is64 || size < b->min) return false;
    if (!b->has_max) return applied(x, has_max ? WL_RULE_LIMITS_MAX : WL_RULE_LIMITS_EPS);
    return has_max && max <= b->max && applied(x, WL_RULE_LIMITS_MAX);
}

bool wl_saw_link(wl_store *x, const wl_module *m, const wl_import *import, const wl_externval *v) {
    static const wl_rule address[] = {WL_RULE_ADDR_FUNC, WL_RULE_ADDR_TABLE, WL_RULE_ADDR_MEM, WL_RULE_ADDR_GLOBAL,
                                      WL_RULE_ADDR_TAG};
    wl_took(x, address[v->kind]);
    bool matches = false;
    if (v->kind != import->kind) return true;
    switch (v->kind) {
    case WL_EXT_FUNC:
        matches = deftypes(x, ((const wl_funcinst *)v->p)->type, m->funcs[import->index]) &&
                  applied(x, WL_RULE_EXTERN_FUNC);
        break;
    case WL_EXT_TABLE: {
        const wl_tableinst *t = v->p;
        const wl_table *to = &m->tables[import->index];
        matches = limits(x, t->size, t->has_max, t->max, t->is64, &to->bounds) && values(x, t->type, to->type) &&
                  values(x, to->type, t->type) && applied(x, WL_RULE_TABLETYPE) && applied(x, WL_RULE_EXTERN_TABLE);
        break;
    }
    case WL_EXT_MEMORY: {
        const wl_meminst *mem = v->p;
        const wl_bounds *to = &m->memories[import->index].bounds;
        matches = mem->shared == to->shared && mem->by_byte == to->by_byte &&
                  limits(x, wl_pages(mem), mem->has_max, mem->max, mem->is64, to) && applied(x, WL_RULE_MEMTYPE) &&
                  applied(x, WL_RULE_EXTERN_MEM);
        break;
    }
    case WL_EXT_GLOBAL: {
        const wl_globalinst *g = v->p;
        const wl_global *to = &m->globals[import->index];
        matches = g->mutable_ == to->mutable_ && global_values(x, g->type, to->type) &&
                  (!g->mutable_ || global_values(x, to->type, g->type)) &&
                  applied(x, g->mutable_ ? WL_RULE_GLOBAL_VAR : WL_RULE_GLOBAL_CONST) &&
                  applied(x, WL_RULE_EXTERN_GLOBAL);
        break;
    }
    default:
        matches = deftypes(x, ((const wl_taginst *)v->p)->type, m->tags[import->index]) &&
                  deftypes(x, m->tags[import->index], ((const wl_taginst *)v->p)->type) &&
                  applied(x, WL_RULE_TAGTYPE) && applied(x, WL_RULE_EXTERN_TAG);
    }
    if (matches) wl_took(x, WL_RULE_ADDR_SUB);
    return true;
}

#else

const wl_seen *wl_store_seen(wl_store *x) { return (void)x, NULL; }
void wl_store_clear(wl_store *x) { (void)x; }
void wl_store_trace(wl_store *x, size_t most) { (void)x, (void)most; }
const wl_event *wl_store_events(wl_store *x, size_t *n) { return (void)x, *n = 0, NULL; }

#endif

const char *wl_rule_name(unsigned rule) {
#define WL_RULE_NAME(name, text) text,
    static const char *const names[] = {WL_RULES(WL_RULE_NAME)};
    return rule < WL_RULE_COUNT ? names[rule] : NULL;
}

const char *wl_end_name(unsigned end) {
#define WL_END_NAME(name) #name,
    static const char *const names[] = {WL_ENDS(WL_END_NAME)};
    return end < WL_END_COUNT ? names[end] : NULL;
}
