/* Instructions with labels, calls and exceptions.  Where paths meet, everything is a slot or a constant. */
#include "translate.h"

/* ---- Labels ------------------------------------------------------------------------------------------------------ */

/* Word `word` of the code (or, with base NONE, catch clause `word`) will lead to where the list is bound. */
static void add_fixup(translator *t, uint32_t *list, uint32_t word, uint32_t base) {
    wl_array_grow(t, &t->fixups, &t->fixups_capacity, t->n_fixups + 1, sizeof(fixup));
    t->fixups[t->n_fixups] = (fixup){word, base, *list};
    *list = t->n_fixups++;
}

static void bind(translator *t, uint32_t list, uint32_t target) {
    for (; list != NONE; list = t->fixups[list].next) {
        const fixup *f = &t->fixups[list];
        if (f->base == NONE) t->catches[f->word].target = target;
        else t->code[f->word].k = (int32_t)(target - f->base - WL_BRANCH_WORDS);
    }
}

static control *label(translator *t, uint32_t index) { return &t->frames[t->depth - 1 - index]; }

/* Word `word` of the instruction at `base` leads to a label. */
static void link_to(translator *t, control *c, uint32_t word, uint32_t base) {
    if (c->kind != FRAME_LOOP) add_fixup(t, &c->fixups, word, base);
    else if (base == NONE) t->catches[word].target = c->start;
    else t->code[word].k = (int32_t)(c->start - base - WL_BRANCH_WORDS);
}

static uint32_t label_types(const control *c, const wl_type **types) {
    bool loop = c->kind == FRAME_LOOP;
    *types = loop ? c->type.params : c->type.results;
    return loop ? c->type.n_params : c->type.n_results;
}

static uint32_t arity(const control *c) {
    const wl_type *types;
    return label_types(c, &types);
}

static uint32_t slots_of_top(const translator *t, uint32_t n) {
    return n ? wl_next_slot(t) - t->stack[t->height - n].home : 0;
}

static void cut(translator *t, uint32_t height) {
    while (t->height > height) (void)wl_pop(t);
}

static void push_types(translator *t, const wl_type *types, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) wl_slot_result(t, wl_class(types[i]), false);
}

static control *push_frame(translator *t, uint8_t kind) {
    control *c = &t->frames[t->depth++];
    *c = (control){.kind = kind, .fixups = NONE, .else_fixup = NONE, .entered = true};
    EVENT(c->handlers = (t->depth > 1 ? c[-1].handlers : 0) + (kind == FRAME_TRY));
    return c;
}

static void pop_frame(translator *t) {
    if (t->frames[--t->depth].kind == FRAME_LOOP) t->loops--;
}

/* A block's type has been read; its parameters are on the stack. */
static void open_block(translator *t, control *c) {
    c->height = t->height - c->type.n_params;
    c->base = c->type.n_params ? t->stack[c->height].home : wl_next_slot(t);
}

/* ---- Results and branches ----------------------------------------------------------------------------------------- */

static void emit_return(translator *t) {
    static const wl_handler in_acc[3] = {wl_op_return_A, wl_op_return_f64, wl_op_return_f32};
    static const wl_handler in_slot[3] = {wl_op_return_S, wl_op_return_f64_S, wl_op_return_f32_S};
    uint32_t n = t->frames[0].type.n_results;
    wl_word *w;
    if (n == 0) {
        w = wl_emit(t, wl_op_return_0, 2);
    } else if (n == 1 && t->stack[t->height - 1].class != CLASS_V) {
        entry e = t->stack[t->height - 1];
        if (e.where == IS_CONST && e.class == CLASS_I) {
            w = wl_emit(t, wl_op_return_K, 3);
            w[2].u64 = e.k;
        } else if (wl_in_acc(t, &e)) {
            w = wl_emit(t, in_acc[e.class], 2);
        } else {
            uint32_t slot = wl_in_slot(t, &e);
            w = wl_emit(t, in_slot[e.class], 2);
            w[1].b = (uint16_t)slot;
        }
    } else {
        wl_flush_top(t, n);
        uint32_t from = t->stack[t->height - n].home;
        w = wl_emit(t, wl_op_return_n, 2);
        w[1].b = (uint16_t)from;
        w[1].c = (uint16_t)slots_of_top(t, n);
    }
    w[1].a = (uint16_t)t->header;
}

