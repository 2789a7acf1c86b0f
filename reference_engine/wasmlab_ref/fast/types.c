/* Defined types: one object for each type of an engine, whatever module defines it.
 *
 * Types are iso-recursive: a recursion group is closed over the types before it, written down as a sequence of
 * words in which members refer to each other by number, and looked up by that sequence.  Closed types before it are
 * their ids.  So equality never walks a type, and what a module unfolds to does not matter.
 *
 * Words of a group, for each type: kind | final << 2; the super type as a reference, or 0; then
 *     func     count, types, count, types
 *     struct   count, (storage type, mutable) for each field
 *     array    storage type, mutable
 * Only types have the bit WL_REF, so whatever else a group mentions is found without knowing its structure. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "front.h"

typedef struct wl_group {
    struct wl_group *next; /* in the bucket, or among the doomed */
    uint64_t hash;
    uint32_t references; /* of modules and of other groups; at 0 it may still be found, until the next sweep */
    uint32_t n_types, n_words;
    bool checked; /* sub typing was found valid */
    uint32_t *words;
    wl_deftype types[];
} wl_group;

#define FIRST_CHUNK_BITS 6
#define N_CHUNKS (30 - FIRST_CHUNK_BITS)

struct wl_engine {
    pthread_mutex_t lock;
    uint64_t seed;
    wl_group **buckets;
    uint32_t n_buckets, n_groups, n_dead;
    uint32_t n_ids, free_ids; /* ids given out ever; head of the list of free ones, WL_NONE at its end */
    union wl_entry {
        const wl_deftype *type;
        uint32_t next_free;
    } *chunks[N_CHUNKS]; /* chunk k has 64 << k entries and never moves: readers need no lock */
};

/* ---- Ids ------------------------------------------------------------------------------------------------------- */

static union wl_entry *entry_of(const wl_engine *e, uint32_t id) {
    uint32_t shifted = id + (1u << FIRST_CHUNK_BITS), chunk = 0;
    while (shifted >> (FIRST_CHUNK_BITS + 1 + chunk)) chunk++;
    return e->chunks[chunk] + (shifted - (1u << (FIRST_CHUNK_BITS + chunk)));
}

const wl_deftype *wl_type_of_id(const wl_engine *e, uint32_t id) { return entry_of(e, id)->type; }

static bool reserve_ids(wl_engine *e, uint32_t n) {
    uint64_t total = (uint64_t)e->n_ids + n;
    if (total > WL_MAX_TYPES) return false;
    for (uint32_t k = 0;; k++) {
        if (!e->chunks[k]) e->chunks[k] = calloc((size_t)1 << (FIRST_CHUNK_BITS + k), sizeof **e->chunks);
        if (!e->chunks[k]) return false;
        if (((uint64_t)2 << (FIRST_CHUNK_BITS + k)) - (1u << FIRST_CHUNK_BITS) >= total) break;
    }
    return true;
}

static uint32_t take_id(wl_engine *e) { /* after reserve_ids */
    uint32_t id = e->free_ids;
    if (id == WL_NONE) return e->n_ids++;
    e->free_ids = entry_of(e, id)->next_free;
    return id;
}

static void give_id(wl_engine *e, uint32_t id) {
    entry_of(e, id)->next_free = e->free_ids;
    e->free_ids = id;
}

/* ---- Subtyping ------------------------------------------------------------------------------------------------- */

const wl_deftype *wl_ancestor(const wl_deftype *t, uint32_t depth) {
    while (t->depth > depth) t = t->jump->depth >= depth ? t->jump : t->super;
    return t;
}

#define H(name) (1u << WL_HEAP_##name)

