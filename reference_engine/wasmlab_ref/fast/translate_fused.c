/* Pairs of instructions that exec_fused.c has in one handler.  The first one must be the last that was emitted, and its
 * result nowhere but in the accumulator: then it is taken back. */
#include "translate.h"

static bool is_fresh(const translator *t, const entry *e) {
    const accumulator *a = &t->acc[e->class];
    return e->where == IN_ACC && t->last != NONE && a->producer == t->last && a->op != NONE;
}

static bool in_frame(const entry *e) { return e->where == IN_SLOT || e->where == IN_LOCAL; }
static uint16_t slot_of(const entry *e) { return (uint16_t)(e->where == IN_LOCAL ? e->slot : e->home); }

static void take_back(translator *t) {
    t->n = t->last;
    t->comparison.at = NONE;
}

static int index_of(uint32_t op, const uint32_t *ops, int n) {
    for (int i = 0; i < n; i++)
        if (ops[i] == op) return i;
    return -1;
}

/* The last instruction is a load that recorded itself: form and operands of its address. */
static bool fuse_loaded(translator *t, uint8_t class, uint32_t op, entry *z, unsigned side) {
    static const uint32_t ops[3][4] = {{WL_OP_I32_ADD, WL_OP_I32_AND, WL_OP_I32_OR, WL_OP_I32_XOR},
                                       {WL_OP_I64_ADD, WL_OP_I64_AND, WL_OP_I64_OR, WL_OP_I64_XOR},
                                       {WL_OP_F64_ADD, WL_OP_F64_SUB, WL_OP_F64_MUL, NONE}};
    const accumulator *a = &t->acc[class];
    int kind = a->op == WL_OP_I32_LOAD ? 0 : a->op == WL_OP_I64_LOAD ? 1 : a->op == WL_OP_F64_LOAD ? 2 : -1;
    int i = kind < 0 ? -1 : index_of(op, ops[kind], 4);
    if (i < 0 || !wl_at_hand(t, z)) return false;
    wl_word first = t->code[t->last + 1], second = {0};
    unsigned address = a->form;
    if (address >= WL_ADDRESS_SK) second = t->code[t->last + 2];
    const wl_handler *h = wl_load_then[kind][i][side][address];
    take_back(t);
    wl_word *w = wl_emit(t, h[0], 3);
    w[1] = first;
    w[2].a = slot_of(z);
    if (address == WL_ADDRESS_SS) w[2].b = second.a;
    else w[2].k = second.low;
    wl_result(t, class, h[1]);
    return true;
}

/* Remember a load for that. */
void wl_note_load(translator *t, uint32_t row, uint8_t class, unsigned address) {
    t->acc[class].op = row + WL_OP_I32_LOAD;
    t->acc[class].form = (uint8_t)address;
}

static bool fuse_integers(translator *t, uint32_t op, entry *z) {
    static const uint32_t first[2][WL_FUSED_FIRST] = {
        {WL_OP_I32_ADD, WL_OP_I32_SUB, WL_OP_I32_MUL, WL_OP_I32_AND, WL_OP_I32_OR, WL_OP_I32_XOR, WL_OP_I32_SHL,
         WL_OP_I32_SHR_U, WL_OP_I32_ROTL},
        {WL_OP_I64_ADD, WL_OP_I64_SUB, WL_OP_I64_MUL, WL_OP_I64_AND, WL_OP_I64_OR, WL_OP_I64_XOR, WL_OP_I64_SHL,
         WL_OP_I64_SHR_U, WL_OP_I64_ROTL}};
    static const uint32_t second[2][WL_FUSED_SECOND] = {{WL_OP_I32_ADD, WL_OP_I32_AND, WL_OP_I32_OR, WL_OP_I32_XOR},
                                                        {WL_OP_I64_ADD, WL_OP_I64_AND, WL_OP_I64_OR, WL_OP_I64_XOR}};
    const accumulator *a = &t->acc[CLASS_I];
    int wide = op >= WL_OP_I64_CLZ;
    int i = index_of(a->op, first[wide], WL_FUSED_FIRST), j = index_of(op, second[wide], WL_FUSED_SECOND);
    if (i < 0 || j < 0 || a->form == WL_SA) return false;
    bool y_const = a->form == WL_SK || a->form == WL_AK;
    bool z_const = z->where == IS_CONST && (!wide || (int64_t)z->k == (int32_t)z->k);
    if (!z_const && !wl_at_hand(t, z)) return false;
    wl_word before = t->code[t->last + 1];
    unsigned form = (a->form == WL_AS || a->form == WL_AK ? WL_X_ACC : 0) | (y_const ? WL_Y_CONST : 0) |
                    (z_const ? WL_Z_CONST : 0);
    const wl_handler *h = wl_fused[wide][i][j][form];
    take_back(t);
    wl_word *w = wl_emit(t, h[0], y_const || z_const ? 3 : 2);
    w[1].b = before.b;
    if (y_const) w[2].low = before.k;
    else w[1].c = before.c;
    if (z_const) w[2].high = (int32_t)z->k;
    else w[1].d = slot_of(z);
    wl_result(t, CLASS_I, h[1]);
    return true;
}