/* Whether a branch finds its values where the label wants them. */
static bool in_place(const translator *t, const control *c, uint32_t n) {
    if (n == 0) return true;
    for (uint32_t i = t->height - n; i < t->height; i++)
        if (t->stack[i].where != IN_SLOT) return false;
    return t->stack[t->height - n].home == c->base;
}

/* The values of a branch to where the label wants them; what the stack is afterwards nobody asks. */
static void move_values(translator *t, const control *c, uint32_t n) {
    if (n == 1) {
        entry e = t->stack[t->height - 1];
        wl_move(t, &e, c->base);
    } else if (n) {
        wl_flush_top(t, n);
        uint32_t from = t->stack[t->height - n].home;
        if (from != c->base) {
            wl_word *w = wl_emit(t, wl_op_copy, 2);
            w[1].a = (uint16_t)c->base;
            w[1].b = (uint16_t)from;
            w[1].c = (uint16_t)slots_of_top(t, n);
        }
    }
}

static void jump(translator *t, control *c) {
    uint32_t at = t->n;
    wl_emit(t, wl_op_br, 2);
    link_to(t, c, at + 1, at);
}

static void branch(translator *t, uint32_t index) {
    control *c = label(t, index);
    if (c->kind == FRAME_FUNC) {
        emit_return(t);
        return;
    }
    move_values(t, c, arity(c));
    jump(t, c);
}

/* ---- Conditions ----------------------------------------------------------------------------------------------------- */

/* Take the condition off the stack; a comparison that was just made is taken back. */
static condition take_condition(translator *t) {
    if (t->last != NONE && t->comparison.at == t->last && t->acc[CLASS_I].pending == t->height - 1) {
        (void)wl_pop(t);
        t->n = t->last;
        t->last = NONE;
        t->acc[CLASS_I] = t->comparison.before;
        t->comparison.at = NONE;
        return t->comparison.condition;
    }
    entry e = wl_pop(t);
    condition c = {.op = WL_OP_I32_NE, .form = WL_AK, .previous = NONE};
    if (!wl_in_acc(t, &e)) {
        c.form = WL_SK;
        c.a = (uint16_t)wl_in_slot(t, &e);
    }
    return c;
}

/* Branch where the condition is `sense`; returns the instruction's word, its displacement is in the next one. */
static uint32_t emit_condition(translator *t, const condition *c, bool sense) {
    uint32_t at;
    if (wl_fuse_step(t, c, sense, &at)) return at;
    at = t->n;
    wl_word *w;
    if (c->op == NONE) {
        w = wl_emit(t, sense ? c->yes : c->no, 3);
        w[2].u64 = c->k;
    } else {
        const wl_handler *h = c->is_float ? wl_float_branches[c->op - WL_OP_F32_EQ] : wl_branches[c->op];
        bool constant = c->form == WL_SK || c->form == WL_AK;
        w = wl_emit(t, h[2 * c->form + !sense], constant ? 3 : 2);
        if (constant) w[2].u64 = c->k;
    }
    w[1].a = c->a;
    w[1].b = c->b;
    t->last = NONE;
    return at;
}

