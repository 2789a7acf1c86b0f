/* wasm3, compiled with its sources: an instance is a runtime with one module, for a runtime has one memory.

   What an instance imports of another are functions, which are called through the host, and values of globals. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../worker.h"
#include "m3_env.h"

enum { STACK_BYTES = 512 << 10 };

const char engine_name[] = "wasm3";
const bool engine_native = true;
const size_t engine_stack = 64 << 20;

static bool eager, start_by_lookup;
static const char host_trap[] = "host", too_deep[] = "too deep";

const char *engine_version(void) { return M3_VERSION; }

bool engine_set(const char *setting, const char *value) {
    if (!strcmp(setting, "mode")) {
        eager = !strcmp(value, "eager");
        return eager || !strcmp(value, "lazy");
    }
    start_by_lookup = !strcmp(value, "lookup");
    return !strcmp(setting, "start") && (start_by_lookup || !strcmp(value, "instantiation"));
}

void engine_start(void) {}

struct link { /* what an imported function is at the other end */
    IM3Function function;
    struct link *next;
};

struct instance {
    IM3Runtime runtime;
    IM3Module module;
    uint8_t *bytes; /* the engine reads them as long as the instance is there */
    size_t size;
    export *exports;
    size_t count;
    struct link *links;
    instance *before;
};

struct store {
    IM3Environment environment;
    instance *instances;
    bool memory_given, table_given; /* those of spectest */
};

store *store_new(void) {
    store *made = calloc(1, sizeof *made);
    if (!made || !(made->environment = m3_NewEnvironment())) abort();
    return made;
}

static void instance_free(instance *i) {
    if (i->module && !i->module->runtime) m3_FreeModule(i->module);
    m3_FreeRuntime(i->runtime);
    while (i->links) {
        struct link *next = i->links->next;
        free(i->links);
        i->links = next;
    }
    free(i->exports);
    free(i->bytes);
    free(i);
}

void store_free(store *s) {
    while (s->instances) {
        instance *before = s->instances->before;
        instance_free(s->instances);
        s->instances = before;
    }
    m3_FreeEnvironment(s->environment);
    free(s);
}

/* How calls end */

typedef struct call {
    IM3Function function;
    const void **args;
    size_t count;
    M3Result result;
} call;

static void call_code(void *with) {
    call *c = with;
    c->result = m3_Call(c->function, (uint32_t)c->count, c->args);
}

static void start_code(void *with) {
    call *c = with;
    c->result = m3_RunStart(c->function->module);
}

static const char trap_prefix[] = "[trap] ";

static void ended(M3Result result, outcome *out) {
    if (!result) return;
    if (result == host_trap) return fail(out, "trapped", "host");
    if (result == too_deep || result == m3Err_trapStackOverflow) return fail(out, "exhausted", "call stack");
    bool trap = !strncmp(result, trap_prefix, sizeof trap_prefix - 1);
    fail(out, trap ? "trapped" : "unsupported", "%s", trap ? result + sizeof trap_prefix - 1 : result);
}

/* Compiled now, where that was not done yet. */
static M3Result compiled(IM3Function f) { return f->compiled ? m3Err_none : CompileFunction(f); }

/* The module "lab", and functions of other instances */

static m3ApiRawFunction(host_log) {
    (void)runtime, (void)_ctx, (void)_mem;
    lab_log((uint32_t)_sp[0], _sp[1]);
    return m3Err_none;
}

static m3ApiRawFunction(host_trapping) {
    (void)runtime, (void)_ctx, (void)_sp, (void)_mem;
    return host_trap;
}

static m3ApiRawFunction(host_reenter) {
    (void)runtime, (void)_ctx, (void)_mem;
    instance *of;
    IM3Function f = (IM3Function)lab_callee(&of);
    if (!f) return m3Err_none;
    if (current->depth >= MAX_REENTER) return too_deep;
    current->depth++;
    uint32_t number = (uint32_t)_sp[0];
    M3Result result = compiled(f);
    if (!result) result = m3_Call(f, 1, (const void *[]){&number});
    current->depth--;
    return result;
}

static m3ApiRawFunction(host_nothing) {
    (void)runtime, (void)_ctx, (void)_sp, (void)_mem;
    return m3Err_none;
}

static m3ApiRawFunction(host_other) {
    (void)runtime, (void)_mem;
    IM3Function f = ((const struct link *)_ctx->userdata)->function;
    uint32_t args = m3_GetArgCount(f), results = m3_GetRetCount(f);
    const void *places[MAX_VALUES];
    if (args > MAX_VALUES || results > MAX_VALUES) return m3Err_tooManyArgsRets;
    M3Result result = compiled(f);
    for (uint32_t i = 0; i < args; i++) places[i] = &_sp[results + i];
    if (!result) result = m3_Call(f, args, places);
    for (uint32_t i = 0; i < results; i++) places[i] = &_sp[i];
    return result ? result : m3_GetResults(f, results, places);
}

/* Imports */

static const M3RawCall hosts[] = {NULL, host_log, host_trapping, host_reenter, host_nothing};