/* For each abstract heap type the abstract ones that it matches. */
static const uint16_t abstract_supers[WL_FIRST_DEFINED] = {
    [WL_HEAP_ANY] = H(ANY),
    [WL_HEAP_EQ] = H(EQ) | H(ANY),
    [WL_HEAP_I31] = H(I31) | H(EQ) | H(ANY),
    [WL_HEAP_STRUCT] = H(STRUCT) | H(EQ) | H(ANY),
    [WL_HEAP_ARRAY] = H(ARRAY) | H(EQ) | H(ANY),
    [WL_HEAP_NONE] = H(NONE) | H(I31) | H(STRUCT) | H(ARRAY) | H(EQ) | H(ANY),
    [WL_HEAP_FUNC] = H(FUNC),
    [WL_HEAP_NOFUNC] = H(NOFUNC) | H(FUNC),
    [WL_HEAP_EXTERN] = H(EXTERN),
    [WL_HEAP_NOEXTERN] = H(NOEXTERN) | H(EXTERN),
    [WL_HEAP_EXN] = H(EXN),
    [WL_HEAP_NOEXN] = H(NOEXN) | H(EXN),
    [WL_HEAP_BOT] = 0xffff,
};

static uint32_t abstract_of(uint8_t kind) {
    return kind == WL_FUNC ? WL_HEAP_FUNC : kind == WL_STRUCT ? WL_HEAP_STRUCT : WL_HEAP_ARRAY;
}

bool wl_heap_matches(const wl_engine *e, uint32_t sub, uint32_t sup) {
    if (sub == sup) return true;
    if (sup < WL_FIRST_DEFINED) {
        if (sub >= WL_FIRST_DEFINED) sub = abstract_of(wl_type_of_id(e, sub - WL_FIRST_DEFINED)->kind);
        return abstract_supers[sub] >> sup & 1;
    }
    const wl_deftype *t = wl_type_of_id(e, sup - WL_FIRST_DEFINED);
    if (sub >= WL_FIRST_DEFINED) return wl_deftype_matches(wl_type_of_id(e, sub - WL_FIRST_DEFINED), t);
    return sub == WL_HEAP_BOT || sub == (t->kind == WL_FUNC ? WL_HEAP_NOFUNC : WL_HEAP_NONE);
}

bool wl_type_matches_slow(const wl_engine *e, wl_type sub, wl_type sup) {
    if (sub == sup || sub == WL_BOT) return true;
    if (!wl_is_ref(sub) || !wl_is_ref(sup)) return false;
    if (wl_is_nullable(sub) && !wl_is_nullable(sup)) return false;
    return wl_heap_matches(e, wl_heap(sub), wl_heap(sup));
}

static bool field_matches(const wl_engine *e, wl_field sub, wl_field sup) {
    if (sub.mutable_ != sup.mutable_) return false;
    return sub.mutable_ ? sub.type == sup.type : wl_type_matches(e, sub.type, sup.type);
}

/* Comptype_sub */
static bool comp_matches(const wl_engine *e, const wl_deftype *sub, const wl_deftype *sup) {
    if (sub->kind != sup->kind) return false;
    switch (sub->kind) {
    case WL_FUNC:
        if (sub->u.func.n_params != sup->u.func.n_params || sub->u.func.n_results != sup->u.func.n_results)
            return false;
        for (uint32_t i = 0; i < sub->u.func.n_params; i++)
            if (!wl_type_matches(e, sup->u.func.params[i], sub->u.func.params[i])) return false;
        for (uint32_t i = 0; i < sub->u.func.n_results; i++)
            if (!wl_type_matches(e, sub->u.func.results[i], sup->u.func.results[i])) return false;
        return true;
    case WL_STRUCT:
        if (sub->u.structure.n_fields < sup->u.structure.n_fields) return false;
        for (uint32_t i = 0; i < sup->u.structure.n_fields; i++)
            if (!field_matches(e, sub->u.structure.fields[i], sup->u.structure.fields[i])) return false;
        return true;
    default:
        return field_matches(e, sub->u.array.field, sup->u.array.field);
    }
}

/* ---- Groups ---------------------------------------------------------------------------------------------------- */

static uint64_t hash_words(const wl_engine *e, const uint32_t *words, size_t n) {
    uint64_t h = e->seed ^ n;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ words[i]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    return h;
}

/* Whether the word is a type defined by another group. */
static bool is_foreign(uint32_t word) {
    return (word & WL_REF) && !(word & WL_HEAP_REC) && wl_heap(word) >= WL_FIRST_DEFINED;
}

