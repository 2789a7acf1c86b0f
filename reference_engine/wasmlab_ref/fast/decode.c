/* Decoding of modules: sections and their entries, in the order of the binary format. */
#include <stdlib.h>
#include <string.h>

#include "front.h"

/* ---- Types ----------------------------------------------------------------------------------------------------- */

typedef struct wl_words { /* a recursion group as types.c wants it */
    wl_buffer *buffer;
    size_t n;
} wl_words;

static inline bool put_word(wl_loader *l, wl_words *w, uint32_t word) {
    if (WL_UNLIKELY((w->n + 1) * sizeof word > w->buffer->capacity) &&
        !wl_buffer_grow(w->buffer, w->n * sizeof word, (w->n + 1) * sizeof word))
        return wl_no_memory(l);
    ((uint32_t *)w->buffer->data)[w->n++] = word;
    return true;
}

static bool get_result_type(wl_reader *r, bool results, wl_words *w) {
    const uint8_t *at = r->p;
    uint32_t n;
    wl_type t;
    WL_TRY(wl_get_count(r, &n));
    if (results && n > 1) wl_need_feature(r->l, at, WL_FEATURE_MULTI_VALUE);
    WL_TRY(put_word(r->l, w, n));
    for (; n; n--) {
        WL_TRY(wl_get_type(r, &t));
        WL_TRY(put_word(r->l, w, t));
    }
    return true;
}

static bool get_mutability(wl_reader *r, uint32_t *mutable_) {
    WL_TRY(wl_get_byte(r, mutable_));
    return *mutable_ <= 1 || wl_malformed(r->l, r->p - 1, "malformed mutability");
}

static bool get_field(wl_reader *r, wl_words *w) {
    wl_type t;
    uint32_t mutable_;
    if (r->p < r->end && (*r->p == 0x77 || *r->p == 0x78))
        t = *r->p++ == 0x78 ? WL_I8 : WL_I16;
    else
        WL_TRY(wl_get_type(r, &t));
    WL_TRY(get_mutability(r, &mutable_));
    return put_word(r->l, w, t) && put_word(r->l, w, mutable_);
}

static bool get_super(wl_reader *r, uint32_t own, uint32_t *super) {
    wl_loader *l = r->l;
    const uint8_t *at = r->p;
    uint32_t n, index;
    WL_TRY(wl_get_count(r, &n));
    if (n > 1) wl_invalid(l, at, "sub type %u has more than one super type", (unsigned)own);
    for (; n; n--) {
        at = r->p;
        WL_TRY(wl_get_u32(r, &index));
        if (index >= own)
            wl_invalid(l, at, "unknown type %u: not before its sub type %u", (unsigned)index, (unsigned)own);
        else if (index >= l->rec_base)
            *super = wl_ref(false, WL_HEAP_REC | (index - l->rec_base));
        else if (!wl_rejected(l))
            *super = wl_ref(false, l->m->types[index]->id + WL_FIRST_DEFINED);
    }
    return true;
}

static bool get_sub_type(wl_reader *r, uint32_t own, wl_words *w) {
    wl_loader *l = r->l;
    uint32_t code, super = 0, final = 4, n;
    WL_TRY(wl_get_byte(r, &code));
    if (code == 0x50 || code == 0x4F) {
        wl_need_feature(l, r->p - 1, WL_FEATURE_GC);
        final = code == 0x50 ? 0 : 4;
        WL_TRY(get_super(r, own, &super));
        WL_TRY(wl_get_byte(r, &code));
    }
    if (code < 0x5E || code > 0x60) return wl_malformed(l, r->p - 1, "malformed definition type");
    WL_TRY(put_word(l, w, (code == 0x60 ? WL_FUNC : code == 0x5F ? WL_STRUCT : WL_ARRAY) | final));
    WL_TRY(put_word(l, w, super));
    if (code == 0x60) return get_result_type(r, false, w) && get_result_type(r, true, w);
    wl_need_feature(l, r->p - 1, WL_FEATURE_GC);
    if (code == 0x5E) return get_field(r, w);
    WL_TRY(wl_get_count(r, &n));
    WL_TRY(put_word(l, w, n));
    for (; n; n--) WL_TRY(get_field(r, w));
    return true;
}

