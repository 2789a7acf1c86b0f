/* The C engine in a program of yours: load a module, give it a function, call it, look at its memory.
 *
 *     library=$(wasmlab build | cut -d' ' -f3)
 *     cc -I reference_engine/wasmlab_ref/fast docs/embed.c $library -Wl,-rpath,$(dirname $library) -o embed
 *     ./embed module.wasm 10
 *
 * The module imports "env" "report": (i32) -> (i32), and exports "run": (i32) -> (i64) and a "memory". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wl.h"

static int report(wl_store *store, void *environment, uint64_t *slots) {
    (void)store;
    uint32_t *calls = environment;
    printf("report %u\n", (uint32_t)slots[0]);
    slots[0] = ++*calls;
    return *calls > 100 ? WL_TRAP_HOST : WL_DONE;
}

static uint8_t *contents(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    uint8_t *bytes = malloc(1 << 20);
    *size = bytes ? fread(bytes, 1, 1 << 20, file) : 0;
    fclose(file);
    return bytes;
}

/* One import for each of the module's; only this one is known, what stays NULL is refused. */
static void fill(const wl_module *module, wl_externval *imports, wl_funcinst *function) {
    for (uint32_t i = 0; i < wl_import_count(module); i++) {
        wl_import_info import = wl_import_at(module, i);
        bool known = import.name.size == 6 && !memcmp(import.name.p, "report", 6);
        imports[i] = (wl_externval){WL_EXT_FUNC, known ? function : NULL};
    }
}

static void show(wl_store *store, wl_instance *instance, uint32_t argument) {
    wl_externval run = wl_export_named(instance, "run", 3), memory = wl_export_named(instance, "memory", 6);
    if (!run.p || run.kind != WL_EXT_FUNC || wl_param_count(run.p) != 1 || wl_param_type(run.p, 0) != WL_I32 ||
        wl_result_count(run.p) != 1) {
        puts("there is no run: (i32) -> (...)");
        return;
    }
    uint64_t arguments[1] = {argument}, results[2];
    int status = wl_execute(store, run.p, arguments, results);
    if (status) printf("ended by: %s\n", wl_status_name(status));
    else printf("returned %llu\n", (unsigned long long)results[0]);
    uint8_t bytes[4];
    if (memory.p && memory.kind == WL_EXT_MEMORY && wl_memory_read(memory.p, 0, bytes, sizeof bytes))
        printf("memory of %llu bytes: %02x %02x %02x %02x\n", (unsigned long long)wl_memory_size(memory.p), bytes[0],
               bytes[1], bytes[2], bytes[3]);
}

int main(int n, char **arguments) {
    size_t size = 0;
    uint8_t *bytes = n == 3 ? contents(arguments[1], &size) : NULL;
    if (!bytes) {
        fputs("usage: embed module.wasm argument\n", stderr);
        return 2;
    }
    wl_engine *engine = wl_engine_new();
    wl_limits limits = wl_default_limits();
    limits.fuel = 1000000;
    wl_module *module = NULL;
    wl_error error;
    if (!engine || wl_load(engine, bytes, size, &limits, &module, &error)) {
        printf("refused at byte %zu: %s\n", error.offset, error.message);
    } else {
        uint32_t calls = 0;
        const wl_type i32 = WL_I32;
        const wl_deftype *type = wl_func_type(engine, &i32, 1, &i32, 1);
        wl_store *store = wl_store_new(engine, &limits, NULL);
        wl_externval *imports = calloc(wl_import_count(module) + 1, sizeof *imports);
        wl_instance *instance;
        int status;
        fill(module, imports, wl_host_func(store, type, report, &calls));
        if (wl_instantiate(store, module, imports, &instance, &error, &status)) printf("unlinkable: %s\n", error.message);
        else if (status) printf("instantiation ended by: %s\n", wl_status_name(status));
        else show(store, instance, (uint32_t)atoi(arguments[2]));
        free(imports);
        wl_store_free(store);
        wl_type_release(engine, type);
    }
    wl_module_release(module);
    wl_engine_free(engine);
    free(bytes);
    return 0;
}
