/* From validated bytes to code, one function at a time, at its first call. */
#include "translate.h"

#include <stdlib.h>

void wl_fail(translator *t, int status) {
    t->status = status;
    longjmp(t->out, 1);
}

void wl_array_grow_slow(translator *t, void *array, uint32_t *capacity, uint32_t needed, size_t size) {
    uint32_t more = *capacity < 32 ? 64 : *capacity;
    while (more < needed) more = more > UINT32_MAX / 2 ? needed : 2 * more;
    void *grown = realloc(*(void **)array, more * size);
    if (!grown) wl_fail(t, WL_OUT_OF_MEMORY);
    *(void **)array = grown;
    *capacity = more;
}

wl_word *wl_emit(translator *t, wl_handler h, uint32_t words) {
    wl_array_grow(t, &t->code, &t->capacity, t->n + words, sizeof(wl_word));
    wl_word *w = t->code + t->n;
    for (uint32_t i = 1; i < words; i++) w[i].u64 = 0;
    w->h = h;
    t->last = t->n;
    t->n += words;
    return w;
}

/* ---- Entries --------------------------------------------------------------------------------------------------- */

uint8_t wl_class(wl_type type) {
    return type == WL_F64 ? CLASS_F64 : type == WL_F32 ? CLASS_F32 : type == WL_V128 ? CLASS_V : CLASS_I;
}

uint32_t wl_next_slot(const translator *t) {
    if (!t->height) return t->operands;
    const entry *e = &t->stack[t->height - 1];
    return e->home + wl_width(e->class);
}

entry *wl_push(translator *t, uint8_t class, uint8_t where) {
    uint32_t home = wl_next_slot(t);
    wl_array_grow(t, &t->stack, &t->stack_capacity, t->height + 1, sizeof(entry));
    entry *e = &t->stack[t->height++];
    *e = (entry){where, class, home, 0, 0};
    if (home + wl_width(class) > t->max_slot) t->max_slot = home + wl_width(class);
    if (home > 65000) wl_fail(t, WL_OUT_OF_LOCALS);
    return e;
}

entry wl_pop(translator *t) {
    entry e = t->stack[--t->height];
    if (e.where == IN_LOCAL) t->references[e.slot]--;
    if (e.where == IN_ACC) t->acc[e.class].pending = NONE;
    if (t->settled > t->height) t->settled = t->height;
    return e;
}

/* ---- Accumulators ------------------------------------------------------------------------------------------------ */

bool wl_mirrors(const translator *t, uint8_t class, uint32_t slot) {
    return class != CLASS_V && (t->acc[class].mirror[0] == slot || t->acc[class].mirror[1] == slot);
}

void wl_written(translator *t, uint32_t slot) {
    for (unsigned c = 0; c < 3; c++)
        for (unsigned i = 0; i < 2; i++)
            if (t->acc[c].mirror[i] == slot) t->acc[c].mirror[i] = NONE;
}

static void mirror(translator *t, uint8_t class, uint32_t slot) {
    wl_written(t, slot);
    t->acc[class].mirror[1] = t->acc[class].mirror[0];
    t->acc[class].mirror[0] = slot;
}

void wl_forget(translator *t) {
    for (unsigned c = 0; c < 3; c++) t->acc[c] = (accumulator){{NONE, NONE}, NONE, NONE, NULL, NONE, 0};
    t->last = NONE;
}

/* Have the producer store its result. */
static void spill(translator *t, entry *e) {
    accumulator *a = &t->acc[e->class];
    t->code[a->producer].h = a->storing;
    t->code[a->producer + 1].a = (uint16_t)e->home;
    e->where = IN_SLOT;
    a->pending = NONE;
    mirror(t, e->class, e->home);
}

void wl_free_acc(translator *t, uint8_t class) {
    if (class == CLASS_V) return;
    accumulator *a = &t->acc[class];
    if (a->pending != NONE) spill(t, &t->stack[a->pending]);
    a->mirror[0] = a->mirror[1] = NONE;
}

void wl_free_all(translator *t) {
    for (uint8_t c = 0; c < 3; c++) wl_free_acc(t, c);
}

