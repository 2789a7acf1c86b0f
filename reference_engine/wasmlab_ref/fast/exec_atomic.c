/* Atomic instructions, as the only agent executes them: a store belongs to one thread at a time, and its memories to it.
 *
 * So nobody else notifies.  A wait for which the value is right would end by its timeout, and what time passes nothing
 * can see: it ends at once, for fuel instead of time.  One that would take longer than LONGEST is out of time. */
#include "exec.h"

#define LONGEST 1000000000u /* ns; 1,024 of them cost as much as a call */

/* Where the bytes are that an instruction accesses: slot `a` and the offset in word 3, in the memory in word 2. */
static inline int find(const wl_word *ip, const uint64_t *args, unsigned size, bool waits, uint8_t **p) {
    wl_meminst *m = ip[2].p;
    uint64_t at;
    bool beyond = __builtin_add_overflow(args[0], ip[3].u64, &at) || m->size < size || at > m->size - size;
    if (at % size) return WL_TRAP_UNALIGNED;
    if (waits && !m->shared) return WL_TRAP_UNSHARED;
    if (beyond) return WL_TRAP_MEMORY_BOUNDS;
    if (!wl_commit(m, at + size)) return WL_OUT_OF_MEMORY;
    *p = m->data + at;
    return WL_DONE;
}

#define ATOMIC(name, M, DO) \
    static OP(name) { \
        uint64_t *args = &U64(ip[1].a); \
        uint8_t *p; \
        int status = find(ip, args, sizeof(M), false, &p); \
        if (status) return status; \
        M old, new; \
        memcpy(&old, p, sizeof old); \
        DO; \
        args[0] = acc; \
        RELOAD(); \
        NEXT(4); \
    }
#define RMW(name, M, VALUE) ATOMIC(name, M, new = (M)(VALUE); memcpy(p, &new, sizeof new); acc = old)
#define WIDTH(bits, M) \
    ATOMIC(load##bits, M, (void)new; acc = old) \
    RMW(add##bits, M, old + args[1]) \
    RMW(sub##bits, M, old - args[1]) \
    RMW(and##bits, M, old & args[1]) \
    RMW(or##bits, M, old | args[1]) \
    RMW(xor##bits, M, old ^ args[1]) \
    RMW(exchange##bits, M, args[1]) \
    ATOMIC(compare##bits, M, new = (M)args[2]; if (old == (M)args[1]) memcpy(p, &new, sizeof new); acc = old) \
    static OP(store##bits) { \
        const uint64_t *args = &U64(ip[1].a); \
        uint8_t *p; \
        int status = find(ip, args, sizeof(M), false, &p); \
        if (status) return status; \
        M v = (M)args[1]; \
        memcpy(p, &v, sizeof v); \
        RELOAD(); \
        NEXT(4); \
    }
WIDTH(8, uint8_t)
WIDTH(16, uint16_t)
WIDTH(32, uint32_t)
WIDTH(64, uint64_t)

#define ROW(name) {name##8, name##16, name##32, name##64}
const wl_handler wl_atomics[WL_ATOMIC_KINDS][4] = {
    ROW(load), ROW(store), ROW(add), ROW(sub), ROW(and), ROW(or), ROW(xor), ROW(exchange), ROW(compare)};

#define WAIT(bits, M) \
    COLD static OP(wait##bits) { \
        uint64_t *args = &U64(ip[1].a); \
        uint8_t *p; \
        M v; \
        int status = find(ip, args, sizeof(M), true, &p); \
        if (status) return status; \
        memcpy(&v, p, sizeof v); \
        acc = 1; /* not equal */ \
        if (v == (M)args[1]) { \
            if (args[2] > LONGEST) return WL_OUT_OF_TIME; /* negative ones among them, which mean for ever */ \
            if ((status = wl_bulk(x, args[2] >> 4))) return status; \
            acc = 2; /* timed out */ \
        } \
        args[0] = acc; \
        RELOAD(); \
        NEXT(4); \
    }
WAIT(32, uint32_t)
WAIT(64, uint64_t)
const wl_handler wl_atomic_waits[2] = {wait32, wait64};

COLD OP(wl_op_atomic_notify) {
    uint64_t *args = &U64(ip[1].a);
    uint8_t *p;
    int status = find(ip, args, 4, false, &p);
    if (status) return status;
    acc = args[0] = 0;
    RELOAD();
    NEXT(4);
}