static bool type_section(wl_reader *r) {
    wl_loader *l = r->l;
    uint32_t n, capacity, index = 0;
    WL_TRY(wl_get_count(r, &n));
    WL_TRY(wl_allocate(l, &l->m->types, n, sizeof *l->m->types));
    WL_TRY(wl_allocate(l, &l->m->groups, n, sizeof *l->m->groups));
    capacity = n;
    for (; n; n--) {
        const uint8_t *at = r->p;
        uint32_t size = 1;
        wl_words words = {&l->scratch, 0};
        if (r->p < r->end && *r->p == 0x4E) {
            r->p++;
            wl_need_feature(l, at, WL_FEATURE_GC);
            WL_TRY(wl_get_count(r, &size));
        }
        l->rec_base = index;
        l->rec_size = size;
        for (uint32_t i = 0; i < size; i++) WL_TRY(get_sub_type(r, index + i, &words));
        index += size;
        if (wl_rejected(l)) continue;
        if (index > capacity) {
            capacity = index + n - 1 + l->m->n_types / 2;
            WL_TRY(wl_extend(l, &l->m->types, l->m->n_types, capacity - l->m->n_types, sizeof *l->m->types));
        }
        WL_TRY(wl_close_group(l, at, l->scratch.data, words.n, size));
    }
    l->rec_base = UINT32_MAX;
    l->rec_size = 0;
    return true;
}

/* The type of that index, which must be a function's; NULL where it is not, which is remembered. */
static bool get_func_type(wl_reader *r, const wl_deftype **type) {
    const uint8_t *at = r->p;
    uint32_t index;
    *type = NULL;
    WL_TRY(wl_get_u32(r, &index));
    if (index >= r->l->m->n_types)
        wl_invalid(r->l, at, "unknown type %u", (unsigned)index);
    else if (r->l->m->types[index]->kind != WL_FUNC)
        wl_invalid(r->l, at, "type mismatch: non-function type %u", (unsigned)index);
    else
        *type = r->l->m->types[index];
    return true;
}

/* ---- External types -------------------------------------------------------------------------------------------- */

enum { HAS_MAX = 1, SHARED = 2, IS_64 = 4, PAGE_SIZE = 8 }; /* flags of limits */

/* The exponent of the size of pages. */
static bool get_page_size(wl_reader *r, bool *by_byte) {
    const uint8_t *at = r->p;
    uint32_t exponent;
    wl_need_feature(r->l, at, WL_FEATURE_CUSTOM_PAGE_SIZES);
    WL_TRY(wl_get_u32(r, &exponent));
    if (exponent > 64) return wl_malformed(r->l, at, "invalid custom page size");
    if (exponent != 0 && exponent != 16) wl_invalid(r->l, at, "invalid custom page size");
    *by_byte = exponent == 0;
    return true;
}

static bool get_bounds(wl_reader *r, wl_bounds *b, uint32_t known, uint64_t largest32, uint64_t largest64, uint32_t wide,
                       const char *message) {
    wl_loader *l = r->l;
    const uint8_t *at = r->p;
    uint32_t flags;
    WL_TRY(wl_get_byte(r, &flags));
    if (flags & ~known) return wl_malformed(l, at, "malformed limits flags");
    b->is64 = (flags & IS_64) != 0;
    if (b->is64) wl_need_feature(l, at, wide);
    b->has_max = (flags & HAS_MAX) != 0;
    b->shared = (flags & SHARED) != 0;
    if (b->shared) wl_need_feature(l, at, WL_FEATURE_THREADS);
    b->max = UINT64_MAX;
    WL_TRY(wl_get_u64(r, &b->min));
    if (b->has_max) WL_TRY(wl_get_u64(r, &b->max));
    if (flags & PAGE_SIZE) WL_TRY(get_page_size(r, &b->by_byte));
    uint64_t largest = b->is64 ? b->by_byte ? UINT64_MAX : largest64 : b->by_byte ? UINT32_MAX : largest32;
    if (b->min > largest || (b->has_max && b->max > largest)) wl_invalid(l, at, "%s", message);
    if (b->min > b->max) wl_invalid(l, at, "size minimum must not be greater than maximum");
    if (b->shared && !b->has_max) wl_invalid(l, at, "shared memory must have maximum");
    return true;
}