static bool fuse_f64(translator *t, uint32_t op, entry *z, unsigned side) {
    static const uint32_t ops[3] = {WL_OP_F64_ADD, WL_OP_F64_SUB, WL_OP_F64_MUL};
    const accumulator *a = &t->acc[CLASS_F64];
    int i = index_of(a->op, ops, 3), j = index_of(op, ops, 3);
    if (i < 0 || j < 0 || (a->form != WL_SS && a->form != WL_AS) || !wl_at_hand(t, z)) return false;
    wl_word before = t->code[t->last + 1];
    const wl_handler *h = wl_fused_f64[i][j][side][a->form == WL_AS];
    take_back(t);
    wl_word *w = wl_emit(t, h[0], 2);
    w[1].b = before.b;
    w[1].c = before.c;
    w[1].d = slot_of(z);
    wl_result(t, CLASS_F64, h[1]);
    return true;
}

bool wl_fuse_binary(translator *t, uint32_t op, entry *lhs, entry *rhs) {
    if (lhs->class == CLASS_I)
        return is_fresh(t, lhs) && (fuse_integers(t, op, rhs) || fuse_loaded(t, CLASS_I, op, rhs, 0));
    if (lhs->class != CLASS_F64) return false;
    bool left = is_fresh(t, lhs);
    if (!left && !is_fresh(t, rhs)) return false;
    entry *z = left ? rhs : lhs;
    return fuse_f64(t, op, z, !left) || fuse_loaded(t, CLASS_F64, op, z, !left);
}

bool wl_fuse_load(translator *t, uint32_t row, uint8_t class, const entry *address, uint32_t offset) {
    const accumulator *a = &t->acc[CLASS_I];
    if (!is_fresh(t, address) || a->op != WL_OP_I32_ADD || a->form == WL_AS || a->form == WL_SA)
        return false;
    unsigned form = a->form == WL_SK ? WL_SUM_SK : a->form == WL_SS ? WL_SUM_SS : WL_SUM_AK;
    wl_word before = t->code[t->last + 1];
    const wl_handler *h = wl_loads_sum[row][form];
    take_back(t);
    wl_free_acc(t, class);
    wl_word *w = wl_emit(t, h[0], 3);
    w[1].b = before.b;
    w[1].u = offset;
    if (form == WL_SUM_SS) w[2].a = before.c;
    else w[2].low = before.k;
    wl_result(t, class, h[1]);
    wl_note_load(t, row, class, form + WL_ADDRESS_SK);
    return true;
}

/* The value, in a slot or constant, to a sum that was just computed. */
bool wl_fuse_store(translator *t, uint32_t op, const entry *address, const entry *value, uint32_t offset) {
    static const uint8_t widths[] = {2, 3, 2, 3, 0, 1, 0, 1, 2}; /* i32 i64 f32 f64, i32 8 16, i64 8 16 32 */
    const accumulator *a = &t->acc[CLASS_I];
    bool is_const = value->where == IS_CONST;
    if (!is_fresh(t, address) || a->op != WL_OP_I32_ADD || (a->form != WL_SK && a->form != WL_AK) ||
        (!is_const && !in_frame(value)))
        return false;
    const wl_handler h = wl_stores_sum[widths[op - WL_OP_I32_STORE]][a->form == WL_AK][is_const];
    wl_word before = t->code[t->last + 1];
    take_back(t);
    wl_word *w = wl_emit(t, h, is_const ? 4 : 3);
    w[1].a = is_const ? 0 : slot_of(value);
    w[1].b = before.b;
    w[1].u = offset;
    w[2].low = before.k;
    if (is_const) w[3].u64 = value->k;
    t->acc[CLASS_I].mirror[0] = t->acc[CLASS_I].mirror[1] = NONE;
    return true;
}

/* local += constant, compared and branched on */
bool wl_fuse_step(translator *t, const condition *c, bool sense, uint32_t *at) {
    static const uint8_t opposite[10] = {1, 0, 8, 9, 6, 7, 4, 5, 2, 3};
    if (c->op < WL_OP_I32_EQ || c->op > WL_OP_I32_GE_U || c->previous == NONE || c->previous + 2 != t->n ||
        (c->form != WL_AK && c->form != WL_AS))
        return false;
    wl_word *previous = t->code + c->previous, operands = previous[1];
    bool adds_slot = previous->h == wl_binary[WL_OP_I32_ADD][2 * WL_SS + 1];
    if ((!adds_slot && previous->h != wl_binary[WL_OP_I32_ADD][2 * WL_SK + 1]) || operands.a != operands.b) return false;
    if (c->form == WL_AS && c->b == operands.a) return false; /* the sum with itself: the slot would be read before */
    uint32_t row = c->op - WL_OP_I32_EQ;
    t->n = *at = c->previous;
    wl_word *w = wl_emit(t, wl_steps[sense ? row : opposite[row]][(c->form == WL_AS) * 2 + adds_slot], 3);
    w[1].a = operands.a;
    w[1].b = c->b;
    if (adds_slot) w[2].a = operands.c;
    else w[2].low = operands.k;
    w[2].high = (int32_t)c->k;
    t->last = NONE;
    return true;
}
