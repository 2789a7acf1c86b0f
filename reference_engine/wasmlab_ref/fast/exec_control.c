/* Constants, moves, branches, calls, returns and exceptions. */
#define _GNU_SOURCE /* clock_gettime */
#include <stdlib.h>
#include <time.h>

#include "events.h"
#include "exec.h"
#include "gc.h"

OP(wl_op_unreachable) { return WL_TRAP_UNREACHABLE; }

/* ---- Constants and moves: those that name no accumulator leave all of them alone ------------------------------ */

OP(wl_op_const_A) {
    acc = ip[2].u64;
    NEXT(3);
}
OP(wl_op_const_D) {
    acc = ip[2].u64;
    U64(ip[1].a) = acc;
    NEXT(3);
}
OP(wl_op_const_slot) {
    U64(ip[1].a) = ip[2].u64;
    NEXT(3);
}
OP(wl_op_const2) {
    memcpy(SLOT(ip[1].a), &ip[2], 16);
    NEXT(4);
}
OP(wl_op_const_f64) {
    fd = ip[2].f64;
    NEXT(3);
}
OP(wl_op_const_f32) {
    fs = ip[2].f32;
    NEXT(3);
}
OP(wl_op_mov) {
    U64(ip[1].a) = U64(ip[1].b);
    NEXT(2);
}
OP(wl_op_mov2) {
    uint64_t low = U64(ip[1].b), high = U64(ip[1].b + 1);
    U64(ip[1].a) = low;
    U64(ip[1].a + 1) = high;
    NEXT(2);
}
OP(wl_op_copy) {
    memmove(SLOT(ip[1].a), SLOT(ip[1].b), (size_t)ip[1].c * 8);
    NEXT(2);
}
OP(wl_op_put) {
    U64(ip[1].a) = acc;
    NEXT(2);
}
OP(wl_op_put_f64) {
    F64(ip[1].a) = fd;
    NEXT(2);
}
OP(wl_op_put_f32) {
    F32(ip[1].a) = fs;
    NEXT(2);
}

/* a: result; b, c: the values; d: the condition, or the accumulator. */
#define SELECT(name, CONDITION, PUT) \
    OP(wl_op_##name) { \
        acc = (uint32_t)(CONDITION) ? U64(ip[1].b) : U64(ip[1].c); \
        PUT; \
        NEXT(2); \
    }
SELECT(select_S, U32(ip[1].d), )
SELECT(select_SD, U32(ip[1].d), U64(ip[1].a) = acc)
SELECT(select_A, acc, )
SELECT(select_AD, acc, U64(ip[1].a) = acc)
#define SELECT_SLOT(name, CONDITION, SIZE) \
    OP(wl_op_##name) { \
        uint64_t v[2]; \
        memcpy(v, SLOT((uint32_t)(CONDITION) ? ip[1].b : ip[1].c), SIZE); \
        memcpy(SLOT(ip[1].a), v, SIZE); \
        NEXT(2); \
    }
SELECT_SLOT(select_slot_S, U32(ip[1].d), 8)
SELECT_SLOT(select_slot_A, acc, 8)
SELECT_SLOT(select2_S, U32(ip[1].d), 16)
SELECT_SLOT(select2_A, acc, 16)

/* ---- Branches ------------------------------------------------------------------------------------------------- */

OP(wl_op_br) { BRANCH(ip[1].k); }

/* u labels after the default one, which is the last; displacements from word 2 on. */
#define BR_TABLE(name, INDEX) \
    OP(wl_op_##name) { \
        uint32_t i = (uint32_t)(INDEX), n = ip[1].u; \
        BRANCH(ip[2 + (i < n ? i : n)].k); \
    }
BR_TABLE(br_table_S, U32(ip[1].a))
BR_TABLE(br_table_A, acc)

COLD OP(wl_op_out_of_slice) {
    x->fuel++; /* the branch is taken, and charged, again */
    int status = x->fuel > 0 ? WL_DONE : wl_next_slice(x);
    if (status) return status;
    DISPATCH;
}

/* ---- Calls: the last two words are {a: slot of the new frame} and the calling function ------------------------ */

/* A frame begins: where it returns to, and the first locals. */
static inline void begin(uint8_t *frame, const wl_funcinst *f, wl_frame to) {
    wl_frame *h = (wl_frame *)(frame + f->header);
    *h = to;
    memset(h + 1, 0, WL_ZEROED * 8);
}

