/* The engine as a library: all that a program which embeds it needs.
 *
 *     wl_engine *engine = wl_engine_new();
 *     wl_limits limits = wl_default_limits();
 *     wl_module *module;
 *     wl_load(engine, bytes, size, &limits, &module, &error);
 *     wl_store *store = wl_store_new(engine, &limits, NULL);
 *     wl_instantiate(store, module, imports, &instance, &error, &status);
 *     wl_externval f = wl_export_named(instance, "run", 3);
 *     status = wl_execute(store, f.p, arguments, results);        WL_DONE, or what ended it: wl_status_name(status)
 *     wl_store_free(store); wl_module_release(module); wl_engine_free(engine);
 *
 * One store belongs to one thread at a time; an engine and its modules are shared freely.  Nothing here aborts, raises
 * a signal or leaves memory behind: what runs out is reported.
 *
 * Arguments, results and the values of globals are slots of 8 bytes: i32 and f32 in the lower half with zeros above,
 * v128 in two slots.  A reference is one slot: 0 for null, else it can be handed back to the same store and no other;
 * objects that only the program refers to are not kept alive. */
#ifndef WASMLAB_WL_H
#define WASMLAB_WL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Limits ---------------------------------------------------------------------------------------------------- */

/* As limits.py has them.  The front end reads the first three. */
typedef struct wl_limits {
    uint32_t features;        /* bits WL_FEATURE_* of opcodes.h */
    uint64_t module_bytes;    /* at most 256 MiB */
    uint64_t validation_work; /* types pushed and compared by one module's sequences of types */
    int64_t fuel;             /* calls, branches backwards, exceptions, and 64 bytes each of work in bulk; INT64_MAX: none */
    uint32_t call_depth, host_depth;
    uint64_t values, locals; /* slots of all activations; locals of one function */
    uint64_t memory_pages, table_elements, heap_bytes;
} wl_limits;

wl_limits wl_default_limits(void);

/* ---- Modules ----------------------------------------------------------------------------------------------------- */

typedef struct wl_engine wl_engine; /* owns the canonical types; thread-safe; outlives its modules and stores */

wl_engine *wl_engine_new(void); /* NULL: no memory */
void wl_engine_free(wl_engine *);

typedef enum wl_stage {
    WL_OK,
    WL_MALFORMED,   /* the bytes are no module; `offset` is the first offending byte in decode order */
    WL_INVALID,     /* validation refuses it */
    WL_UNLINKABLE,  /* instantiation refuses the imports */
    WL_EXHAUSTED,   /* a limit of wl_limits was reached; `message` names it */
    WL_UNSUPPORTED, /* a feature that wl_limits.features lacks */
    WL_NO_MEMORY    /* the host has no memory left */
} wl_stage;

#define WL_NONE UINT32_MAX

typedef struct wl_error {
    wl_stage stage;
    uint32_t function; /* index of the function whose body is at fault, or WL_NONE */
    size_t offset;     /* of the byte, or of the instruction, at fault */
    char message[160]; /* begins as the official suite's texts do; always terminated */
} wl_error;

typedef struct wl_module wl_module; /* immutable, counted, shared by stores and threads */

/* Decode and validate `size` bytes, all bodies.  Malformed wins over invalid wherever in the module each is.  On
 * WL_OK `*module` holds a copy of the bytes and one reference; else it is NULL and `*error` says why. */
wl_stage wl_load(wl_engine *, const uint8_t *bytes, size_t size, const wl_limits *, wl_module **module,
                 wl_error *error);

/* The same without the copy: `bytes` must stay as they are for as long as the module lives. */
wl_stage wl_load_in_place(wl_engine *, const uint8_t *bytes, size_t size, const wl_limits *, wl_module **module,
                          wl_error *error);

void wl_module_retain(wl_module *);
void wl_module_release(wl_module *); /* frees at the last reference; NULL is allowed */

typedef enum wl_extern { WL_EXT_FUNC, WL_EXT_TABLE, WL_EXT_MEMORY, WL_EXT_GLOBAL, WL_EXT_TAG } wl_extern;

