/* Loading: the module's memory, and what is there while it is loaded. */
#include <stdlib.h>
#include <string.h>

#include "front.h"

#if defined(__SANITIZE_ADDRESS__) /* the part of a chunk that is not given out yet must not be touched */
#include <sanitizer/asan_interface.h>
#define WL_POISON(at, size) ASAN_POISON_MEMORY_REGION(at, size)
#define WL_UNPOISON(at, size) ASAN_UNPOISON_MEMORY_REGION(at, size)
#else
#define WL_POISON(at, size) (void)0
#define WL_UNPOISON(at, size) (void)0
#endif

typedef struct wl_chunk {
    struct wl_chunk *next;
    char *at, *end;
} wl_chunk;

/* ---- The module's arena ---------------------------------------------------------------------------------------- */

static size_t aligned(size_t size) { return (size + 7) & ~(size_t)7; }

/* A LEB128 of at most five bytes, whatever it says. */
static inline uint64_t read_short(const uint8_t **p) {
    uint64_t value = 0;
    if (**p < 0x80) return *(*p)++;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint8_t byte = *(*p)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) break;
    }
    return value;
}

/* Room for what the entries of the sections become, so that most modules are one piece: as many as are announced. */
static size_t room_for(const uint8_t *bytes, size_t size) {
    static const uint8_t costs[] = {[1] = 16, [2] = sizeof(wl_import) + sizeof(wl_table), [3] = 8,
                                    [4] = sizeof(wl_table), [5] = sizeof(wl_memory), [6] = sizeof(wl_global),
                                    [7] = sizeof(wl_export), [9] = sizeof(wl_elem), [10] = sizeof(wl_body),
                                    [11] = sizeof(wl_data), [13] = 8};
    const uint8_t *p = bytes + 8, *end = bytes + size;
    size_t room = 0;
    while (size >= 8 && end - p > 6) { /* as long as any LEB128 of a count and a size is in bounds */
        unsigned id = *p++;
        uint64_t length = read_short(&p);
        const uint8_t *next = p;
        if (length > (uint64_t)(end - p)) break;
        if (id < sizeof costs && costs[id] && length) {
            uint64_t n = end - p > 5 ? read_short(&p) : 1;
            room += aligned((n < length ? n : length) * costs[id]);
        }
        p = next + length;
    }
    return room < 10 * size ? room : 10 * size; /* no entry takes less than a tenth of its bytes */
}

static wl_module *new_module(wl_engine *engine, const uint8_t *bytes, size_t size, bool in_place) {
    size_t head = aligned(sizeof(wl_module)) + aligned(sizeof(wl_chunk)), copy = in_place ? 0 : aligned(size);
    size_t room = aligned(room_for(bytes, size));
    char *memory = malloc(head + copy + room);
    if (!memory) return NULL;
    wl_module *m = (wl_module *)(void *)memory;
    memset(m, 0, sizeof *m);
    wl_chunk *chunk = (wl_chunk *)(void *)(memory + aligned(sizeof(wl_module)));
    *chunk = (wl_chunk){NULL, memory + head + copy, memory + head + copy + room};
    if (copy) memcpy(memory + head, bytes, size);
    m->engine = engine;
    m->bytes = in_place && size ? bytes : (const uint8_t *)(memory + head);
    m->size = (uint32_t)size;
    m->start = WL_NONE;
    m->chunks = chunk;
    m->references = 1;
    WL_POISON(memory + head + (in_place ? 0 : size), (in_place ? 0 : copy - size) + room);
    return m;
}

void *wl_module_alloc(wl_module *m, size_t size) {
    wl_chunk *chunk = m->chunks;
    if (size > SIZE_MAX / 2) return NULL;
    size = aligned(size);
    if (size > (size_t)(chunk->end - chunk->at)) {
        size_t room = size < 256 ? 256 : size;
        char *memory = malloc(aligned(sizeof(wl_chunk)) + room);
        if (!memory) return NULL;
        chunk = (wl_chunk *)(void *)memory;
        chunk->next = m->chunks;
        chunk->at = memory + aligned(sizeof(wl_chunk));
        chunk->end = chunk->at + room;
        m->chunks = chunk;
        WL_POISON(chunk->at, room);
    }
    void *result = chunk->at;
    WL_UNPOISON(result, size);
    chunk->at += size;
    return result;
}

void wl_module_retain(wl_module *m) { __atomic_add_fetch(&m->references, 1, __ATOMIC_RELAXED); }