void wl_result(translator *t, uint8_t class, wl_handler storing) {
    accumulator *a = &t->acc[class];
    uint32_t producer = t->last;
    a->mirror[0] = a->mirror[1] = NONE;
    a->producer = producer;
    a->storing = storing;
    a->op = NONE;
    wl_push(t, class, IN_ACC);
    a->pending = t->height - 1;
}

void wl_slot_result(translator *t, uint8_t class, bool mirrored) {
    entry *e = wl_push(t, class, IN_SLOT);
    wl_written(t, e->home);
    if (class == CLASS_V) wl_written(t, e->home + 1);
    else if (mirrored) mirror(t, class, e->home);
}

static const wl_handler put_handlers[3] = {wl_op_put, wl_op_put_f64, wl_op_put_f32};

void wl_move(translator *t, entry *e, uint32_t slot) {
    uint32_t from = e->where == IN_LOCAL ? e->slot : e->home;
    switch (e->where) {
    case IS_CONST: {
        wl_word *w = wl_emit(t, wl_op_const_slot, 3);
        w[1].a = (uint16_t)slot;
        w[2].u64 = e->k;
        wl_written(t, slot);
        break;
    }
    case IN_ACC:
        if (t->acc[e->class].producer == t->last) {
            t->code[t->last].h = t->acc[e->class].storing;
            t->code[t->last + 1].a = (uint16_t)slot;
        } else {
            wl_emit(t, put_handlers[e->class], 2)[1].a = (uint16_t)slot;
        }
        mirror(t, e->class, slot);
        break;
    default:
        if (from == slot) return;
        if (wl_mirrors(t, e->class, from)) {
            wl_emit(t, put_handlers[e->class], 2)[1].a = (uint16_t)slot;
            mirror(t, e->class, slot);
        } else {
            wl_word *w = wl_emit(t, e->class == CLASS_V ? wl_op_mov2 : wl_op_mov, 2);
            w[1].a = (uint16_t)slot;
            w[1].b = (uint16_t)from;
            wl_written(t, slot);
            if (e->class == CLASS_V) wl_written(t, slot + 1);
        }
    }
}

void wl_flush(translator *t, uint32_t index) {
    entry *e = &t->stack[index];
    if (e->where == IN_SLOT) return;
    if (e->where == IN_ACC) {
        spill(t, e);
        return;
    }
    if (e->where == IN_LOCAL) t->references[e->slot]--;
    wl_move(t, e, e->home);
    e->where = IN_SLOT;
}

void wl_flush_top(translator *t, uint32_t n) {
    for (uint32_t i = t->height - n; i < t->height; i++) wl_flush(t, i);
}

void wl_flush_locals(translator *t) {
    for (uint32_t i = t->settled; i < t->height; i++)
        if (t->stack[i].where != IS_CONST) wl_flush(t, i);
    t->settled = t->height;
}

uint32_t wl_hoist(translator *t, const uint64_t *k, uint32_t width) {
    if (!t->loops) return NONE;
    wl_word *last = t->code + LOOP_CONSTANTS - 1;
    uint32_t i = 0;
    while (i + width <= t->n_constants && (last[-(int32_t)i].u64 != k[0] || last[1 - (int32_t)(i + width)].u64 != k[width - 1])) i++;
    if (i + width > t->n_constants) {
        i = t->n_constants;
        if (i + width > t->constants_room) return NONE;
        t->n_constants += width;
        for (uint32_t j = 0; j < width; j++) last[-(int32_t)(i + j)].u64 = k[j];
    }
    return t->constants_slot + i;
}

static bool hoist(translator *t, entry *e) {
    uint32_t slot = e->where == IS_CONST ? wl_hoist(t, &e->k, 1) : NONE;
    if (slot == NONE) return false;
    e->where = IN_LOCAL;
    e->slot = slot;
    return true;
}

bool wl_at_hand(translator *t, entry *e) { return e->where == IN_SLOT || e->where == IN_LOCAL || hoist(t, e); }

