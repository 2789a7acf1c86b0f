/* The machine that runs translated code, as its handlers, the translator and the store share it.
 *
 * Code is a sequence of 8-byte words.  An instruction is the address of its handler, a word of operands (slots of the
 * frame, or a 32-bit immediate or displacement in the upper half), and more words where it needs them.  A handler ends
 * by jumping to the next one.  The machine's state travels in arguments, which the calling conventions keep in
 * registers:
 *
 *     ip         the instruction
 *     fp         the frame: parameters, a wl_frame, declared locals, constants of loops, then operands, in slots of
 *                8 bytes
 *     mem, mem_len   memory 0 of the running instance, and how much of it is there (see wl_commit)
 *     acc        the last integer or reference that was computed; i32 is zero-extended, there and in slots
 *     x          the store
 *     fd, fs     the last f64, the last f32
 *
 * Calls of WebAssembly functions do not recurse in C: the callee's frame begins at the caller's first argument. */
#ifndef WASMLAB_EXEC_H
#define WASMLAB_EXEC_H

#include <string.h>

#include "module.h"
#include "opcodes.h"

struct translator; /* translate.h */

#define LIKELY(c) __builtin_expect(!!(c), 1)
#define UNLIKELY(c) __builtin_expect(!!(c), 0)
#define COLD __attribute__((noinline, cold))

/* ---- Code and state ------------------------------------------------------------------------------------------ */

typedef union wl_word wl_word;
typedef uint64_t wl_refval; /* see gc.h */

/* Compilers compute `v` here, as it is written: the next instruction's address in the register of this one's (gcc else
 * runs out of those that need no saving), a sum with a sign without a carry, malloc and memset as no calloc. */
#define OPAQUE(v) __asm__("" : "+r"(v))

#define WL_PARAMS \
    const wl_word *ip, uint8_t *fp, uint8_t *mem, uint64_t mem_len, uint64_t acc, wl_store *x, double fd, float fs
#define WL_ARGS ip, fp, mem, mem_len, acc, x, fd, fs

typedef int (*wl_handler)(WL_PARAMS);

union wl_word {
    wl_handler h;
    struct {
        uint16_t a, b;
        union {
            struct {
                uint16_t c, d;
            };
            int32_t k;
            uint32_t u;
        };
    };
    struct {
        int32_t low, high;
    };
    uint64_t u64;
    int64_t i64;
    double f64;
    float f32;
    void *p;
};

/* Where tail calls are not certain handlers return to a loop: other compilers and machines, gcc without optimisation;
 * sanitizers define WASMLAB_LOOP. */
#if defined(__has_attribute)
#if __has_attribute(musttail)
#define WL_MUSTTAIL __attribute__((musttail))
#endif
#endif
#if !defined(WL_MUSTTAIL) && \
    !(defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && defined(__OPTIMIZE__) && \
      (defined(__x86_64__) || defined(__aarch64__) || (defined(__riscv) && __riscv_xlen == 64)))
#undef WASMLAB_LOOP
#define WASMLAB_LOOP
#endif
#ifdef WASMLAB_LOOP
#define DISPATCH return wl_save(WL_ARGS)
#define TAIL(handler) return handler(WL_ARGS)
int wl_save(WL_PARAMS);
#else
#ifndef WL_MUSTTAIL
#define WL_MUSTTAIL
#endif
#define DISPATCH WL_MUSTTAIL return ip->h(WL_ARGS)
#define TAIL(handler) WL_MUSTTAIL return handler(WL_ARGS)
#endif

#define OP(name) int name(WL_PARAMS)
#define NEXT(words) \
    do { \
        ip += (words); \
        OPAQUE(ip); \
        DISPATCH; \
    } while (0)
#define SLOT(n) (fp + (size_t)(n) * 8)
#define U64(n) (*(uint64_t *)SLOT(n))
#define U32(n) (*(uint32_t *)SLOT(n))
#define F64(n) (*(double *)SLOT(n))
#define F32(n) (*(float *)SLOT(n))

/* A taken branch.  Displacements count from the word behind the operands, so that one to the instruction itself is
 * negative as all those backwards are, which cost fuel. */