/* Names are UTF-8 of that many bytes, not terminated, and the module's. */
typedef struct wl_name {
    const char *p;
    uint32_t size;
} wl_name;

typedef struct wl_import_info {
    wl_name module, name;
    wl_extern kind;
} wl_import_info;

typedef struct wl_export_info {
    wl_name name;
    wl_extern kind;
} wl_export_info;

uint32_t wl_import_count(const wl_module *);
uint32_t wl_export_count(const wl_module *);
wl_import_info wl_import_at(const wl_module *, uint32_t index); /* index < count */
wl_export_info wl_export_at(const wl_module *, uint32_t index);

/* ---- Value types ------------------------------------------------------------------------------------------------- */

/* A value, packed or reference type in 32 bits.  Equal types are equal numbers: defined types are canonical ids.
 *
 *     0..7                             bottom, numbers, v128, packed types
 *     1 nullable heap:30               a reference; heap is abstract (< 16) or 16 + the id of a defined type */
typedef uint32_t wl_type;

enum { WL_BOT, WL_I32, WL_I64, WL_F32, WL_F64, WL_V128, WL_I8, WL_I16 };

#define WL_REF 0x80000000u
#define WL_NULLABLE 0x40000000u

enum {
    WL_HEAP_ANY,
    WL_HEAP_EQ,
    WL_HEAP_I31,
    WL_HEAP_STRUCT,
    WL_HEAP_ARRAY,
    WL_HEAP_NONE,
    WL_HEAP_FUNC,
    WL_HEAP_NOFUNC,
    WL_HEAP_EXTERN,
    WL_HEAP_NOEXTERN,
    WL_HEAP_EXN,
    WL_HEAP_NOEXN,
    WL_HEAP_BOT
};

typedef struct wl_deftype wl_deftype; /* a closed defined type, unique in its engine */

/* The canonical function type of host functions; each call takes a reference that wl_type_release gives back, after
 * the functions of that type are gone.  NULL: no memory. */
const wl_deftype *wl_func_type(wl_engine *, const wl_type *params, uint32_t n_params, const wl_type *results,
                               uint32_t n_results);
void wl_type_release(wl_engine *, const wl_deftype *);

/* ---- Stores and instances ------------------------------------------------------------------------------------------ */

typedef struct wl_store wl_store;
typedef struct wl_instance wl_instance; /* these are the store's, and live as long as it */
typedef struct wl_funcinst wl_funcinst;
typedef struct wl_meminst wl_meminst;
typedef struct wl_tableinst wl_tableinst;
typedef struct wl_globalinst wl_globalinst;

/* What the standard leaves open.  All zeros is the deterministic profile, the same bits on every machine. */
typedef struct wl_profile {
    uint8_t nan;         /* 0 canonical, 1 x86, 2 arm64, 3 riscv64 */
    uint8_t refuses;     /* memories and tables refuse to grow, but by nothing */
    uint8_t relaxed[20]; /* choice of each relaxed instruction, by opcode from i8x16.relaxed_swizzle on */
} wl_profile;

wl_store *wl_store_new(wl_engine *, const wl_limits *, const wl_profile *); /* NULL: no memory; a profile may be NULL */
void wl_store_free(wl_store *);
/* For the outermost calls from now on; the value stack is never larger than it was made. */
void wl_store_limit(wl_store *, int64_t fuel, uint32_t call_depth, uint64_t values);
void wl_store_profile(wl_store *, const wl_profile *);
void wl_store_deadline(wl_store *, uint64_t ns); /* of the wall clock, from now; 0: none */
/* End what is running, or the next call that branches backwards or calls, as "time"; until it is off again.  From any
 * thread or signal handler. */
void wl_store_interrupt(wl_store *, bool on);
void wl_store_stress(wl_store *, bool on); /* collect garbage at every allocation */
uint64_t wl_store_collections(const wl_store *);

/* A thing that is imported and exported: p is a wl_funcinst, wl_tableinst, wl_meminst, wl_globalinst, or a tag. */
typedef struct wl_externval {
    uint32_t kind; /* wl_extern */
    void *p;
} wl_externval;