uint32_t wl_in_slot(translator *t, entry *e) {
    (void)hoist(t, e);
    switch (e->where) {
    case IN_LOCAL: return e->slot;
    case IN_SLOT: return e->home;
    case IN_ACC:
        /* popped: its accumulator still holds it */
        if (e->home >= t->max_slot) t->max_slot = e->home + 1;
        wl_move(t, e, e->home);
        break;
    default: wl_move(t, e, e->home);
    }
    e->where = IN_SLOT;
    return e->home;
}

bool wl_in_acc(const translator *t, const entry *e) {
    return e->where == IN_ACC || (e->where == IN_LOCAL && wl_mirrors(t, e->class, e->slot)) ||
           (e->where == IN_SLOT && wl_mirrors(t, e->class, e->home));
}

/* ---- Locals -------------------------------------------------------------------------------------------------------- */

/* Entries that stand for a local keep its value from before a write to it. */
static void preserve(translator *t, uint32_t slot) {
    if (!t->references[slot]) return;
    if (t->height - t->settled > 64) { /* all at once, lest deep stacks cost a scan for each write */
        wl_flush_locals(t);
        return;
    }
    for (uint32_t i = t->settled; i < t->height; i++)
        if (t->stack[i].where == IN_LOCAL && t->stack[i].slot == slot) wl_flush(t, i);
}

void wl_local_set(translator *t, uint32_t local, bool tee) {
    uint32_t slot = t->local_slots[local];
    entry e = wl_pop(t);
    if (e.where != IN_LOCAL || e.slot != slot) {
        preserve(t, slot);
        if (e.class == CLASS_V && e.where == IN_SLOT && t->last != NONE && t->vector == t->last &&
            t->code[t->last + 1].a == e.home) {
            t->code[t->last + 1].a = (uint16_t)slot; /* a vector straight to the local */
            wl_written(t, slot);
        } else {
            wl_move(t, &e, slot);
        }
        if (e.class == CLASS_V) wl_written(t, slot + 1);
    }
    if (tee) {
        entry *top = wl_push(t, e.class, IN_LOCAL);
        top->slot = slot;
        t->references[slot]++;
    }
}

/* ---- One and two operands ---------------------------------------------------------------------------------------- */

void wl_unary_op(translator *t, uint32_t op) {
    entry *top = &t->stack[t->height - 1];
    if (op == WL_OP_I64_EXTEND_I32_U) return; /* i32 are zero-extended everywhere */
    if (op == WL_OP_I32_WRAP_I64 && top->where == IS_CONST) {
        top->k &= UINT32_MAX;
        return;
    }
    uint8_t to = wl_class(wl_op_rows[op].result);
    entry e = wl_pop(t);
    bool in_acc = wl_in_acc(t, &e);
    uint32_t slot = in_acc ? 0 : wl_in_slot(t, &e);
    wl_free_acc(t, to);
    const wl_handler *h = wl_unary[op] + (in_acc ? 2 : 0);
    wl_emit(t, h[0], 2)[1].b = (uint16_t)slot;
    wl_result(t, to, h[1]);
}

/* The comparison with its operands exchanged, or a commutative instruction itself; else NONE. */
static uint32_t exchanged(uint32_t op) {
    switch (op) {
#define BOTH_WIDTHS(N) \
    case WL_OP_I##N##_EQ: case WL_OP_I##N##_NE: case WL_OP_I##N##_ADD: case WL_OP_I##N##_MUL: \
    case WL_OP_I##N##_AND: case WL_OP_I##N##_OR: case WL_OP_I##N##_XOR: return op; \
    case WL_OP_I##N##_LT_S: return WL_OP_I##N##_GT_S; \
    case WL_OP_I##N##_LT_U: return WL_OP_I##N##_GT_U; \
    case WL_OP_I##N##_GT_S: return WL_OP_I##N##_LT_S; \
    case WL_OP_I##N##_GT_U: return WL_OP_I##N##_LT_U; \
    case WL_OP_I##N##_LE_S: return WL_OP_I##N##_GE_S; \
    case WL_OP_I##N##_LE_U: return WL_OP_I##N##_GE_U; \
    case WL_OP_I##N##_GE_S: return WL_OP_I##N##_LE_S; \
    case WL_OP_I##N##_GE_U: return WL_OP_I##N##_LE_U;
    BOTH_WIDTHS(32)
    BOTH_WIDTHS(64)
#define BOTH_FLOATS(N) \
    case WL_OP_F##N##_EQ: case WL_OP_F##N##_NE: return op; \
    case WL_OP_F##N##_LT: return WL_OP_F##N##_GT; \
    case WL_OP_F##N##_GT: return WL_OP_F##N##_LT; \
    case WL_OP_F##N##_LE: return WL_OP_F##N##_GE; \
    case WL_OP_F##N##_GE: return WL_OP_F##N##_LE;
    BOTH_FLOATS(32)
    BOTH_FLOATS(64)
    default: return NONE;
    }
}

