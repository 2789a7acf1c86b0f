/* WAMR's interpreters, compiled with its sources.  Instances are islands: see islands.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../worker.h"
#include "bh_log.h"
#include "wasm.h"
#include "wasm_export.h"
#include "wasm_runtime.h"

enum { STACK_BYTES = 512 << 10 };

#if WASM_ENABLE_FAST_INTERP
const char engine_name[] = "wamr";
#else
const char engine_name[] = "wamr-classic";
#endif
const bool engine_native = true;
const size_t engine_stack = 64 << 20;

const char *engine_version(void) { return WORKER_VERSION; }

bool engine_set(const char *setting, const char *value) {
    (void)setting, (void)value;
    return false;
}

void engine_start(void) {
    RuntimeInitArgs args = {.mem_alloc_type = Alloc_With_System_Allocator};
    if (!wasm_runtime_full_init(&args)) abort();
    bh_log_set_verbose_level(0);
}

/* Of the engine's own C library, which is left out. */
bool wasm_native_lookup_libc_builtin_global(const char *module, const char *global, WASMGlobalImport *found) {
    (void)module, (void)global, (void)found;
    return false;
}

struct link { /* what an imported function is at the other end */
    instance *of;
    WASMFunctionInstance *function;
    struct link *next;
};

struct instance {
    WASMModule *module;
    WASMModuleInstance *context;
    wasm_exec_env_t env;
    uint8_t *bytes, *own; /* the engine writes into its ones */
    size_t size;
    export *exports;
    size_t count;
    struct link *links;
    instance *before;
};

struct store {
    instance *instances;
    bool memory_given, table_given;
};

store *store_new(void) {
    store *made = calloc(1, sizeof *made);
    if (!made) abort();
    return made;
}

static void instance_free(instance *i) {
    if (i->env) wasm_runtime_destroy_exec_env(i->env);
    if (i->context) wasm_runtime_deinstantiate((wasm_module_inst_t)i->context);
    if (i->module) wasm_runtime_unload((wasm_module_t)i->module);
    while (i->links) {
        struct link *next = i->links->next;
        free(i->links);
        i->links = next;
    }
    free(i->exports);
    free(i->bytes);
    free(i->own);
    free(i);
}

void store_free(store *s) {
    while (s->instances) {
        instance *before = s->instances->before;
        instance_free(s->instances);
        s->instances = before;
    }
    free(s);
}

/* How calls end: by an exception, a text of the instance */

static const char host_trap[] = "lab.trap", too_deep[] = "lab.reenter: too deep";

static void ended(const char *words, outcome *out) {
    const char prefix[] = "Exception: ";
    if (!strncmp(words, prefix, sizeof prefix - 1)) words += sizeof prefix - 1;
    if (strstr(words, "stack overflow") || !strcmp(words, too_deep)) return fail(out, "exhausted", "call stack");
    if (!strcmp(words, host_trap)) return fail(out, "trapped", "host");
    bool limit = strstr(words, "allocate memory") || strstr(words, "failed to call unlinked");
    fail(out, limit ? "unsupported" : "trapped", "%s", words);
}

typedef struct call {
    instance *of;
    WASMFunctionInstance *function;
    uint32 argc, *argv;
    bool fine;
} call;

static void call_code(void *with) {
    call *c = with;
    c->fine = wasm_runtime_call_wasm(c->of->env, (wasm_function_inst_t)c->function, c->argc, c->argv);
}

/* Functions by index; their types */

static WASMType *type_of(WASMFunctionInstance *f) {
    return f->is_import_func ? f->u.func_import->func_type : f->u.func->func_type;
}

static bool same_type(const WASMType *a, const WASMType *b) {
    return a->param_count == b->param_count && a->result_count == b->result_count &&
           !memcmp(a->types, b->types, (size_t)a->param_count + a->result_count);
}

static const char *type_name(uint8 type) {
    return type == VALUE_TYPE_I32 ? "i32" : type == VALUE_TYPE_I64 ? "i64" : type == VALUE_TYPE_F32 ? "f32" : "f64";
}

