/* What a module costs the C engine: decode and validate all of it, instantiate, call `run` once, free.
 *
 *     cost time   FILE ARGUMENT            microseconds of processor time: the best fifth of 200 rounds, and the median
 *     cost memory FILE ARGUMENT INSTANCES  KiB that each instance alive takes, its module and its linear memory included
 *     cost soak   FILE ARGUMENT TIMES      KiB of the process after a hundredth of them, and after all
 *
 * Modules are loaded in place, as an embedder does that keeps their bytes; with COPY in the environment they are not. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "wl.h"

enum { ROUNDS = 200, WARM = 100 };

static wl_engine *engine;
static wl_limits limits;
static uint8_t *bytes;
static size_t size;
static bool copy;

static void need(bool fine, const char *what) {
    if (fine) return;
    fprintf(stderr, "cost: %s\n", what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static long resident(void) { /* KiB */
    long all, there;
    FILE *f = fopen("/proc/self/statm", "r");
    need(f && fscanf(f, "%ld %ld", &all, &there) == 2, "no /proc/self/statm");
    fclose(f);
    return there * 4;
}

static void read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    need(f && !fseek(f, 0, SEEK_END), path);
    size = (size_t)ftell(f);
    rewind(f);
    bytes = malloc(size + 1);
    need(bytes && fread(bytes, 1, size, f) == size, path);
    fclose(f);
}

/* In a store; the module lives on in its instance. */
static uint64_t run(wl_store *store, uint64_t argument) {
    wl_module *module;
    wl_instance *instance;
    wl_error error;
    int status;
    uint64_t result[2] = {0, 0};
    wl_stage stage = (copy ? wl_load : wl_load_in_place)(engine, bytes, size, &limits, &module, &error);
    need(!stage, error.message);
    need(!wl_instantiate(store, module, NULL, &instance, &error, &status) && !status, "it does not instantiate");
    wl_module_release(module);
    wl_externval f = wl_export_named(instance, "run", 3);
    need(f.p && f.kind == WL_EXT_FUNC, "there is no `run`");
    need(!wl_execute(store, f.p, &argument, result), "`run` does not return");
    return result[0];
}

static uint64_t once(uint64_t argument) {
    wl_store *store = wl_store_new(engine, &limits, NULL);
    need(store, "no memory");
    uint64_t result = run(store, argument);
    wl_store_free(store);
    return result;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void measure_time(uint64_t argument) {
    static double rounds[ROUNDS];
    int repeat = size > 5000 ? 50 : 500;
    uint64_t result = 0;
    double best = 0;
    for (int i = 0; i < ROUNDS; i++) {
        double start = now();
        for (int j = 0; j < repeat; j++) result = once(argument);
        rounds[i] = (now() - start) / repeat;
    }
    qsort(rounds, ROUNDS, sizeof *rounds, by_size);
    for (int i = 0; i < ROUNDS / 5; i++) best += rounds[i];
    printf("%.3f us (median %.3f), run() = %llu\n", best / (ROUNDS / 5), rounds[ROUNDS / 2], (unsigned long long)result);
}

static void measure_memory(uint64_t argument, long n) {
    wl_store *store = wl_store_new(engine, &limits, NULL);
    long before = 0;
    need(store && n > WARM, "more instances than that");
    for (long i = 0; i < n; i++) {
        if (i == WARM) before = resident();
        (void)run(store, argument);
    }
    printf("%.2f KiB an instance, of %ld\n", (double)(resident() - before) / (double)(n - WARM), n - WARM);
    wl_store_free(store);
}

static void soak(uint64_t argument, long n) {
    long early = 0;
    double start = now();
    for (long i = 0; i < n; i++) {
        (void)once(argument);
        if (i == n / 100) early = resident();
    }
    printf("%ld modules, %.3f us each: %ld KiB after a hundredth of them, %ld KiB after all\n", n,
           (now() - start) / (double)n, early, resident());
}

int main(int argc, char **argv) {
    need(argc > 3, "time|memory|soak FILE ARGUMENT [NUMBER]");
    read_file(argv[2]);
    copy = getenv("COPY") != NULL;
    engine = wl_engine_new();
    need(engine, "no memory");
    limits = wl_default_limits();
    limits.memory_pages = limits.table_elements = UINT32_MAX; /* of all instances together */
    uint64_t argument = strtoull(argv[3], NULL, 10);
    long n = argc > 4 ? strtol(argv[4], NULL, 10) : 10000;
    if (!strcmp(argv[1], "time")) measure_time(argument);
    else if (!strcmp(argv[1], "memory")) measure_memory(argument, n);
    else soak(argument, n);
    wl_engine_free(engine);
    return 0;
}
