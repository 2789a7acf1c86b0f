/* The decoded, validated module: what the front end makes and everything else reads.
 *
 *     bytes --wl_load--> wl_module (types closed and canonical, index spaces, byte ranges of bodies)
 *
 * Nothing here is executed yet.  Function bodies, constant expressions and the items of element segments stay bytes
 * of the module's own copy; whoever translates them reads those bytes again, without checks, by the wl_read_*
 * functions at the end of this file.  A module is immutable after wl_load and may be shared by threads. */
#ifndef WASMLAB_MODULE_H
#define WASMLAB_MODULE_H

#include "wl.h"

/* ---- Value types: wl.h has them -------------------------------------------------------------------------------- */

#define WL_HEAP_MASK 0x3fffffffu
#define WL_FIRST_DEFINED 16u

static inline bool wl_is_ref(wl_type t) { return (t & WL_REF) != 0; }
static inline bool wl_is_nullable(wl_type t) { return (t & WL_NULLABLE) != 0; }
static inline uint32_t wl_heap(wl_type t) { return t & WL_HEAP_MASK; }
static inline wl_type wl_ref(bool nullable, uint32_t heap) { return WL_REF | (nullable ? WL_NULLABLE : 0) | heap; }
static inline bool wl_is_defaultable(wl_type t) { return !wl_is_ref(t) || wl_is_nullable(t); }
static inline bool wl_is_packed(wl_type t) { return t == WL_I8 || t == WL_I16; }
static inline wl_type wl_unpacked(wl_type t) { return wl_is_packed(t) ? (wl_type)WL_I32 : t; }
static inline uint32_t wl_slots(wl_type t) { return t == WL_V128 ? 2 : 1; }

/* ---- Defined types --------------------------------------------------------------------------------------------- */

typedef enum wl_kind { WL_FUNC, WL_STRUCT, WL_ARRAY } wl_kind;

typedef struct wl_field {
    wl_type type; /* a storage type */
    uint32_t offset; /* in the structure, after the object's header; 0 in arrays */
    bool mutable_;
} wl_field;

#define WL_DISPLAY 6 /* ancestors that a type test finds in one load; deeper ones take O(log depth) */

/* A closed type, unique in its engine: iso-recursive equality is equality of pointers, and of ids.  It lives at
 * least as long as any module that mentions it. */
struct wl_deftype {
    uint32_t id;
    uint32_t depth;               /* number of proper super types */
    uint32_t display[WL_DISPLAY]; /* id of the ancestor at that depth; own id at `depth`; WL_NONE beyond */
    const struct wl_deftype *super, *jump; /* NULL and itself at a root; jump: an ancestor, for logarithmic search */
    struct wl_group *group;                /* the recursion group it came in */
    uint8_t kind;                          /* wl_kind */
    bool final;
    union {
        struct {
            uint32_t n_params, n_results;
            uint32_t param_slots, result_slots; /* v128 takes two slots, the rest one */
            const wl_type *params, *results;
        } func;
        struct {
            uint32_t n_fields;
            uint32_t size; /* bytes after the header: natural alignment up to 8, references of 8 bytes */
            const wl_field *fields;
        } structure;
        struct {
            wl_field field;
            uint32_t element_size; /* bytes: 1, 2, 4, 8 or 16 */
        } array;
    } u;
};

/* The type of an id that some living module mentions. */
const wl_deftype *wl_type_of_id(const wl_engine *, uint32_t id);

const wl_deftype *wl_ancestor(const wl_deftype *, uint32_t depth); /* depth <= t->depth */

/* Whether `sub` is `sup` or declared below it: the test of casts, call_indirect and linking. */
static inline bool wl_deftype_matches(const wl_deftype *sub, const wl_deftype *sup) {
    if (sub == sup) return true;
    if (sup->depth < WL_DISPLAY) return sub->display[sup->depth] == sup->id;
    return sub->depth > sup->depth && wl_ancestor(sub, sup->depth) == sup;
}

bool wl_heap_matches(const wl_engine *, uint32_t sub, uint32_t sup); /* Heaptype_sub */

/* Valtype_sub (and Storagetype_sub): WL_BOT is below all types. */
bool wl_type_matches_slow(const wl_engine *, wl_type sub, wl_type sup);
static inline bool wl_type_matches(const wl_engine *engine, wl_type sub, wl_type sup) {
    return sub == sup || wl_type_matches_slow(engine, sub, sup);
}

/* ---- Modules --------------------------------------------------------------------------------------------------- */

/* Positions are offsets into wl_module.bytes. */

typedef struct wl_slice {
    uint32_t at, size;
} wl_slice;

/* A constant expression: instructions from `at`, its `end` opcode is the byte at `end - 1`; absent where end is 0. */
typedef struct wl_expr {
    uint32_t at, end;
    uint32_t max_height; /* operands at once */
} wl_expr;

typedef struct wl_bounds {
    uint64_t min, max; /* pages of 64 KiB, or elements; max is UINT64_MAX where absent */
    bool has_max, is64, shared, by_byte; /* the last two of memories only; by_byte: pages are of one byte */
} wl_bounds;

typedef struct wl_table {
    wl_bounds bounds;
    wl_type type;
    wl_expr init; /* absent: null */
} wl_table;

typedef struct wl_memory {
    wl_bounds bounds;
} wl_memory;

typedef struct wl_global {
    wl_type type;
    bool mutable_;
    wl_expr init; /* absent in imports */
} wl_global;

typedef struct wl_import {
    wl_slice module, name;
    uint32_t kind;  /* wl_extern */
    uint32_t index; /* in that index space, which has its type */
} wl_import;

typedef struct wl_export {
    wl_slice name;
    uint32_t kind, index;
} wl_export;

