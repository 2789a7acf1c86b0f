/* Reading the binary format: with checks while a module is loaded, without when its bodies are read again. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "front.h"

/* ---- Errors and memory ----------------------------------------------------------------------------------------- */

static void describe(wl_error *error, wl_stage stage, uint32_t function, size_t offset) {
    error->stage = stage;
    error->function = function;
    error->offset = offset;
}

bool wl_malformed(wl_loader *l, const uint8_t *at, const char *message) {
    if (l->error->stage == WL_OK) {
        describe(l->error, WL_MALFORMED, l->function, (size_t)(at - l->bytes));
        snprintf(l->error->message, sizeof l->error->message, "%s", message);
    }
    return false;
}

bool wl_no_memory(wl_loader *l) {
    if (l->error->stage == WL_OK) {
        describe(l->error, WL_NO_MEMORY, l->function, 0);
        snprintf(l->error->message, sizeof l->error->message, "out of memory");
    }
    return false;
}

bool wl_reject(wl_loader *l, wl_stage stage, const uint8_t *at, const char *format, ...) {
    if (wl_rejected(l)) return false;
    describe(&l->rejection, stage, l->function, (size_t)(at - l->bytes));
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(l->rejection.message, sizeof l->rejection.message, format, arguments);
    va_end(arguments);
    return false;
}

bool wl_buffer_grow(wl_buffer *b, size_t used, size_t needed) {
    size_t capacity = b->capacity;
    while (capacity < needed) {
        if (capacity > SIZE_MAX / 2) return false;
        capacity *= 2;
    }
    void *data = b->heap ? realloc(b->data, capacity) : malloc(capacity);
    if (!data) return false;
    if (!b->heap && used) memcpy(data, b->data, used);
    *b = (wl_buffer){data, capacity, true};
    return true;
}

void wl_buffer_free(wl_buffer *b) {
    if (b->heap) free(b->data);
}

/* ---- Integers -------------------------------------------------------------------------------------------------- */

static bool get_unsigned(wl_reader *r, unsigned bits, uint64_t *value) {
    uint64_t result = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint32_t byte;
        if (shift >= bits) return wl_malformed(r->l, r->p, "integer representation too long");
        WL_TRY(wl_get_byte(r, &byte));
        if (bits - shift < 7 && (byte & 0x7f) >= 1u << (bits - shift))
            return wl_malformed(r->l, r->p - 1, "integer too large");
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) break;
    }
    *value = result;
    return true;
}

bool wl_get_u32_slow(wl_reader *r, uint32_t *value) {
    if (r->end - r->p >= 2 && r->p[1] < 0x80) {
        *value = (r->p[0] & 0x7fu) | (uint32_t)r->p[1] << 7;
        r->p += 2;
        return true;
    }
    uint64_t wide;
    WL_TRY(get_unsigned(r, 32, &wide));
    *value = (uint32_t)wide;
    return true;
}

bool wl_get_u64(wl_reader *r, uint64_t *value) {
    if (WL_LIKELY(r->p < r->end && *r->p < 0x80)) {
        *value = *r->p++;
        return true;
    }
    return get_unsigned(r, 64, value);
}

bool wl_get_signed_slow(wl_reader *r, unsigned bits, int64_t *value) {
    uint64_t result = 0;
    for (unsigned shift = 0;;) {
        uint32_t byte;
        if (shift >= bits) return wl_malformed(r->l, r->p, "integer representation too long");
        WL_TRY(wl_get_byte(r, &byte));
        if (bits - shift < 7) { /* the bits above the number's own repeat its sign */
            uint32_t sign = 0x7fu & ~((1u << (bits - shift - 1)) - 1);
            if ((byte & sign) != 0 && (byte & sign) != sign)
                return wl_malformed(r->l, r->p - 1, "integer too large");
        }
        result |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        if (byte < 0x80) {
            if (shift < 64 && (byte & 0x40)) result |= ~(uint64_t)0 << shift;
            break;
        }
    }
    *value = (int64_t)result;
    return true;
}

bool wl_get_count(wl_reader *r, uint32_t *n) {
    const uint8_t *at = r->p;
    WL_TRY(wl_get_u32(r, n));
    if (*n > (size_t)(r->end - r->p)) return wl_malformed(r->l, at, "length out of bounds");
    return true;
}