#define WL_BRANCH_WORDS 2
#define BRANCH(displacement) \
    do { \
        int64_t by_ = (displacement), cost_ = by_ >> 63; \
        OPAQUE(cost_); \
        if (UNLIKELY((x->fuel += cost_) < 0)) TAIL(wl_op_out_of_slice); \
        ip += by_ + WL_BRANCH_WORDS; \
        OPAQUE(ip); \
        DISPATCH; \
    } while (0)
OP(wl_op_out_of_slice); /* decides whether to go on, then takes the same instruction again */

#define RELOAD() (mem = x->instance->memory0->data, mem_len = x->instance->memory0->committed)

/* ---- Instances ----------------------------------------------------------------------------------------------- */

/* Behind the parameters of a frame.  The word before `ip` is the caller's wl_funcinst. */
typedef struct wl_frame {
    const wl_word *ip;
    uint8_t *fp;
} wl_frame;
#define WL_FRAME_SLOTS 2
#define WL_ZEROED 4 /* slots behind it that a call zeroes: most functions have no more locals to begin with */

typedef struct wl_catch {
    uint8_t kind;                   /* 0 catch, 1 catch_ref, 2 catch_all, 3 catch_all_ref */
    uint8_t edge;                   /* events.h */
    const struct wl_taginst *tag;
    uint32_t slot;                  /* where the label's values go */
    uint32_t target;                /* word of code */
} wl_catch;

typedef struct wl_try {
    uint32_t begin, end;            /* words of code; inner ones come before outer ones */
    uint32_t first_catch, n_catches;
} wl_try;

typedef struct wl_code {
    uint32_t n_words, n_tries, n_catches;
    wl_word words[]; /* then wl_try, then wl_catch */
} wl_code;
static inline wl_try *wl_tries(const wl_code *code) { return (wl_try *)(uintptr_t)(code->words + code->n_words); }
static inline wl_catch *wl_catches(const wl_code *code) { return (wl_catch *)(void *)(wl_tries(code) + code->n_tries); }

struct wl_host;

struct wl_funcinst {
    const wl_word *entry;
    uint32_t frame;        /* bytes it needs from fp on; WL_NO_CODE until translated, and for host functions */
    uint32_t header;       /* bytes before its wl_frame */
    const wl_deftype *type;
    wl_instance *instance; /* NULL: a host function */
    union {
        wl_code *code;
        struct wl_host *host; /* instance.c */
    };
    uint32_t index;
};
#define WL_NO_CODE UINT32_MAX /* a value stack is smaller */

struct wl_meminst {
    uint8_t *data;
    uint64_t committed; /* bytes that are there; the rest of `size` is zero and appears when touched */
    uint64_t size;      /* bytes */
    uint64_t max;       /* pages */
    bool is64, shared, by_byte, mapped, has_max, is_part; /* is_part: of its instance's memory */
    uint64_t reserved;  /* bytes of the mapping */
    struct wl_meminst *next;
};

static inline uint64_t wl_pages(const wl_meminst *m) { return m->by_byte ? m->size : m->size >> 16; }

struct wl_tableinst {
    wl_refval *elements;
    uint64_t size, capacity, max;
    wl_type type;
    bool is64, has_max, is_part;
    struct wl_tableinst *next;
};

struct wl_globalinst {
    uint64_t value[2];
    wl_type type;
    bool mutable_;
};

typedef struct wl_taginst {
    const wl_deftype *type;
} wl_taginst;

typedef struct wl_eleminst {
    wl_refval *elements; /* NULL where dropped or empty */
    uint32_t n;
    wl_type type;
} wl_eleminst;

struct wl_instance {
    wl_meminst *memory0;
    wl_store *store;
    wl_module *module;
    wl_funcinst **funcs;
    wl_tableinst **tables;
    wl_meminst **memories;
    wl_globalinst **globals;
    wl_taginst **tags;
    wl_eleminst *elems;
    bool *dropped; /* data segments */
    wl_instance *next;
};

typedef struct wl_foreign {
    const wl_word *ip;
    wl_instance *instance;
} wl_foreign;