typedef enum wl_mode { WL_PASSIVE, WL_ACTIVE, WL_DECLARATIVE } wl_mode;

typedef struct wl_elem {
    wl_type type;
    uint8_t mode;    /* wl_mode */
    bool is_exprs;   /* items are expressions, else function indices in LEB128 */
    uint32_t table;  /* where active */
    wl_expr offset;  /* where active */
    uint32_t n;      /* items */
    uint32_t items;  /* where the first one begins; the others follow without a gap */
    uint32_t max_height; /* of any item's expression */
} wl_elem;

typedef struct wl_data {
    uint8_t mode;
    uint32_t memory;
    wl_expr offset;
    wl_slice bytes;
} wl_data;

/* A function's body. */
typedef struct wl_body {
    uint32_t locals;     /* the list of declared runs of locals; see wl_read_run */
    uint32_t code, end;  /* first instruction; one past the last `end` */
    uint32_t n_locals;   /* parameters and declared ones */
    uint32_t max_height; /* operands at once, a v128 counting one */
    uint32_t max_depth;  /* control frames at once, the body's own included */
    bool uses_v128;      /* perhaps: in its instructions, or anywhere in the module's types */
    bool has_handlers;   /* a try_table */
    bool has_loops;
} wl_body;

struct wl_module {
    wl_engine *engine;
    const uint8_t *bytes; /* own copy, or the loader's caller's */
    uint32_t size;

    uint32_t n_types, n_funcs, n_tables, n_memories, n_globals, n_tags; /* index spaces, imports first */
    uint32_t n_imported_funcs, n_imported_tables, n_imported_memories, n_imported_globals, n_imported_tags;
    uint32_t n_imports, n_exports, n_elems, n_datas, n_groups;
    uint32_t start; /* function index or WL_NONE */

    const wl_deftype **types;
    const wl_deftype **funcs; /* types of functions */
    wl_table *tables;
    wl_memory *memories;
    wl_global *globals;
    const wl_deftype **tags;
    wl_import *imports;
    wl_export *exports;
    uint32_t *exports_by_name; /* their indices, in an order of names; NULL where they are few */
    wl_elem *elems;
    wl_data *datas;
    wl_body *bodies; /* of function n_imported_funcs + i */

    struct wl_group **groups; /* references held */
    struct wl_chunk *chunks;  /* the arena: freed whole */
    uint32_t references;
};

const wl_export *wl_find_export(const wl_module *, const void *name, size_t size); /* NULL: there is none */

/* Memory that lives as long as the module (not thread-safe after wl_load); NULL: none left.  Aligned to 8. */
void *wl_module_alloc(wl_module *, size_t size);

static inline const wl_body *wl_body_of(const wl_module *m, uint32_t function) {
    return &m->bodies[function - m->n_imported_funcs];
}

/* ---- Reading validated bytes again: nothing is checked --------------------------------------------------------- */

static inline uint64_t wl_read_u64(const uint8_t **p) {
    uint64_t byte = *(*p)++, value = byte & 0x7f;
    for (unsigned shift = 7; byte & 0x80; shift += 7) {
        byte = *(*p)++;
        value |= (byte & 0x7f) << shift;
    }
    return value;
}

static inline uint32_t wl_read_u32(const uint8_t **p) {
    uint32_t byte = *(*p)++;
    if (byte < 0x80) return byte;
    --*p;
    return (uint32_t)wl_read_u64(p);
}

static inline int64_t wl_read_s64(const uint8_t **p) {
    uint64_t byte, value = 0;
    unsigned shift = 0;
    do {
        byte = *(*p)++;
        value |= (byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    if (shift < 64 && (byte & 0x40)) value |= ~(uint64_t)0 << shift;
    return (int64_t)value;
}

static inline int32_t wl_read_s32(const uint8_t **p) { return (int32_t)wl_read_s64(p); }

typedef struct wl_memarg {
    uint32_t align, memory; /* align: exponent of two */
    uint64_t offset;
} wl_memarg;

static inline wl_memarg wl_read_memarg(const uint8_t **p) {
    wl_memarg m = {wl_read_u32(p), 0, 0};
    if (m.align & 0x40) {
        m.align &= 0x3f;
        m.memory = wl_read_u32(p);
    }
    m.offset = wl_read_u64(p);
    return m;
}

/* Opcode as numbered in opcodes.h (dense: prefixed ones follow the first 256). */
uint32_t wl_read_op_prefixed(const uint8_t **p);
static inline uint32_t wl_read_op(const uint8_t **p) {
    return **p < 0xFB ? *(*p)++ : wl_read_op_prefixed(p);
}

uint32_t wl_read_heap(const wl_module *, const uint8_t **p); /* as in wl_heap() */
wl_type wl_read_type(const wl_module *, const uint8_t **p);  /* a value type */

/* A block's type: parameters and results live in the module's types, or in `single`. */
typedef struct wl_block_type {
    uint32_t n_params, n_results;
    const wl_type *params, *results;
    wl_type single;
} wl_block_type;
void wl_read_block_type(const wl_module *, const uint8_t **p, wl_block_type *); /* do not copy the result */

/* Runs of declared locals: begin with p = bytes + body->locals; wl_read_u32(&p) runs follow, each read by this. */
typedef struct wl_run {
    uint32_t count;
    wl_type type;
} wl_run;
static inline wl_run wl_read_run(const wl_module *m, const uint8_t **p) {
    wl_run run;
    run.count = wl_read_u32(p);
    run.type = wl_read_type(m, p);
    return run;
}

/* Skip the immediates of the instruction `op`, whose opcode has been read. */
void wl_skip_immediates(uint32_t op, const uint8_t **p);

#endif