/* ---- Names ----------------------------------------------------------------------------------------------------- */

/* The length of the UTF-8 sequence at `p`, 0 where there is none. */
static size_t utf8_sequence(const uint8_t *p, const uint8_t *end) {
    uint8_t lead = *p;
    if (lead < 0x80) return 1;
    size_t n = lead >= 0xC2 && lead <= 0xDF ? 2 : (lead & 0xF0) == 0xE0 ? 3 : lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
    if (!n || (size_t)(end - p) < n) return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    if (lead == 0xE0 && p[1] < 0xA0) return 0; /* longer than necessary */
    if (lead == 0xED && p[1] > 0x9F) return 0; /* a surrogate */
    if (lead == 0xF0 && p[1] < 0x90) return 0;
    if (lead == 0xF4 && p[1] > 0x8F) return 0; /* above U+10FFFF */
    return n;
}

bool wl_get_name(wl_reader *r, wl_slice *name) {
    uint32_t n;
    WL_TRY(wl_get_count(r, &n));
    const uint8_t *p = r->p, *end = p + n;
    *name = (wl_slice){(uint32_t)(p - r->l->bytes), n};
    while (p < end) {
        size_t step = utf8_sequence(p, end);
        if (!step) return wl_malformed(r->l, p, "malformed UTF-8 encoding");
        p += step;
    }
    r->p = end;
    return true;
}

/* ---- Types ----------------------------------------------------------------------------------------------------- */

#define FIRST_HEAP 0x69
static const uint8_t abstract_heaps[] = {
    WL_HEAP_EXN,    WL_HEAP_ARRAY, WL_HEAP_STRUCT, WL_HEAP_I31,      WL_HEAP_EQ,     WL_HEAP_ANY,
    WL_HEAP_EXTERN, WL_HEAP_FUNC,  WL_HEAP_NONE,   WL_HEAP_NOEXTERN, WL_HEAP_NOFUNC, WL_HEAP_NOEXN,
};

static bool is_abstract_heap(uint32_t byte) {
    return byte >= FIRST_HEAP && byte < FIRST_HEAP + sizeof abstract_heaps;
}

static uint32_t feature_of_heap(uint32_t heap) {
    if (heap == WL_HEAP_FUNC || heap == WL_HEAP_EXTERN) return WL_FEATURE_REFERENCE_TYPES;
    return heap == WL_HEAP_EXN || heap == WL_HEAP_NOEXN ? WL_FEATURE_EXCEPTIONS : WL_FEATURE_GC;
}

bool wl_need_feature(wl_loader *l, const uint8_t *at, uint32_t bit) {
    if (WL_UNLIKELY(!(l->limits->features & bit))) {
        unsigned number = 0;
        while (bit >> (number + 1)) number++;
        wl_reject(l, WL_UNSUPPORTED, at, "%s is switched off", wl_feature_names[number]);
    }
    return true;
}

bool wl_get_heap(wl_reader *r, uint32_t *heap) {
    wl_loader *l = r->l;
    const uint8_t *at = r->p;
    if (at < r->end && *at >= 0x40 && *at < 0x80) {
        if (!is_abstract_heap(*at)) return wl_malformed(l, at, "malformed heap type");
        r->p++;
        *heap = abstract_heaps[*at - FIRST_HEAP];
        return wl_need_feature(l, at, feature_of_heap(*heap));
    }
    int64_t index;
    WL_TRY(wl_get_signed(r, 33, &index));
    if (index < 0) return wl_malformed(l, at, "malformed heap type");
    wl_need_feature(l, at, WL_FEATURE_FUNCTION_REFERENCES);
    if (index < (int64_t)l->m->n_types) {
        *heap = l->m->types[index]->id + WL_FIRST_DEFINED;
    } else if (index >= (int64_t)l->rec_base && index - (int64_t)l->rec_base < (int64_t)l->rec_size) {
        *heap = WL_HEAP_REC | (uint32_t)(index - l->rec_base);
    } else {
        *heap = WL_HEAP_BOT;
        wl_invalid(l, at, "unknown type %u", (unsigned)index);
    }
    return true;
}