static wl_group *group_of_word(const wl_engine *e, uint32_t word) {
    return wl_type_of_id(e, wl_heap(word) - WL_FIRST_DEFINED)->group;
}

static void retain(wl_engine *e, wl_group *g) {
    if (g->references++ == 0) e->n_dead--;
}

static void unlink_group(wl_engine *e, wl_group *g) {
    wl_group **at = &e->buckets[g->hash & (e->n_buckets - 1)];
    while (*at != g) at = &(*at)->next;
    *at = g->next;
    e->n_groups--;
    e->n_dead--;
}

/* Free the groups that nothing mentions, and those that only they mentioned. */
static void sweep(wl_engine *e) {
    wl_group *doomed = NULL;
    for (uint32_t i = 0; i < e->n_buckets; i++)
        for (wl_group **at = &e->buckets[i]; *at;) {
            wl_group *g = *at;
            if (g->references) {
                at = &g->next;
                continue;
            }
            *at = g->next;
            e->n_groups--;
            e->n_dead--;
            g->next = doomed;
            doomed = g;
        }
    while (doomed) {
        wl_group *g = doomed;
        doomed = g->next;
        for (uint32_t i = 0; i < g->n_words; i++) {
            if (!is_foreign(g->words[i])) continue;
            wl_group *other = group_of_word(e, g->words[i]);
            if (--other->references) continue;
            e->n_dead++;
            unlink_group(e, other);
            other->next = doomed;
            doomed = other;
        }
        for (uint32_t i = 0; i < g->n_types; i++) give_id(e, g->types[i].id);
        free(g);
    }
}

static void release(wl_engine *e, wl_group *g) {
    if (--g->references == 0) e->n_dead++;
}

static void sweep_if_due(wl_engine *e) {
    if (e->n_dead > 512 && e->n_dead > e->n_groups / 2) sweep(e);
}

static bool grow_buckets(wl_engine *e) {
    uint32_t n = e->n_buckets * 2;
    wl_group **buckets = calloc(n, sizeof *buckets);
    if (!buckets) return false;
    for (uint32_t i = 0; i < e->n_buckets; i++)
        for (wl_group *g = e->buckets[i], *next; g; g = next) {
            next = g->next;
            g->next = buckets[g->hash & (n - 1)];
            buckets[g->hash & (n - 1)] = g;
        }
    free(e->buckets);
    e->buckets = buckets;
    e->n_buckets = n;
    return true;
}

/* ---- Making the types of a group ------------------------------------------------------------------------------- */

static uint32_t storage_size(wl_type t) {
    switch (t) {
    case WL_I8: return 1;
    case WL_I16: return 2;
    case WL_I32:
    case WL_F32: return 4;
    case WL_V128: return 16;
    default: return 8;
    }
}

static wl_type resolved(const wl_group *g, uint32_t word) {
    if (!(word & WL_REF) || !(word & WL_HEAP_REC)) return word;
    uint32_t member = word & (WL_HEAP_REC - 1);
    return (word & (WL_REF | WL_NULLABLE)) | (g->types[member].id + WL_FIRST_DEFINED);
}

static const uint32_t *make_func(wl_group *g, wl_deftype *t, const uint32_t *w, wl_type **types) {
    t->u.func.n_params = *w++;
    t->u.func.params = *types;
    for (uint32_t i = 0; i < t->u.func.n_params; i++) {
        t->u.func.param_slots += wl_slots(*w);
        *(*types)++ = resolved(g, *w++);
    }
    t->u.func.n_results = *w++;
    t->u.func.results = *types;
    for (uint32_t i = 0; i < t->u.func.n_results; i++) {
        t->u.func.result_slots += wl_slots(*w);
        *(*types)++ = resolved(g, *w++);
    }
    return w;
}

static const uint32_t *make_struct(wl_group *g, wl_deftype *t, const uint32_t *w, wl_field **fields) {
    uint32_t offset = 0;
    t->u.structure.n_fields = *w++;
    t->u.structure.fields = *fields;
    for (uint32_t i = 0; i < t->u.structure.n_fields; i++, w += 2) {
        uint32_t size = storage_size(w[0]), alignment = size > 8 ? 8 : size;
        offset = (offset + alignment - 1) & ~(alignment - 1);
        *(*fields)++ = (wl_field){resolved(g, w[0]), offset, w[1] != 0};
        offset += size;
    }
    t->u.structure.size = offset;
    return w;
}