/* Branch to a label with the values on top of the stack if the condition holds, else go on with them. */
static void conditional_branch(translator *t, const condition *cond, uint32_t index) {
    control *c = label(t, index);
    uint32_t n = arity(c);
    bool leaves = c->kind == FRAME_FUNC;
    const entry *top = t->stack + t->height - 1;
    if (n > 1 || (n == 1 && (top->where == IN_ACC || top->class == CLASS_V))) wl_flush_top(t, n);
    if (!leaves && in_place(t, c, n)) {
        uint32_t at = emit_condition(t, cond, true);
        link_to(t, c, at + 1, at);
        return;
    }
    uint32_t at = emit_condition(t, cond, false);
    accumulator before[3];
    memcpy(before, t->acc, sizeof before);
    if (leaves) {
        emit_return(t);
    } else {
        move_values(t, c, n);
        jump(t, label(t, index));
    }
    memcpy(t->acc, before, sizeof before);
    t->code[at + 1].k = (int32_t)(t->n - at - WL_BRANCH_WORDS);
    t->last = NONE;
}

static void br_table(translator *t) {
    uint32_t n = wl_read_u32(&t->p);
    const uint8_t *labels = t->p;
    entry e = wl_pop(t);
    bool in_acc = wl_in_acc(t, &e);
    uint32_t slot = in_acc ? 0 : wl_in_slot(t, &e);
    for (uint32_t i = 0; i < n; i++) (void)wl_read_u32(&t->p);
    const uint8_t *p = t->p;
    uint32_t values = arity(label(t, wl_read_u32(&p)));
    wl_flush_top(t, values);
    uint32_t at = t->n;
    wl_word *w = wl_emit(t, in_acc ? wl_op_br_table_A : wl_op_br_table_S, 2);
    w[1].a = (uint16_t)slot;
    w[1].u = n;
    /* the table, then stubs for the labels that want their values elsewhere */
    if (UINT32_MAX - t->n - 1 <= n) wl_fail(t, WL_OUT_OF_MEMORY);
    wl_array_grow(t, &t->code, &t->capacity, t->n + n + 1, sizeof(wl_word));
    memset(t->code + t->n, 0, ((size_t)n + 1) * sizeof(wl_word));
    t->n += n + 1;
    t->p = labels;
    uint32_t previous = NONE, stub = 0;
    for (uint32_t i = 0; i <= n; i++) {
        uint32_t index = wl_read_u32(&t->p);
        control *c = label(t, index);
        if (c->kind != FRAME_FUNC && in_place(t, c, values)) {
            link_to(t, c, at + 2 + i, at);
            continue;
        }
        if (index != previous) { /* runs of one label share a stub */
            stub = t->n;
            wl_forget(t);
            branch(t, index);
            previous = index;
        }
        t->code[at + 2 + i].k = (int32_t)(stub - at - WL_BRANCH_WORDS);
    }
}

/* ---- Blocks --------------------------------------------------------------------------------------------------------- */

static void after_transfer(translator *t);

static void enter_block(translator *t, uint8_t kind) {
    control *c = push_frame(t, kind);
    wl_read_block_type(t->module, &t->p, &c->type);
    if (kind == FRAME_IF) {
        condition cond = take_condition(t);
        wl_flush_top(t, c->type.n_params);
        wl_flush_locals(t);
        open_block(t, c);
        uint32_t at = emit_condition(t, &cond, false);
        add_fixup(t, &c->else_fixup, at + 1, at);
        return;
    }
    if (kind == FRAME_LOOP) wl_flush_top(t, c->type.n_params);
    wl_flush_locals(t);
    open_block(t, c);
    if (kind == FRAME_LOOP) {
        c->start = t->n;
        t->loops++;
        wl_forget(t);
    }
}

static void else_block(translator *t, bool reachable) {
    control *c = &t->frames[t->depth - 1];
    if (reachable) {
        wl_flush_top(t, c->type.n_results);
        jump(t, c);
    }
    cut(t, c->height);
    bind(t, c->else_fixup, t->n);
    c->else_fixup = NONE;
    c->kind = FRAME_ELSE;
    wl_forget(t);
    push_types(t, c->type.params, c->type.n_params);
}

static void close_try(translator *t, const control *c) {
    wl_array_grow(t, &t->tries, &t->tries_capacity, t->n_tries + 1, sizeof(wl_try));
    t->tries[t->n_tries++] = (wl_try){c->start, t->n, c->first_catch, c->n_catches};
}