bool wl_get_ref_type(wl_reader *r, wl_type *t) {
    wl_loader *l = r->l;
    if (WL_UNLIKELY(r->p >= r->end)) return wl_malformed(l, r->p, WL_UNEXPECTED_END);
    uint32_t byte = *r->p, heap;
    if (byte == 0x63 || byte == 0x64) {
        r->p++;
        WL_TRY(wl_get_heap(r, &heap));
        wl_need_feature(l, r->p, WL_FEATURE_FUNCTION_REFERENCES);
        *t = wl_ref(byte == 0x63, heap);
        return true;
    }
    if (!is_abstract_heap(byte)) return wl_malformed(l, r->p, "malformed reference type");
    *t = wl_ref(true, abstract_heaps[byte - FIRST_HEAP]);
    return wl_need_feature(l, r->p++, feature_of_heap(wl_heap(*t)));
}

bool wl_get_type(wl_reader *r, wl_type *t) {
    if (WL_UNLIKELY(r->p >= r->end)) return wl_malformed(r->l, r->p, WL_UNEXPECTED_END);
    uint32_t byte = *r->p;
    if (WL_LIKELY(byte >= 0x7B && byte <= 0x7F)) {
        *t = WL_I32 + 0x7F - byte; /* i32 7F, i64 7E, f32 7D, f64 7C, v128 7B */
        if (byte == 0x7B) {
            r->l->mentions_v128 = true;
            wl_need_feature(r->l, r->p, WL_FEATURE_SIMD);
        }
        r->p++;
        return true;
    }
    if (byte == 0x63 || byte == 0x64 || is_abstract_heap(byte)) return wl_get_ref_type(r, t);
    return wl_malformed(r->l, r->p, "malformed value type");
}

/* ---- Opcodes --------------------------------------------------------------------------------------------------- */

#define ROW(NAME, code, mnemonic, immediate, argument, flags, n, p0, p1, p2, result, feature) \
    [code] = {immediate, argument, flags, n, {p0, p1, p2}, result, feature},
const wl_op_row wl_op_rows[WL_OP_COUNT] = {WL_OPS(ROW)};
#undef ROW

#define ROW(NAME, code, mnemonic, immediate, argument, flags, n, p0, p1, p2, result, feature) [code] = mnemonic,
const char *const wl_op_names[WL_OP_COUNT] = {WL_OPS(ROW)};
#undef ROW

#define ROW(NAME, name) name,
const char *const wl_feature_names[] = {WL_FEATURES(ROW)};
#undef ROW

static uint32_t dense(uint32_t prefix, uint32_t code) {
    switch (prefix) {
    case 0xFB: return code < WL_OP_FB_SIZE ? WL_OP_FB + code : 0xFF;
    case 0xFC: return code < WL_OP_FC_SIZE ? WL_OP_FC + code : 0xFF;
    case 0xFD: return code < WL_OP_FD_SIZE ? WL_OP_FD + code : 0xFF;
    case 0xFE: return code < WL_OP_FE_SIZE ? WL_OP_FE + code : 0xFF;
    default: return 0xFF; /* no instruction has this opcode */
    }
}

bool wl_get_op_prefixed(wl_reader *r, uint32_t *op) {
    const uint8_t *at = r->p++;
    uint32_t code = 0;
    if (*at >= 0xFB && *at <= 0xFE) WL_TRY(wl_get_u32(r, &code));
    *op = dense(*at, code);
    if (wl_op_rows[*op].immediate == WL_IMM_ILLEGAL) {
        char message[32];
        if (*at >= 0xFB && *at <= 0xFE)
            snprintf(message, sizeof message, "illegal opcode %02x %02x", (unsigned)*at, (unsigned)code);
        else
            snprintf(message, sizeof message, "illegal opcode %02x", (unsigned)*at);
        return wl_malformed(r->l, at, message);
    }
    return true;
}

bool wl_get_memarg(wl_reader *r, wl_memarg *m) {
    const uint8_t *at = r->p;
    WL_TRY(wl_get_u32(r, &m->align));
    m->memory = 0;
    if (WL_UNLIKELY(m->align >= 0x40)) {
        if (m->align >= 0x80) return wl_malformed(r->l, at, "malformed memop flags");
        m->align -= 0x40;
        WL_TRY(wl_get_u32(r, &m->memory));
    }
    return wl_get_u64(r, &m->offset);
}