/* The type of elements.  Functions could be elements before references were values. */
static bool get_element_type(wl_reader *r, wl_type *t) {
    if (r->p >= r->end || *r->p != 0x70) return wl_get_ref_type(r, t);
    r->p++;
    *t = wl_ref(true, WL_HEAP_FUNC);
    return true;
}

static bool get_table_type(wl_reader *r, wl_table *t) {
    WL_TRY(get_element_type(r, &t->type));
    return get_bounds(r, &t->bounds, HAS_MAX | IS_64, UINT32_MAX, UINT64_MAX, WL_FEATURE_TABLE64, "table size");
}

static bool get_memory_type(wl_reader *r, wl_memory *m) {
    return get_bounds(r, &m->bounds, HAS_MAX | SHARED | IS_64 | PAGE_SIZE, (uint64_t)1 << 16, (uint64_t)1 << 48,
                      WL_FEATURE_MEMORY64,
                      "memory size must be at most 65536 pages (4 GiB), or 2^48 with 64-bit addresses");
}

static bool get_global_type(wl_reader *r, wl_global *g) {
    uint32_t mutable_ = 0;
    WL_TRY(wl_get_type(r, &g->type));
    WL_TRY(get_mutability(r, &mutable_));
    g->mutable_ = mutable_ != 0;
    return true;
}

static bool get_tag_type(wl_reader *r, const wl_deftype **type) {
    const uint8_t *at = r->p;
    uint32_t attribute = 0;
    WL_TRY(wl_get_byte(r, &attribute));
    if (attribute) return wl_malformed(r->l, at, "malformed tag attribute");
    wl_need_feature(r->l, at, WL_FEATURE_EXCEPTIONS);
    WL_TRY(get_func_type(r, type));
    if (*type && (*type)->u.func.n_results) wl_invalid(r->l, at, "non-empty tag result type");
    return true;
}

/* ---- Constant expressions -------------------------------------------------------------------------------------- */

static bool get_const(wl_reader *r, wl_type expected, wl_expr *e) {
    wl_loader *l = r->l;
    const uint8_t *begin = r->p;
    e->at = (uint32_t)(begin - l->bytes);
    bool done = !wl_rejected(l) && wl_validate_const(r, expected, &e->max_height);
    if (!done) {
        if (l->error->stage != WL_OK) return false;
        r->p = begin;
        WL_TRY(wl_skim_expression(r));
    }
    e->end = (uint32_t)(r->p - l->bytes);
    return true;
}

/* ---- Sections -------------------------------------------------------------------------------------------------- */

/* Room for one more import in its index space, which has 4, 8, 16 ... elements meanwhile. */
static bool another(wl_loader *l, void *array, uint32_t used, size_t size) {
    if (used == 0) return wl_extend(l, array, 0, 4, size);
    return used < 4 || (used & (used - 1)) || wl_extend(l, array, used, used, size);
}

static bool get_import(wl_reader *r, wl_import *import) {
    wl_loader *l = r->l;
    wl_module *m = l->m;
    WL_TRY(wl_get_name(r, &import->module));
    WL_TRY(wl_get_name(r, &import->name));
    WL_TRY(wl_get_byte(r, &import->kind));
    switch (import->kind) {
    case WL_EXT_FUNC:
        import->index = m->n_imported_funcs++;
        WL_TRY(another(l, &m->funcs, import->index, sizeof *m->funcs));
        return get_func_type(r, &m->funcs[import->index]);
    case WL_EXT_TABLE:
        import->index = m->n_imported_tables++;
        WL_TRY(another(l, &m->tables, import->index, sizeof *m->tables));
        return get_table_type(r, &m->tables[import->index]);
    case WL_EXT_MEMORY:
        import->index = m->n_imported_memories++;
        WL_TRY(another(l, &m->memories, import->index, sizeof *m->memories));
        return get_memory_type(r, &m->memories[import->index]);
    case WL_EXT_GLOBAL:
        import->index = m->n_imported_globals++;
        WL_TRY(another(l, &m->globals, import->index, sizeof *m->globals));
        return get_global_type(r, &m->globals[import->index]);
    case WL_EXT_TAG:
        import->index = m->n_imported_tags++;
        WL_TRY(another(l, &m->tags, import->index, sizeof *m->tags));
        return get_tag_type(r, &m->tags[import->index]);
    default: return wl_malformed(l, r->p - 1, "malformed import kind");
    }
}

