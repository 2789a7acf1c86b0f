/* References and the garbage-collected heap.
 *
 * A reference is 64 bits: 0 is null; low bits 01 an i31 in bits 2 to 32, 10 a host reference with its number above
 * them, 00 an address: of a wl_funcinst, a structure, an array or an exception.  External and internal references
 * are represented alike, so their conversions do nothing. */
#ifndef WASMLAB_GC_H
#define WASMLAB_GC_H

#include "exec.h"

enum { WL_TAG_ADDRESS, WL_TAG_I31, WL_TAG_HOST };
#define WL_TAG(ref) ((ref) & 3)

static inline wl_refval wl_i31(uint32_t n) { return (uint64_t)(n & 0x7fffffffu) << 2 | WL_TAG_I31; }
static inline uint32_t wl_i31_u(wl_refval r) { return (uint32_t)(r >> 2); }
static inline int32_t wl_i31_s(wl_refval r) { return (int32_t)((uint32_t)(r >> 2) << 1) >> 1; }

/* What every object begins with.  An exception has no type. */
typedef struct wl_object {
    const wl_deftype *type;
} wl_object;

typedef struct wl_structure {
    wl_object header;
    uint8_t fields[]; /* wl_field.offset */
} wl_structure;

typedef struct wl_array {
    wl_object header;
    uint64_t length;
    uint8_t elements[];
} wl_array;

typedef struct wl_exn {
    wl_object header; /* NULL */
    const wl_taginst *tag;
    uint64_t values[];
} wl_exn;

static inline wl_exn *wl_exn_of(wl_refval r) { return (wl_exn *)(uintptr_t)r; }
static inline wl_array *wl_array_of(wl_refval r) { return (wl_array *)(uintptr_t)r; }
static inline wl_structure *wl_structure_of(wl_refval r) { return (wl_structure *)(uintptr_t)r; }

/* A zeroed object of that many bytes.  `top` is the end of the running frame's live slots: values in accumulators
 * are not roots.  NULL: wl_why_no_object says what ran out. */
void *wl_gc_allocate(wl_store *, uint8_t *top, uint64_t bytes);
int wl_why_no_object(const wl_store *);
int wl_new_exception(wl_store *, uint8_t *top, const wl_taginst *, const uint64_t *values, wl_refval *result);
void wl_collect(wl_store *, uint8_t *top);
void wl_heap_free(wl_gcheap *);

/* From slots; an array's element is one or two of them. */
void wl_fill_structure(wl_structure *, const wl_deftype *, const uint64_t *slots);
void wl_fill_array(wl_array *, uint64_t at, const uint64_t *value, uint64_t n);

/* Whether a reference has that type; `type` as in wl_type. */
bool wl_ref_matches(const wl_store *, wl_refval, wl_type type);

#endif