/* ---- Again, without checks ------------------------------------------------------------------------------------- */

uint32_t wl_read_op_prefixed(const uint8_t **p) {
    uint32_t prefix = *(*p)++;
    return dense(prefix, wl_read_u32(p));
}

uint32_t wl_read_heap(const wl_module *m, const uint8_t **p) {
    if (is_abstract_heap(**p)) return abstract_heaps[*(*p)++ - FIRST_HEAP];
    return m->types[wl_read_s64(p)]->id + WL_FIRST_DEFINED;
}

wl_type wl_read_type(const wl_module *m, const uint8_t **p) {
    uint32_t byte = *(*p)++;
    if (byte >= 0x7B) return WL_I32 + 0x7F - byte;
    if (byte == 0x63 || byte == 0x64) return wl_ref(byte == 0x63, wl_read_heap(m, p));
    return wl_ref(true, abstract_heaps[byte - FIRST_HEAP]);
}

void wl_read_block_type(const wl_module *m, const uint8_t **p, wl_block_type *t) {
    uint32_t byte = **p;
    if (byte >= 0x40 && byte < 0x80) {
        *t = (wl_block_type){.n_results = byte != 0x40, .results = &t->single};
        if (byte == 0x40)
            ++*p;
        else
            t->single = wl_read_type(m, p);
        return;
    }
    const wl_deftype *type = m->types[wl_read_s64(p)];
    *t = (wl_block_type){type->u.func.n_params, type->u.func.n_results, type->u.func.params, type->u.func.results, 0};
}

static void skip_leb(const uint8_t **p) {
    while (*(*p)++ & 0x80) {}
}

static void skip_type(const uint8_t **p) {
    uint32_t byte = *(*p)++;
    if (byte == 0x63 || byte == 0x64) skip_leb(p);
}

void wl_skip_immediates(uint32_t op, const uint8_t **p) {
    uint32_t n;
    switch (wl_op_rows[op].immediate) {
    case WL_IMM_NONE: break;
    case WL_IMM_BLOCK:
        (**p == 0x63 || **p == 0x64) ? skip_type(p) : skip_leb(p);
        break;
    case WL_IMM_BLOCK_CATCHES:
        (**p == 0x63 || **p == 0x64) ? skip_type(p) : skip_leb(p);
        for (n = wl_read_u32(p); n; n--) {
            if (*(*p)++ < 2) skip_leb(p);
            skip_leb(p);
        }
        break;
    case WL_IMM_LABELS:
        for (n = wl_read_u32(p) + 1; n; n--) skip_leb(p);
        break;
    case WL_IMM_TYPES:
        for (n = wl_read_u32(p); n; n--) skip_type(p);
        break;
    case WL_IMM_MEM:
    case WL_IMM_ATOMIC: wl_read_memarg(p); break;
    case WL_IMM_MEM_LANE:
        wl_read_memarg(p);
        ++*p;
        break;
    case WL_IMM_ZERO:
    case WL_IMM_LANE: ++*p; break;
    case WL_IMM_F32: *p += 4; break;
    case WL_IMM_F64: *p += 8; break;
    case WL_IMM_LANES:
    case WL_IMM_V128: *p += 16; break;
    case WL_IMM_CAST:
        ++*p;
        skip_leb(p);
        skip_leb(p);
        skip_leb(p);
        break;
    case WL_IMM_TYPE_TABLE:
    case WL_IMM_DATA_MEMORY:
    case WL_IMM_MEMORY_MEMORY:
    case WL_IMM_ELEM_TABLE:
    case WL_IMM_TABLE_TABLE:
    case WL_IMM_TYPE_FIELD:
    case WL_IMM_TYPE_U32:
    case WL_IMM_TYPE_DATA:
    case WL_IMM_TYPE_ELEM:
    case WL_IMM_TYPE_TYPE:
        skip_leb(p);
        skip_leb(p);
        break;
    default: skip_leb(p); break; /* one index or constant */
    }
}