static void make_super(const wl_engine *e, wl_group *g, wl_deftype *t, uint32_t word) {
    for (uint32_t i = 0; i < WL_DISPLAY; i++) t->display[i] = WL_NONE;
    t->jump = t;
    if (word) {
        const wl_deftype *super = word & WL_HEAP_REC ? &g->types[word & (WL_HEAP_REC - 1)]
                                                     : wl_type_of_id(e, wl_heap(word) - WL_FIRST_DEFINED);
        const wl_deftype *jump = super->jump;
        t->super = super;
        t->depth = super->depth + 1;
        t->jump = super->depth - jump->depth == jump->depth - jump->jump->depth ? jump->jump : super;
        memcpy(t->display, super->display, sizeof t->display);
    }
    if (t->depth < WL_DISPLAY) t->display[t->depth] = t->id;
}

/* How many value types and fields a group has. */
static void count_parts(const uint32_t *w, size_t n_words, size_t *types, size_t *fields) {
    const uint32_t *end = w + n_words;
    *types = *fields = 0;
    while (w < end) {
        uint32_t kind = *w & 3;
        w += 2;
        if (kind == WL_FUNC) {
            for (int i = 0; i < 2; i++) {
                *types += *w;
                w += *w + 1;
            }
        } else if (kind == WL_STRUCT) {
            *fields += *w;
            w += (size_t)*w * 2 + 1;
        } else {
            w += 2;
        }
    }
}

static wl_group *make_group(wl_engine *e, const uint32_t *words, size_t n_words, uint32_t n_types, uint64_t hash) {
    size_t n_values, n_fields;
    count_parts(words, n_words, &n_values, &n_fields);
    if (!reserve_ids(e, n_types) || (e->n_groups >= e->n_buckets && !grow_buckets(e))) return NULL;
    size_t size = sizeof(wl_group) + n_types * sizeof(wl_deftype) + n_fields * sizeof(wl_field) +
                  (n_values + n_words) * sizeof(uint32_t);
    wl_group *g = calloc(1, size);
    if (!g) return NULL;
    wl_field *fields = (wl_field *)(void *)(g->types + n_types);
    wl_type *types = (wl_type *)(void *)(fields + n_fields);
    g->words = types + n_values;
    if (n_words) memcpy(g->words, words, n_words * sizeof *words);
    g->hash = hash;
    g->n_words = (uint32_t)n_words;
    g->n_types = n_types;
    for (uint32_t i = 0; i < n_types; i++) {
        g->types[i].id = take_id(e);
        g->types[i].group = g;
        entry_of(e, g->types[i].id)->type = &g->types[i];
    }
    const uint32_t *w = g->words;
    for (uint32_t i = 0; i < n_types; i++) {
        wl_deftype *t = &g->types[i];
        t->kind = *w & 3;
        t->final = (*w++ & 4) != 0;
        make_super(e, g, t, *w++);
        if (t->kind == WL_FUNC) {
            w = make_func(g, t, w, &types);
        } else if (t->kind == WL_STRUCT) {
            w = make_struct(g, t, w, &fields);
        } else {
            t->u.array.field = (wl_field){resolved(g, w[0]), 0, w[1] != 0};
            t->u.array.element_size = storage_size(w[0]);
            w += 2;
        }
    }
    for (size_t i = 0; i < n_words; i++)
        if (is_foreign(words[i])) retain(e, group_of_word(e, words[i]));
    wl_group **bucket = &e->buckets[hash & (e->n_buckets - 1)];
    g->next = *bucket;
    *bucket = g;
    e->n_groups++;
    e->n_dead++;
    return g;
}