static bool fits(uint8_t class, bool wide, uint64_t k) {
    return class != CLASS_I || !wide || (int64_t)k == (int32_t)k;
}

static bool is_test(uint32_t op) { /* what a branch can do itself */
    return (op >= WL_OP_I32_EQ && op <= WL_OP_I32_GE_U) || (op >= WL_OP_I64_EQ && op <= WL_OP_F64_GE) ||
           op == WL_OP_I32_AND || op == WL_OP_I64_AND;
}

static bool is_inverted(translator *t, uint32_t op);

void wl_binary_op(translator *t, uint32_t op) {
    if (op == WL_OP_I32_EQZ || op == WL_OP_I64_EQZ) {
        if (is_inverted(t, op)) return;
        wl_push(t, CLASS_I, IS_CONST);
        op = op == WL_OP_I32_EQZ ? WL_OP_I32_EQ : WL_OP_I64_EQ;
    }
    entry rhs = wl_pop(t), lhs = wl_pop(t);
    uint8_t class = lhs.class, to = wl_class(wl_op_rows[op].result);
    bool wide = wl_op_rows[op].params[0] == WL_I64, is_float = class != CLASS_I;
    uint32_t other = exchanged(op);
    if (other != NONE && ((lhs.where == IS_CONST && rhs.where != IS_CONST) ||
                          (!is_float && (rhs.where == IN_ACC || (wl_in_acc(t, &rhs) && !wl_in_acc(t, &lhs)))))) {
        entry swap = lhs;
        lhs = rhs;
        rhs = swap;
        op = other;
    }
    if (wl_fuse_binary(t, op, &lhs, &rhs)) return;
    condition c = {.op = op, .is_float = is_float};
    bool in_acc = wl_in_acc(t, &lhs) && rhs.where != IN_ACC;
    if (rhs.where == IS_CONST && fits(class, wide, rhs.k)) {
        c.form = in_acc ? WL_AK : WL_SK;
        c.k = rhs.k;
        if (!in_acc) c.a = (uint16_t)wl_in_slot(t, &lhs);
    } else if (in_acc) {
        c.form = WL_AS;
        c.b = (uint16_t)wl_in_slot(t, &rhs);
    } else if (wl_in_acc(t, &rhs)) {
        c.form = WL_SA;
        c.a = (uint16_t)wl_in_slot(t, &lhs);
    } else {
        c.form = WL_SS;
        c.a = (uint16_t)wl_in_slot(t, &lhs);
        c.b = (uint16_t)wl_in_slot(t, &rhs);
    }
    bool constant = c.form == WL_SK || c.form == WL_AK;
    accumulator before = t->acc[CLASS_I];
    c.previous = t->last;
    wl_free_acc(t, to);
    before.pending = NONE;
    const wl_handler *h = (is_float ? wl_float_binary[op - WL_OP_F32_EQ] : wl_binary[op]) + 2 * c.form;
    wl_word *w = wl_emit(t, h[0], is_float && constant ? 3 : 2);
    w[1].b = c.a;
    if (!constant) w[1].c = c.b;
    else if (is_float) w[2].u64 = c.k;
    else w[1].u = (uint32_t)c.k;
    wl_result(t, to, h[1]);
    t->acc[to].op = op;
    t->acc[to].form = c.form;
    if (is_test(op)) {
        t->comparison.at = t->last;
        t->comparison.condition = c;
        t->comparison.before = before;
    }
}