static bool import_section(wl_reader *r) {
    wl_module *m = r->l->m;
    uint32_t n;
    WL_TRY(wl_get_count(r, &n));
    WL_TRY(wl_allocate(r->l, &m->imports, n, sizeof *m->imports));
    for (uint32_t i = 0; i < n; i++) WL_TRY(get_import(r, &m->imports[i]));
    m->n_imports = n;
    m->n_funcs = m->n_imported_funcs;
    m->n_tables = m->n_imported_tables;
    m->n_memories = m->n_imported_memories;
    m->n_globals = r->l->n_const_globals = m->n_imported_globals;
    m->n_tags = m->n_imported_tags;
    if (m->n_tables > 1) wl_need_feature(r->l, r->p, WL_FEATURE_REFERENCE_TYPES);
    if (m->n_memories > 1) wl_need_feature(r->l, r->p, WL_FEATURE_MULTI_MEMORY);
    return true;
}

static bool function_section(wl_reader *r) {
    wl_module *m = r->l->m;
    uint32_t n;
    WL_TRY(wl_get_count(r, &n));
    WL_TRY(wl_extend(r->l, &m->funcs, m->n_funcs, n, sizeof *m->funcs));
    WL_TRY(wl_allocate(r->l, &m->bodies, n, sizeof *m->bodies));
    for (; n; n--) WL_TRY(get_func_type(r, &m->funcs[m->n_funcs++]));
    return true;
}

static bool get_table(wl_reader *r, wl_table *t) {
    const uint8_t *at = r->p;
    if (r->p >= r->end || *r->p != 0x40) {
        WL_TRY(get_table_type(r, t));
        if (!wl_is_nullable(t->type))
            wl_invalid(r->l, at, "type mismatch: a table of non-nullable references requires an initialiser");
        return true;
    }
    r->p++;
    WL_TRY(wl_get_zero(r));
    wl_need_feature(r->l, at, WL_FEATURE_FUNCTION_REFERENCES);
    WL_TRY(get_table_type(r, t));
    return get_const(r, t->type, &t->init);
}

static bool table_section(wl_reader *r) {
    wl_module *m = r->l->m;
    uint32_t n;
    const uint8_t *at = r->p;
    WL_TRY(wl_get_count(r, &n));
    WL_TRY(wl_extend(r->l, &m->tables, m->n_tables, n, sizeof *m->tables));
    for (; n; n--) WL_TRY(get_table(r, &m->tables[m->n_tables++]));
    if (m->n_tables > 1) wl_need_feature(r->l, at, WL_FEATURE_REFERENCE_TYPES);
    return true;
}

static bool memory_section(wl_reader *r) {
    wl_module *m = r->l->m;
    uint32_t n;
    const uint8_t *at = r->p;
    WL_TRY(wl_get_count(r, &n));
    WL_TRY(wl_extend(r->l, &m->memories, m->n_memories, n, sizeof *m->memories));
    for (; n; n--) WL_TRY(get_memory_type(r, &m->memories[m->n_memories++]));
    if (m->n_memories > 1) wl_need_feature(r->l, at, WL_FEATURE_MULTI_MEMORY);
    return true;
}

static bool tag_section(wl_reader *r) {
    wl_module *m = r->l->m;
    uint32_t n;
    WL_TRY(wl_get_count(r, &n));
    WL_TRY(wl_extend(r->l, &m->tags, m->n_tags, n, sizeof *m->tags));
    for (; n; n--) WL_TRY(get_tag_type(r, &m->tags[m->n_tags++]));
    return true;
}

static bool global_section(wl_reader *r) {
    wl_module *m = r->l->m;
    uint32_t n;
    WL_TRY(wl_get_count(r, &n));
    WL_TRY(wl_extend(r->l, &m->globals, m->n_globals, n, sizeof *m->globals));
    for (; n; n--) {
        wl_global *g = &m->globals[m->n_globals];
        WL_TRY(get_global_type(r, g));
        WL_TRY(get_const(r, g->type, &g->init));
        r->l->n_const_globals = ++m->n_globals; /* later ones see it */
    }
    return true;
}

bool wl_declare(wl_loader *l, uint32_t function) {
    uint32_t n = l->m->n_funcs;
    if (function >= n) return true;
    if (!l->declared) {
        l->declared = n <= 8 * sizeof l->few_declared ? l->few_declared : calloc(n / 8 + 1, 1);
        if (!l->declared) return wl_no_memory(l);
    }
    l->declared[function >> 3] |= (uint8_t)(1u << (function & 7));
    return true;
}