static bool wide(uint8 type) { return type == VALUE_TYPE_I64 || type == VALUE_TYPE_F64; }

/* Cells from values, and back: a wide one has two. */
static uint32 to_cells(const WASMType *type, const uint64_t *values, uint32 *cells) {
    uint32 used = 0;
    for (uint16 i = 0; i < type->param_count; i++) {
        memcpy(cells + used, &values[i], wide(type->types[i]) ? 8 : 4);
        used += wide(type->types[i]) ? 2 : 1;
    }
    return used;
}

static uint64_t from_cells(uint8 type, const uint32 **cells) {
    uint64_t bits = 0;
    memcpy(&bits, *cells, wide(type) ? 8 : 4);
    *cells += wide(type) ? 2 : 1;
    return bits;
}

/* Host functions: arguments are a word each, and so is the result */

static void host_log(wasm_exec_env_t env, uint64 *args) {
    (void)env;
    lab_log((uint32_t)args[0], args[1]);
}

static void throw(wasm_exec_env_t env, const char *words) {
    wasm_runtime_set_exception(wasm_runtime_get_module_inst(env), words);
}

static void host_trapping(wasm_exec_env_t env, uint64 *args) {
    (void)args;
    throw(env, host_trap);
}

static void host_nothing(wasm_exec_env_t env, uint64 *args) { (void)env, (void)args; }

static void call_other(wasm_exec_env_t env, instance *of, WASMFunctionInstance *f, uint64 *args) {
    const WASMType *type = type_of(f);
    uint32 cells[2 * MAX_VALUES];
    uint32 count = to_cells(type, args, cells);
    if (wasm_runtime_call_wasm(of->env, (wasm_function_inst_t)f, count, cells)) {
        const uint32 *at = cells;
        if (type->result_count) args[0] = from_cells(type->types[type->param_count], &at);
        return;
    }
    char words[128];
    snprintf(words, sizeof words, "%s", of->context->cur_exception);
    const char prefix[] = "Exception: ";
    const char *plain = strncmp(words, prefix, sizeof prefix - 1) ? words : words + sizeof prefix - 1;
    wasm_runtime_clear_exception((wasm_module_inst_t)of->context);
    throw(env, plain);
}

static void host_reenter(wasm_exec_env_t env, uint64 *args) {
    instance *of;
    WASMFunctionInstance *f = (WASMFunctionInstance *)lab_callee(&of);
    if (!f) return;
    if (current->depth >= MAX_REENTER) return throw(env, too_deep);
    current->depth++;
    call_other(env, of, f, args);
    current->depth--;
}

static void host_other(wasm_exec_env_t env, uint64 *args) {
    const struct link *link = wasm_runtime_get_function_attachment(env);
    call_other(env, link->of, link->function, args);
}

/* Imports */

static void *const hosts[] = {NULL, host_log, host_trapping, host_reenter, host_nothing};

static bool has_params(const WASMType *type, const char *params) {
    bool fine = !type->result_count && type->param_count == strlen(params);
    for (size_t i = 0; fine && params[i]; i++) {
        const char letter[] = {type_name(type->types[i])[0] == 'i' ? 'i' : 'f', 0};
        fine = params[i] == (wide(type->types[i]) ? letter[0] - 32 : letter[0]);
    }
    return fine;
}

static bool link_function(instance *to, WASMFunctionImport *f, const import *asked, outcome *out) {
    const char *params;
    enum host host = host_function(asked, &params);
    f->call_conv_raw = true;
    f->signature = NULL;
    f->func_ptr_linked = hosts[host];
    if (host) return has_params(f->func_type, params) || incompatible_import(out);
    instance *of = is(asked->module, "lab") ? NULL : session_registered(current, asked->module);
    WASMFunctionInstance *other = of ? (WASMFunctionInstance *)engine_function(of, asked->name) : NULL;
    if (!other) return unknown_import(asked, out);
    if (!same_type(type_of(other), f->func_type)) return incompatible_import(out);
    if (f->func_type->result_count > 1) {
        fail(out, "unsupported", "a host function has one result at most");
        return false;
    }
    struct link *made = calloc(1, sizeof *made);
    if (!made) abort();
    *made = (struct link){of, other, to->links};
    to->links = made;
    f->func_ptr_linked = host_other;
    f->attachment = made;
    return true;
}