static void end_block(translator *t, bool reachable) {
    control *c = &t->frames[t->depth - 1];
    if (c->kind == FRAME_TRY) close_try(t, c);
    bool joined = c->fixups != NONE || c->else_fixup != NONE;
    if (joined) {
        if (reachable) wl_flush_top(t, c->type.n_results);
        bind(t, c->fixups, t->n);
        bind(t, c->else_fixup, t->n);
        cut(t, c->height);
        wl_forget(t);
        push_types(t, c->type.results, c->type.n_results);
    }
    if (c->kind == FRAME_FUNC) {
        if (reachable || joined) emit_return(t);
        t->depth = 0;
        return;
    }
    pop_frame(t);
    if (!reachable && !joined) after_transfer(t);
}

/* Code that nothing reaches is not translated: on to the end of its block, or its else. */
static void after_transfer(translator *t) {
    uint32_t nested = 0;
    t->last = NONE;
    for (;;) {
        uint32_t op = wl_read_op(&t->p);
        switch (op) {
        case WL_OP_BLOCK: case WL_OP_LOOP: case WL_OP_IF: case WL_OP_TRY_TABLE: nested++; break;
        case WL_OP_ELSE:
            if (nested) break;
            else_block(t, false);
            return;
        case WL_OP_END:
            if (nested--) break;
            {
                /* without recursion: this loop goes on where the block's end is not reached either */
                control *c = &t->frames[t->depth - 1];
                bool joined = c->fixups != NONE || c->else_fixup != NONE;
                if (joined || c->kind == FRAME_FUNC) {
                    end_block(t, false);
                    return;
                }
                if (c->kind == FRAME_TRY) close_try(t, c);
                cut(t, c->height);
                pop_frame(t);
                nested = 0;
            }
            continue;
        default: break;
        }
        wl_skip_immediates(op, &t->p);
    }
}

static void try_table(translator *t) {
    control *c = push_frame(t, FRAME_TRY);
    wl_read_block_type(t->module, &t->p, &c->type);
    wl_flush_locals(t);
    open_block(t, c);
    c->start = t->n;
    t->last = NONE;
    uint32_t n = wl_read_u32(&t->p);
    c->first_catch = t->n_catches;
    c->n_catches = n;
    for (; n; n--) {
        wl_catch clause = {.kind = *t->p++};
        if (clause.kind < 2) clause.tag = t->instance->tags[wl_read_u32(&t->p)];
        uint32_t index = wl_read_u32(&t->p);
        control *to = label(t, index + 1);
        EVENT(clause.edge = (uint8_t)wl_note_catch(t, index));
        clause.slot = to->base;
        wl_array_grow(t, &t->catches, &t->catches_capacity, t->n_catches + 1, sizeof(wl_catch));
        t->catches[t->n_catches] = clause;
        link_to(t, to, t->n_catches++, NONE);
        /* a value of an exception may lie beyond what any path pushes */
        uint32_t end = to->base + 1 + (clause.kind < 2 ? clause.tag->type->u.func.param_slots : 0);
        if (end > t->max_slot) t->max_slot = end;
        if (end > 65000) wl_fail(t, WL_OUT_OF_LOCALS);
    }
}

/* ---- Calls ---------------------------------------------------------------------------------------------------------- */

static void results(translator *t, const wl_deftype *type) {
    const wl_type *types = type->u.func.results;
    uint32_t n = type->u.func.n_results;
    for (uint32_t i = 0; i < n; i++) wl_slot_result(t, wl_class(types[i]), n == 1);
}

