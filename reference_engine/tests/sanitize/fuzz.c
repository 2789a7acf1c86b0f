/* For libFuzzer: the first byte chooses, the rest is a module (or a case program), which is loaded, linked to made-up
 * imports, instantiated and run, all exports of it, with little fuel. */
#include <stdlib.h>
#include <string.h>

#include "gc.h"
#include "wl.h"

enum { STRESS = 1, PROGRAM = 2, TWICE = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static wl_engine *engine;

typedef struct made { /* imports that the store does not own */
    wl_globalinst globals[64];
    wl_taginst tags[64];
    uint32_t n_globals, n_tags;
} made;

static bool all_defaultable(const wl_type *types, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (!wl_is_defaultable(types[i])) return false;
    return true;
}

static int host(wl_store *x, void *environment, uint64_t *slots) {
    const wl_deftype *t = environment;
    (void)x;
    if (!all_defaultable(t->u.func.results, t->u.func.n_results)) return WL_TRAP_HOST;
    memset(slots, 0, t->u.func.result_slots * 8);
    return WL_DONE;
}

/* Something of the import's type; p is NULL where nothing is. */
static wl_externval import_of(wl_store *x, made *m, const wl_module *module, const wl_import *i) {
    wl_externval v = {i->kind, NULL};
    switch (i->kind) {
    case WL_EXT_FUNC: v.p = wl_host_func(x, module->funcs[i->index], host, (void *)(uintptr_t)module->funcs[i->index]); break;
    case WL_EXT_TABLE:
        if (wl_is_defaultable(module->tables[i->index].type)) v.p = wl_new_table(x, &module->tables[i->index]);
        break;
    case WL_EXT_MEMORY: v.p = wl_new_memory(x, &module->memories[i->index].bounds); break;
    case WL_EXT_GLOBAL: {
        const wl_global *g = &module->globals[i->index];
        if (wl_is_ref(g->type) && (g->mutable_ || !wl_is_nullable(g->type))) break; /* no root of the collector's */
        if (m->n_globals == 64) break;
        m->globals[m->n_globals] = (wl_globalinst){{0, 0}, g->type, g->mutable_};
        v.p = &m->globals[m->n_globals++];
        break;
    }
    default:
        if (m->n_tags == 64) break;
        m->tags[m->n_tags].type = module->tags[i->index];
        v.p = &m->tags[m->n_tags++];
    }
    return v;
}

static void call(wl_store *x, wl_funcinst *f, unsigned round) {
    const wl_deftype *t = f->type;
    uint64_t slots[256] = {0}, results[256];
    if (t->u.func.param_slots > 256 || t->u.func.result_slots > 256) return;
    if (!all_defaultable(t->u.func.params, t->u.func.n_params)) return;
    static const uint64_t numbers[] = {0, 1, 0x7fffffff, 0x80000000, 7, 0xfffffff0, 3, 0x10000};
    for (uint32_t i = 0, slot = 0; i < t->u.func.n_params; slot += wl_slots(t->u.func.params[i++]))
        if (!wl_is_ref(t->u.func.params[i])) slots[slot] = numbers[(round + i) % 8];
    (void)wl_execute(x, f, slots, results);
}

static void run(wl_store *x, wl_module *module, unsigned flags) {
    made *imports_made = calloc(1, sizeof *imports_made);
    wl_externval *imports = calloc(module->n_imports + 1, sizeof *imports);
    wl_instance *instances[2] = {NULL, NULL};
    for (unsigned n = 0; n < (flags & TWICE ? 2 : 1); n++) {
        wl_error error;
        int status;
        for (uint32_t i = 0; i < module->n_imports; i++) {
            imports[i] = import_of(x, imports_made, module, &module->imports[i]);
            if (n && instances[0]) { /* from the first one, what it has under that name */
                wl_slice name = module->imports[i].name;
                wl_externval v = wl_export_named(instances[0], module->bytes + name.at, name.size);
                if (v.p) imports[i] = v;
            }
        }
        (void)wl_instantiate(x, module, imports, &instances[n], &error, &status);
    }
    for (unsigned n = 0; n < 2; n++) {
        const wl_instance *instance = instances[n];
        for (uint32_t i = 0; instance && i < module->n_exports && i < 16; i++) {
            const wl_export *e = &module->exports[i];
            if (e->kind == WL_EXT_FUNC) call(x, instance->funcs[e->index], i);
            char digest[17];
            if (e->kind == WL_EXT_MEMORY) wl_memory_digest(instance->memories[e->index], digest);
        }
    }
    wl_collect(x, x->top);
    free(imports);
    wl_store_free(x);
    free(imports_made); /* after the store, whose exceptions mention the tags */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    if (!engine) engine = wl_engine_new();
    wl_limits limits = wl_default_limits();
    limits.fuel = 20000;
    limits.call_depth = 300;
    limits.values = 100000;
    limits.memory_pages = 300;
    limits.table_elements = 20000;
    limits.heap_bytes = 1 << 20;
    limits.validation_work = 1000000;
    unsigned flags = *data++;
    size--;
    wl_store *x = wl_store_new(engine, &limits, NULL);
    wl_store_stress(x, flags & STRESS);
    if (flags & PROGRAM) {
        const uint8_t *answer;
        size_t n;
        (void)wl_program(x, data, size, &answer, &n);
        wl_store_free(x);
        return 0;
    }
    wl_module *module;
    wl_error error;
    if (wl_load(engine, data, size, &limits, &module, &error) != WL_OK) {
        wl_store_free(x);
        return 0;
    }
    run(x, module, flags);
    wl_module_release(module);
    return 0;
}