/* Instantiate with one import for each of the module's, and run its start function.  WL_OK with *status not 0: a trap
 * or what ran out; what was written until then stays. */
wl_stage wl_instantiate(wl_store *, wl_module *, const wl_externval *imports, wl_instance **, wl_error *, int *status);
wl_externval wl_export_named(const wl_instance *, const void *name, size_t size); /* p is NULL: no such export */

/* ---- Calls ------------------------------------------------------------------------------------------------------------ */

typedef enum wl_status {
    WL_DONE,
    /* The rows of traps.tbl, in order. */
    WL_TRAP_UNREACHABLE,
    WL_TRAP_DIVIDE_BY_ZERO,
    WL_TRAP_INTEGER_OVERFLOW,
    WL_TRAP_INVALID_CONVERSION,
    WL_TRAP_MEMORY_BOUNDS,
    WL_TRAP_TABLE_BOUNDS,
    WL_TRAP_UNDEFINED_ELEMENT,
    WL_TRAP_UNINITIALIZED_ELEMENT,
    WL_TRAP_INDIRECT_TYPE,
    WL_TRAP_ARRAY_BOUNDS,
    WL_TRAP_NULL_FUNCTION,
    WL_TRAP_NULL_STRUCTURE,
    WL_TRAP_NULL_ARRAY,
    WL_TRAP_NULL_I31,
    WL_TRAP_NULL_EXCEPTION,
    WL_TRAP_NULL_REFERENCE,
    WL_TRAP_CAST,
    WL_TRAP_UNALIGNED,
    WL_TRAP_UNSHARED,
    WL_TRAP_HOST,
    WL_THREW, /* an exception that nobody caught */
    WL_OUT_OF_FUEL,
    WL_OUT_OF_CALLS,
    WL_OUT_OF_STACK,
    WL_OUT_OF_HEAP,
    WL_OUT_OF_LOCALS,
    WL_OUT_OF_MEMORY,
    WL_OUT_OF_TABLE,
    WL_OUT_OF_TIME,
    WL_CONTINUE /* within the engine only */
} wl_status;

const char *wl_status_name(int status); /* a kind of traps.tbl, or the resource that ran out */

uint32_t wl_param_count(const wl_funcinst *);
uint32_t wl_result_count(const wl_funcinst *);
wl_type wl_param_type(const wl_funcinst *, uint32_t index);
wl_type wl_result_type(const wl_funcinst *, uint32_t index);

/* Call a function, from outside or from a host function; a wl_status.  The arguments must be of its types. */
int wl_execute(wl_store *, wl_funcinst *, const uint64_t *arguments, uint64_t *results);

/* A function of the host: parameters come and results go in `slots`; what it returns other than WL_DONE ends the run.
 * The function lives as long as the store.  NULL: no memory. */
typedef int (*wl_host_function)(wl_store *, void *environment, uint64_t *slots);
wl_funcinst *wl_host_func(wl_store *, const wl_deftype *, wl_host_function, void *environment);

/* ---- Memories and globals ------------------------------------------------------------------------------------------- */

uint64_t wl_memory_size(const wl_meminst *); /* bytes */
/* false: outside of the memory, or none left in the host; then nothing was done. */
bool wl_memory_read(const wl_meminst *, uint64_t at, void *to, size_t size);
bool wl_memory_write(wl_meminst *, uint64_t at, const void *from, size_t size);
/* The digest of a memory, as the worker protocol defines it: 16 hexadecimal digits. */
void wl_memory_digest(const wl_meminst *, char digest[17]);

wl_type wl_global_type(const wl_globalinst *);
void wl_global_get(const wl_globalinst *, uint64_t value[2]);
bool wl_global_set(wl_globalinst *, const uint64_t value[2]); /* false: it is a constant */

/* ---- Case programs ------------------------------------------------------------------------------------------------------ */

/* Run a whole case in one call, on instances by name; docs/case-program.md describes the bytes.  The answer belongs to
 * the store until its next program.  false: `program` is none, or no memory is left. */
bool wl_program(wl_store *, const uint8_t *program, size_t size, const uint8_t **answer, size_t *answer_size);

#endif
