/* Runs recorded case programs, for builds that watch what the engine does; sanitize.py makes both.
 *
 *     replay MODE FILE      FILE: for each program its size in 4 bytes, little-endian, and its bytes (program.c)
 *
 *     once      each in a store of its own, every fourth collecting at every allocation; prints a digest of the
 *               answers, which all builds share
 *     each      the same, with a digest of each answer
 *     memory    the same, again and again with another allocation failing: whatever comes, it is answered or refused
 *     threads   four threads run all of them in stores of one engine, each from another one on */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exec.h"
#include "wl.h"

#define THREADS 4

static struct {
    uint8_t *bytes;
    uint32_t size;
} *programs;
static unsigned n_programs;

/* ---- Allocations that fail: the linker puts these in the place of the library's (--wrap) ------------------------ */

static long left = -1; /* allocations until they fail; negative: never */
static long failed;

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__real_aligned_alloc(size_t, size_t);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t a, size_t b);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t a, size_t n);
static bool fails(void) { return left >= 0 && left-- == 0 && ++failed; } /* one alone: the engine may go on */
void *__wrap_malloc(size_t n) { return fails() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t a, size_t b) { return fails() ? NULL : __real_calloc(a, b); }
void *__wrap_realloc(void *p, size_t n) { return fails() ? NULL : __real_realloc(p, n); }
void *__wrap_aligned_alloc(size_t a, size_t n) { return fails() ? NULL : __real_aligned_alloc(a, n); }

/* ---- Programs --------------------------------------------------------------------------------------------------- */

static uint64_t digest(uint64_t h, const uint8_t *p, size_t n) {
    while (n--) h = (h ^ *p++) * 0x100000001b3u;
    return h;
}

/* Run one; false where there is no memory for it. */
static bool run(wl_engine *engine, unsigned i, uint64_t *sum) {
    wl_limits limits = wl_default_limits();
    limits.fuel = 3000000;
    limits.memory_pages = 4096;
    const uint8_t *answer;
    size_t size;
    wl_store *store = wl_store_new(engine, &limits, NULL);
    if (!store) return false;
    wl_store_stress(store, i % 4 == 3);
    bool done = wl_program(store, programs[i].bytes, programs[i].size, &answer, &size);
    if (done) *sum = digest(*sum, answer, size);
    wl_store_free(store);
    return done;
}

static int once(bool each) {
    wl_engine *engine = wl_engine_new();
    uint64_t sum = 0xcbf29ce484222325u;
    for (unsigned i = 0; i < n_programs; i++) {
        if (!run(engine, i, &sum)) {
            fprintf(stderr, "no memory for program %u\n", i);
            return 1;
        }
        if (each) printf("%u %016llx\n", i, (unsigned long long)sum);
    }
    wl_engine_free(engine);
    printf("%u programs %016llx\n", n_programs, (unsigned long long)sum);
    return 0;
}

static int memory(void) {
    unsigned runs = 0;
    for (unsigned i = 0; i < n_programs; i++) {
        long before;
        long at = 0;
        do { /* every allocation of the beginning, then some */
            uint64_t sum = 0;
            wl_engine *engine = wl_engine_new();
            before = failed;
            left = at;
            (void)run(engine, i, &sum);
            left = -1;
            if (!run(engine, i, &sum)) return 1; /* and the engine is still good */
            wl_engine_free(engine);
            runs++;
            at += 1 + at / 8;
        } while (failed > before);
    }
    printf("%u programs, %u runs, %ld failed allocations\n", n_programs, runs, failed);
    return 0;
}

static wl_engine *shared;

static void *part(void *argument) {
    uint64_t sum = 0;
    unsigned first = (unsigned)(uintptr_t)argument * n_programs / THREADS;
    for (unsigned i = 0; i < n_programs; i++) (void)run(shared, (first + i) % n_programs, &sum);
    return NULL;
}

static int threads(void) {
    pthread_t running[THREADS];
    shared = wl_engine_new();
    for (uintptr_t i = 0; i < THREADS; i++) pthread_create(&running[i], NULL, part, (void *)i);
    for (unsigned i = 0; i < THREADS; i++) pthread_join(running[i], NULL);
    wl_engine_free(shared);
    printf("%u programs in %d threads\n", n_programs, THREADS);
    return 0;
}

int main(int argc, char **argv) {
    FILE *file = argc == 3 ? fopen(argv[2], "rb") : NULL;
    uint32_t size;
    if (!file) return 2;
    while (fread(&size, 4, 1, file) == 1) {
        programs = realloc(programs, (n_programs + 1) * sizeof *programs);
        programs[n_programs].bytes = malloc(size + 1);
        programs[n_programs].size = size;
        if (fread(programs[n_programs++].bytes, 1, size, file) != size) return 2;
    }
    fclose(file);
    int status = !strcmp(argv[1], "once") ? once(false) : !strcmp(argv[1], "each") ? once(true) :
                 !strcmp(argv[1], "memory") ? memory() :
                 !strcmp(argv[1], "threads") ? threads() : 2;
    while (n_programs) free(programs[--n_programs].bytes);
    free(programs);
    return status;
}