/* eqz of a comparison of integers that has just been made: make the opposite one instead. */
static bool is_inverted(translator *t, uint32_t op) {
    static const uint8_t opposite[] = {1, 0, 8, 9, 6, 7, 4, 5, 2, 3}; /* eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u */
    condition *c = &t->comparison.condition;
    if (op != WL_OP_I32_EQZ || t->last == NONE || t->comparison.at != t->last || c->is_float ||
        t->acc[CLASS_I].pending != t->height - 1 || c->op == WL_OP_I32_AND || c->op == WL_OP_I64_AND)
        return false;
    uint32_t first = c->op >= WL_OP_I64_EQ ? WL_OP_I64_EQ : WL_OP_I32_EQ;
    c->op = first + opposite[c->op - first];
    const wl_handler *h = wl_binary[c->op] + 2 * c->form;
    t->code[t->last].h = h[0];
    t->acc[CLASS_I].storing = h[1];
    return true;
}

/* ---- Loads and stores ---------------------------------------------------------------------------------------------- */

static bool is_plain(const translator *t, const wl_memarg *m) {
    return m->memory == 0 && !t->module->memories[0].bounds.is64;
}

/* A constant address becomes part of the offset. */
static bool is_absolute(const entry *address, wl_memarg *m) {
    if (address->where != IS_CONST || address->k + m->offset > UINT32_MAX) return false;
    m->offset += address->k;
    return true;
}

static void load(translator *t, uint32_t op) {
    wl_memarg m = wl_read_memarg(&t->p);
    uint32_t row = op - WL_OP_I32_LOAD;
    uint8_t class = wl_class(wl_op_rows[op].result);
    entry address = wl_pop(t);
    if (is_plain(t, &m)) {
        if (wl_fuse_load(t, row, class, &address, (uint32_t)m.offset)) return;
        bool absolute = is_absolute(&address, &m), in_acc = !absolute && wl_in_acc(t, &address);
        uint32_t slot = in_acc || absolute ? 0 : wl_in_slot(t, &address);
        wl_free_acc(t, class);
        const wl_handler *h = wl_loads[row] + (absolute ? 4 : in_acc ? 2 : 0);
        wl_word *w = wl_emit(t, h[0], 2);
        w[1].b = (uint16_t)slot;
        w[1].u = (uint32_t)m.offset;
        wl_result(t, class, h[1]);
        wl_note_load(t, row, class, absolute ? WL_ADDRESS_K : in_acc ? WL_ADDRESS_A : WL_ADDRESS_S);
    } else {
        uint32_t slot = wl_in_slot(t, &address);
        wl_free_acc(t, class);
        wl_word *w = wl_emit(t, wl_loads_any[row], 4);
        w[1].a = (uint16_t)address.home;
        w[1].b = (uint16_t)slot;
        w[2].p = t->instance->memories[m.memory];
        w[3].u64 = m.offset;
        wl_slot_result(t, class, true);
    }
}

static void store(translator *t, uint32_t op) {
    wl_memarg m = wl_read_memarg(&t->p);
    uint32_t row = op - WL_OP_I32_STORE;
    entry value = wl_pop(t), address = wl_pop(t);
    if (!is_plain(t, &m)) {
        uint32_t a = wl_in_slot(t, &address), b = wl_in_slot(t, &value);
        wl_word *w = wl_emit(t, wl_stores_any[row], 4);
        w[1].a = (uint16_t)a;
        w[1].b = (uint16_t)b;
        w[2].p = t->instance->memories[m.memory];
        w[3].u64 = m.offset;
        return;
    }
    if (wl_fuse_store(t, op, &address, &value, (uint32_t)m.offset)) return;
    bool is_float = value.class != CLASS_I, value_in = wl_in_acc(t, &value);
    bool absolute = is_absolute(&address, &m);
    bool address_in = !absolute && wl_in_acc(t, &address) && (is_float || value.where != IN_ACC);
    uint32_t a = address_in || absolute ? 0 : wl_in_slot(t, &address), b = 0;
    unsigned form;
    if (absolute) {
        form = value.where == IS_CONST ? WL_STORE_KK : value_in ? WL_STORE_KA : WL_STORE_KS;
        if (form == WL_STORE_KS) b = wl_in_slot(t, &value);
    } else if (value.where == IS_CONST) {
        form = address_in ? WL_STORE_AK : WL_STORE_SK;
    } else if (value_in && (is_float || !address_in)) {
        form = address_in ? WL_STORE_AA : WL_STORE_SA;
    } else {
        form = address_in ? WL_STORE_AS : WL_STORE_SS;
        b = wl_in_slot(t, &value);
    }
    wl_word *w = wl_emit(t, wl_stores[row][form], value.where == IS_CONST ? 3 : 2);
    w[1].a = (uint16_t)a;
    w[1].b = (uint16_t)b;
    w[1].u = (uint32_t)m.offset;
    if (value.where == IS_CONST) w[2].u64 = value.k;
}