#define WL_CLASSES 24
typedef struct wl_gcheap {
    struct wl_block **table; /* hash of aligned addresses */
    uint32_t table_size, n_blocks;
    struct wl_class {
        struct wl_block *block, *first; /* block: where to look next; those that were made since the sweep come first */
        uint32_t cursor;
        bool fresh; /* `block` is one of them: all others are full */
    } *classes; /* WL_CLASSES of them from the first allocation on */
    struct wl_large *large;
    struct wl_large **large_sorted;
    uint32_t n_large, large_capacity;
    uint64_t live, allocated, threshold; /* bytes */
    uint64_t looked_at;                  /* references, by the last collection */
    bool stress;                         /* collect at every allocation */
    struct wl_mark_stack {
        wl_refval *items;
        size_t n, capacity;
        bool overflow;
    } marks;
    uint64_t collections;
} wl_gcheap;

struct wl_store {
    int64_t fuel;  /* of the current slice */
    int64_t depth; /* activations left */
    uint8_t *stack_end;
    wl_instance *instance; /* whose code is running */
    wl_profile profile;
    uint8_t *stack, *top;  /* value stack; where a nested run begins */
    size_t stack_bytes;
    wl_foreign *foreign;   /* returns into another instance */
    uint32_t n_foreign, foreign_capacity;
    uint32_t host_depth;
    uint64_t miss;         /* one past the last byte wanted by an access beyond mem_len */
    wl_funcinst *unwinding; /* where an exception passes */
    wl_refval exception;   /* of WL_THREW */
    int64_t fuel_rest, fuel_start;
    uint64_t deadline; /* ns of the monotonic clock, 0: none */
    uint32_t active;
    int interrupt; /* atomic: another thread may set it */
    wl_gcheap heap;
    wl_engine *engine;
    wl_limits limits;
    wl_instance *instances;
    wl_meminst *memories;
    wl_tableinst *tables;
    uint64_t pages_left, elements_left;
    struct translator *translator;
    struct wl_session *session; /* program.c */
    struct wl_events *events;   /* events.c, where it is built */
    struct wl_host *hosts;
    /* what is under construction outside of frames, for the collector */
    wl_refval *extra_roots;
    uint32_t n_extra_roots;
#ifdef WASMLAB_LOOP
    struct {
        const wl_word *ip;
        uint8_t *fp, *mem;
        uint64_t mem_len, acc;
        double fd;
        float fs;
    } saved;
#endif
};

/* For MemorySanitizer: slots that nobody has written in this run, and those that are looked at all the same. */
#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#include <sanitizer/msan_interface.h>
#define WL_UNWRITTEN(at, size) __msan_poison(at, size)
#define WL_WRITTEN(at, size) __msan_unpoison(at, size)
#endif
#endif
#ifndef WL_UNWRITTEN
#define WL_UNWRITTEN(at, size) (void)0
#define WL_WRITTEN(at, size) (void)0
#endif

/* ---- Between the files --------------------------------------------------------------------------------------- */

void wl_translator_free(struct translator *);
bool wl_translator_is_small(const struct translator *); /* enough to be kept */
int wl_call_host(wl_store *, const wl_funcinst *, uint64_t *slots);
int wl_translate(wl_store *, wl_funcinst *);                                    /* WL_DONE or what ran out */
bool wl_commit(wl_meminst *, uint64_t bytes); /* makes that many bytes be there; false: no memory */
int64_t wl_memory_grow(wl_store *, wl_meminst *, uint64_t pages); /* old size in pages, or -1 */
int64_t wl_table_grow(wl_store *, wl_tableinst *, uint64_t n, wl_refval init);
int wl_memory_init(wl_instance *, wl_meminst *, uint32_t data, uint64_t to, uint64_t from, uint64_t n);
int wl_table_init(wl_instance *, wl_tableinst *, uint32_t elem, uint64_t to, uint64_t from, uint64_t n);
int wl_bulk(wl_store *, uint64_t bytes); /* fuel for what is done in bulk: WL_DONE, or what ran out */
extern const wl_word wl_code_translate[], wl_code_exit[], wl_code_foreign_return[];

