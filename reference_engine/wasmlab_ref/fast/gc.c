/* The garbage-collected heap: mark and sweep, nothing moves.
 *
 * Small objects live in blocks of 32 KiB, each for one size; a bitmap says which cells are in use, and sweeping is to
 * take the marks for it.  Larger ones have memory of their own.  Globals, tables, segments and objects are traced
 * precisely; of the value stack every slot that holds the address of a cell in use counts as a reference. */
#include "gc.h"

#include <stdlib.h>

#define BLOCK_SIZE 32768u
#define BITMAP_WORDS 32 /* of 64 cells; cells have at least 16 bytes */
#define LARGEST 2048u

typedef struct wl_block {
    struct wl_block *next;
    uint32_t cell, n_cells;
    uint64_t used[BITMAP_WORDS], marked[BITMAP_WORDS];
    uint64_t cells[];
} block;

typedef struct wl_large {
    struct wl_large *next;
    uint64_t size;
    bool marked;
    uint64_t object[];
} large;

static const uint16_t sizes[24] = {16,  32,  48,  64,  80,  96,  112, 128,  160,  192,  224,  256,
                                   320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048};

static unsigned class_of(uint64_t bytes) {
    if (bytes <= 128) return bytes ? (unsigned)(bytes - 1) / 16 : 0;
    unsigned c = 8;
    while (sizes[c] < bytes) c++;
    return c;
}

/* ---- Blocks ----------------------------------------------------------------------------------------------------- */

static uint32_t hash(const void *p, uint32_t size) {
    return (uint32_t)(((uintptr_t)p >> 15) * 0x9e3779b97f4a7c15u >> 32) & (size - 1);
}

static void enter(wl_gcheap *h, block *b) {
    uint32_t i = hash(b, h->table_size);
    while (h->table[i]) i = (i + 1) & (h->table_size - 1);
    h->table[i] = b;
}

static bool rebuild_table(wl_gcheap *h, uint32_t size) {
    block **table = calloc(size, sizeof *table);
    if (!table) return false;
    free(h->table);
    h->table = table;
    h->table_size = size;
    for (unsigned c = 0; c < WL_CLASSES; c++)
        for (block *b = h->classes[c].first; b; b = b->next) enter(h, b);
    return true;
}

static block *find_block(const wl_gcheap *h, uint64_t address) {
    if (!h->table_size) return NULL;
    const block *wanted = (const block *)(uintptr_t)(address & ~(uint64_t)(BLOCK_SIZE - 1));
    uint32_t i = hash(wanted, h->table_size);
    while (h->table[i] && h->table[i] != wanted) i = (i + 1) & (h->table_size - 1);
    return h->table[i];
}

static block *new_block(wl_gcheap *h, unsigned c) {
    if (2 * (h->n_blocks + 1) > h->table_size && !rebuild_table(h, h->table_size ? 2 * h->table_size : 16)) return NULL;
    block *b = aligned_alloc(BLOCK_SIZE, BLOCK_SIZE);
    if (!b) return NULL;
    memset(b, 0, sizeof *b);
    b->cell = sizes[c];
    b->n_cells = (uint32_t)((BLOCK_SIZE - sizeof *b) / b->cell);
    b->next = h->classes[c].first;
    h->classes[c].first = b;
    h->n_blocks++;
    enter(h, b);
    return b;
}

/* A cell of a block that is not in use, from cell *cursor on. */
static void *free_cell(block *b, uint32_t *cursor) {
    for (uint32_t i = *cursor; i < b->n_cells; i = (i | 63) + 1) {
        uint64_t unused = ~b->used[i >> 6] >> (i & 63);
        if (!unused) continue;
        i += (uint32_t)__builtin_ctzll(unused);
        if (i >= b->n_cells) break;
        b->used[i >> 6] |= (uint64_t)1 << (i & 63);
        *cursor = i + 1;
        return (uint8_t *)b->cells + (size_t)i * b->cell;
    }
    return NULL;
}

static void *small_object(wl_gcheap *h, unsigned c) {
    struct wl_class *class = &h->classes[c];
    while (class->block) {
        void *cell = free_cell(class->block, &class->cursor);
        if (cell) return cell;
        class->block = class->fresh ? NULL : class->block->next;
        class->cursor = 0;
    }
    class->block = new_block(h, c);
    class->cursor = 0;
    class->fresh = true;
    return class->block ? free_cell(class->block, &class->cursor) : NULL;
}