/* ---- Instructions ------------------------------------------------------------------------------------------------- */

static void constant(translator *t, uint8_t class, uint64_t k) { wl_push(t, class, IS_CONST)->k = k; }

static uint64_t bytes_le(translator *t, unsigned n) {
    uint64_t k = 0;
    for (unsigned i = 0; i < n; i++) k |= (uint64_t)*t->p++ << (8 * i);
    return k;
}

static void select_op(translator *t) {
    entry c = wl_pop(t), b = wl_pop(t), a = wl_pop(t);
    uint32_t home = a.home;
    /* spilled first: moves leave accumulators alone */
    uint32_t sa = wl_in_slot(t, &a), sb = wl_in_slot(t, &b);
    bool in_acc = wl_in_acc(t, &c);
    uint32_t sc = in_acc ? 0 : wl_in_slot(t, &c);
    wl_handler h[2] = {wl_op_select_S, wl_op_select_SD};
    if (in_acc) h[0] = wl_op_select_A, h[1] = wl_op_select_AD;
    if (a.class == CLASS_V) h[0] = in_acc ? wl_op_select2_A : wl_op_select2_S;
    else if (a.class != CLASS_I) h[0] = in_acc ? wl_op_select_slot_A : wl_op_select_slot_S;
    if (a.class == CLASS_I) wl_free_acc(t, CLASS_I);
    wl_word *w = wl_emit(t, h[0], 2);
    w[1].a = (uint16_t)home;
    w[1].b = (uint16_t)sa;
    w[1].c = (uint16_t)sb;
    w[1].d = (uint16_t)sc;
    if (a.class == CLASS_I) wl_result(t, CLASS_I, h[1]);
    else wl_slot_result(t, a.class, false);
}

static void local_get(translator *t, uint32_t local) {
    entry *e = wl_push(t, t->local_classes[local], IN_LOCAL);
    e->slot = t->local_slots[local];
    t->references[e->slot]++;
}

static void instruction(translator *t, uint32_t op) {
    const wl_op_row *row = &wl_op_rows[op];
    switch (op) {
    case WL_OP_NOP: return;
    case WL_OP_DROP: (void)wl_pop(t); return;
    case WL_OP_SELECT_T:
        for (uint32_t n = wl_read_u32(&t->p); n; n--) (void)wl_read_type(t->module, &t->p);
        select_op(t);
        return;
    case WL_OP_SELECT: select_op(t); return;
    case WL_OP_LOCAL_GET: local_get(t, wl_read_u32(&t->p)); return;
    case WL_OP_LOCAL_SET: wl_local_set(t, wl_read_u32(&t->p), false); return;
    case WL_OP_LOCAL_TEE: wl_local_set(t, wl_read_u32(&t->p), true); return;
    case WL_OP_I32_CONST: constant(t, CLASS_I, (uint32_t)wl_read_s32(&t->p)); return;
    case WL_OP_I64_CONST: constant(t, CLASS_I, (uint64_t)wl_read_s64(&t->p)); return;
    case WL_OP_F32_CONST: constant(t, CLASS_F32, bytes_le(t, 4)); return;
    case WL_OP_F64_CONST: constant(t, CLASS_F64, bytes_le(t, 8)); return;
    case WL_OP_REF_NULL:
        (void)wl_read_heap(t->module, &t->p);
        constant(t, CLASS_I, 0);
        return;
    case WL_OP_REF_FUNC: constant(t, CLASS_I, (uintptr_t)t->instance->funcs[wl_read_u32(&t->p)]); return;
    case WL_OP_REF_IS_NULL: wl_binary_op(t, WL_OP_I64_EQZ); return;
    case WL_OP_REF_EQ: wl_binary_op(t, WL_OP_I64_EQ); return;
    case WL_OP_I32_EQZ: case WL_OP_I64_EQZ: wl_binary_op(t, op); return;
    default: break;
    }
    if (row->immediate == WL_IMM_MEM && op < 256) {
        if (op <= WL_OP_I64_LOAD32_U) load(t, op);
        else store(t, op);
    } else if (row->immediate == WL_IMM_NONE && !(row->flags & WL_FLAG_SPECIAL) && op < WL_OP_FD &&
               (op < WL_OP_FB || op >= WL_OP_FC)) {
        if (row->n_params == 2) wl_binary_op(t, op);
        else wl_unary_op(t, op);
    } else {
        wl_translate_special(t, op);
    }
}