/* What arithmetic on these operands gives where it gives a NaN. */
float wl_nan32(const wl_store *, float a, float b);
double wl_nan64(const wl_store *, double a, double b);

/* ---- Forms of handlers ---------------------------------------------------------------------------------------- */

/* Operands: A the accumulator, S a slot, K a constant in the instruction.  Every result goes to its accumulator;
 * the D form stores it to slot `a` as well and is the handler after the plain one in each table. */
enum { WL_SS, WL_SK, WL_AS, WL_SA, WL_AK, WL_BINARY_FORMS };

extern const wl_handler wl_binary[256][2 * WL_BINARY_FORMS]; /* i32 and i64, by opcode */
extern const wl_handler wl_float_binary[76][2 * WL_BINARY_FORMS]; /* f32 and f64, from WL_OP_F32_EQ on */
extern const wl_handler wl_unary[WL_OP_FD][4];               /* S, S to D, A, A to D */
extern const wl_handler wl_branches[256][2 * WL_BINARY_FORMS];  /* compare and branch: if true, if false */
extern const wl_handler wl_float_branches[12][2 * WL_BINARY_FORMS];
extern const wl_handler wl_loads[64][6];   /* 32-bit memory 0: S, S to D, A, A to D, K, K to D */
extern const wl_handler wl_loads_any[64];  /* any memory, to a slot */
enum { WL_STORE_SS, WL_STORE_SA, WL_STORE_AS, WL_STORE_SK, WL_STORE_AK, WL_STORE_AA, WL_STORE_KS, WL_STORE_KA, WL_STORE_KK, WL_STORE_FORMS };
extern const wl_handler wl_stores[64][WL_STORE_FORMS]; /* 32-bit memory 0: address, value; AA where they differ in kind */
extern const wl_handler wl_stores_any[64];
extern const wl_handler wl_vector[WL_OP_FD_SIZE]; /* operands in slots b, c, d, to slot a; scalars also to their
                                                    * accumulator */
OP(wl_op_v128_load);
OP(wl_op_v128_store);
wl_handler wl_shuffle(void), wl_swizzle(void); /* i8x16.shuffle and i8x16.swizzle, as this machine does them best */


/* Two instructions in one, the first one's result being the second one's first operand: x, y, z in slots b, c, d; in
 * constants y and z in the halves of word 2; x may be the accumulator.  The first index is the width (i32, i64). */
enum { WL_FUSED_FIRST = 9, WL_FUSED_SECOND = 4, WL_X_ACC = 4, WL_Y_CONST = 2, WL_Z_CONST = 1 };
extern const wl_handler wl_fused[2][WL_FUSED_FIRST][WL_FUSED_SECOND][8][2];
/* f64 add, sub, mul, then add, sub, mul with z on the right (0) or on the left (1); x in a slot or in fd. */
extern const wl_handler wl_fused_f64[3][3][2][2][2];
/* Loads from the sum of two operands: slot and constant, two slots, accumulator and constant (in word 2). */
enum { WL_SUM_SK, WL_SUM_SS, WL_SUM_AK };
extern const wl_handler wl_loads_sum[14][3][2];
/* i32.add to the local in slot a, which is then compared and branched on.  Word 2: the constant or slot to add; the
 * constant to compare with, else slot b.  Second index: 1 adds a slot, 2 compares with one. */
extern const wl_handler wl_steps[10][4];
/* Stores to the sum of slot and constant, or accumulator and constant: by width (1, 2, 4, 8 bytes), value in a slot
 * or a constant (in word 3); a: value, b: slot, u: offset, word 2: {low}. */
extern const wl_handler wl_stores_sum[4][2][2];
/* Loads and then an operation with a slot (f64: on either side).  By kind (i32, i64, f64), operation (integers:
 * add, and, or, xor; f64: add, sub, mul), side, address (S, A, SK, SS, AK, K).
 * a: result, b: slot of the address, u: offset; word 2 {a: operand, b: second slot of the address, u: its constant}. */
