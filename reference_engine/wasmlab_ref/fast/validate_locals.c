/* Locals: their types, of which there may be 2^32 in a handful of bytes, and which of them have been initialised. */
#include <string.h>

#include "validate.h"

/* Locals below `end` and not below the previous run's. */
typedef struct wl_run_end {
    uint64_t end;
    wl_type type;
} wl_run_end;

static bool add_run(wl_validator *v, uint64_t count, wl_type t) {
    wl_loader *l = v->l;
    for (uint64_t i = 0; i < count && v->n_few < WL_FEW_LOCALS; i++) v->few[v->n_few++] = t;
    v->n_locals += count;
    if (v->n_locals <= WL_FEW_LOCALS || count == 0) return true;
    size_t used = v->n_runs * sizeof(wl_run_end);
    if (used + sizeof(wl_run_end) > l->runs.capacity && !wl_buffer_grow(&l->runs, used, used + sizeof(wl_run_end)))
        return wl_no_memory(l);
    ((wl_run_end *)l->runs.data)[v->n_runs++] = (wl_run_end){v->n_locals, t};
    v->runs = l->runs.data;
    return true;
}

bool wl_get_locals(wl_validator *v, const wl_deftype *type) {
    uint32_t n, count;
    wl_type t;
    v->n_locals = v->n_params = type->u.func.n_params;
    v->params = type->u.func.params; /* not copied: a million functions may have a million of them */
    v->n_few = v->n_params < WL_FEW_LOCALS ? v->n_params : WL_FEW_LOCALS;
    if (v->n_few) memcpy(v->few, v->params, v->n_few * sizeof *v->few);
    WL_TRY(wl_get_count(&v->r, &n));
    for (; n; n--) {
        WL_TRY(wl_get_u32(&v->r, &count));
        WL_TRY(wl_get_type(&v->r, &t));
        WL_TRY(add_run(v, count, t));
    }
    if (v->n_locals - v->n_params > UINT32_MAX) return wl_malformed(v->l, v->r.p, "too many locals");
    uint32_t quick = 0, most = v->n_few < 0x80 ? v->n_few : 0x80;
    while (quick < most && (quick < v->n_params || wl_is_defaultable(v->few[quick]))) quick++;
    v->n_quick = quick;
    return !wl_rejected(v->l);
}

static wl_type type_of_local(const wl_validator *v, uint32_t index) {
    if (WL_LIKELY(index < v->n_few)) return v->few[index];
    if (index < v->n_params) return v->params[index];
    uint32_t low = 0, high = v->n_runs - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (index < v->runs[middle].end)
            high = middle;
        else
            low = middle + 1;
    }
    return v->runs[low].type;
}

/* ---- Initialisation of locals without a default value ---------------------------------------------------------- */

/* A hash table of the locals met so far, in the buffer `inits`; behind it, those that are initialised, in order. */
typedef struct wl_init {
    uint32_t local; /* plus 1; 0: free */
    uint32_t set;
} wl_init;

/* Where to look first.  The engine's seed keeps a module from choosing locals that all begin at one place. */
static uint32_t place(const wl_validator *v, uint32_t local) {
    uint32_t h = local ^ wl_engine_seed(v->engine);
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return h ^ h >> 16;
}

static wl_init *find(const wl_validator *v, wl_init *table, uint32_t mask, uint32_t local) {
    uint32_t i = place(v, local) & mask;
    while (table[i].local && table[i].local != local + 1) i = (i + 1) & mask;
    return &table[i];
}

static uint32_t *order_of(const wl_validator *v) {
    return (uint32_t *)(void *)((wl_init *)v->l->inits.data + v->init_mask + 1);
}

/* Twice as many places; the order of initialisation moves along. */
static bool enlarge(wl_validator *v) {
    wl_buffer *b = &v->l->inits;
    uint32_t old = v->init_mask ? v->init_mask + 1 : 0, n = old ? old * 2 : 16;
    size_t bytes = (size_t)n * (sizeof(wl_init) + sizeof(uint32_t));
    wl_buffer fresh = {NULL, 1, false};
    if (!n || !wl_buffer_grow(&fresh, 0, bytes)) return wl_no_memory(v->l);
    wl_init *table = fresh.data, *before = b->data;
    memset(table, 0, n * sizeof *table);
    for (uint32_t i = 0; i < old; i++)
        if (before[i].local) *find(v, table, n - 1, before[i].local - 1) = before[i];
    if (v->n_inits) memcpy(table + n, order_of(v), v->n_inits * sizeof(uint32_t));
    wl_buffer_free(b);
    *b = fresh;
    v->init_mask = n - 1;
    return true;
}

static bool initialise(wl_validator *v, uint32_t local) {
    if (v->n_known * 2 >= v->init_mask) WL_TRY(enlarge(v));
    wl_init *entry = find(v, v->l->inits.data, v->init_mask, local);
    if (!entry->local) {
        entry->local = local + 1;
        v->n_known++;
    }
    if (entry->set) return true;
    entry->set = 1;
    order_of(v)[v->n_inits++] = local;
    return true;
}

void wl_forget_inits(wl_validator *v, uint32_t n) {
    while (v->n_inits > n) find(v, v->l->inits.data, v->init_mask, order_of(v)[--v->n_inits])->set = 0;
}

static bool is_initialised(const wl_validator *v, uint32_t local) {
    return v->init_mask && find(v, v->l->inits.data, v->init_mask, local)->set;
}

/* ---- Instructions ---------------------------------------------------------------------------------------------- */

bool wl_validate_local(wl_validator *v, uint32_t op) {
    uint32_t index;
    WL_TRY(wl_get_u32(&v->r, &index));
    if (index >= v->n_locals) return wl_wrong(v, "unknown local %u", (unsigned)index);
    wl_type t = type_of_local(v, index);
    bool counts = WL_UNLIKELY(!wl_is_defaultable(t)) && index >= v->n_params;
    if (op == WL_OP_LOCAL_GET) {
        if (counts && !is_initialised(v, index)) return wl_wrong(v, "uninitialized local %u", (unsigned)index);
        wl_push(v, t);
        return true;
    }
    WL_TRY(wl_pop(v, t));
    if (op == WL_OP_LOCAL_TEE) wl_push(v, t);
    return !counts || initialise(v, index);
}