/* `words` between the handler and the last two; the arguments are on the stack. */
static wl_word *emit_call(translator *t, wl_handler h, uint32_t words, const wl_deftype *type) {
    uint32_t n = type->u.func.n_params;
    wl_flush_top(t, n);
    uint32_t base = n ? t->stack[t->height - n].home : wl_next_slot(t);
    wl_free_all(t);
    uint32_t at = t->n;
    wl_emit(t, h, words + 3);
    t->code[at + words + 1].a = (uint16_t)base;
    t->code[at + words + 2].p = t->func;
    cut(t, t->height - n);
    results(t, type);
    t->last = NONE;
    return t->code + at;
}

static wl_word *emit_return_call(translator *t, wl_handler h, uint32_t words, const wl_deftype *type) {
    uint32_t n = type->u.func.n_params;
    wl_flush_top(t, n);
    uint32_t base = n ? t->stack[t->height - n].home : wl_next_slot(t), slots = slots_of_top(t, n);
    uint32_t at = t->n;
    wl_emit(t, h, words + 3);
    t->code[at + words + 1].a = (uint16_t)t->header;
    t->code[at + words + 1].b = (uint16_t)base;
    t->code[at + words + 1].c = (uint16_t)slots;
    t->code[at + words + 2].p = t->func;
    return t->code + at;
}

static void call(translator *t, bool tail) {
    wl_funcinst *f = t->instance->funcs[wl_read_u32(&t->p)];
    wl_handler h = tail ? wl_op_return_call : f->instance == t->instance ? wl_op_call : wl_op_call_other;
    wl_word *w = tail ? emit_return_call(t, h, 1, f->type) : emit_call(t, h, 1, f->type);
    w[1].p = f;
    if (tail) after_transfer(t);
}

static void call_indirect(translator *t, bool tail) {
    const wl_deftype *type = t->module->types[wl_read_u32(&t->p)];
    wl_tableinst *table = t->instance->tables[wl_read_u32(&t->p)];
    entry index = wl_pop(t);
    bool in_acc = !tail && wl_in_acc(t, &index);
    uint32_t slot = in_acc ? 0 : wl_in_slot(t, &index);
    wl_handler h = tail ? wl_op_return_call_indirect : in_acc ? wl_op_call_indirect_A : wl_op_call_indirect_S;
    wl_word *w = tail ? emit_return_call(t, h, 2, type) : emit_call(t, h, 2, type);
    w[1].p = table;
    w[2].p = (void *)(uintptr_t)type;
    if (tail) w[3].d = (uint16_t)slot;
    else w[3].b = (uint16_t)slot;
    if (tail) after_transfer(t);
}

static void call_ref(translator *t, bool tail) {
    const wl_deftype *type = t->module->types[wl_read_u32(&t->p)];
    entry ref = wl_pop(t);
    uint32_t slot = wl_in_slot(t, &ref);
    wl_word *w = tail ? emit_return_call(t, wl_op_return_call_ref, 0, type) : emit_call(t, wl_op_call_ref, 0, type);
    if (tail) w[1].d = (uint16_t)slot;
    else w[1].b = (uint16_t)slot;
    if (tail) after_transfer(t);
}

static void throw(translator *t) {
    const wl_taginst *tag = t->instance->tags[wl_read_u32(&t->p)];
    uint32_t n = tag->type->u.func.n_params;
    wl_flush_top(t, n);
    uint32_t top = wl_next_slot(t), base = n ? t->stack[t->height - n].home : top;
    wl_word *w = wl_emit(t, wl_op_throw, 4);
    w[1].a = (uint16_t)base;
    w[1].b = (uint16_t)top;
    w[2].p = (void *)(uintptr_t)tag;
    w[3].p = t->func;
    after_transfer(t);
}

/* ---- Branches on references ------------------------------------------------------------------------------------------ */

static void push_again(translator *t, const entry *e) {
    entry *top = wl_push(t, e->class, e->where);
    top->slot = e->slot;
    if (e->where == IN_LOCAL) t->references[e->slot]++;
}

