/* Stress of the C front end, built with sanitizers by test_fast_stress.py:
 *
 *     front_stress MODE FILE      FILE: for each module its size in 4 bytes, little-endian, and its bytes
 *
 *     memory    fail every n-th allocation: the verdict is "no memory" or the right one, and the engine still works
 *     threads   four threads load, keep and release modules of one engine
 *     walk      what the validator accepted, the unchecked readers read to the same ends */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "module.h"
#include "opcodes.h"

#define MAX_MODULES 10000

static struct {
    uint8_t *bytes;
    uint32_t size;
} inputs[MAX_MODULES];
static unsigned n_inputs;

/* ---- Allocations that fail: the linker puts these in the place of the library's (--wrap) ------------------------ */

static _Thread_local long left = -1; /* allocations until they fail; negative: never */

static int fails(void) { return left >= 0 && (left == 0 || left-- == 0); }

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t a, size_t b);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n) { return fails() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t a, size_t b) { return fails() ? NULL : __real_calloc(a, b); }
void *__wrap_realloc(void *p, size_t n) { return fails() ? NULL : __real_realloc(p, n); }

static void die(const char *what, unsigned input) {
    fprintf(stderr, "%s: module %u\n", what, input);
    exit(1);
}

static wl_stage load(wl_engine *e, unsigned i, wl_module **m) {
    wl_limits limits = wl_default_limits();
    wl_error error;
    return wl_load(e, inputs[i].bytes, inputs[i].size, &limits, m, &error);
}

static void memory(void) {
    for (unsigned i = 0; i < n_inputs; i++) {
        wl_engine *e = wl_engine_new();
        wl_module *m;
        wl_stage expected = load(e, i, &m);
        wl_module_release(m);
        wl_engine_free(e);
        for (long n = 0; n < 24; n++) {
            e = wl_engine_new();
            left = n;
            wl_stage stage = load(e, i, &m);
            left = -1;
            wl_module_release(m);
            if (stage != WL_NO_MEMORY && stage != expected) die("another verdict without memory", i);
            if (load(e, i, &m) != expected) die("another verdict afterwards", i);
            wl_module_release(m);
            wl_engine_free(e);
        }
    }
}

static void *loads(void *argument) {
    wl_engine *e = argument;
    wl_module *kept[8] = {NULL}, *m;
    uint32_t random = (uint32_t)(uintptr_t)&m;
    for (unsigned n = 0; n < 20000; n++) {
        random = random * 1103515245u + 12345u;
        load(e, (random >> 8) % n_inputs, &m);
        for (uint32_t t = 1; m && t < m->n_types; t++) wl_deftype_matches(m->types[t], m->types[t - 1]);
        wl_module_release(kept[n & 7]);
        kept[n & 7] = m;
    }
    for (unsigned n = 0; n < 8; n++) wl_module_release(kept[n]);
    return NULL;
}

static void threads(void) {
    pthread_t running[4];
    wl_engine *e = wl_engine_new();
    for (int i = 0; i < 4; i++) pthread_create(&running[i], NULL, loads, e);
    for (int i = 0; i < 4; i++) pthread_join(running[i], NULL);
    wl_engine_free(e);
}

static void walk_body(const wl_module *m, const wl_body *body, unsigned input) {
    const uint8_t *p = m->bytes + body->locals;
    uint32_t op = 0;
    for (uint32_t runs = wl_read_u32(&p); runs; runs--) wl_read_run(m, &p);
    if (p != m->bytes + body->code) die("locals end elsewhere", input);
    while (p < m->bytes + body->end) {
        op = wl_read_op(&p);
        if (op == WL_OP_BLOCK || op == WL_OP_LOOP || op == WL_OP_IF) {
            wl_block_type t;
            wl_read_block_type(m, &p, &t);
        } else {
            wl_skip_immediates(op, &p);
        }
    }
    if (p != m->bytes + body->end || op != WL_OP_END) die("a body ends elsewhere", input);
}

static void walk(void) {
    wl_engine *e = wl_engine_new();
    unsigned bodies = 0;
    for (unsigned i = 0; i < n_inputs; i++) {
        wl_module *m;
        if (load(e, i, &m) != WL_OK) continue;
        for (uint32_t f = m->n_imported_funcs; f < m->n_funcs; f++, bodies++) walk_body(m, wl_body_of(m, f), i);
        wl_module_release(m);
    }
    wl_engine_free(e);
    printf("%u bodies\n", bodies);
}

int main(int argc, char **argv) {
    FILE *file = argc == 3 ? fopen(argv[2], "rb") : NULL;
    if (!file) return 2;
    uint32_t size;
    while (n_inputs < MAX_MODULES && fread(&size, 4, 1, file) == 1) {
        inputs[n_inputs].bytes = malloc(size ? size : 1);
        inputs[n_inputs].size = size;
        if (fread(inputs[n_inputs++].bytes, 1, size, file) != size) return 2;
    }
    fclose(file);
    if (strcmp(argv[1], "memory") == 0) memory();
    if (strcmp(argv[1], "threads") == 0) threads();
    if (strcmp(argv[1], "walk") == 0) walk();
    while (n_inputs) free(inputs[--n_inputs].bytes);
    return 0;
}
