/* Inside the validator: the operand and control stacks that the rules of instructions work on.
 *
 * This is the algorithm of the standard's appendix in spirit: operands of the innermost block lie above `base`; after
 * an unconditional branch the block is `unreachable`, and operands that are not there have any type (WL_BOT). */
#ifndef WASMLAB_VALIDATE_H
#define WASMLAB_VALIDATE_H

#include "front.h"

typedef struct wl_frame {
    const wl_type *params, *results; /* results: NULL where there is none or one, `single` */
    uint32_t n_params, n_results;
    uint32_t height; /* operands below */
    uint32_t inits;  /* locals that had been initialised */
    wl_type single;
    uint16_t op; /* what opened it; WL_OP_END: the function */
    bool unreachable;
} wl_frame;

#define WL_FEW_LOCALS 256

typedef struct wl_validator {
    wl_reader r;
    wl_loader *l;
    const wl_module *m;
    const wl_engine *engine;
    const uint8_t *at; /* the instruction */
    wl_type *top, *base, *bottom, *limit, *highest;
    wl_frame *frames, *frame; /* frame: the innermost one */
    uint32_t n_frames;
    uint32_t max_depth, features; /* features: bits of the instructions met */
    bool constant, gated, has_handlers, has_loops;
    bool quick, quick_memory; /* validate_quickly may be tried; memory 0 is there and has 32-bit addresses */

    const wl_type *params;
    uint32_t n_params, n_few;
    uint32_t n_quick; /* of the few, those before the first that needs to be initialised; an index is one byte */
    uint64_t n_locals;
    const struct wl_run_end *runs; /* beyond the few: binary search */
    uint32_t n_runs;
    uint32_t n_inits, n_known, init_mask; /* see validate_locals.c */
    const wl_type *results; /* of the function */
    uint32_t n_results;
    wl_type few[WL_FEW_LOCALS]; /* types of the first locals */
} wl_validator;

/* All return false with the loader's error or rejection set. */
bool wl_mismatch(wl_validator *, wl_type expected, bool there, wl_type have) WL_COLD;
bool wl_pop_slow(wl_validator *, wl_type expected);
bool wl_pop_any(wl_validator *, wl_type *);
bool wl_pop_ref(wl_validator *, wl_type *); /* a reference type or WL_BOT */
bool wl_pop_types(wl_validator *, const wl_type *, uint32_t n);
bool wl_push_types(wl_validator *, const wl_type *, uint32_t n);
bool wl_charge(wl_validator *, uint64_t n); /* account for a long sequence of types */
#define wl_wrong(v, ...) wl_invalid((v)->l, (v)->at, __VA_ARGS__)

static inline bool wl_pop(wl_validator *v, wl_type expected) {
    if (WL_LIKELY(v->top > v->base && v->top[-1] == expected)) {
        v->top--;
        return true;
    }
    return wl_pop_slow(v, expected);
}

/* Room for a few operands is there before every instruction. */
#define WL_HEADROOM 8
static inline void wl_push(wl_validator *v, wl_type t) { *v->top++ = t; }

void wl_unreachable(wl_validator *);

typedef struct wl_label {
    const wl_type *types;
    uint32_t n;
} wl_label;

bool wl_get_label(wl_validator *, wl_label *); /* reads its index */

static inline wl_type wl_non_null(wl_type t) {
    return t == WL_BOT ? wl_ref(false, WL_HEAP_BOT) : t & ~WL_NULLABLE;
}

/* Reads a type index; the type must be of that kind. */
bool wl_get_typed(wl_validator *, wl_kind, const wl_deftype **);
bool wl_get_function(wl_validator *, uint32_t *); /* an index that exists */
bool wl_get_table(wl_validator *, const wl_table **);
bool wl_get_memory(wl_validator *, wl_type *address);
bool wl_get_data(wl_validator *);
bool wl_get_elem(wl_validator *, const wl_elem **);

static inline wl_type wl_address(const wl_bounds *b) { return b->is64 ? WL_I64 : WL_I32; }

/* Chapters; each reads the immediates of its instructions. */
bool wl_validate_control(wl_validator *, uint32_t op);
bool wl_validate_reference(wl_validator *, uint32_t op);
bool wl_validate_aggregate(wl_validator *, uint32_t op);
bool wl_validate_local(wl_validator *, uint32_t op);

bool wl_get_locals(wl_validator *, const wl_deftype *type); /* reads the list of runs */
void wl_forget_inits(wl_validator *, uint32_t n);           /* all but the first n */

#endif
