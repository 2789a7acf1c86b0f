/* Inside the front end: the reader that checks, and the state of one load.
 *
 * Decoding precedes validation in the standard, but both happen here in one pass.  So the first violation of a
 * validation rule is only remembered (`rejection`), from then on nothing is validated, and decoding goes on: if
 * anything later is malformed, the module is malformed. */
#ifndef WASMLAB_FRONT_H
#define WASMLAB_FRONT_H

#include "module.h"
#include "opcodes.h"

#if defined(__GNUC__)
#define WL_LIKELY(x) __builtin_expect(!!(x), 1)
#define WL_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define WL_COLD __attribute__((cold, noinline))
#define WL_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define WL_LIKELY(x) (x)
#define WL_UNLIKELY(x) (x)
#define WL_COLD
#define WL_PRINTF(a, b)
#endif

#define WL_TRY(x) \
    do { \
        if (WL_UNLIKELY(!(x))) return false; \
    } while (0)

/* While a recursion group is read, references to its members: the number of the member and this bit. */
#define WL_HEAP_REC 0x20000000u
#define WL_MAX_TYPES (WL_HEAP_REC - WL_FIRST_DEFINED)

typedef struct wl_buffer { /* grows by doubling; begins in memory that somebody else owns */
    void *data;
    size_t capacity; /* bytes */
    bool heap;
} wl_buffer;

bool wl_buffer_grow(wl_buffer *, size_t used, size_t needed); /* false: no memory */
void wl_buffer_free(wl_buffer *);

typedef struct wl_loader {
    wl_module *m;
    wl_engine *engine;
    const wl_limits *limits;
    const uint8_t *bytes, *end; /* the module's copy */
    wl_error *error;            /* what decoding ends with; written once */
    uint32_t function;          /* whose body is read, for messages */

    uint32_t rec_base, rec_size; /* the recursion group being read: its type indices */
    uint32_t n_const_globals;    /* globals that constant expressions see */
    bool has_data_count;
    uint32_t data_count;
    bool uses_data;              /* some body mentions a data segment */
    bool mentions_v128;          /* some type does */
    uint32_t n_codes;
    uint64_t work;
    uint8_t *declared; /* a bit for each function that ref.func may name; NULL as long as there is none */
    wl_buffer stack, frames, scratch, runs, inits;
    uint8_t few_declared[16];
    wl_error rejection; /* what validation would end with; its stage is WL_OK as long as nothing is wrong */
} wl_loader;

typedef struct wl_reader {
    const uint8_t *p, *end;
    wl_loader *l;
} wl_reader;

/* Both return false.  `malformed` and `no_memory` end the load, `invalid` only what asked. */
bool wl_malformed(wl_loader *, const uint8_t *at, const char *message) WL_COLD;
bool wl_no_memory(wl_loader *) WL_COLD;
bool wl_reject(wl_loader *, wl_stage, const uint8_t *at, const char *format, ...) WL_COLD WL_PRINTF(4, 5);
#define wl_invalid(l, at, ...) wl_reject(l, WL_INVALID, at, __VA_ARGS__)

static inline bool wl_rejected(const wl_loader *l) { return l->rejection.stage != WL_OK; }

bool wl_need_feature(wl_loader *, const uint8_t *at, uint32_t bit); /* true, after remembering it if it is off */

/* ---- Reading with checks; false after wl_malformed ------------------------------------------------------------- */

/* Whether a value type begins so. */
static inline bool wl_is_type_byte(uint32_t byte) {
    return (byte >= 0x7B && byte <= 0x7F) || byte == 0x63 || byte == 0x64 || (byte >= 0x69 && byte <= 0x74);
}

#define WL_UNEXPECTED_END "unexpected end of section or function"