void *wl_gc_allocate(wl_store *x, uint8_t *top, uint64_t bytes) {
    wl_gcheap *h = &x->heap;
    if (bytes > x->limits.heap_bytes) return NULL;
    if (!h->classes && !(h->classes = calloc(WL_CLASSES, sizeof *h->classes))) return NULL;
    bool is_small = bytes <= LARGEST;
    unsigned c = is_small ? class_of(bytes) : 0;
    uint64_t size = is_small ? sizes[c] : (bytes + 7) & ~(uint64_t)7;
    if (h->stress || h->live + size > h->threshold) {
        wl_collect(x, top);
        if (h->live + size > x->limits.heap_bytes) return NULL;
        /* near the limit every allocation may collect: that is paid for, and the clock is looked at */
        if (x->active && !h->stress && wl_bulk(x, h->live + 8 * h->looked_at)) return NULL;
        uint64_t next = 2 * h->live + (4u << 20) + size;
        h->threshold = next < x->limits.heap_bytes ? next : x->limits.heap_bytes;
    }
    h->live += size;
    if (is_small) {
        void *cell = small_object(h, c);
        return cell ? memset(cell, 0, size) : NULL;
    }
    large *l = calloc(1, sizeof *l + size);
    if (!l) return NULL;
    l->size = size;
    l->next = h->large;
    h->large = l;
    h->n_large++;
    return l->object;
}

int wl_why_no_object(const wl_store *x) {
    if (!x->active || x->fuel >= 0) return WL_OUT_OF_HEAP;
    return x->fuel_rest > 0 ? WL_OUT_OF_TIME : WL_OUT_OF_FUEL;
}

/* ---- Marking ---------------------------------------------------------------------------------------------------- */

static void push(wl_gcheap *h, wl_refval r) {
    struct wl_mark_stack *m = &h->marks;
    if (m->n == m->capacity) {
        size_t capacity = m->capacity ? 2 * m->capacity : 1024;
        wl_refval *more = realloc(m->items, capacity * sizeof *more);
        if (!more) {
            m->overflow = true;
            return;
        }
        m->items = more;
        m->capacity = capacity;
    }
    m->items[m->n++] = r;
}