/* The canonical group, with one more reference.  Locked by the caller. */
static wl_group *intern(wl_engine *e, const uint32_t *words, size_t n_words, uint32_t n_types) {
    uint64_t hash = hash_words(e, words, n_words);
    wl_group *g = e->buckets[hash & (e->n_buckets - 1)];
    while (g && (g->hash != hash || g->n_words != n_words || g->n_types != n_types ||
                 (n_words && memcmp(g->words, words, n_words * sizeof *words) != 0)))
        g = g->next;
    if (!g) g = make_group(e, words, n_words, n_types, hash);
    if (g) retain(e, g);
    return g;
}

static bool check_group(wl_loader *l, const uint8_t *at, wl_group *g) {
    if (g->checked) return true;
    for (uint32_t i = 0; i < g->n_types; i++) {
        const wl_deftype *t = &g->types[i];
        if (!t->super) continue;
        if (t->super->final) return wl_invalid(l, at, "sub type %u has final super type", (unsigned)(l->rec_base + i));
        if (!comp_matches(l->engine, t, t->super))
            return wl_invalid(l, at, "sub type %u does not match super type", (unsigned)(l->rec_base + i));
    }
    g->checked = true;
    return true;
}

bool wl_close_group(wl_loader *l, const uint8_t *at, const uint32_t *words, size_t n_words, uint32_t n_types) {
    wl_engine *e = l->engine;
    pthread_mutex_lock(&e->lock);
    wl_group *g = intern(e, words, n_words, n_types);
    if (g) check_group(l, at, g);
    pthread_mutex_unlock(&e->lock);
    if (!g) return wl_no_memory(l);
    wl_module *m = l->m;
    m->groups[m->n_groups++] = g;
    for (uint32_t i = 0; i < n_types; i++) m->types[m->n_types++] = &g->types[i];
    return true;
}

void wl_release_groups(wl_engine *e, wl_group **groups, uint32_t n) {
    if (!n) return;
    pthread_mutex_lock(&e->lock);
    for (uint32_t i = 0; i < n; i++) release(e, groups[i]);
    sweep_if_due(e);
    pthread_mutex_unlock(&e->lock);
}

/* ---- Function types of hosts, and the engine ------------------------------------------------------------------- */

const wl_deftype *wl_func_type(wl_engine *e, const wl_type *params, uint32_t n_params, const wl_type *results,
                               uint32_t n_results) {
    uint32_t fixed[32], *words = fixed;
    size_t n_words = (size_t)4 + n_params + n_results;
    if (n_words > 32 && !(words = malloc(n_words * sizeof *words))) return NULL;
    words[0] = WL_FUNC | 4;
    words[1] = 0;
    words[2] = n_params;
    if (n_params) memcpy(words + 3, params, n_params * sizeof *params);
    words[3 + n_params] = n_results;
    if (n_results) memcpy(words + 4 + n_params, results, n_results * sizeof *results);
    pthread_mutex_lock(&e->lock);
    wl_group *g = intern(e, words, n_words, 1);
    if (g) g->checked = true;
    pthread_mutex_unlock(&e->lock);
    if (words != fixed) free(words);
    return g ? &g->types[0] : NULL;
}

void wl_type_release(wl_engine *e, const wl_deftype *t) {
    wl_group *g = t->group;
    wl_release_groups(e, &g, 1);
}

uint32_t wl_engine_seed(const wl_engine *e) { return (uint32_t)(e->seed >> 32); }

wl_engine *wl_engine_new(void) {
    wl_engine *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->n_buckets = 64;
    e->free_ids = WL_NONE;
    e->seed = (uint64_t)(uintptr_t)e * 0x9e3779b97f4a7c15u ^ (uint64_t)time(NULL);
    e->buckets = calloc(e->n_buckets, sizeof *e->buckets);
    if (!e->buckets || pthread_mutex_init(&e->lock, NULL) != 0) {
        free(e->buckets);
        free(e);
        return NULL;
    }
    return e;
}

void wl_engine_free(wl_engine *e) {
    if (!e) return;
    for (uint32_t i = 0; i < e->n_buckets; i++)
        for (wl_group *g = e->buckets[i], *next; g; g = next) {
            next = g->next;
            free(g);
        }
    for (uint32_t k = 0; k < N_CHUNKS; k++) free(e->chunks[k]);
    free(e->buckets);
    pthread_mutex_destroy(&e->lock);
    free(e);
}