bool wl_get_u32_slow(wl_reader *, uint32_t *);
bool wl_get_u64(wl_reader *, uint64_t *);
bool wl_get_signed_slow(wl_reader *, unsigned bits, int64_t *);
bool wl_get_count(wl_reader *, uint32_t *); /* of a list: never more than bytes are left */
bool wl_get_name(wl_reader *, wl_slice *);
bool wl_get_heap(wl_reader *, uint32_t *); /* closed; an unknown type index is rejected and reads as bottom */
bool wl_get_ref_type(wl_reader *, wl_type *);
bool wl_get_type(wl_reader *, wl_type *);
bool wl_get_op_prefixed(wl_reader *, uint32_t *);

static inline bool wl_get_byte(wl_reader *r, uint32_t *value) {
    if (WL_UNLIKELY(r->p >= r->end)) {
        wl_malformed(r->l, r->p, WL_UNEXPECTED_END);
        return false;
    }
    *value = *r->p++;
    return true;
}

static inline bool wl_get_u32(wl_reader *r, uint32_t *value) {
    if (WL_LIKELY(r->p < r->end && *r->p < 0x80)) {
        *value = *r->p++;
        return true;
    }
    return wl_get_u32_slow(r, value);
}

static inline bool wl_get_signed(wl_reader *r, unsigned bits, int64_t *value) {
    if (WL_LIKELY(r->p < r->end && *r->p < 0x80)) {
        *value = (int64_t)(*r->p & 0x3f) - (*r->p & 0x40);
        r->p++;
        return true;
    }
    return wl_get_signed_slow(r, bits, value);
}

bool wl_get_memarg(wl_reader *, wl_memarg *);

static inline bool wl_get_zero(wl_reader *r) {
    uint32_t zero;
    WL_TRY(wl_get_byte(r, &zero));
    return zero == 0 || wl_malformed(r->l, r->p - 1, "zero byte expected");
}

static inline bool wl_get_bytes(wl_reader *r, size_t n) {
    if (WL_UNLIKELY(n > (size_t)(r->end - r->p))) return wl_malformed(r->l, r->p, "unexpected end");
    r->p += n;
    return true;
}

/* The opcode in dense numbering, known to exist. */
static inline bool wl_get_op(wl_reader *r, uint32_t *op) {
    if (WL_UNLIKELY(r->p >= r->end)) return wl_malformed(r->l, r->p, WL_UNEXPECTED_END);
    uint32_t byte = *r->p;
    if (WL_LIKELY(wl_op_rows[byte].immediate != WL_IMM_ILLEGAL)) {
        r->p++;
        *op = byte;
        return true;
    }
    return wl_get_op_prefixed(r, op);
}

bool wl_allocate(wl_loader *, void *array, size_t n, size_t size);                  /* array: T **; zeroed */
bool wl_extend(wl_loader *, void *array, size_t used, size_t more, size_t size); /* a larger copy, zeroed behind */

/* ---- Parts ----------------------------------------------------------------------------------------------------- */

/* types.c: make the group's types canonical, append them to the module's and check their sub typing.  `words` holds
 * for each type: kind | final << 2, super (0 or a reference), then a count and the types of each part. */
bool wl_close_group(wl_loader *, const uint8_t *at, const uint32_t *words, size_t n_words, uint32_t n_types);
uint32_t wl_engine_seed(const wl_engine *); /* unknown to modules: hash tables start from it */
void wl_release_groups(wl_engine *, struct wl_group **groups, uint32_t n);

/* decode.c */
bool wl_decode(wl_loader *);
bool wl_declare(wl_loader *, uint32_t function); /* ref.func may name it; false: no memory */

/* skim.c: decode without validating: the list of a body's locals; an expression to its end. */
bool wl_skim_locals(wl_reader *);
bool wl_skim_expression(wl_reader *);

/* validate.c: from a function's locals to the end of its body; false: malformed or rejected. */
bool wl_validate_body(wl_reader *, uint32_t function, wl_body *);

/* validate_const.c */
bool wl_validate_const(wl_reader *, wl_type expected, uint32_t *max_height);

#endif