void wl_module_release(wl_module *m) {
    if (!m || (__atomic_load_n(&m->references, __ATOMIC_ACQUIRE) != 1 && /* the only one that there is is this one */
               __atomic_sub_fetch(&m->references, 1, __ATOMIC_ACQ_REL)))
        return;
    wl_release_groups(m->engine, m->groups, m->n_groups);
    for (wl_chunk *chunk = m->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        if (next) free(chunk); /* the first one lies inside the module */
    }
    free(m);
}

bool wl_allocate(wl_loader *l, void *array, size_t n, size_t size) {
    void *memory = wl_module_alloc(l->m, n * size);
    if (!memory) return wl_no_memory(l);
    memset(memory, 0, n * size);
    memcpy(array, &memory, sizeof memory);
    return true;
}

bool wl_extend(wl_loader *l, void *array, size_t used, size_t more, size_t size) {
    void *old, *memory = wl_module_alloc(l->m, (used + more) * size);
    if (!memory) return wl_no_memory(l);
    memcpy(&old, array, sizeof old);
    if (used) memcpy(memory, old, used * size);
    memset((char *)memory + used * size, 0, more * size);
    memcpy(array, &memory, sizeof memory);
    return true;
}

/* ---- Loading --------------------------------------------------------------------------------------------------- */

wl_limits wl_default_limits(void) {
    return (wl_limits){
        .features = WL_ALL_FEATURES,
        .module_bytes = (uint64_t)1 << 28,
        .validation_work = 200000000, /* a fraction of a second */
        .fuel = INT64_MAX,
        .call_depth = 10000,
        .host_depth = 50,
        .values = 10000000,
        .locals = 50000,
        .memory_pages = 32768,
        .table_elements = 10000000,
        .heap_bytes = (uint64_t)1 << 28,
    };
}

/* What most modules need while they are loaded, without asking the heap for it. */
typedef struct wl_room {
    uint64_t stack[128], frames[160], scratch[64], runs[32], inits[1];
} wl_room;

#define BUFFER(array) ((wl_buffer){(array), sizeof(array), false})

static wl_stage load(wl_engine *engine, const uint8_t *bytes, size_t size, const wl_limits *limits, bool in_place,
                     wl_module **module, wl_error *error) {
    wl_room room;
    *module = NULL;
    error->stage = WL_OK;
    error->function = WL_NONE;
    error->offset = 0;
    error->message[0] = 0;
    uint64_t largest = limits->module_bytes < (uint64_t)1 << 28 ? limits->module_bytes : (uint64_t)1 << 28;
    if (size > largest) {
        *error = (wl_error){WL_EXHAUSTED, WL_NONE, 0, "module size exhausted"};
        return error->stage;
    }
    wl_module *m = new_module(engine, bytes, size, in_place);
    if (!m) {
        *error = (wl_error){WL_NO_MEMORY, WL_NONE, 0, "out of memory"};
        return error->stage;
    }
    wl_loader l;
    memset(&l, 0, offsetof(wl_loader, rejection));
    l.m = m;
    l.engine = engine;
    l.limits = limits;
    l.bytes = m->bytes;
    l.end = m->bytes + size;
    l.error = error;
    l.function = WL_NONE;
    l.rec_base = UINT32_MAX;
    l.stack = BUFFER(room.stack);
    l.frames = BUFFER(room.frames);
    l.scratch = BUFFER(room.scratch);
    l.runs = BUFFER(room.runs);
    l.inits = BUFFER(room.inits);
    l.rejection.stage = WL_OK;
    if (wl_decode(&l) && wl_rejected(&l)) *error = l.rejection;
    wl_buffer *const buffers[] = {&l.stack, &l.frames, &l.scratch, &l.runs, &l.inits};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) wl_buffer_free(buffers[i]);
    if (l.declared != l.few_declared) free(l.declared);
    if (error->stage != WL_OK) {
        wl_module_release(m);
        m = NULL;
    }
    *module = m;
    return error->stage;
}

wl_stage wl_load(wl_engine *engine, const uint8_t *bytes, size_t size, const wl_limits *limits, wl_module **module,
                 wl_error *error) {
    return load(engine, bytes, size, limits, false, module, error);
}

wl_stage wl_load_in_place(wl_engine *engine, const uint8_t *bytes, size_t size, const wl_limits *limits,
                          wl_module **module, wl_error *error) {
    return load(engine, bytes, size, limits, true, module, error);
}