M3Result LinkRawFunction(IM3Module, IM3Function, ccstr_t, const void *, const void *);

static bool link_function(instance *to, IM3Function f, const import *asked, outcome *out) {
    const char *params;
    char signature[16];
    enum host host = host_function(asked, &params);
    f->module = to->module;
    if (host) {
        snprintf(signature, sizeof signature, "v(%s)", params);
        return !LinkRawFunction(to->module, f, signature, hosts[host], NULL) || incompatible_import(out);
    }
    instance *of = is(asked->module, "lab") ? NULL : session_registered(current, asked->module);
    IM3Function other = of ? (IM3Function)engine_function(of, asked->name) : NULL;
    if (!other) return unknown_import(asked, out);
    if (!AreFuncTypesEqual(other->funcType, f->funcType)) return incompatible_import(out);
    struct link *made = calloc(1, sizeof *made);
    if (!made) abort();
    *made = (struct link){other, to->links};
    to->links = made;
    return !LinkRawFunction(to->module, f, NULL, host_other, made) || incompatible_import(out);
}

static const char types[][4] = {"", "i32", "i64", "f32", "f64"};

static M3Global *global_of(instance *of, name wanted) {
    const export *found = export_named(of->exports, of->count, wanted, GLOBAL);
    return found && found->index < of->module->numGlobals ? &of->module->globals[found->index] : NULL;
}

static bool link_global(M3Global *g, const import *asked, outcome *out) {
    value given;
    if (host_global(asked, &given)) {
        g->intValue = (i64)given.bits;
        return (!strncmp(types[g->type], given.type, 3) && !g->isMutable) || incompatible_import(out);
    }
    instance *of = session_registered(current, asked->module);
    M3Global *other = of ? global_of(of, asked->name) : NULL;
    if (!other) return unknown_import(asked, out);
    if (other->type != g->type || other->isMutable != g->isMutable) return incompatible_import(out);
    g->intValue = other->intValue;
    if (g->isMutable) fail(out, "unsupported", "a mutable global cannot be imported");
    return !g->isMutable;
}

static bool link_memory(store *s, instance *to, const import *asked, outcome *out) {
    M3MemoryInfo *wanted = &to->module->memoryInfo;
    if (!host_own(asked, MEMORY, &s->memory_given, out)) return false;
    if (wanted->initPages > 1 || (wanted->maxPages && wanted->maxPages < 2)) return incompatible_import(out);
    *wanted = (M3MemoryInfo){1, 2};
    to->module->memoryImported = false;
    return true;
}

static bool link_all(store *s, instance *to, const source *of, const uint8_t *kinds, outcome *out) {
    u32 functions = 0, globals = 0;
    for (size_t i = 0; i < of->count; i++) {
        const import *asked = &of->imports[i];
        bool fine = false;
        switch (kinds[i]) {
        case FUNCTION: fine = link_function(to, &to->module->functions[functions++], asked, out); break;
        case TABLE: fine = host_own(asked, TABLE, &s->table_given, out); break;
        case MEMORY: fine = link_memory(s, to, asked, out); break;
        case GLOBAL: fine = link_global(&to->module->globals[globals++], asked, out); break;
        default: fail(out, "invalid", "an import of an unknown kind");
        }
        if (!fine) return false;
    }
    return true;
}

/* Instances */

static M3Result run_start(instance *i) {
    call start = {.function = i->module->functions};
    if (start_by_lookup || i->module->startFunction < 0) return m3Err_none;
    return guarded(start_code, &start) ? start.result : m3Err_trapStackOverflow;
}