static WASMGlobalInstance *global_of(instance *of, name wanted) {
    const export *found = export_named(of->exports, of->count, wanted, GLOBAL);
    return found && found->index < of->context->global_count ? &of->context->globals[found->index] : NULL;
}

static value value_of(instance *of, const WASMGlobalInstance *g) {
    value v = {.bits = 0};
    memcpy(v.type, type_name(g->type), 4);
    memcpy(&v.bits, of->context->global_data + g->data_offset, wide(g->type) ? 8 : 4);
    return v;
}

static bool link_global(WASMGlobalImport *g, const import *asked, outcome *out) {
    value given;
    bool changes = false;
    if (!host_global(asked, &given)) {
        instance *of = session_registered(current, asked->module);
        WASMGlobalInstance *other = of ? global_of(of, asked->name) : NULL;
        if (!other) return unknown_import(asked, out);
        given = value_of(of, other);
        changes = other->is_mutable;
    }
    if (strncmp(given.type, type_name(g->type), 3) || changes != g->is_mutable) return incompatible_import(out);
    memcpy(&g->global_data_linked, &given.bits, 8);
    g->is_linked = true;
    if (changes) fail(out, "unsupported", "a mutable global cannot be imported");
    return !changes;
}

static bool link_all(store *s, instance *to, const source *of, const uint8_t *kinds, outcome *out) {
    WASMModule *m = to->module;
    uint32 functions = 0, globals = 0;
    for (size_t i = 0; i < of->count; i++) {
        const import *asked = &of->imports[i];
        bool fine = false;
        switch (kinds[i]) {
        case FUNCTION: fine = link_function(to, &m->import_functions[functions++].u.function, asked, out); break;
        case TABLE: fine = host_own(asked, TABLE, &s->table_given, out); break;
        case MEMORY: fine = host_own(asked, MEMORY, &s->memory_given, out); break;
        case GLOBAL: fine = link_global(&m->import_globals[globals++].u.global, asked, out); break;
        default: fail(out, "invalid", "an import of an unknown kind");
        }
        if (!fine) return false;
    }
    return true;
}

/* Instances */

static void not_instantiated(const char *words, outcome *out) {
    const char prefix[] = "WASM module instantiate failed: ";
    if (!strncmp(words, prefix, sizeof prefix - 1)) words += sizeof prefix - 1;
    if (strstr(words, "data segment does not fit")) return fail(out, "trapped", "out of bounds memory access");
    if (strstr(words, "elements segment does not fit")) return fail(out, "trapped", "out of bounds table access");
    ended(words, out);
}

typedef struct birth {
    instance *made;
    char words[128];
} birth;

static void instantiate_code(void *with) {
    birth *b = with;
    b->made->context = (WASMModuleInstance *)wasm_runtime_instantiate((wasm_module_t)b->made->module, STACK_BYTES, 0,
                                                                      b->words, sizeof b->words);
}

static bool brought_up(store *s, instance *made, const source *of, outcome *out) {
    birth b = {.made = made};
    uint8_t *kinds = calloc(of->count + 1, 1);
    made->module = (WASMModule *)wasm_runtime_load(made->own, (uint32_t)made->size, b.words, sizeof b.words);
    if (!made->module)
        fail(out, "invalid", "%s", b.words);
    else if (!import_kinds(of, kinds))
        fail(out, "invalid", "imports");
    else if (link_all(s, made, of, kinds, out)) {
        if (!guarded(instantiate_code, &b))
            fail(out, "exhausted", "call stack");
        else if (!made->context)
            not_instantiated(b.words, out);
        else if (!(made->env = wasm_runtime_create_exec_env((wasm_module_inst_t)made->context, STACK_BYTES)))
            abort();
    }
    free(kinds);
    return !out->kind;
}