static bool is_control(uint32_t op) {
    switch (op) {
    case WL_OP_UNREACHABLE: case WL_OP_BLOCK: case WL_OP_LOOP: case WL_OP_IF: case WL_OP_ELSE: case WL_OP_END:
    case WL_OP_BR: case WL_OP_BR_IF: case WL_OP_BR_TABLE: case WL_OP_RETURN: case WL_OP_CALL:
    case WL_OP_CALL_INDIRECT: case WL_OP_RETURN_CALL: case WL_OP_RETURN_CALL_INDIRECT: case WL_OP_CALL_REF:
    case WL_OP_RETURN_CALL_REF: case WL_OP_THROW: case WL_OP_THROW_REF: case WL_OP_TRY_TABLE:
    case WL_OP_BR_ON_NULL: case WL_OP_BR_ON_NON_NULL: case WL_OP_BR_ON_CAST: case WL_OP_BR_ON_CAST_FAIL: return true;
    default: return false;
    }
}

/* ---- Functions ------------------------------------------------------------------------------------------------------ */

static void add_local(translator *t, uint32_t index, wl_type type, uint32_t *slot) {
    t->local_classes[index] = wl_class(type);
    t->local_slots[index] = *slot;
    *slot += wl_slots(type);
}

static void locals(translator *t, const wl_body *body) {
    const wl_deftype *type = t->func->type;
    uint32_t n = body->n_locals, slot = 0, index = 0;
    if (n > t->x->limits.locals) wl_fail(t, WL_OUT_OF_LOCALS);
    if (n >= t->locals_capacity) {
        uint32_t capacity = n + 32;
        free(t->local_slots);
        free(t->local_classes);
        free(t->references);
        t->local_slots = malloc(capacity * sizeof *t->local_slots);
        t->local_classes = malloc(capacity);
        t->references = malloc(2 * capacity * sizeof *t->references);
        t->locals_capacity = t->local_slots && t->local_classes && t->references ? capacity : 0;
        if (!t->locals_capacity) wl_fail(t, WL_OUT_OF_MEMORY);
    }
    for (uint32_t i = 0; i < type->u.func.n_params; i++) add_local(t, index++, type->u.func.params[i], &slot);
    t->header = slot;
    slot += WL_FRAME_SLOTS;
    uint32_t first = slot;
    const uint8_t *p = t->module->bytes + body->locals;
    for (uint32_t runs = wl_read_u32(&p); runs; runs--) {
        wl_run run = wl_read_run(t->module, &p);
        for (uint32_t i = 0; i < run.count; i++) add_local(t, index++, run.type, &slot);
    }
    uint32_t more = slot > first + WL_ZEROED ? slot - first - WL_ZEROED : 0;
    t->constants_slot = slot;
    t->constants_room = body->has_loops ? LOOP_CONSTANTS : 0;
    slot += t->constants_room;
    if (slot > 65000) wl_fail(t, WL_OUT_OF_LOCALS);
    memset(t->references, 0, (slot + 1) * sizeof *t->references);
    t->operands = slot;
    t->max_slot = slot > first + WL_ZEROED ? slot : first + WL_ZEROED;
    if (body->has_loops) wl_emit(t, NULL, LOOP_CONSTANTS);
    if (body->has_loops || more) {
        wl_word *w = wl_emit(t, wl_op_enter, 3);
        w[1].a = (uint16_t)(first + WL_ZEROED);
        w[1].u = more;
    }
}