enum { WL_ADDRESS_S, WL_ADDRESS_A, WL_ADDRESS_SK, WL_ADDRESS_SS, WL_ADDRESS_AK, WL_ADDRESS_K, WL_ADDRESSES };
extern const wl_handler wl_load_then[3][4][2][WL_ADDRESSES][2];

/* Atomic instructions, operands in consecutive slots from `a` on, memory and offset in words 2 and 3; by kind (load,
 * store, add, sub, and, or, xor, exchange, compare and exchange: the opcodes are in this order, seven of each), and
 * width (1, 2, 4, 8 bytes). */
enum { WL_ATOMIC_KINDS = 9 };
extern const wl_handler wl_atomics[WL_ATOMIC_KINDS][4];
extern const wl_handler wl_atomic_waits[2]; /* for i32, i64 */

/* Fields and elements by how they are stored: packed ones signed and unsigned, then by size or kind. */
enum { WL_ST_I8S, WL_ST_I8U, WL_ST_I16S, WL_ST_I16U, WL_ST_32, WL_ST_64, WL_ST_F32, WL_ST_F64, WL_ST_128, WL_ST_COUNT };
extern const wl_handler wl_struct_gets[WL_ST_COUNT][2]; /* a: result (second: to the slot), b: structure, u: offset */
extern const wl_handler wl_struct_sets[WL_ST_COUNT];    /* a: structure, b: value, u: offset */
extern const wl_handler wl_array_gets[WL_ST_COUNT][2];  /* a: result, b: array, c: index */
extern const wl_handler wl_array_sets[WL_ST_COUNT];     /* a: array, b: index, c: value */

/* Instructions that are no rows of these tables. */
#define WL_SINGLE_HANDLERS(X) \
    X(unreachable) X(const_A) X(const_D) X(const_slot) X(const2) X(const_f64) X(const_f32) X(mov) X(mov2) X(copy) \
    X(put) X(put_f64) X(put_f32) \
    X(select_S) X(select_SD) X(select_A) X(select_AD) X(select_slot_S) X(select_slot_A) X(select2_S) X(select2_A) \
    X(br) X(br_table_S) X(br_table_A) X(enter) X(enter_loops) \
    X(call) X(call_other) X(call_indirect_S) X(call_indirect_A) X(call_ref) \
    X(return_call) X(return_call_indirect) X(return_call_ref) \
    X(return_0) X(return_S) X(return_A) X(return_K) X(return_f64_S) X(return_f32_S) X(return_f64) X(return_f32) \
    X(return_n) X(throw) X(throw_ref) \
    X(global_get) X(global_get_D) X(global_get_f64) X(global_get_f64_D) X(global_get_f32) X(global_get_f32_D) \
    X(global_get2) X(global_set_S) X(global_set_A) X(global_set2) \
    X(memory_size) X(memory_grow) X(memory_fill) X(memory_fill_0) X(memory_copy) X(memory_copy_0) X(memory_init) X(data_drop) \
    X(table_get) X(table_set) X(table_size) X(table_grow) X(table_fill) X(table_copy) X(table_init) X(elem_drop) \
    X(as_non_null) X(ref_i31) X(i31_get_s) X(i31_get_u) X(ref_test) X(ref_cast) \
    X(struct_new) X(struct_new_default) \
    X(array_new) X(array_new_default) X(array_new_fixed) X(array_new_data) X(array_new_elem) \
    X(array_len) X(array_fill) X(array_copy) X(array_init_data) X(array_init_elem) \
    X(br_on_cast) X(br_on_cast_fail) X(atomic_notify)
#define WL_DECLARE(name) OP(wl_op_##name);
WL_SINGLE_HANDLERS(WL_DECLARE)
OP(wl_op_call_slow);
OP(wl_op_unwind);
OP(wl_op_memory_miss);
int wl_next_slice(wl_store *); /* more fuel and time, or what ran out */

/* instance.c and program.c */
void wl_session_free(struct wl_session *);
wl_meminst *wl_new_memory(wl_store *, const wl_bounds *);
wl_tableinst *wl_new_table(wl_store *, const wl_table *);

#endif