static uint8_t *copy_of(const source *of) {
    uint8_t *made = malloc(of->size + 1);
    if (!made) abort();
    return memcpy(made, of->bytes, of->size);
}

instance *engine_instantiate(store *s, const source *of, outcome *out) {
    instance *made = calloc(1, sizeof *made);
    if (!made) abort();
    made->bytes = copy_of(of);
    made->own = copy_of(of);
    made->size = of->size;
    made->count = exports_of(made->bytes, made->size, &made->exports);
    if (!brought_up(s, made, of, out)) {
        instance_free(made);
        return NULL;
    }
    made->before = s->instances;
    return s->instances = made;
}

bool engine_compiles(uint8_t *bytes, size_t size) {
    char words[128];
    wasm_module_t module = wasm_runtime_load(bytes, (uint32_t)size, words, sizeof words);
    if (module) wasm_runtime_unload(module);
    return module;
}

function *engine_function(instance *of, name wanted) {
    const export *found = export_named(of->exports, of->count, wanted, FUNCTION);
    return found && found->index < of->context->function_count ? (function *)&of->context->functions[found->index] : NULL;
}

void engine_call(instance *of, function *called, const value *args, size_t count, outcome *out) {
    WASMFunctionInstance *f = (WASMFunctionInstance *)called;
    const WASMType *type = type_of(f);
    uint64_t words[MAX_VALUES];
    uint32 cells[2 * MAX_VALUES];
    if (count != type->param_count || type->result_count > MAX_VALUES) return fail(out, "unsupported", "%zu arguments", count);
    for (size_t i = 0; i < count; i++) {
        words[i] = args[i].bits;
        if (strncmp(args[i].type, type_name(type->types[i]), 3)) return fail(out, "unsupported", "arguments of that type");
    }
    call todo = {of, f, to_cells(type, words, cells), cells, false};
    if (!guarded(call_code, &todo)) {
        wasm_runtime_destroy_exec_env(of->env); /* which is in the middle of it */
        of->env = wasm_runtime_create_exec_env((wasm_module_inst_t)of->context, STACK_BYTES);
        return fail(out, "exhausted", "call stack");
    }
    if (!todo.fine) {
        ended(of->context->cur_exception, out);
        return wasm_runtime_clear_exception((wasm_module_inst_t)of->context);
    }
    const uint32 *at = cells;
    for (uint16 i = 0; i < type->result_count; i++) {
        uint8 result = type->types[type->param_count + i];
        value v = {.bits = from_cells(result, &at)};
        memcpy(v.type, type_name(result), 4);
        put_value(out, v);
    }
}

bool engine_exports(instance *of, name wanted, uint8_t kind) {
    return export_named(of->exports, of->count, wanted, kind) != NULL;
}

bool engine_memory(instance *of, name wanted, uint8_t **data, size_t *size) {
    const WASMMemoryInstance *memory = of->context->default_memory;
    if (!memory || !engine_exports(of, wanted, MEMORY)) return false;
    *data = memory->memory_data;
    *size = (size_t)memory->cur_page_count * memory->num_bytes_per_page;
    return true;
}

void engine_get(instance *of, name wanted, outcome *out) {
    const WASMGlobalInstance *found = global_of(of, wanted);
    const WASMTableInstance *table = of->context->default_table;
    if (found) return put_value(out, value_of(of, found));
    if (!table || !engine_exports(of, wanted, TABLE))
        return fail(out, "unsupported", "no global or table %.*s", (int)wanted.size, wanted.at);
    put_value(out, (value){"i32", table->cur_size});
    for (uint32 i = 0; i < table->cur_size && i < 64; i++)
        put_shape(out, ((const uint32 *)table->base_addr)[i] == (uint32)-1 ? "ref.null" : "ref.func");
}