static void br_on_null(translator *t) {
    uint32_t index = wl_read_u32(&t->p);
    entry e = wl_pop(t);
    condition c = {.op = WL_OP_I64_EQ, .form = WL_SK, .previous = NONE};
    c.a = (uint16_t)wl_in_slot(t, &e);
    conditional_branch(t, &c, index);
    push_again(t, &e);
}

/* The reference is the last of the label's values. */
static void branch_with_reference(translator *t, condition *c, uint32_t index, bool keep) {
    uint32_t top = t->height - 1;
    if (t->stack[top].where != IN_LOCAL) wl_flush(t, top);
    const entry *e = &t->stack[top];
    c->a = (uint16_t)(e->where == IN_LOCAL ? e->slot : e->home);
    conditional_branch(t, c, index);
    if (!keep) (void)wl_pop(t);
}

static void br_on_cast(translator *t, bool fail) {
    uint32_t flags = *t->p++, index = wl_read_u32(&t->p);
    (void)wl_read_heap(t->module, &t->p);
    uint32_t heap = wl_read_heap(t->module, &t->p);
    condition c = {.op = NONE, .yes = fail ? wl_op_br_on_cast_fail : wl_op_br_on_cast,
                   .no = fail ? wl_op_br_on_cast : wl_op_br_on_cast_fail, .k = wl_ref(flags & 2, heap)};
    branch_with_reference(t, &c, index, true);
}

void wl_enter_function(translator *t) {
    control *c = push_frame(t, FRAME_FUNC);
    const wl_deftype *type = t->func->type;
    c->type.n_results = type->u.func.n_results;
    c->type.results = type->u.func.results;
    c->base = t->operands;
}

void wl_translate_control(translator *t, uint32_t op) {
    condition c;
    wl_word *w;
    switch (op) {
    case WL_OP_UNREACHABLE:
        wl_emit(t, wl_op_unreachable, 2);
        after_transfer(t);
        break;
    case WL_OP_BLOCK: enter_block(t, FRAME_BLOCK); break;
    case WL_OP_LOOP: enter_block(t, FRAME_LOOP); break;
    case WL_OP_IF: enter_block(t, FRAME_IF); break;
    case WL_OP_TRY_TABLE: try_table(t); break;
    case WL_OP_ELSE: else_block(t, true); break;
    case WL_OP_END: end_block(t, true); break;
    case WL_OP_BR:
        branch(t, wl_read_u32(&t->p));
        after_transfer(t);
        break;
    case WL_OP_BR_IF:
        c = take_condition(t);
        conditional_branch(t, &c, wl_read_u32(&t->p));
        break;
    case WL_OP_BR_TABLE:
        br_table(t);
        after_transfer(t);
        break;
    case WL_OP_RETURN:
        emit_return(t);
        after_transfer(t);
        break;
    case WL_OP_CALL: case WL_OP_RETURN_CALL: call(t, op == WL_OP_RETURN_CALL); break;
    case WL_OP_CALL_INDIRECT: case WL_OP_RETURN_CALL_INDIRECT:
        call_indirect(t, op == WL_OP_RETURN_CALL_INDIRECT);
        break;
    case WL_OP_CALL_REF: case WL_OP_RETURN_CALL_REF: call_ref(t, op == WL_OP_RETURN_CALL_REF); break;
    case WL_OP_THROW: throw(t); break;
    case WL_OP_THROW_REF: {
        entry e = wl_pop(t);
        uint32_t slot = wl_in_slot(t, &e);
        w = wl_emit(t, wl_op_throw_ref, 3);
        w[1].a = (uint16_t)slot;
        w[2].p = t->func;
        after_transfer(t);
        break;
    }
    case WL_OP_BR_ON_NULL: br_on_null(t); break;
    case WL_OP_BR_ON_NON_NULL:
        c = (condition){.op = WL_OP_I64_NE, .form = WL_SK, .previous = NONE};
        branch_with_reference(t, &c, wl_read_u32(&t->p), false);
        break;
    default: br_on_cast(t, op == WL_OP_BR_ON_CAST_FAIL); break;
    }
}