/* Further locals: u slots from `a` on. */
OP(wl_op_enter) {
    memset(SLOT(ip[1].a), 0, (size_t)ip[1].u * 8);
    NEXT(3);
}
/* The same, and the constants that are needed in loops, which end before this instruction: word 2 {slot, how many}. */
OP(wl_op_enter_loops) {
    if (ip[1].u) memset(SLOT(ip[1].a), 0, (size_t)ip[1].u * 8);
    uint64_t *to = &U64(ip[2].a);
    const wl_word *from = ip;
    for (uint32_t n = ip[2].b; n; n--) *to++ = (--from)->u64;
    NEXT(3);
}

#define ENTER(WORDS) \
    do { \
        uint8_t *frame = SLOT(ip[WORDS - 2].a); \
        if (UNLIKELY(--x->fuel < 0 || frame + f->frame > x->stack_end || x->depth <= 0)) { \
            acc = (uint64_t)(uintptr_t)f; \
            ip += (WORDS); \
            TAIL(wl_op_call_slow); \
        } \
        x->depth--; \
        begin(frame, f, (wl_frame){ip + (WORDS), fp}); \
        fp = frame; \
        ip = f->entry; \
        DISPATCH; \
    } while (0)
#define ENTER_OTHER(WORDS) \
    do { \
        x->fuel--; \
        acc = (uint64_t)(uintptr_t)f; \
        ip += (WORDS); \
        TAIL(wl_op_call_slow); \
    } while (0)

OP(wl_op_call) {
    const wl_funcinst *f = ip[1].p;
    ENTER(4);
}
OP(wl_op_call_other) { /* of another instance, or of the host */
    const wl_funcinst *f = ip[1].p;
    ENTER_OTHER(4);
}

/* f, or a trap; a type that is not the expected one itself takes the handler again that looks closer */
#define LOOK_UP(INDEX, TABLE, TYPE, IF_OTHER) \
    const wl_tableinst *t = (TABLE); \
    const wl_deftype *type = (TYPE); \
    uint64_t i = (INDEX); \
    if (UNLIKELY(i >= t->size)) return WL_TRAP_UNDEFINED_ELEMENT; \
    const wl_funcinst *f = (const wl_funcinst *)(uintptr_t)t->elements[i]; \
    if (UNLIKELY(!f)) return WL_TRAP_UNINITIALIZED_ELEMENT; \
    if (UNLIKELY(f->type != type)) IF_OTHER
#define IS_SUB_TYPE \
    if (!wl_deftype_matches(f->type, type)) return WL_TRAP_INDIRECT_TYPE
