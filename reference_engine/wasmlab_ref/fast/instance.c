/* Stores, and modules coming to life in them, in the standard's order. */
#define _GNU_SOURCE /* mremap, clock_gettime */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "events.h"
#include "gc.h"
#include "wl.h"

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif
#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

struct wl_host {
    struct wl_host *next;
    wl_host_function function;
    void *environment;
    wl_funcinst f;
};

/* ---- Stores ---------------------------------------------------------------------------------------------------- */

static void *map(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* A value stack and a translator that nobody uses now, kept: to make them costs more than a small module. */
static struct {
    uint8_t *stack;
    size_t size;
    struct translator *translator;
    int lock;
} spare;

static void take_spare(wl_store *x) {
    if (__atomic_exchange_n(&spare.lock, 1, __ATOMIC_ACQUIRE)) return;
    if (spare.stack && spare.size == x->stack_bytes) {
        x->stack = spare.stack;
        spare.stack = NULL;
    }
    x->translator = spare.translator;
    spare.translator = NULL;
    __atomic_store_n(&spare.lock, 0, __ATOMIC_RELEASE);
}

static void give_spare(wl_store *x) {
    struct translator *translator = x->translator;
    uint8_t *stack = x->stack;
    if (!__atomic_exchange_n(&spare.lock, 1, __ATOMIC_ACQUIRE)) {
        if (!spare.stack) {
            spare.stack = stack;
            spare.size = x->stack_bytes;
            stack = NULL;
        }
        if (!spare.translator && wl_translator_is_small(translator)) {
            spare.translator = translator;
            translator = NULL;
        }
        __atomic_store_n(&spare.lock, 0, __ATOMIC_RELEASE);
    }
    if (stack) munmap(stack, x->stack_bytes);
    wl_translator_free(translator);
}

wl_store *wl_store_new(wl_engine *engine, const wl_limits *limits, const wl_profile *profile) {
    wl_store *x = malloc(sizeof *x); /* malloc has a cache that calloc does without */
    if (!x) return NULL;
    OPAQUE(x); /* or compilers make it a calloc again */
    memset(x, 0, sizeof *x);
    x->engine = engine;
    x->limits = *limits;
    if (profile) x->profile = *profile;
    x->pages_left = limits->memory_pages < 1u << 31 ? limits->memory_pages : 1u << 31; /* bytes fit in 47 bits */
    x->elements_left = limits->table_elements;
    x->heap.threshold = limits->heap_bytes < (4u << 20) ? limits->heap_bytes : 4u << 20;
    if (x->limits.values > (uint64_t)1 << 28) x->limits.values = (uint64_t)1 << 28;
    x->stack_bytes = (size_t)x->limits.values * 8 + 65536;
    take_spare(x);
    if (!x->stack && !(x->stack = map(x->stack_bytes))) {
        wl_translator_free(x->translator);
        free(x);
        return NULL;
    }
    x->top = x->stack;
    x->stack_end = x->stack + x->limits.values * 8;
#ifdef WASMLAB_EVENTS
    if (!wl_events_new(x)) {
        wl_store_free(x);
        return NULL;
    }
#endif
    return x;
}

static void free_memory(wl_meminst *m) {
    if (m->mapped) munmap(m->data, m->reserved);
    else free(m->data);
    if (!m->is_part) free(m);
}

void wl_store_free(wl_store *x) {
    if (!x) return;
    EVENT(wl_events_free(x));
    wl_session_free(x->session);
    for (wl_meminst *m = x->memories, *next; m; m = next) {
        next = m->next;
        free_memory(m);
    }
    for (wl_tableinst *t = x->tables, *next; t; t = next) {
        next = t->next;
        free(t->elements);
        if (!t->is_part) free(t);
    }
    for (wl_instance *i = x->instances, *next; i; i = next) {
        next = i->next;
        const wl_module *m = i->module;
        for (uint32_t f = m->n_imported_funcs; f < m->n_funcs; f++) free(i->funcs[f]->code);
        for (uint32_t e = 0; e < m->n_elems; e++) free(i->elems[e].elements);
        wl_module_release(i->module);
        free(i);
    }
    for (struct wl_host *h = x->hosts, *next; h; h = next) {
        next = h->next;
        free(h);
    }
    wl_heap_free(&x->heap);
    free(x->foreign);
    give_spare(x);
    free(x);
}

void wl_store_limit(wl_store *x, int64_t fuel, uint32_t call_depth, uint64_t values) {
    uint64_t most = (x->stack_bytes - 65536) / 8;
    x->limits.fuel = fuel;
    x->limits.call_depth = call_depth;
    x->limits.values = values < most ? values : most;
    x->stack_end = x->stack + x->limits.values * 8;
}
void wl_store_profile(wl_store *x, const wl_profile *profile) { x->profile = *profile; }
void wl_store_stress(wl_store *x, bool on) { x->heap.stress = on; }
uint64_t wl_store_collections(const wl_store *x) { return x->heap.collections; }
void wl_store_deadline(wl_store *x, uint64_t ns) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    x->deadline = ns ? (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec + ns : 0;
}

wl_funcinst *wl_host_func(wl_store *x, const wl_deftype *type, wl_host_function host, void *environment) {
    struct wl_host *h = calloc(1, sizeof *h);
    if (!h) return NULL;
    h->next = x->hosts;
    x->hosts = h;
    h->function = host;
    h->environment = environment;
    h->f = (wl_funcinst){.frame = WL_NO_CODE, .type = type, .host = h};
    return &h->f;
}

int wl_call_host(wl_store *x, const wl_funcinst *f, uint64_t *slots) {
    return f->host->function(x, f->host->environment, slots);
}

/* ---- Memories and tables ------------------------------------------------------------------------------------------ */

#define SMALL 65536u /* committed bytes up to which a memory is a piece of the C heap */

bool wl_commit(wl_meminst *m, uint64_t bytes) {
    if (bytes <= m->committed) return true;
    uint64_t want = (bytes + 63) & ~(uint64_t)63;
    if (want < 2 * m->committed) want = 2 * m->committed;
    if (want > m->size) want = m->size;
    if (!m->mapped && want <= SMALL) {
        uint8_t *data = realloc(m->data, want);
        if (!data) return false;
        memset(data + m->committed, 0, want - m->committed);
        m->data = data;
        m->committed = want;
        return true;
    }
    /* the whole of it: pages that nobody touches take no room */
    if (m->mapped && m->size <= m->reserved) {
        m->committed = m->size;
        return true;
    }
    uint64_t reserve = m->size;
    if (reserve > SIZE_MAX / 2) return false;
    uint8_t *data;
#ifdef MREMAP_MAYMOVE
    if (m->mapped) {
        data = mremap(m->data, m->reserved, reserve, MREMAP_MAYMOVE);
        if (data == MAP_FAILED) return false;
    } else
#endif
    {
        data = map(reserve);
        if (!data) return false;
        if (m->committed) memcpy(data, m->data, m->committed);
        if (m->mapped) munmap(m->data, m->reserved);
        else free(m->data);
    }
    m->data = data;
    m->mapped = true;
    m->reserved = reserve;
    m->committed = m->size;
    return true;
}

/* Of 64 KiB, as the store counts them, what pages a memory ever has. */
static uint64_t whole_pages(uint64_t bytes) { return (bytes >> 16) + ((bytes & 65535) != 0); }

static uint64_t most_pages(const wl_meminst *m) {
    if (m->by_byte) return m->is64 ? UINT64_MAX : UINT32_MAX;
    return m->is64 ? (uint64_t)1 << 48 : 65536;
}

int64_t wl_memory_grow(wl_store *x, wl_meminst *m, uint64_t pages) {
    uint64_t old = wl_pages(m), most = m->has_max ? m->max : most_pages(m);
    if (pages > most || old > most - pages || (x->profile.refuses && pages)) return -1;
    if (pages >> (m->by_byte ? 47 : 31)) return -1; /* none has so much left */
    uint64_t size = m->size + (m->by_byte ? pages : pages << 16);
    uint64_t cost = whole_pages(size) - whole_pages(m->size);
    if (cost > x->pages_left) return -1;
    x->pages_left -= cost;
    m->size = size;
    return (int64_t)old;
}

int64_t wl_table_grow(wl_store *x, wl_tableinst *t, uint64_t n, wl_refval init) {
    uint64_t most = t->has_max ? t->max : t->is64 ? UINT64_MAX : UINT32_MAX, old = t->size;
    if (n > most || old > most - n || n > x->elements_left || (x->profile.refuses && n)) return -1;
    if (old + n > t->capacity) {
        uint64_t capacity = old + n < 2 * t->capacity ? 2 * t->capacity : old + n;
        wl_refval *more = realloc(t->elements, capacity * sizeof *more);
        if (!more) return -1;
        t->elements = more;
        t->capacity = capacity;
    }
    x->elements_left -= n;
    for (uint64_t i = 0; i < n; i++) t->elements[old + i] = init;
    t->size += n;
    return (int64_t)old;
}

static bool outside(uint64_t at, uint64_t n, uint64_t size) { return at > size || n > size - at; }

int wl_memory_init(wl_instance *instance, wl_meminst *m, uint32_t data, uint64_t to, uint64_t from, uint64_t n) {
    const wl_data *d = &instance->module->datas[data];
    if (outside(from, n, instance->dropped[data] ? 0 : d->bytes.size) || outside(to, n, m->size))
        return WL_TRAP_MEMORY_BOUNDS;
    int status = instance->store->active ? wl_bulk(instance->store, n) : WL_DONE;
    if (status) return status;
    if (!wl_commit(m, n ? to + n : 0)) return WL_OUT_OF_MEMORY;
    if (n) memcpy(m->data + to, instance->module->bytes + d->bytes.at + from, n);
    return WL_DONE;
}

int wl_table_init(wl_instance *instance, wl_tableinst *t, uint32_t elem, uint64_t to, uint64_t from, uint64_t n) {
    const wl_eleminst *e = &instance->elems[elem];
    if (outside(from, n, e->n) || outside(to, n, t->size)) return WL_TRAP_TABLE_BOUNDS;
    int status = instance->store->active ? wl_bulk(instance->store, n) : WL_DONE;
    if (status) return status;
    if (n) memcpy(t->elements + to, e->elements + from, n * sizeof(wl_refval));
    return WL_DONE;
}

static bool begin_memory(wl_store *x, wl_meminst *m, const wl_bounds *b) {
    uint64_t cost = b->by_byte ? whole_pages(b->min) : b->min;
    if (cost > x->pages_left) return false;
    x->pages_left -= cost;
    m->size = b->by_byte ? b->min : b->min << 16;
    m->by_byte = b->by_byte;
    m->max = b->max;
    m->has_max = b->has_max;
    m->is64 = b->is64;
    m->shared = b->shared;
    m->next = x->memories;
    x->memories = m;
    return true;
}

static bool begin_table(wl_store *x, wl_tableinst *t, const wl_table *type) {
    if (type->bounds.min > x->elements_left) return false;
    t->max = type->bounds.max;
    t->has_max = type->bounds.has_max;
    t->is64 = type->bounds.is64;
    t->type = type->type;
    if (type->bounds.min && !(t->elements = calloc(type->bounds.min, sizeof *t->elements))) return false;
    x->elements_left -= type->bounds.min;
    t->size = t->capacity = type->bounds.min;
    t->next = x->tables;
    x->tables = t;
    return true;
}

wl_meminst *wl_new_memory(wl_store *x, const wl_bounds *b) {
    wl_meminst *m = calloc(1, sizeof *m);
    if (m && begin_memory(x, m, b)) return m;
    free(m);
    return NULL;
}
wl_tableinst *wl_new_table(wl_store *x, const wl_table *type) {
    wl_tableinst *t = calloc(1, sizeof *t);
    if (t && begin_table(x, t, type)) return t;
    free(t);
    return NULL;
}

/* ---- Constant expressions ------------------------------------------------------------------------------------------ */

typedef struct evaluation {
    wl_instance *instance;
    uint64_t *stack;
    uint32_t n; /* slots */
} evaluation;

static void push(evaluation *e, uint64_t v) { e->stack[e->n++] = v; }

static int allocate(evaluation *e, uint32_t op, const uint8_t **p) {
    wl_store *x = e->instance->store;
    const wl_deftype *type = e->instance->module->types[wl_read_u32(p)];
    bool is_struct = op == WL_OP_STRUCT_NEW || op == WL_OP_STRUCT_NEW_DEFAULT;
    uint64_t n = 0, bytes = 0;
    if (op == WL_OP_ARRAY_NEW_FIXED) n = wl_read_u32(p);
    else if (!is_struct) n = (uint32_t)e->stack[--e->n];
    bytes = is_struct ? sizeof(wl_structure) + type->u.structure.size
                      : sizeof(wl_array) + n * type->u.array.element_size;
    x->extra_roots = e->stack;
    x->n_extra_roots = e->n;
    wl_object *o = wl_gc_allocate(x, x->top, bytes);
    x->n_extra_roots = 0;
    if (!o) return wl_why_no_object(x);
    o->type = type;
    if (is_struct) {
        if (op == WL_OP_STRUCT_NEW) {
            uint32_t slots = 0;
            for (uint32_t i = 0; i < type->u.structure.n_fields; i++) slots += wl_slots(type->u.structure.fields[i].type);
            e->n -= slots;
            wl_fill_structure((wl_structure *)o, type, e->stack + e->n);
        }
    } else {
        wl_array *a = (wl_array *)o;
        a->length = n;
        uint32_t width = wl_slots(type->u.array.field.type);
        if (op == WL_OP_ARRAY_NEW) {
            e->n -= width;
            wl_fill_array(a, 0, e->stack + e->n, n);
        } else if (op == WL_OP_ARRAY_NEW_FIXED) {
            e->n -= width * (uint32_t)n;
            for (uint64_t i = 0; i < n; i++) wl_fill_array(a, i, e->stack + e->n + i * width, 1);
        }
    }
    push(e, (uintptr_t)o);
    return WL_DONE;
}

static uint64_t bytes_le(const uint8_t **p, unsigned n) {
    uint64_t k = 0;
    for (unsigned i = 0; i < n; i++) k |= (uint64_t) * (*p)++ << (8 * i);
    return k;
}

static int step(evaluation *e, uint32_t op, const uint8_t **p) {
    wl_instance *instance = e->instance;
    uint64_t *top = e->stack + e->n;
    switch (op) {
    case WL_OP_I32_CONST: push(e, (uint32_t)wl_read_s32(p)); break;
    case WL_OP_I64_CONST: push(e, (uint64_t)wl_read_s64(p)); break;
    case WL_OP_F32_CONST: push(e, bytes_le(p, 4)); break;
    case WL_OP_F64_CONST: push(e, bytes_le(p, 8)); break;
    case WL_OP_V128_CONST:
        push(e, bytes_le(p, 8));
        push(e, bytes_le(p, 8));
        break;
    case WL_OP_GLOBAL_GET: {
        const wl_globalinst *g = instance->globals[wl_read_u32(p)];
        push(e, g->value[0]);
        if (g->type == WL_V128) push(e, g->value[1]);
        break;
    }
    case WL_OP_REF_NULL:
        (void)wl_read_heap(instance->module, p);
        push(e, 0);
        break;
    case WL_OP_REF_FUNC: push(e, (uintptr_t)instance->funcs[wl_read_u32(p)]); break;
    case WL_OP_REF_I31: top[-1] = wl_i31((uint32_t)top[-1]); break;
    case WL_OP_I32_ADD: e->n--, top[-2] = (uint32_t)(top[-2] + top[-1]); break;
    case WL_OP_I32_SUB: e->n--, top[-2] = (uint32_t)(top[-2] - top[-1]); break;
    case WL_OP_I32_MUL: e->n--, top[-2] = (uint32_t)(top[-2] * top[-1]); break;
    case WL_OP_I64_ADD: e->n--, top[-2] = top[-2] + top[-1]; break;
    case WL_OP_I64_SUB: e->n--, top[-2] = top[-2] - top[-1]; break;
    case WL_OP_I64_MUL: e->n--, top[-2] = top[-2] * top[-1]; break;
    case WL_OP_ANY_CONVERT_EXTERN: case WL_OP_EXTERN_CONVERT_ANY: break;
    default: return allocate(e, op, p);
    }
    return WL_DONE;
}

/* From *p to the `end`, which is read, too. */
static int evaluate(wl_instance *instance, const uint8_t **p, uint32_t max_height, uint64_t value[2]) {
    uint64_t few[32], *stack = few;
    if (max_height > 15 && !(stack = malloc(((size_t)max_height + 1) * 16))) return WL_OUT_OF_MEMORY;
    evaluation e = {instance, stack, 0};
    int status = WL_DONE;
    for (uint32_t op; !status && (op = wl_read_op(p)) != WL_OP_END;) {
        EVENT(uint64_t top = e.n ? stack[e.n - 1] : 0);
        status = step(&e, op, p);
        EVENT(wl_saw_constant(instance->store, op, status, top));
    }
    if (!status) {
        value[0] = stack[0];
        value[1] = e.n > 1 ? stack[1] : 0;
    }
    if (stack != few) free(stack);
    return status;
}

static int evaluate_at(wl_instance *instance, const wl_expr *expr, uint64_t value[2]) {
    const uint8_t *p = instance->module->bytes + expr->at;
    return evaluate(instance, &p, expr->max_height, value);
}

static int initial(wl_instance *instance, const wl_expr *expr, uint64_t value[2]) {
    EVENT(wl_took(instance->store, WL_RULE_EVAL_EXPR));
    return evaluate_at(instance, expr, value);
}

/* ---- Linking --------------------------------------------------------------------------------------------------------- */

static bool bounds_match(uint64_t size, bool has_max, uint64_t max, bool is64, const wl_bounds *b) {
    return is64 == b->is64 && size >= b->min && (!b->has_max || (has_max && max <= b->max));
}

static bool import_matches(const wl_module *m, const wl_import *import, const wl_externval *v) {
    const wl_engine *engine = m->engine;
    if (v->kind != import->kind) return false;
    switch (import->kind) {
    case WL_EXT_FUNC: return wl_deftype_matches(((const wl_funcinst *)v->p)->type, m->funcs[import->index]);
    case WL_EXT_TABLE: {
        const wl_tableinst *t = v->p;
        const wl_table *type = &m->tables[import->index];
        return t->type == type->type && bounds_match(t->size, t->has_max, t->max, t->is64, &type->bounds);
    }
    case WL_EXT_MEMORY: {
        const wl_meminst *mem = v->p;
        const wl_bounds *b = &m->memories[import->index].bounds;
        return mem->shared == b->shared && mem->by_byte == b->by_byte &&
               bounds_match(wl_pages(mem), mem->has_max, mem->max, mem->is64, b);
    }
    case WL_EXT_GLOBAL: {
        const wl_globalinst *g = v->p;
        const wl_global *type = &m->globals[import->index];
        if (g->mutable_ != type->mutable_) return false;
        return g->mutable_ ? g->type == type->type : wl_type_matches(engine, g->type, type->type);
    }
    default: return ((const wl_taginst *)v->p)->type == m->tags[import->index];
    }
}

static wl_stage refuse(wl_error *error, const wl_module *m, const wl_import *import, const char *why) {
    *error = (wl_error){.stage = WL_UNLINKABLE, .function = WL_NONE};
    snprintf(error->message, sizeof error->message, "%s: '%.*s' '%.*s'", why,
             import->module.size > 40 ? 40 : (int)import->module.size, (const char *)m->bytes + import->module.at,
             import->name.size > 40 ? 40 : (int)import->name.size, (const char *)m->bytes + import->name.at);
    return WL_UNLINKABLE;
}

/* ---- Instantiation ---------------------------------------------------------------------------------------------------- */

static wl_meminst no_memory;

static void *carve(uint8_t **p, size_t n, size_t size) {
    void *found = *p;
    *p += (n * size + 7) & ~(size_t)7;
    return found;
}
#define ROOM(n, type) (((size_t)(n) * sizeof(type) + 7) & ~(size_t)7)

static wl_instance *new_instance(wl_store *x, wl_module *m) {
    uint32_t funcs = m->n_funcs - m->n_imported_funcs, globals = m->n_globals - m->n_imported_globals;
    uint32_t tags = m->n_tags - m->n_imported_tags, tables = m->n_tables - m->n_imported_tables;
    uint32_t memories = m->n_memories - m->n_imported_memories;
    size_t size = ROOM(1, wl_instance) + ROOM(m->n_funcs, void *) + ROOM(m->n_tables, void *) +
                  ROOM(m->n_memories, void *) + ROOM(m->n_globals, void *) + ROOM(m->n_tags, void *) +
                  ROOM(funcs, wl_funcinst) + ROOM(globals, wl_globalinst) + ROOM(tags, wl_taginst) +
                  ROOM(tables, wl_tableinst) + ROOM(memories, wl_meminst) +
                  ROOM(m->n_elems, wl_eleminst) + ROOM(m->n_datas, bool);
    uint8_t *p = malloc(size);
    if (!p) return NULL;
    OPAQUE(p);
    memset(p, 0, size);
    wl_instance *i = carve(&p, 1, sizeof *i);
    i->store = x;
    i->module = m;
    i->memory0 = &no_memory;
    i->funcs = carve(&p, m->n_funcs, sizeof(void *));
    i->tables = carve(&p, m->n_tables, sizeof(void *));
    i->memories = carve(&p, m->n_memories, sizeof(void *));
    i->globals = carve(&p, m->n_globals, sizeof(void *));
    i->tags = carve(&p, m->n_tags, sizeof(void *));
    wl_funcinst *own_funcs = carve(&p, funcs, sizeof(wl_funcinst));
    wl_globalinst *own_globals = carve(&p, globals, sizeof(wl_globalinst));
    wl_taginst *own_tags = carve(&p, tags, sizeof(wl_taginst));
    i->elems = carve(&p, m->n_elems, sizeof(wl_eleminst));
    i->dropped = carve(&p, m->n_datas, sizeof(bool));
    wl_tableinst *own_tables = carve(&p, tables, sizeof(wl_tableinst));
    wl_meminst *own_memories = carve(&p, memories, sizeof(wl_meminst));
    for (uint32_t k = 0; k < tables; k++) {
        own_tables[k].is_part = true;
        i->tables[m->n_imported_tables + k] = &own_tables[k];
    }
    for (uint32_t k = 0; k < memories; k++) {
        own_memories[k].is_part = true;
        i->memories[m->n_imported_memories + k] = &own_memories[k];
    }
    for (uint32_t k = 0; k < funcs; k++) {
        uint32_t index = m->n_imported_funcs + k;
        own_funcs[k] = (wl_funcinst){.frame = WL_NO_CODE, .type = m->funcs[index], .instance = i, .index = index};
        i->funcs[index] = &own_funcs[k];
    }
    for (uint32_t k = 0; k < tags; k++) {
        own_tags[k].type = m->tags[m->n_imported_tags + k];
        i->tags[m->n_imported_tags + k] = &own_tags[k];
    }
    for (uint32_t k = 0; k < globals; k++) {
        const wl_global *g = &m->globals[m->n_imported_globals + k];
        own_globals[k].type = g->type;
        own_globals[k].mutable_ = g->mutable_;
        i->globals[m->n_imported_globals + k] = &own_globals[k];
    }
    return i;
}

static void take_imports(wl_instance *i, const wl_externval *imports) {
    const wl_module *m = i->module;
    for (uint32_t k = 0; k < m->n_imports; k++) {
        const wl_import *import = &m->imports[k];
        void **spaces[] = {(void **)i->funcs, (void **)i->tables, (void **)i->memories, (void **)i->globals,
                           (void **)i->tags};
        spaces[import->kind][import->index] = imports[k].p;
    }
}

/* Globals, tables, segments' elements: all that is evaluated before anything is written. */
static int initialize(wl_instance *i) {
    const wl_module *m = i->module;
    wl_store *x = i->store;
    uint64_t value[2];
    int status;
    for (uint32_t k = m->n_imported_memories; k < m->n_memories; k++)
        if (!begin_memory(x, i->memories[k], &m->memories[k].bounds)) return WL_OUT_OF_MEMORY;
    if (m->n_memories) i->memory0 = i->memories[0];
    for (uint32_t k = m->n_imported_globals; k < m->n_globals; k++)
        if ((status = initial(i, &m->globals[k].init, i->globals[k]->value))) return status;
    for (uint32_t k = m->n_imported_tables; k < m->n_tables; k++) {
        if (!begin_table(x, i->tables[k], &m->tables[k])) return WL_OUT_OF_TABLE;
        if (!m->tables[k].init.end) continue;
        if ((status = initial(i, &m->tables[k].init, value))) return status;
        for (uint64_t j = 0; j < i->tables[k]->size; j++) i->tables[k]->elements[j] = value[0];
    }
    for (uint32_t k = 0; k < m->n_elems; k++) {
        const wl_elem *elem = &m->elems[k];
        wl_eleminst *e = &i->elems[k];
        e->type = elem->type;
        if (!elem->n) continue;
        if (!(e->elements = calloc(elem->n, sizeof(wl_refval)))) return WL_OUT_OF_MEMORY;
        const uint8_t *p = m->bytes + elem->items;
        for (; e->n < elem->n; e->n++) {
            EVENT(wl_took(x, WL_RULE_EVAL_EXPR));
            EVENT(if (!elem->is_exprs) wl_saw_straight(x, WL_OP_REF_FUNC, WL_END_val));
            if (!elem->is_exprs) value[0] = (uintptr_t)i->funcs[wl_read_u32(&p)];
            else if ((status = evaluate(i, &p, elem->max_height, value))) return status;
            e->elements[e->n] = value[0];
        }
    }
    return WL_DONE;
}

#ifdef WASMLAB_EVENTS
static void saw_segment(wl_store *x, uint32_t init, uint32_t drop, int status, uint32_t n) {
    wl_saw_straight(x, WL_OP_I32_CONST, WL_END_val); /* from 0, so many */
    wl_saw_straight(x, init, status > WL_THREW ? WL_END_ran : status ? WL_END_oob : n ? WL_END_succ : WL_END_zero);
    if (!status) wl_saw_straight(x, drop, WL_END_val);
}
#endif

static int run_segments(wl_instance *i) {
    const wl_module *m = i->module;
    EVENT(wl_store *x = i->store);
    uint64_t at[2];
    int status;
    for (uint32_t k = 0; k < m->n_elems; k++) {
        const wl_elem *e = &m->elems[k];
        if (e->mode == WL_ACTIVE) {
            if ((status = evaluate_at(i, &e->offset, at))) return status;
            status = wl_table_init(i, i->tables[e->table], k, at[0], 0, e->n);
            EVENT(saw_segment(x, WL_OP_TABLE_INIT, WL_OP_ELEM_DROP, status, e->n));
            if (status) return status;
        }
        if (e->mode == WL_PASSIVE) continue;
        i->elems[k].n = 0;
        free(i->elems[k].elements);
        i->elems[k].elements = NULL;
    }
    for (uint32_t k = 0; k < m->n_datas; k++) {
        const wl_data *d = &m->datas[k];
        if (d->mode != WL_ACTIVE) continue;
        if ((status = evaluate_at(i, &d->offset, at))) return status;
        status = wl_memory_init(i, i->memories[d->memory], k, at[0], 0, d->bytes.size);
        EVENT(saw_segment(x, WL_OP_MEMORY_INIT, WL_OP_DATA_DROP, status, d->bytes.size));
        if (status) return status;
        i->dropped[k] = true;
    }
    return WL_DONE;
}

wl_stage wl_instantiate(wl_store *x, wl_module *m, const wl_externval *imports, wl_instance **instance,
                        wl_error *error, int *status) {
    *status = WL_DONE;
    *instance = NULL;
    for (uint32_t k = 0; k < m->n_imports; k++)
        if (!imports[k].p) return refuse(error, m, &m->imports[k], "unknown import");
    for (uint32_t k = 0; k < m->n_imports; k++) {
        EVENT(wl_saw_link(x, m, &m->imports[k], &imports[k]));
        if (!import_matches(m, &m->imports[k], &imports[k]))
            return refuse(error, m, &m->imports[k], "incompatible import type");
    }
    wl_instance *i = new_instance(x, m);
    if (!i) {
        *status = WL_OUT_OF_MEMORY;
        return WL_OK;
    }
    wl_module_retain(m);
    take_imports(i, imports);
    i->next = x->instances;
    x->instances = i;
    *status = initialize(i);
    if (!*status) *status = run_segments(i);
    if (!*status && m->start != WL_NONE) *status = wl_execute(x, i->funcs[m->start], NULL, NULL);
    if (!*status) *instance = i;
    return WL_OK;
}

wl_externval wl_export_named(const wl_instance *i, const void *name, size_t size) {
    const wl_export *e = wl_find_export(i->module, name, size);
    if (!e) return (wl_externval){0, NULL};
    void *const *spaces[] = {(void **)i->funcs, (void **)i->tables, (void **)i->memories, (void **)i->globals,
                             (void **)i->tags};
    return (wl_externval){e->kind, spaces[e->kind][e->index]};
}

const char *wl_status_name(int status) {
    static const char *const names[] = {
        "", "unreachable", "integer divide by zero", "integer overflow", "invalid conversion to integer",
        "out of bounds memory access", "out of bounds table access", "undefined element", "uninitialized element",
        "indirect call type mismatch", "out of bounds array access", "null function reference",
        "null structure reference", "null array reference", "null i31 reference", "null exception reference",
        "null reference", "cast failure", "unaligned atomic", "expected shared memory", "host", "", "fuel", "call stack",
        "call stack", "gc heap", "locals", "memory", "table", "time"};
    return status >= 0 && (size_t)status < sizeof names / sizeof *names ? names[status] : "";
}
