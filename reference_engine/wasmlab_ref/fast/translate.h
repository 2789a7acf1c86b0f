/* The translator's state and what its two files share.
 *
 * Operands are descriptors until somebody needs them: a local, a constant, a slot, or the value that an accumulator
 * holds.  Local variables and constants emit nothing; a result stays in its accumulator until something else needs
 * that register: then the instruction that made it is changed into the form that also stores it. */
#ifndef WASMLAB_TRANSLATE_H
#define WASMLAB_TRANSLATE_H

#include <setjmp.h>

#include "events.h"
#include "exec.h"

enum { CLASS_I, CLASS_F64, CLASS_F32, CLASS_V }; /* of accumulators; vectors have none */
enum { IN_SLOT, IN_LOCAL, IN_ACC, IS_CONST };
enum { LOOP_CONSTANTS = 12 }; /* slots of a frame with loops for constants that do not fit into instructions there */
enum { FRAME_FUNC, FRAME_BLOCK, FRAME_LOOP, FRAME_IF, FRAME_ELSE, FRAME_TRY };
#define NONE UINT32_MAX

typedef struct entry {
    uint8_t where, class;
    uint32_t home; /* the slot that belongs to its height */
    uint32_t slot; /* IN_LOCAL */
    uint64_t k;    /* IS_CONST */
} entry;

typedef struct control {
    uint8_t kind;
    bool entered; /* FRAME_IF: its condition can be reached */
    uint32_t height, base; /* entries below; slot of the label's first value */
    uint32_t start;        /* loops, try_table */
    uint32_t fixups;       /* of branches to its end */
    uint32_t else_fixup;
    uint32_t first_catch, n_catches;
    uint32_t handlers;     /* try_tables around it, itself included; for events only */
    wl_block_type type;
} control;

typedef struct fixup {
    uint32_t word, base, next; /* base NONE: the word is the index of a catch clause */
} fixup;

typedef struct accumulator {
    uint32_t mirror[2]; /* slots with the same value */
    uint32_t pending;   /* entry that is nowhere else */
    uint32_t producer;  /* the word of the instruction that made it */
    wl_handler storing; /* its form that stores */
    uint32_t op;        /* which instruction it is, if two can become one; NONE */
    uint8_t form;
} accumulator;

/* A condition, and how to test it: the last instruction if it was a comparison. */
typedef struct condition {
    uint32_t op;   /* row of wl_branches; or NONE */
    bool is_float;
    uint8_t form;
    uint16_t a, b;
    uint64_t k;
    uint32_t previous;  /* word of the instruction before it; NONE */
    wl_handler yes, no; /* where op is NONE: {a, k: displacement}, then the word `k` */
} condition;

typedef struct translator {
    wl_store *x;
    wl_instance *instance;
    const wl_module *module;
    wl_funcinst *func;
    const uint8_t *p;
    jmp_buf out;
    int status;

    wl_word *code;
    uint32_t loops;      /* around the instruction */
    uint32_t n_constants, constants_slot, constants_room; /* of loops: before the code, last one first */
    uint32_t vector;     /* word of the last instruction whose result is a vector in slot `a` */
    uint32_t n, capacity, last; /* last: word of the last instruction, NONE after a label */

    entry *stack;
    uint32_t height, stack_capacity, settled; /* below `settled` no entry is IN_LOCAL or IN_ACC */
    uint32_t operands, max_slot, header;

    uint32_t *local_slots, *references; /* of locals: slot; by slot: entries that are IN_LOCAL */
    uint8_t *local_classes;
    uint32_t locals_capacity;

    control *frames;
    uint32_t depth, frames_capacity;
    fixup *fixups;
    uint32_t n_fixups, fixups_capacity;
    wl_try *tries;
    uint32_t n_tries, tries_capacity;
    wl_catch *catches;
    uint32_t n_catches, catches_capacity;

    void *note;  /* events.c: of the instruction at hand */
    uint32_t at; /* its offset in the module */

    accumulator acc[3];
    struct {
        uint32_t at;
        condition condition;
        accumulator before;
    } comparison;
} translator;

/* translate.c: descriptors and emission */
void wl_fail(translator *, int status) __attribute__((noreturn));
wl_word *wl_emit(translator *, wl_handler, uint32_t words);
uint8_t wl_class(wl_type);
static inline uint32_t wl_width(uint8_t class) { return class == CLASS_V ? 2 : 1; }
uint32_t wl_next_slot(const translator *);
entry *wl_push(translator *, uint8_t class, uint8_t where);
entry wl_pop(translator *);
void wl_flush(translator *, uint32_t index);          /* to its home */
void wl_flush_top(translator *, uint32_t n);
void wl_flush_locals(translator *);
void wl_free_acc(translator *, uint8_t class);        /* before an instruction that overwrites it */
void wl_free_all(translator *);
void wl_forget(translator *);                         /* at labels: accumulators hold nothing known */
void wl_result(translator *, uint8_t class, wl_handler storing); /* the last instruction left it in its accumulator */
void wl_slot_result(translator *, uint8_t class, bool mirrored); /* … in the home slot */
void wl_written(translator *, uint32_t slot);
bool wl_mirrors(const translator *, uint8_t class, uint32_t slot);
uint32_t wl_in_slot(translator *, entry *);           /* the slot of a popped operand, stored there if it must be */
uint32_t wl_hoist(translator *, const uint64_t *, uint32_t width); /* in loops: have a constant in the frame from entry
                                                                    * on; its slot, or NONE */
bool wl_at_hand(translator *, entry *);               /* whether a popped operand has one, with nothing emitted */
bool wl_in_acc(const translator *, const entry *);
void wl_move(translator *, entry *, uint32_t slot);
void wl_local_set(translator *, uint32_t local, bool tee);
bool wl_fuse_binary(translator *, uint32_t op, entry *lhs, entry *rhs);
bool wl_fuse_load(translator *, uint32_t row, uint8_t class, const entry *address, uint32_t offset);
bool wl_fuse_store(translator *, uint32_t op, const entry *address, const entry *value, uint32_t offset);
void wl_note_load(translator *, uint32_t row, uint8_t class, unsigned address);
bool wl_fuse_step(translator *, const condition *, bool sense, uint32_t *at);
void wl_unary_op(translator *, uint32_t op);
void wl_binary_op(translator *, uint32_t op);
void wl_array_grow_slow(translator *, void *array, uint32_t *capacity, uint32_t needed, size_t size);
static inline void wl_array_grow(translator *t, void *array, uint32_t *capacity, uint32_t needed, size_t size) {
    if (UNLIKELY(needed > *capacity)) wl_array_grow_slow(t, array, capacity, needed, size);
}

/* translate_fused.c, above: whether the last instruction became part of a pair */

/* translate_control.c */
void wl_translate_control(translator *, uint32_t op); /* those with labels, calls and exceptions */
void wl_enter_function(translator *);

/* translate_special.c */
void wl_translate_special(translator *, uint32_t op);

#endif
