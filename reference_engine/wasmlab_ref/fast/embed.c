/* What wl.h offers to programs that embed the engine and that nothing else needs. */
#include "exec.h"

static wl_name name_of(const wl_module *m, wl_slice s) { return (wl_name){(const char *)m->bytes + s.at, s.size}; }

uint32_t wl_import_count(const wl_module *m) { return m->n_imports; }
uint32_t wl_export_count(const wl_module *m) { return m->n_exports; }
wl_import_info wl_import_at(const wl_module *m, uint32_t index) {
    const wl_import *i = &m->imports[index];
    return (wl_import_info){name_of(m, i->module), name_of(m, i->name), (wl_extern)i->kind};
}
wl_export_info wl_export_at(const wl_module *m, uint32_t index) {
    return (wl_export_info){name_of(m, m->exports[index].name), (wl_extern)m->exports[index].kind};
}

uint32_t wl_param_count(const wl_funcinst *f) { return f->type->u.func.n_params; }
uint32_t wl_result_count(const wl_funcinst *f) { return f->type->u.func.n_results; }
wl_type wl_param_type(const wl_funcinst *f, uint32_t index) { return f->type->u.func.params[index]; }
wl_type wl_result_type(const wl_funcinst *f, uint32_t index) { return f->type->u.func.results[index]; }

void wl_store_interrupt(wl_store *x, bool on) { __atomic_store_n(&x->interrupt, on, __ATOMIC_RELAXED); }

uint64_t wl_memory_size(const wl_meminst *m) { return m->size; }

static bool is_within(const wl_meminst *m, uint64_t at, size_t size) { return at <= m->size && size <= m->size - at; }

bool wl_memory_read(const wl_meminst *m, uint64_t at, void *to, size_t size) {
    if (!is_within(m, at, size)) return false;
    size_t there = at >= m->committed ? 0 : m->committed - at < size ? (size_t)(m->committed - at) : size;
    if (there) memcpy(to, m->data + at, there);
    if (size > there) memset((uint8_t *)to + there, 0, size - there);
    return true;
}

bool wl_memory_write(wl_meminst *m, uint64_t at, const void *from, size_t size) {
    if (!is_within(m, at, size) || !wl_commit(m, size ? at + size : 0)) return false;
    if (size) memcpy(m->data + at, from, size);
    return true;
}

wl_type wl_global_type(const wl_globalinst *g) { return g->type; }
void wl_global_get(const wl_globalinst *g, uint64_t value[2]) {
    memcpy(value, g->value, sizeof g->value);
    if (g->type == WL_F32) value[0] = (uint32_t)value[0];
}
bool wl_global_set(wl_globalinst *g, const uint64_t value[2]) {
    if (g->mutable_) memcpy(g->value, value, sizeof g->value);
    return g->mutable_;
}