static large *find_large(const wl_gcheap *h, uint64_t address) {
    uint32_t low = 0, high = h->n_large;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        uint64_t at = (uintptr_t)h->large_sorted[middle]->object;
        if (at == address) return h->large_sorted[middle];
        if (at < address) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

/* Any 64 bits may come here; what is no object in use is ignored. */
static void mark(wl_gcheap *h, wl_refval r) {
    WL_WRITTEN(&r, sizeof r);
    h->looked_at++;
    if (!r || WL_TAG(r) || (r & 7)) return;
    block *b = find_block(h, r);
    if (b) {
        uint64_t offset = r - (uintptr_t)b->cells;
        uint64_t i = offset / b->cell, bit = (uint64_t)1 << (i & 63);
        if (r < (uintptr_t)b->cells || offset % b->cell || i >= b->n_cells) return;
        if (!(b->used[i >> 6] & bit) || (b->marked[i >> 6] & bit)) return;
        b->marked[i >> 6] |= bit;
        h->live += b->cell;
    } else {
        large *l = h->large_sorted ? find_large(h, r) : NULL;
        if (!l || l->marked) return;
        l->marked = true;
        h->live += l->size;
    }
    push(h, r);
}

static void trace(wl_gcheap *h, wl_refval r) {
    const wl_object *o = (const wl_object *)(uintptr_t)r;
    const wl_deftype *type = o->type;
    if (!type) {
        const wl_exn *e = wl_exn_of(r);
        if (!e->tag) return; /* not filled in yet */
        const wl_deftype *t = e->tag->type;
        for (uint32_t i = 0, slot = 0; i < t->u.func.n_params; slot += wl_slots(t->u.func.params[i++]))
            if (wl_is_ref(t->u.func.params[i])) mark(h, e->values[slot]);
    } else if (type->kind == WL_STRUCT) {
        const uint8_t *fields = wl_structure_of(r)->fields;
        for (uint32_t i = 0; i < type->u.structure.n_fields; i++)
            if (wl_is_ref(type->u.structure.fields[i].type))
                mark(h, *(const wl_refval *)(fields + type->u.structure.fields[i].offset));
    } else if (wl_is_ref(type->u.array.field.type)) {
        const wl_array *a = wl_array_of(r);
        for (uint64_t i = 0; i < a->length; i++) mark(h, ((const wl_refval *)a->elements)[i]);
    }
}

static void drain(wl_gcheap *h) {
    while (h->marks.n) trace(h, h->marks.items[--h->marks.n]);
}

/* The stack of marks could not grow: look for children of everything marked, until nothing new comes. */
static void retrace(wl_gcheap *h) {
    while (h->marks.overflow) {
        h->marks.overflow = false;
        for (unsigned c = 0; c < WL_CLASSES; c++)
            for (block *b = h->classes[c].first; b; b = b->next)
                for (uint32_t i = 0; i < b->n_cells; i++)
                    if (b->marked[i >> 6] >> (i & 63) & 1) {
                        trace(h, (uintptr_t)b->cells + (uint64_t)i * b->cell);
                        drain(h);
                    }
        for (large *l = h->large; l; l = l->next)
            if (l->marked) {
                trace(h, (uintptr_t)l->object);
                drain(h);
            }
    }
}

static int by_address(const void *a, const void *b) {
    uintptr_t p = (uintptr_t) * (large *const *)a, q = (uintptr_t) * (large *const *)b;
    return p < q ? -1 : p > q;
}

static bool sort_large(wl_gcheap *h) {
    if (!h->n_large) return true;
    if (h->n_large > h->large_capacity) {
        large **more = realloc(h->large_sorted, (size_t)h->n_large * 2 * sizeof *more);
        if (!more) return false;
        h->large_sorted = more;
        h->large_capacity = h->n_large * 2;
    }
    uint32_t n = 0;
    for (large *l = h->large; l; l = l->next) h->large_sorted[n++] = l;
    qsort(h->large_sorted, n, sizeof *h->large_sorted, by_address);
    return true;
}

static void mark_roots(wl_store *x, const uint8_t *top) {
    wl_gcheap *h = &x->heap;
    for (const uint8_t *p = x->stack; p < top; p += 8) mark(h, *(const uint64_t *)p);
    mark(h, x->exception);
    for (uint32_t i = 0; i < x->n_extra_roots; i++) mark(h, x->extra_roots[i]);
    for (const wl_tableinst *t = x->tables; t; t = t->next)
        for (uint64_t i = 0; i < t->size; i++) mark(h, t->elements[i]);
    for (const wl_instance *instance = x->instances; instance; instance = instance->next) {
        const wl_module *m = instance->module;
        for (uint32_t i = m->n_imported_globals; i < m->n_globals; i++)
            if (wl_is_ref(instance->globals[i]->type)) mark(h, instance->globals[i]->value[0]);
        for (uint32_t i = 0; i < m->n_elems; i++)
            for (uint32_t j = 0; j < instance->elems[i].n; j++) mark(h, instance->elems[i].elements[j]);
    }
}

static void sweep(wl_gcheap *h) {
    for (unsigned c = 0; c < WL_CLASSES; c++) {
        for (block *b = h->classes[c].first; b; b = b->next) {
            memcpy(b->used, b->marked, sizeof b->used);
            memset(b->marked, 0, sizeof b->marked);
        }
        h->classes[c].block = h->classes[c].first;
        h->classes[c].cursor = 0;
        h->classes[c].fresh = false;
    }
    for (large **link = &h->large, *l; (l = *link);) {
        if (l->marked) {
            l->marked = false;
            link = &l->next;
        } else {
            *link = l->next;
            h->n_large--;
            free(l);
        }
    }
}

void wl_collect(wl_store *x, uint8_t *top) {
    wl_gcheap *h = &x->heap;
    if (!h->classes) return;    /* nothing was ever allocated */
    if (!sort_large(h)) return; /* nothing is freed this time */
    h->live = 0;
    h->looked_at = 0;
    h->collections++;
    mark_roots(x, top);
    drain(h);
    retrace(h);
    sweep(h);
}

void wl_heap_free(wl_gcheap *h) {
    for (unsigned c = 0; h->classes && c < WL_CLASSES; c++)
        for (block *b = h->classes[c].first, *next; b; b = next) {
            next = b->next;
            free(b);
        }
    for (large *l = h->large, *next; l; l = next) {
        next = l->next;
        free(l);
    }
    free(h->classes);
    free(h->table);
    free(h->large_sorted);
    free(h->marks.items);
}

/* ---- References -------------------------------------------------------------------------------------------------- */

int wl_new_exception(wl_store *x, uint8_t *top, const wl_taginst *tag, const uint64_t *values, wl_refval *result) {
    size_t size = (size_t)tag->type->u.func.param_slots * 8;
    wl_exn *e = wl_gc_allocate(x, top, sizeof *e + size);
    if (!e) return wl_why_no_object(x);
    e->tag = tag;
    if (size) memcpy(e->values, values, size);
    *result = (uintptr_t)e;
    return WL_DONE;
}

bool wl_ref_matches(const wl_store *x, wl_refval r, wl_type type) {
    if (!r) return wl_is_nullable(type);
    uint32_t heap = wl_heap(type);
    switch (heap) { /* those that tell nothing about what the reference is: validation has */
    case WL_HEAP_FUNC: case WL_HEAP_EXTERN: case WL_HEAP_EXN: case WL_HEAP_ANY: return true;
    case WL_HEAP_NONE: case WL_HEAP_NOFUNC: case WL_HEAP_NOEXTERN: case WL_HEAP_NOEXN: return false;
    case WL_HEAP_I31: return WL_TAG(r) == WL_TAG_I31;
    default: break;
    }
    if (WL_TAG(r)) return WL_TAG(r) == WL_TAG_I31 && heap == WL_HEAP_EQ;
    /* a function has no header, but its type at the place that validation and `heap` leave no doubt about */
    if (heap >= WL_FIRST_DEFINED) {
        const wl_deftype *wanted = wl_type_of_id(x->engine, heap - WL_FIRST_DEFINED);
        if (wanted->kind == WL_FUNC) return wl_deftype_matches(((const wl_funcinst *)(uintptr_t)r)->type, wanted);
        return wl_deftype_matches(((const wl_object *)(uintptr_t)r)->type, wanted);
    }
    const wl_deftype *found = ((const wl_object *)(uintptr_t)r)->type;
    if (heap == WL_HEAP_STRUCT) return found->kind == WL_STRUCT;
    if (heap == WL_HEAP_ARRAY) return found->kind == WL_ARRAY;
    return true; /* eq */
}