#define FEW_EXPORTS 16 /* are not sorted but looked through */

typedef struct wl_text {
    const uint8_t *bytes;
    uint32_t size, index;
} wl_text;

static int compare_texts(const void *a, const void *b) {
    const wl_text *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return memcmp(x->bytes, y->bytes, x->size);
}

/* Refuse two exports of one name; many are kept in order. */
static bool check_distinct(wl_loader *l, const uint8_t *at, const wl_export *exports, uint32_t n) {
    wl_text few[FEW_EXPORTS], *texts = few;
    if (n < 2 || wl_rejected(l)) return true;
    if (n > FEW_EXPORTS) {
        WL_TRY(wl_allocate(l, &l->m->exports_by_name, n, sizeof *l->m->exports_by_name));
        if (!(texts = malloc(n * sizeof *texts))) return wl_no_memory(l);
    }
    for (uint32_t i = 0; i < n; i++) texts[i] = (wl_text){l->bytes + exports[i].name.at, exports[i].name.size, i};
    qsort(texts, n, sizeof *texts, compare_texts);
    for (uint32_t i = 1; i < n; i++)
        if (compare_texts(&texts[i - 1], &texts[i]) == 0) wl_invalid(l, at, "duplicate export name");
    if (texts == few) return true;
    for (uint32_t i = 0; i < n; i++) l->m->exports_by_name[i] = texts[i].index;
    free(texts);
    return true;
}

static wl_text name_of_export(const wl_module *m, uint32_t index) {
    return (wl_text){m->bytes + m->exports[index].name.at, m->exports[index].name.size, index};
}

