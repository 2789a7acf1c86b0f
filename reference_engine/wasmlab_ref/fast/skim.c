/* Decoding of instructions alone: for whatever comes after the first violation of a validation rule. */
#include "front.h"

bool wl_skim_locals(wl_reader *r) {
    uint64_t total = 0;
    uint32_t n, count;
    wl_type t;
    WL_TRY(wl_get_count(r, &n));
    for (; n; n--) {
        WL_TRY(wl_get_u32(r, &count));
        WL_TRY(wl_get_type(r, &t));
        total += count;
    }
    return total <= UINT32_MAX || wl_malformed(r->l, r->p, "too many locals");
}

static bool skim_index(wl_reader *r) {
    uint32_t index;
    return wl_get_u32(r, &index);
}

static bool skim_block_type(wl_reader *r) {
    const uint8_t *at = r->p;
    int64_t index;
    wl_type t;
    if (at < r->end && *at == 0x40) return wl_get_bytes(r, 1);
    if (at < r->end && wl_is_type_byte(*at)) return wl_get_type(r, &t);
    WL_TRY(wl_get_signed(r, 33, &index));
    return index >= 0 || wl_malformed(r->l, at, "malformed block type");
}

static bool skim_catches(wl_reader *r) {
    uint32_t n, kind;
    WL_TRY(wl_get_count(r, &n));
    for (; n; n--) {
        WL_TRY(wl_get_byte(r, &kind));
        if (kind > 3) return wl_malformed(r->l, r->p - 1, "malformed catch clause");
        if (kind < 2) WL_TRY(skim_index(r));
        WL_TRY(skim_index(r));
    }
    return true;
}

static bool skim_cast(wl_reader *r) {
    uint32_t flags, heap;
    WL_TRY(wl_get_byte(r, &flags));
    if (flags > 3) return wl_malformed(r->l, r->p - 1, "malformed cast flags");
    return skim_index(r) && wl_get_heap(r, &heap) && wl_get_heap(r, &heap);
}

/* Bodies that do so need a data count section. */
static bool mention_data(wl_reader *r) {
    if (r->l->function != WL_NONE) r->l->uses_data = true;
    return true;
}

static bool skim_immediates(wl_reader *r, uint32_t op) {
    uint32_t n, heap;
    int64_t number;
    wl_memarg memarg;
    wl_type t;
    switch (wl_op_rows[op].immediate) {
    case WL_IMM_NONE: return true;
    case WL_IMM_BLOCK: return skim_block_type(r);
    case WL_IMM_BLOCK_CATCHES: return skim_block_type(r) && skim_catches(r);
    case WL_IMM_LABELS:
        WL_TRY(wl_get_count(r, &n));
        for (; n; n--) WL_TRY(skim_index(r));
        return skim_index(r);
    case WL_IMM_TYPES:
        WL_TRY(wl_get_count(r, &n));
        for (; n; n--) WL_TRY(wl_get_type(r, &t));
        return true;
    case WL_IMM_MEM:
    case WL_IMM_ATOMIC: return wl_get_memarg(r, &memarg);
    case WL_IMM_ZERO: return wl_get_zero(r);
    case WL_IMM_MEM_LANE: return wl_get_memarg(r, &memarg) && wl_get_byte(r, &n);
    case WL_IMM_LANE: return wl_get_byte(r, &n);
    case WL_IMM_I32: return wl_get_signed(r, 32, &number);
    case WL_IMM_I64: return wl_get_signed(r, 64, &number);
    case WL_IMM_F32: return wl_get_bytes(r, 4);
    case WL_IMM_F64: return wl_get_bytes(r, 8);
    case WL_IMM_LANES:
    case WL_IMM_V128: return wl_get_bytes(r, 16);
    case WL_IMM_HEAP: return wl_get_heap(r, &heap);
    case WL_IMM_CAST: return skim_cast(r);
    case WL_IMM_DATA: return mention_data(r) && skim_index(r);
    case WL_IMM_DATA_MEMORY:
    case WL_IMM_TYPE_DATA: return mention_data(r) && skim_index(r) && skim_index(r);
    case WL_IMM_TYPE_TABLE:
    case WL_IMM_MEMORY_MEMORY:
    case WL_IMM_ELEM_TABLE:
    case WL_IMM_TABLE_TABLE:
    case WL_IMM_TYPE_FIELD:
    case WL_IMM_TYPE_U32:
    case WL_IMM_TYPE_ELEM:
    case WL_IMM_TYPE_TYPE: return skim_index(r) && skim_index(r);
    default: return skim_index(r);
    }
}

bool wl_skim_expression(wl_reader *r) {
    wl_loader *l = r->l;
    size_t depth = 0; /* open blocks; for each whether it is an `if` that may still have an `else` */
    for (;;) {
        const uint8_t *at = r->p;
        uint32_t op;
        WL_TRY(wl_get_op(r, &op));
        uint8_t *ifs = l->scratch.data;
        switch (op) {
        case WL_OP_END:
            if (depth-- == 0) return true;
            continue;
        case WL_OP_ELSE:
            if (depth == 0 || !ifs[depth - 1]) return wl_malformed(l, at, "END opcode expected");
            ifs[depth - 1] = 0;
            continue;
        case WL_OP_BLOCK:
        case WL_OP_LOOP:
        case WL_OP_IF:
        case WL_OP_TRY_TABLE:
            if (depth == l->scratch.capacity && !wl_buffer_grow(&l->scratch, depth, depth + 1)) return wl_no_memory(l);
            ((uint8_t *)l->scratch.data)[depth++] = op == WL_OP_IF;
            break;
        default: break;
        }
        WL_TRY(skim_immediates(r, op));
    }
}