static void function(translator *t, const wl_body *body) {
    t->n = t->height = t->settled = t->depth = t->n_fixups = t->n_tries = t->n_catches = t->loops = t->n_constants = 0;
    t->comparison.at = t->vector = NONE;
    wl_forget(t);
    wl_array_grow(t, &t->frames, &t->frames_capacity, body->max_depth + 1, sizeof(control));
    locals(t, body);
    wl_forget(t);
    t->p = t->module->bytes + body->code;
    wl_enter_function(t);
    while (t->depth) {
        EVENT(t->at = (uint32_t)(t->p - t->module->bytes));
        uint32_t op = wl_read_op(&t->p);
        EVENT(wl_note_before(t, op));
        if (is_control(op)) {
            wl_translate_control(t, op);
        } else {
            instruction(t, op);
            EVENT(wl_note_after(t));
        }
    }
}

/* What the function begins with is known when it has been translated: the first word that is needed. */
static uint32_t begin_code(translator *t) {
    if (!t->constants_room) return 0;
    wl_word *enter = t->code + LOOP_CONSTANTS;
    if (!t->n_constants) return enter[1].u ? LOOP_CONSTANTS : LOOP_CONSTANTS + 3;
    enter->h = wl_op_enter_loops;
    enter[2].a = (uint16_t)t->constants_slot;
    enter[2].b = (uint16_t)t->n_constants;
    return LOOP_CONSTANTS - t->n_constants;
}

static int install(translator *t) {
    wl_funcinst *f = t->func;
    uint32_t start = begin_code(t);
    t->n -= start;
    size_t words = t->n * sizeof(wl_word), tries = t->n_tries * sizeof(wl_try), catches = t->n_catches * sizeof(wl_catch);
    wl_code *code = malloc(sizeof *code + words + catches + tries);
    if (!code) return WL_OUT_OF_MEMORY;
    memcpy(code->words, t->code + start, words);
    code->n_words = t->n;
    code->n_tries = t->n_tries;
    code->n_catches = t->n_catches;
    for (uint32_t i = 0; i < t->n_catches; i++) {
        t->catches[i].target -= start;
        wl_catches(code)[i] = t->catches[i];
    }
    for (uint32_t i = 0; i < t->n_tries; i++) {
        t->tries[i].begin -= start;
        t->tries[i].end -= start;
        wl_tries(code)[i] = t->tries[i];
    }
    uint32_t slots = t->max_slot, results = f->type->u.func.result_slots;
    f->code = code;
    f->header = (uint64_t)t->header * 8;
    f->frame = (uint64_t)(slots > results ? slots : results) * 8;
    f->entry = code->words + t->n_constants;
    return WL_DONE;
}

static int attempt(translator *t) {
    if (setjmp(t->out)) return t->status;
    function(t, wl_body_of(t->module, t->func->index));
    return install(t);
}

int wl_translate(wl_store *x, wl_funcinst *f) {
    if (!x->translator) x->translator = calloc(1, sizeof *x->translator);
    if (!x->translator) return WL_OUT_OF_MEMORY;
    x->translator->x = x;
    x->translator->func = f;
    x->translator->instance = f->instance;
    x->translator->module = f->instance->module;
    return attempt(x->translator);
}

bool wl_translator_is_small(const struct translator *t) {
    return t && t->capacity < 16384 && t->stack_capacity < 4096 && t->locals_capacity < 4096 &&
           t->frames_capacity < 4096 && t->fixups_capacity < 4096 && t->tries_capacity < 4096 &&
           t->catches_capacity < 4096;
}

void wl_translator_free(struct translator *t) {
    if (!t) return;
    free(t->code);
    free(t->stack);
    free(t->local_slots);
    free(t->references);
    free(t->local_classes);
    free(t->frames);
    free(t->fixups);
    free(t->tries);
    free(t->catches);
    free(t);
}