const wl_export *wl_find_export(const wl_module *m, const void *name, size_t size) {
    if (size > m->size) return NULL;
    wl_text wanted = {name, (uint32_t)size, 0};
    uint32_t low = 0, high = m->n_exports;
    if (!m->exports_by_name) {
        for (; low < high; low++) {
            wl_text found = name_of_export(m, low);
            if (found.size == size && compare_texts(&found, &wanted) == 0) return &m->exports[low];
        }
        return NULL;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        wl_text found = name_of_export(m, m->exports_by_name[middle]);
        int order = compare_texts(&found, &wanted);
        if (order == 0) return &m->exports[found.index];
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

static bool export_section(wl_reader *r) {
    wl_loader *l = r->l;
    wl_module *m = l->m;
    const uint32_t spaces[] = {m->n_funcs, m->n_tables, m->n_memories, m->n_globals, m->n_tags};
    static const char *const names[] = {"function", "table", "memory", "global", "tag"};
    const uint8_t *at = r->p;
    uint32_t n;
    WL_TRY(wl_get_count(r, &n));
    WL_TRY(wl_allocate(l, &m->exports, n, sizeof *m->exports));
    for (uint32_t i = 0; i < n; i++) {
        wl_export *e = &m->exports[i];
        WL_TRY(wl_get_name(r, &e->name));
        WL_TRY(wl_get_byte(r, &e->kind));
        if (e->kind > WL_EXT_TAG) return wl_malformed(l, r->p - 1, "malformed export kind");
        WL_TRY(wl_get_u32(r, &e->index));
        if (e->index >= spaces[e->kind])
            wl_invalid(l, r->p, "unknown %s %u", names[e->kind], (unsigned)e->index);
        else if (e->kind == WL_EXT_FUNC)
            WL_TRY(wl_declare(l, e->index));
    }
    m->n_exports = n;
    return check_distinct(l, at, m->exports, n);
}

static bool start_section(wl_reader *r) {
    wl_module *m = r->l->m;
    const uint8_t *at = r->p;
    WL_TRY(wl_get_u32(r, &m->start));
    if (m->start >= m->n_funcs) {
        wl_invalid(r->l, at, "unknown function %u", (unsigned)m->start);
    } else if (!wl_rejected(r->l)) {
        const wl_deftype *t = m->funcs[m->start];
        if (t->u.func.n_params || t->u.func.n_results)
            wl_invalid(r->l, at, "start function must not have parameters or results");
    }
    return true;
}

static bool get_elem_items(wl_reader *r, wl_elem *e) {
    wl_loader *l = r->l;
    WL_TRY(wl_get_count(r, &e->n));
    e->items = (uint32_t)(r->p - l->bytes);
    for (uint32_t i = 0; i < e->n; i++) {
        if (e->is_exprs) {
            wl_expr item = {0};
            WL_TRY(get_const(r, e->type, &item));
            if (item.max_height > e->max_height) e->max_height = item.max_height;
        } else {
            uint32_t function;
            WL_TRY(wl_get_u32(r, &function));
            if (function >= l->m->n_funcs) wl_invalid(l, r->p, "unknown function %u", (unsigned)function);
            WL_TRY(wl_declare(l, function));
        }
    }
    return true;
}

static wl_type address_type(bool is64) { return is64 ? WL_I64 : WL_I32; }

static bool get_elem(wl_reader *r, wl_elem *e) {
    wl_loader *l = r->l;
    const uint8_t *at = r->p;
    uint32_t flags, kind = 0;
    WL_TRY(wl_get_u32(r, &flags));
    if (flags > 7) return wl_malformed(l, at, "malformed elements segment kind");
    if (flags) wl_need_feature(l, at, WL_FEATURE_BULK_MEMORY);
    e->mode = !(flags & 1) ? WL_ACTIVE : flags & 2 ? WL_DECLARATIVE : WL_PASSIVE;
    e->is_exprs = (flags & 4) != 0;
    e->type = wl_ref(e->is_exprs, WL_HEAP_FUNC);
    wl_table none = {0}, *table = &none;
    if (e->mode == WL_ACTIVE) {
        if (flags & 2) WL_TRY(wl_get_u32(r, &e->table));
        if (e->table < l->m->n_tables)
            table = &l->m->tables[e->table];
        else
            wl_invalid(l, at, "unknown table %u", (unsigned)e->table);
        WL_TRY(get_const(r, address_type(table->bounds.is64), &e->offset));
    }
    if (flags & 3 && e->is_exprs) {
        WL_TRY(get_element_type(r, &e->type));
    } else if (flags & 3) {
        WL_TRY(wl_get_byte(r, &kind));
        if (kind) return wl_malformed(l, r->p - 1, "malformed element kind");
    }
    if (e->mode == WL_ACTIVE && !wl_rejected(l) && !wl_type_matches(l->engine, e->type, table->type))
        wl_invalid(l, at, "type mismatch: element segment does not match its table");
    return get_elem_items(r, e);
}

static bool elem_section(wl_reader *r) {
    wl_module *m = r->l->m;
    uint32_t n;
    WL_TRY(wl_get_count(r, &n));
    WL_TRY(wl_allocate(r->l, &m->elems, n, sizeof *m->elems));
    for (uint32_t i = 0; i < n; i++) WL_TRY(get_elem(r, &m->elems[i]));
    m->n_elems = n;
    return true;
}

static bool data_count_section(wl_reader *r) {
    wl_need_feature(r->l, r->p, WL_FEATURE_BULK_MEMORY);
    r->l->has_data_count = true;
    return wl_get_u32(r, &r->l->data_count);
}

static bool get_code(wl_reader *r, uint32_t function, wl_body *body) {
    wl_loader *l = r->l;
    uint32_t size;
    WL_TRY(wl_get_u32(r, &size));
    if (size > (size_t)(r->end - r->p)) return wl_malformed(l, r->p, WL_UNEXPECTED_END);
    const uint8_t *begin = r->p;
    wl_reader b = {begin, begin + size, l};
    l->function = function;
    bool done = !wl_rejected(l) && wl_validate_body(&b, function, body);
    if (!done) {
        if (l->error->stage != WL_OK) return false;
        b.p = begin;
        WL_TRY(wl_skim_locals(&b));
        WL_TRY(wl_skim_expression(&b));
    }
    if (b.p != b.end) return wl_malformed(l, b.p, "END opcode expected");
    l->function = WL_NONE;
    r->p = b.p;
    return true;
}

static bool code_section(wl_reader *r) {
    wl_module *m = r->l->m;
    const uint8_t *at = r->p;
    uint32_t n, expected = m->n_funcs - m->n_imported_funcs;
    WL_TRY(wl_get_u32(r, &n));
    if (n != expected) return wl_malformed(r->l, at, "function and code section have inconsistent lengths");
    for (uint32_t i = 0; i < n; i++) WL_TRY(get_code(r, m->n_imported_funcs + i, &m->bodies[i]));
    r->l->n_codes = n;
    return true;
}

static bool get_data(wl_reader *r, wl_data *d) {
    wl_loader *l = r->l;
    const uint8_t *at = r->p;
    uint32_t flags, size;
    WL_TRY(wl_get_u32(r, &flags));
    if (flags > 2) return wl_malformed(l, at, "malformed data segment kind");
    if (flags) wl_need_feature(l, at, WL_FEATURE_BULK_MEMORY);
    d->mode = flags == 1 ? WL_PASSIVE : WL_ACTIVE;
    if (d->mode == WL_ACTIVE) {
        bool is64 = false;
        if (flags == 2) WL_TRY(wl_get_u32(r, &d->memory));
        if (d->memory < l->m->n_memories)
            is64 = l->m->memories[d->memory].bounds.is64;
        else
            wl_invalid(l, at, "unknown memory %u", (unsigned)d->memory);
        WL_TRY(get_const(r, address_type(is64), &d->offset));
    }
    WL_TRY(wl_get_u32(r, &size));
    if (size > (size_t)(r->end - r->p)) return wl_malformed(l, r->p, "length out of bounds");
    d->bytes = (wl_slice){(uint32_t)(r->p - l->bytes), size};
    r->p += size;
    return true;
}

static bool data_section(wl_reader *r) {
    wl_module *m = r->l->m;
    uint32_t n;
    WL_TRY(wl_get_count(r, &n));
    WL_TRY(wl_allocate(r->l, &m->datas, n, sizeof *m->datas));
    for (uint32_t i = 0; i < n; i++) WL_TRY(get_data(r, &m->datas[i]));
    m->n_datas = n;
    return true;
}

/* ---- Modules --------------------------------------------------------------------------------------------------- */

#define N_SECTIONS 14

static bool (*const sections[N_SECTIONS])(wl_reader *) = {
    NULL,           type_section,  import_section, function_section,   table_section, memory_section, global_section,
    export_section, start_section, elem_section,   code_section,       data_section,  data_count_section,
    tag_section,
};

/* Where each section stands in the order that the format prescribes. */
static const uint8_t ranks[N_SECTIONS] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 11, 6};

static bool get_section(wl_reader *r, uint32_t *rank) {
    wl_loader *l = r->l;
    const uint8_t *at = r->p;
    uint32_t id, size;
    wl_slice name;
    WL_TRY(wl_get_byte(r, &id));
    if (id >= N_SECTIONS) return wl_malformed(l, at, "malformed section id");
    WL_TRY(wl_get_u32(r, &size));
    if (size > (size_t)(r->end - r->p)) return wl_malformed(l, r->p, "length out of bounds");
    wl_reader body = {r->p, r->p + size, l};
    r->p += size;
    if (id == 0) return wl_get_name(&body, &name);
    if (ranks[id] <= *rank) return wl_malformed(l, at, "unexpected content after last section");
    *rank = ranks[id];
    WL_TRY(sections[id](&body));
    return body.p == body.end || wl_malformed(l, body.p, "section size mismatch");
}

bool wl_decode(wl_loader *l) {
    static const uint8_t magic[] = {0, 'a', 's', 'm'}, version[] = {1, 0, 0, 0};
    const wl_module *m = l->m;
    if (m->size < 4) return wl_malformed(l, l->bytes, "unexpected end");
    if (memcmp(l->bytes, magic, 4) != 0) return wl_malformed(l, l->bytes, "magic header not detected");
    if (m->size < 8) return wl_malformed(l, l->bytes + 4, "unexpected end");
    if (memcmp(l->bytes + 4, version, 4) != 0) return wl_malformed(l, l->bytes + 4, "unknown binary version");
    wl_reader r = {l->bytes + 8, l->end, l};
    for (uint32_t rank = 0; r.p < r.end;) WL_TRY(get_section(&r, &rank));
    if (l->n_codes != m->n_funcs - m->n_imported_funcs)
        return wl_malformed(l, r.p, "function and code section have inconsistent lengths");
    if (l->has_data_count && l->data_count != m->n_datas)
        return wl_malformed(l, r.p, "data count and data section have inconsistent lengths");
    if (l->uses_data && !l->has_data_count) return wl_malformed(l, r.p, "data count section required");
    return true;
}