#define CALL_INDIRECT(name, INDEX) \
    COLD static OP(name##_sub) { \
        LOOK_UP(INDEX, ip[1].p, ip[2].p, IS_SUB_TYPE); \
        ENTER_OTHER(5); \
    } \
    OP(wl_op_##name) { \
        LOOK_UP(INDEX, ip[1].p, ip[2].p, TAIL(name##_sub)); \
        if (UNLIKELY(f->instance != x->instance)) ENTER_OTHER(5); \
        ENTER(5); \
    }
CALL_INDIRECT(call_indirect_S, U64(ip[3].b))
CALL_INDIRECT(call_indirect_A, acc)
OP(wl_op_call_ref) {
    const wl_funcinst *f = (const wl_funcinst *)(uintptr_t)U64(ip[1].b);
    if (UNLIKELY(!f)) return WL_TRAP_NULL_FUNCTION;
    if (UNLIKELY(f->instance != x->instance)) ENTER_OTHER(3);
    ENTER(3);
}

static bool push_foreign(wl_store *x, const wl_word *ip) {
    if (x->n_foreign == x->foreign_capacity) {
        uint32_t capacity = x->foreign_capacity ? 2 * x->foreign_capacity : 16;
        wl_foreign *more = realloc(x->foreign, capacity * sizeof *more);
        if (!more) return false;
        x->foreign = more;
        x->foreign_capacity = capacity;
    }
    x->foreign[x->n_foreign++] = (wl_foreign){ip, x->instance};
    return true;
}

static int call_host(wl_store *x, const wl_funcinst *f, uint8_t *frame) {
    uint32_t params = f->type->u.func.param_slots, results = f->type->u.func.result_slots;
    uint8_t *top = frame + (size_t)(params > results ? params : results) * 8, *saved = x->top;
    if (top > x->stack_end) return WL_OUT_OF_STACK;
    x->top = top;
    int status = wl_call_host(x, f, (uint64_t *)frame);
    x->top = saved;
    return status;
}

/* Everything about calls that is not the fast case: `acc` is the function, `ip` already where it returns to. */
COLD OP(wl_op_call_slow) {
    wl_funcinst *f = (wl_funcinst *)(uintptr_t)acc;
    uint8_t *frame = SLOT(ip[-2].a);
    int status;
    if (x->fuel < 0 && (status = wl_next_slice(x))) return status;
    if (!f->instance) {
        status = call_host(x, f, frame);
        RELOAD();
        if (status == WL_THREW) {
            x->unwinding = ip[-1].p;
            ip--;
            TAIL(wl_op_unwind);
        }
        if (status) return status;
        acc = *(const uint64_t *)frame;
        fd = *(const double *)frame;
        fs = *(const float *)frame;
        DISPATCH;
    }
    if (!f->code && (status = wl_translate(x, f))) return status;
    if (frame + f->frame > x->stack_end) return WL_OUT_OF_STACK;
    if (x->depth <= 0) return WL_OUT_OF_CALLS;
    x->depth--;
    wl_frame to = {ip, fp};
    if (f->instance != x->instance) {
        if (!push_foreign(x, ip)) return WL_OUT_OF_CALLS;
        to.ip = wl_code_foreign_return + 1;
        x->instance = f->instance;
        RELOAD();
    }
    begin(frame, f, to);
    fp = frame;
    ip = f->entry;
    DISPATCH;
}

static OP(foreign_return) {
    wl_foreign to = x->foreign[--x->n_foreign];
    x->instance = to.instance;
    RELOAD();
    ip = to.ip;
    DISPATCH;
}
static OP(leave) { return WL_DONE; }
const wl_word wl_code_foreign_return[] = {{.p = NULL}, {.h = foreign_return}};
const wl_word wl_code_exit[] = {{.p = NULL}, {.h = leave}};

/* ---- Returns: a is the slot of the wl_frame; one scalar result is in slot 0 and in its accumulator -------------- */

#define RETURN(name, PUT) \
    OP(wl_op_##name) { \
        const wl_frame *h = (const wl_frame *)SLOT(ip[1].a); \
        uint8_t *caller = h->fp; \
        const wl_word *to = h->ip; \
        PUT; \
        x->depth++; \
        ip = to; \
        fp = caller; \
        DISPATCH; \
    }
RETURN(return_0, )
RETURN(return_S, acc = U64(ip[1].b); U64(0) = acc)
RETURN(return_A, U64(0) = acc)
RETURN(return_K, acc = ip[2].u64; U64(0) = acc)
RETURN(return_f64_S, fd = F64(ip[1].b); F64(0) = fd)
RETURN(return_f32_S, fs = F32(ip[1].b); F32(0) = fs)
RETURN(return_f64, F64(0) = fd)
RETURN(return_f32, F32(0) = fs)
RETURN(return_n, memmove(fp, SLOT(ip[1].b), (size_t)ip[1].c * 8))

/* ---- Tail calls: {a: the wl_frame, b: first argument, c: their slots} is the word before the calling function.  The
 * arguments replace the frame, which stays where it is, so that no chain of them grows. ------------------------- */

COLD static OP(return_call_slow);
#define REPLACE(WORDS) \
    do { \
        if (UNLIKELY(--x->fuel < 0 || f->instance != x->instance || fp + f->frame > x->stack_end)) { \
            acc = (uint64_t)(uintptr_t)f; \
            ip += (WORDS); \
            TAIL(return_call_slow); \
        } \
        wl_frame h = *(const wl_frame *)SLOT(ip[WORDS - 2].a); \
        const uint64_t *from = (const uint64_t *)SLOT(ip[WORDS - 2].b); \
        for (uint32_t j = 0, n = ip[WORDS - 2].c; j < n; j++) ((volatile uint64_t *)fp)[j] = from[j]; \
        begin(fp, f, h); \
        ip = f->entry; \
        DISPATCH; \
    } while (0)
OP(wl_op_return_call) {
    const wl_funcinst *f = ip[1].p;
    REPLACE(4);
}
COLD static OP(return_call_indirect_sub) {
    LOOK_UP(U64(ip[3].d), ip[1].p, ip[2].p, IS_SUB_TYPE);
    x->fuel--;
    acc = (uint64_t)(uintptr_t)f;
    ip += 5;
    TAIL(return_call_slow);
}
OP(wl_op_return_call_indirect) {
    LOOK_UP(U64(ip[3].d), ip[1].p, ip[2].p, TAIL(return_call_indirect_sub));
    REPLACE(5);
}
OP(wl_op_return_call_ref) {
    const wl_funcinst *f = (const wl_funcinst *)(uintptr_t)U64(ip[1].d);
    if (UNLIKELY(!f)) return WL_TRAP_NULL_FUNCTION;
    REPLACE(3);
}
COLD static OP(return_call_slow) {
    wl_funcinst *f = (wl_funcinst *)(uintptr_t)acc;
    wl_frame h = *(const wl_frame *)SLOT(ip[-2].a);
    uint8_t *from = SLOT(ip[-2].b);
    int status;
    if (x->fuel < 0 && (status = wl_next_slice(x))) return status;
    if (!f->instance) {
        status = call_host(x, f, from);
        RELOAD();
        if (status == WL_THREW) { /* the handlers of this function are gone */
            x->unwinding = ip[-1].p;
            ip = NULL;
            TAIL(wl_op_unwind);
        }
        if (status) return status;
        x->depth++;
        memmove(fp, from, (size_t)f->type->u.func.result_slots * 8);
        acc = U64(0);
        fd = F64(0);
        fs = F32(0);
        ip = h.ip;
        fp = h.fp;
        DISPATCH;
    }
    if (!f->code && (status = wl_translate(x, f))) return status;
    if (fp + f->frame > x->stack_end) return WL_OUT_OF_STACK;
    memmove(fp, from, (size_t)ip[-2].c * 8);
    if (f->instance != x->instance) {
        if (h.ip != wl_code_foreign_return + 1) {
            if (!push_foreign(x, h.ip)) return WL_OUT_OF_CALLS;
            h.ip = wl_code_foreign_return + 1;
        }
        x->instance = f->instance;
        RELOAD();
    }
    begin(fp, f, h);
    ip = f->entry;
    DISPATCH;
}

/* ---- Exceptions ------------------------------------------------------------------------------------------------- */

/* a: first value, b: slots of this frame in use; words 2 and 3: tag, throwing function */
COLD OP(wl_op_throw) {
    const wl_taginst *tag = ip[2].p;
    x->unwinding = ip[3].p;
    int status = wl_new_exception(x, SLOT(ip[1].b), tag, &U64(ip[1].a), &x->exception);
    if (status) return status;
    TAIL(wl_op_unwind);
}
COLD OP(wl_op_throw_ref) {
    x->unwinding = ip[2].p;
    x->exception = U64(ip[1].a);
    if (!x->exception) return WL_TRAP_NULL_EXCEPTION;
    TAIL(wl_op_unwind);
}

static const wl_catch *find_catch(wl_store *x, const wl_code *code, const wl_word *ip, const wl_taginst *tag) {
    (void)x;
    if (!ip) return NULL;
    EVENT(wl_took(x, WL_RULE_THROW_INSTRS));
    EVENT(wl_took(x, WL_RULE_THROW_LABEL));
    uint32_t at = (uint32_t)(ip - code->words);
    for (uint32_t i = 0; i < code->n_tries; i++) {
        const wl_try *t = &wl_tries(code)[i];
        if (at < t->begin || at >= t->end) continue;
        for (uint32_t j = 0; j < t->n_catches; j++) {
            const wl_catch *c = &wl_catches(code)[t->first_catch + j];
            if (c->kind >= 2 || c->tag == tag) {
                EVENT(wl_saw_catch(x, c));
                return c;
            }
            EVENT(wl_took(x, WL_RULE_CATCH_NEXT));
        }
        EVENT(wl_took(x, WL_RULE_CATCH_EMPTY));
    }
    EVENT(wl_took(x, WL_RULE_THROW_FRAME));
    return NULL;
}

/* Look for a handler from `ip` in function x->unwinding on, out through the frames of this run. */
COLD OP(wl_op_unwind) {
    const wl_exn *exn = wl_exn_of(x->exception);
    wl_funcinst *f = x->unwinding;
    EVENT(wl_saw_thrown(x));
    for (;;) {
        /* a handler may lead backwards, and a function may have a million of them */
        int status = wl_bulk(x, 64 + (uint64_t)(f->code->n_tries + f->code->n_catches) * 16);
        if (status) return status;
        const wl_catch *c = find_catch(x, f->code, ip, exn->tag);
        if (c) {
            uint32_t n = c->kind < 2 ? exn->tag->type->u.func.param_slots : 0;
            memcpy(SLOT(c->slot), exn->values, (size_t)n * 8);
            if (c->kind & 1) U64(c->slot + n) = x->exception;
            ip = f->code->words + c->target;
            RELOAD();
            DISPATCH;
        }
        wl_frame h = *(const wl_frame *)(fp + f->header);
        x->depth++;
        fp = h.fp;
        ip = h.ip;
        if (ip == wl_code_foreign_return + 1) {
            wl_foreign to = x->foreign[--x->n_foreign];
            x->instance = to.instance;
            ip = to.ip;
        }
        if (ip == wl_code_exit + 1) return WL_THREW; /* also behind a tail call into another instance */
        f = ip[-1].p;
        ip--;
    }
}

/* ---- Runs ------------------------------------------------------------------------------------------------------- */

#define SLICE 4000000 /* calls and back-edges between two looks at the clock */




static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int wl_next_slice(wl_store *x) {
    do { /* what is done in bulk may have used several slices at once */
        if (__atomic_load_n(&x->interrupt, __ATOMIC_RELAXED) || (x->deadline && now() >= x->deadline)) return WL_OUT_OF_TIME;
        if (x->fuel_rest <= 0) return WL_OUT_OF_FUEL;
        int64_t part = x->fuel_rest < SLICE ? x->fuel_rest : SLICE;
        x->fuel_rest -= part;
        x->fuel += part;
    } while (x->fuel < 0);
    return WL_DONE;
}

int wl_bulk(wl_store *x, uint64_t bytes) {
    x->fuel -= (int64_t)(bytes >> 6);
    return x->fuel < 0 ? wl_next_slice(x) : WL_DONE;
}

#ifdef WASMLAB_LOOP
int wl_save(WL_PARAMS) {
    x->saved.ip = ip;
    x->saved.fp = fp;
    x->saved.mem = mem;
    x->saved.mem_len = mem_len;
    x->saved.acc = acc;
    x->saved.fd = fd;
    x->saved.fs = fs;
    return WL_CONTINUE;
}
static int start(WL_PARAMS) {
    int status = wl_save(WL_ARGS);
    while (status == WL_CONTINUE)
        status = x->saved.ip->h(x->saved.ip, x->saved.fp, x->saved.mem, x->saved.mem_len, x->saved.acc, x,
                                x->saved.fd, x->saved.fs);
    return status;
}
#else
static int start(WL_PARAMS) { return ip->h(WL_ARGS); }
#endif

/* What is left in the upper half of an f32's slot is nobody's business. */
static void copy_results(const wl_deftype *type, const uint64_t *from, uint64_t *to) {
    memcpy(to, from, (size_t)type->u.func.result_slots * 8);
    for (uint32_t i = 0, slot = 0; i < type->u.func.n_results; slot += wl_slots(type->u.func.results[i++]))
        if (type->u.func.results[i] == WL_F32) to[slot] = (uint32_t)to[slot];
}

/* A call from outside, or from a host function.  After anything but WL_DONE the frames of the run are gone. */
int wl_execute(wl_store *x, wl_funcinst *f, const uint64_t *args, uint64_t *results) {
    bool outermost = x->active == 0;
    if (outermost) {
        x->fuel = 0;
        x->fuel_rest = x->limits.fuel;
        x->depth = x->limits.call_depth;
        x->top = x->stack;
        WL_UNWRITTEN(x->stack, x->stack_bytes < 65536 ? x->stack_bytes : 65536);
        int status = wl_next_slice(x);
        if (status) return status;
    } else if (x->host_depth >= x->limits.host_depth) {
        return WL_OUT_OF_CALLS;
    }
    uint8_t *fp = x->top, *top = x->top;
    uint32_t n_params = f->type->u.func.param_slots, n_results = f->type->u.func.result_slots;
    if (fp + (size_t)(n_params > n_results ? n_params : n_results) * 8 > x->stack_end) return WL_OUT_OF_STACK;
    if (n_params) memcpy(fp, args, (size_t)n_params * 8);
    wl_instance *instance = x->instance;
    uint32_t n_foreign = x->n_foreign;
    int64_t depth = x->depth;
    int status;
#ifdef WASMLAB_EVENTS
    wl_place outer = wl_enter_run(x);
#endif
    x->active++;
    x->host_depth += !outermost;
    if (!f->instance) {
        status = call_host(x, f, fp);
    } else {
        status = f->code ? WL_DONE : wl_translate(x, f);
        if (!status && fp + f->frame > x->stack_end) status = WL_OUT_OF_STACK;
        if (!status && --x->depth < 0) status = WL_OUT_OF_CALLS;
        if (!status) {
            begin(fp, f, (wl_frame){wl_code_exit + 1, fp});
            x->instance = f->instance;
            const wl_meminst *m = f->instance->memory0;
            status = start(f->entry, fp, m->data, m->committed, 0, x, 0, 0);
        }
    }
    EVENT(wl_leave_run(x, outer, status));
    x->host_depth -= !outermost;
    x->active--;
    x->instance = instance;
    x->n_foreign = n_foreign;
    x->depth = depth;
    x->top = top;
    if (!status && n_results) copy_results(f->type, (const uint64_t *)fp, results);
    return status;
}