static void not_loaded(M3Result result, outcome *out) {
    static const struct { const char *words, *kind, *detail; } known[] = {
        {"data segment out of bounds", "trapped", "out of bounds memory access"},
        {"unallocated linear memory", "trapped", "out of bounds memory access"},
        {"table underflow", "trapped", "out of bounds table access"},
        {"table overflow", "trapped", "out of bounds table access"},
        {"linear memory limitation exceeded", "unsupported", "memory"},
        {"memory allocation failed", "exhausted", "memory"},
        {"runtime ran out of memory", "exhausted", "memory"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(result, known[i].words)) return fail(out, known[i].kind, "%s", known[i].detail);
    fail(out, "invalid", "%s", result);
}

/* Of another kind than the engine knows, but would not see: a memory that is addressed by i64, or shared. */
static bool strange(const source *of) {
    uint8_t flags;
    return memory_flags(of, &flags) && flags > 1;
}

/* Everything up to the start function; what is linked has to be there before the module is loaded, but for functions,
   whose code lies in the runtime. */
static bool brought_up(store *s, instance *made, const source *of, outcome *out) {
    if (strange(of)) return fail(out, "invalid", "a memory of that kind"), false;
    uint8_t *kinds = calloc(of->count + 1, 1);
    M3Result result = m3_ParseModule(s->environment, &made->module, made->bytes, (u32)made->size);
    if (result) {
        made->module = NULL;
        not_loaded(result, out);
    } else if (!import_kinds(of, kinds)) {
        fail(out, "invalid", "imports");
    } else {
        made->module->runtime = made->runtime;
        if (link_all(s, made, of, kinds, out)) {
            made->module->runtime = NULL;
            if ((result = m3_LoadModule(made->runtime, made->module)) || (eager && (result = m3_CompileModule(made->module))))
                not_loaded(result, out);
            else
                ended(run_start(made), out);
        } else
            made->module->runtime = NULL;
    }
    free(kinds);
    return !out->kind;
}

instance *engine_instantiate(store *s, const source *of, outcome *out) {
    instance *made = calloc(1, sizeof *made);
    if (!made || !(made->bytes = malloc(of->size + 1))) abort();
    memcpy(made->bytes, of->bytes, made->size = of->size);
    made->count = exports_of(made->bytes, made->size, &made->exports);
    if (!(made->runtime = m3_NewRuntime(s->environment, STACK_BYTES, NULL))) abort();
    if (!brought_up(s, made, of, out)) {
        instance_free(made);
        return NULL;
    }
    made->before = s->instances;
    return s->instances = made;
}

bool engine_compiles(uint8_t *bytes, size_t size) {
    store *s = store_new();
    IM3Module module = NULL;
    IM3Runtime runtime = m3_NewRuntime(s->environment, STACK_BYTES, NULL);
    bool fine = !strange(&(source){.bytes = bytes, .size = size}) &&
                !m3_ParseModule(s->environment, &module, bytes, (u32)size);
    if (fine && m3_LoadModule(runtime, module)) {
        m3_FreeModule(module);
        fine = false;
    }
    fine = fine && !m3_CompileModule(module);
    m3_FreeRuntime(runtime);
    store_free(s);
    return fine;
}

function *engine_function(instance *of, name wanted) {
    const export *found = export_named(of->exports, of->count, wanted, FUNCTION);
    if (!found || found->index >= of->module->numFunctions) return NULL;
    if (start_by_lookup) { /* the engine runs the start function when a function is looked up */
        char text[200];
        IM3Function ignored;
        if (wanted.size >= sizeof text) return NULL;
        memcpy(text, wanted.at, wanted.size);
        text[wanted.size] = 0;
        m3_FindFunction(&ignored, of->runtime, text);
    }
    return (function *)&of->module->functions[found->index];
}

void engine_call(instance *of, function *called, const value *args, size_t count, outcome *out) {
    IM3Function f = (IM3Function)called;
    const void *places[MAX_VALUES];
    uint64_t results[MAX_VALUES] = {0};
    uint32_t n = m3_GetRetCount(f);
    (void)of;
    if (count != m3_GetArgCount(f) || n > MAX_VALUES) return fail(out, "unsupported", "%zu arguments", count);
    for (uint32_t i = 0; i < count; i++) {
        places[i] = &args[i].bits;
        if (strncmp(args[i].type, types[m3_GetArgType(f, i)], 3)) return fail(out, "unsupported", "arguments of that type");
    }
    M3Result result = compiled(f);
    call todo = {.function = f, .args = places, .count = count};
    if (!result) result = guarded(call_code, &todo) ? todo.result : m3Err_trapStackOverflow;
    if (result) return ended(result, out);
    for (uint32_t i = 0; i < n; i++) places[i] = &results[i];
    if ((result = m3_GetResults(f, n, places))) return ended(result, out);
    for (uint32_t i = 0; i < n; i++) {
        value v = {.bits = results[i]};
        memcpy(v.type, types[m3_GetRetType(f, i)], 4);
        put_value(out, v);
    }
}

bool engine_exports(instance *of, name wanted, uint8_t kind) {
    return export_named(of->exports, of->count, wanted, kind) != NULL;
}

bool engine_memory(instance *of, name wanted, uint8_t **data, size_t *size) {
    M3MemoryHeader *memory = of->runtime->memory.mallocated;
    if (!memory || !export_named(of->exports, of->count, wanted, MEMORY)) return false;
    *data = m3MemData(memory);
    *size = memory->length;
    return true;
}

/* The engine has only as much of a table as segments fill, and no instruction changes it. */
static bool table_shown(instance *of, name wanted, outcome *out) {
    uint32_t size = 10; /* of that of spectest */
    if (!engine_exports(of, wanted, TABLE)) return false;
    table_minimum(of->bytes, of->size, &size);
    put_value(out, (value){"i32", size});
    for (uint32_t i = 0; i < size && i < 64; i++)
        put_shape(out, i < of->module->table0Size && of->module->table0[i] ? "ref.func" : "ref.null");
    return true;
}

void engine_get(instance *of, name wanted, outcome *out) {
    const M3Global *found = global_of(of, wanted);
    if (!found && table_shown(of, wanted, out)) return;
    if (!found) return fail(out, "unsupported", "no global or table %.*s", (int)wanted.size, wanted.at);
    bool half = found->type == c_m3Type_i32 || found->type == c_m3Type_f32;
    value v = {.bits = half ? (uint32_t)found->intValue : (uint64_t)found->intValue};
    memcpy(v.type, types[found->type], 4);
    put_value(out, v);
}
