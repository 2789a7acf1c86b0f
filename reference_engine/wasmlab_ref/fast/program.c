/* Case programs: a whole case in one call, and hosts that a case may import from.  docs/case-program.md describes the
 * bytes of programs and answers. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "events.h"
#include "gc.h"
#include "wl.h"

enum { RETURNED, TRAPPED, THREW, EXHAUSTED, MALFORMED, INVALID, UNLINKABLE, UNSUPPORTED };
#define TABLE_BOUND 64 /* elements of a table that are shown */
#define IDENTIFIED 16  /* values among which equal objects are told */

/* ---- Bytes ----------------------------------------------------------------------------------------------------- */

typedef struct buffer {
    uint8_t *p;
    size_t n, capacity;
    bool failed;
} buffer;

static void put(buffer *b, const void *p, size_t n) {
    if (b->n + n > b->capacity) {
        size_t capacity = 2 * (b->n + n) + 256;
        uint8_t *more = realloc(b->p, capacity);
        if (!more) {
            b->failed = true;
            return;
        }
        b->p = more;
        b->capacity = capacity;
    }
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
}
static void put_u32(buffer *b, uint32_t v) { put(b, &v, 4); }
static void put_text(buffer *b, const void *p, size_t n) {
    put_u32(b, (uint32_t)n);
    put(b, p, n);
}

typedef struct text {
    const uint8_t *p;
    uint32_t n;
} text;

typedef struct reader {
    const uint8_t *p, *end;
    bool failed;
} reader;

static uint64_t take(reader *r, size_t n) {
    uint64_t v = 0;
    if ((size_t)(r->end - r->p) < n) {
        r->failed = true;
        r->p = r->end;
        return 0;
    }
    memcpy(&v, r->p, n);
    r->p += n;
    return v;
}
static text take_text(reader *r) {
    uint32_t n = (uint32_t)take(r, 4);
    if ((size_t)(r->end - r->p) < n) {
        r->failed = true;
        n = 0;
    }
    text t = {r->p, n};
    r->p += n;
    return t;
}
static bool same(text t, const char *s) { return t.n == strlen(s) && !memcmp(t.p, s, t.n); }
static bool same_text(text a, text b) { return a.n == b.n && !memcmp(a.p, b.p, a.n); }

/* ---- Sessions ---------------------------------------------------------------------------------------------------- */

typedef struct named {
    text name; /* own copy */
    wl_instance *instance;
} named;

typedef struct list {
    named *items;
    uint32_t n, capacity;
} list;

enum { LOG, TRAP, REENTER, EXTERN, NUMBER, LAB_FUNCS, PRINT = LAB_FUNCS, FUNCS = PRINT + 7 };

struct wl_session {
    wl_store *store;
    list instances, registered;
    wl_funcinst *funcs[FUNCS];
    wl_globalinst globals[4];
    wl_tableinst *tables[2];
    wl_meminst *memories[2];
    buffer answer, trace;
    uint32_t n_trace;
};
typedef struct wl_session session;

static wl_instance **find(list *l, text name) {
    for (uint32_t i = l->n; i-- > 0;)
        if (same_text(l->items[i].name, name)) return &l->items[i].instance;
    return NULL;
}

static bool set(list *l, text name, wl_instance *instance) {
    wl_instance **found = find(l, name);
    if (found) {
        *found = instance;
        return true;
    }
    if (l->n == l->capacity) {
        uint32_t capacity = 2 * l->capacity + 4;
        named *more = realloc(l->items, capacity * sizeof *more);
        if (!more) return false;
        l->items = more;
        l->capacity = capacity;
    }
    uint8_t *copy = malloc(name.n + 1);
    if (!copy) return false;
    memcpy(copy, name.p, name.n);
    l->items[l->n++] = (named){{copy, name.n}, instance};
    return true;
}

static void free_list(list *l) {
    for (uint32_t i = 0; i < l->n; i++) free((void *)(uintptr_t)l->items[i].name.p);
    free(l->items);
}

void wl_session_free(session *s) {
    if (!s) return;
    free_list(&s->instances);
    free_list(&s->registered);
    for (unsigned i = 0; i < FUNCS; i++)
        if (s->funcs[i]) wl_type_release(s->store->engine, s->funcs[i]->type);
    free(s->answer.p);
    free(s->trace.p);
    free(s);
}

/* ---- Host modules --------------------------------------------------------------------------------------------------- */

static int host_nothing(wl_store *x, void *environment, uint64_t *slots) {
    (void)x, (void)environment, (void)slots;
    return WL_DONE;
}
static int host_log(wl_store *x, void *environment, uint64_t *slots) {
    session *s = environment;
    uint32_t number = (uint32_t)slots[0];
    (void)x;
    put(&s->trace, &number, 4);
    put(&s->trace, &slots[1], 8);
    s->n_trace++;
    return s->trace.failed || s->n_trace > 10000000 ? WL_OUT_OF_MEMORY : WL_DONE;
}
static int host_trap(wl_store *x, void *environment, uint64_t *slots) {
    (void)x, (void)environment, (void)slots;
    return WL_TRAP_HOST;
}
static int host_reenter(wl_store *x, void *environment, uint64_t *slots) {
    session *s = environment;
    wl_instance **callee = find(&s->registered, (text){(const uint8_t *)"lab.callee", 10});
    if (!callee) return WL_DONE;
    wl_externval f = wl_export_named(*callee, "reenter", 7);
    if (!f.p || f.kind != WL_EXT_FUNC || ((wl_funcinst *)f.p)->type != s->funcs[REENTER]->type) return WL_DONE;
    EVENT(wl_saw_argument(x, WL_I32, slots));
    return wl_execute(x, f.p, slots, NULL);
}
static int host_extern(wl_store *x, void *environment, uint64_t *slots) {
    (void)x, (void)environment;
    slots[0] = (uint64_t)(uint32_t)slots[0] << 2 | WL_TAG_HOST;
    return WL_DONE;
}
static int host_number(wl_store *x, void *environment, uint64_t *slots) {
    (void)x, (void)environment;
    slots[0] = WL_TAG(slots[0]) == WL_TAG_HOST ? slots[0] >> 2 & UINT32_MAX : UINT32_MAX;
    return WL_DONE;
}

#define EXTERNREF (WL_REF | WL_NULLABLE | WL_HEAP_EXTERN)
#define FUNCREF (WL_REF | WL_NULLABLE | WL_HEAP_FUNC)

static const struct {
    const char *name;
    uint32_t n_params, n_results;
    wl_type params[2], results[1];
    wl_host_function host;
} host_funcs[FUNCS] = {
    [LOG] = {"log", 2, 0, {WL_I32, WL_I64}, {0}, host_log},
    [TRAP] = {"trap", 0, 0, {0}, {0}, host_trap},
    [REENTER] = {"reenter", 1, 0, {WL_I32}, {0}, host_reenter},
    [EXTERN] = {"extern", 1, 1, {WL_I32}, {EXTERNREF}, host_extern},
    [NUMBER] = {"number", 1, 1, {EXTERNREF}, {WL_I32}, host_number},
    [PRINT] = {"print", 0, 0, {0}, {0}, host_nothing},
    {"print_i32", 1, 0, {WL_I32}, {0}, host_nothing},
    {"print_i64", 1, 0, {WL_I64}, {0}, host_nothing},
    {"print_f32", 1, 0, {WL_F32}, {0}, host_nothing},
    {"print_f64", 1, 0, {WL_F64}, {0}, host_nothing},
    {"print_i32_f32", 2, 0, {WL_I32, WL_F32}, {0}, host_nothing},
    {"print_f64_f64", 2, 0, {WL_F64, WL_F64}, {0}, host_nothing},
};

static wl_externval host_func(session *s, unsigned first, unsigned end, text name) {
    for (unsigned i = first; i < end; i++) {
        if (!same(name, host_funcs[i].name)) continue;
        if (!s->funcs[i]) {
            const wl_deftype *type = wl_func_type(s->store->engine, host_funcs[i].params, host_funcs[i].n_params,
                                                  host_funcs[i].results, host_funcs[i].n_results);
            if (type) s->funcs[i] = wl_host_func(s->store, type, host_funcs[i].host, s);
        }
        return (wl_externval){WL_EXT_FUNC, s->funcs[i]};
    }
    return (wl_externval){0, NULL};
}

static wl_externval spectest(session *s, text name) {
    static const char *const globals[] = {"global_i32", "global_i64", "global_f32", "global_f64"};
    static const uint64_t values[] = {666, 666, 0x4426a666, 0x4084d4cccccccccd};
    for (unsigned i = 0; i < 4; i++)
        if (same(name, globals[i])) {
            s->globals[i] = (wl_globalinst){{values[i], 0}, WL_I32 + i, false};
            return (wl_externval){WL_EXT_GLOBAL, &s->globals[i]};
        }
    for (unsigned i = 0; i < 2; i++)
        if (same(name, i ? "table64" : "table")) {
            wl_table type = {{10, 20, true, i == 1, false, false}, FUNCREF, {0, 0, 0}};
            if (!s->tables[i]) s->tables[i] = wl_new_table(s->store, &type);
            return (wl_externval){WL_EXT_TABLE, s->tables[i]};
        }
    for (unsigned i = 0; i < 2; i++)
        if (same(name, i ? "shared_memory" : "memory")) {
            wl_bounds bounds = {1, 2, true, false, i == 1, false};
            if (!s->memories[i]) s->memories[i] = wl_new_memory(s->store, &bounds);
            return (wl_externval){WL_EXT_MEMORY, s->memories[i]};
        }
    return host_func(s, PRINT, FUNCS, name);
}

static wl_externval registered(session *s, text module, text name) {
    if (same(module, "lab")) {
        (void)host_func(s, REENTER, REENTER + 1, (text){(const uint8_t *)"reenter", 7});
        return host_func(s, LOG, LAB_FUNCS, name);
    }
    wl_instance **i = find(&s->registered, module);
    if (i) return wl_export_named(*i, name.p, name.n);
    return same(module, "spectest") ? spectest(s, name) : (wl_externval){0, NULL};
}

/* ---- Values ----------------------------------------------------------------------------------------------------------- */

static const char *shape(const wl_store *x, wl_refval r, wl_type type, char text[32]) {
    uint32_t heap = wl_heap(type);
    if (!r) return "ref.null";
    if (WL_TAG(r) == WL_TAG_HOST) {
        snprintf(text, 32, "ref.extern:%llx", (unsigned long long)(r >> 2));
        return text;
    }
    if (WL_TAG(r) == WL_TAG_I31) {
        snprintf(text, 32, "ref.i31:%x", wl_i31_u(r));
        return text;
    }
    if (heap == WL_HEAP_EXN) return "ref.exn";
    if (heap == WL_HEAP_FUNC ||
        (heap >= WL_FIRST_DEFINED && wl_type_of_id(x->engine, heap - WL_FIRST_DEFINED)->kind == WL_FUNC))
        return "ref.func";
    const wl_deftype *found = ((const wl_object *)(uintptr_t)r)->type;
    if (found->kind == WL_STRUCT) return "ref.struct";
    snprintf(text, 32, "ref.array:%llx", (unsigned long long)wl_array_of(r)->length);
    return text;
}

/* Is a reference one to a structure or an array? */
static bool is_object(const wl_store *x, wl_refval r, wl_type type) {
    if (!wl_is_ref(type) || !r || WL_TAG(r) == WL_TAG_HOST || WL_TAG(r) == WL_TAG_I31) return false;
    uint32_t heap = wl_heap(type);
    return heap != WL_HEAP_EXN && heap != WL_HEAP_FUNC &&
           !(heap >= WL_FIRST_DEFINED && wl_type_of_id(x->engine, heap - WL_FIRST_DEFINED)->kind == WL_FUNC);
}

static void put_same(session *s, uint32_t earlier) {
    char out[24];
    put_text(&s->answer, out, (size_t)snprintf(out, sizeof out, "ref.same:%x", earlier));
}

static void put_value(session *s, const uint64_t *slot, wl_type type) {
    char out[48], room[32];
    unsigned long long low = slot[0];
    switch (type) {
    case WL_I32: snprintf(out, sizeof out, "i32:%x", (uint32_t)low); break;
    case WL_I64: snprintf(out, sizeof out, "i64:%llx", low); break;
    case WL_F32: snprintf(out, sizeof out, "f32:%x", (uint32_t)low); break;
    case WL_F64: snprintf(out, sizeof out, "f64:%llx", low); break;
    case WL_V128:
        if (slot[1]) snprintf(out, sizeof out, "v128:%llx%016llx", (unsigned long long)slot[1], low);
        else snprintf(out, sizeof out, "v128:%llx", low);
        break;
    default: snprintf(out, sizeof out, "%s", shape(s->store, low, type, room));
    }
    put_text(&s->answer, out, strlen(out));
}

static void put_values(session *s, const uint64_t *slots, const wl_type *types, uint32_t n) {
    wl_refval seen[IDENTIFIED] = {0};
    put_u32(&s->answer, n);
    for (uint32_t i = 0; i < n; slots += wl_slots(types[i++])) {
        uint32_t earlier = i;
        if (i < IDENTIFIED && is_object(s->store, slots[0], types[i])) {
            seen[i] = slots[0];
            for (earlier = 0; seen[earlier] != slots[0];) earlier++;
        }
        if (earlier < i) put_same(s, earlier);
        else put_value(s, slots, types[i]);
    }
}

/* The value that a text says, into its slots. */
static bool parse(text t, wl_type type, uint64_t *slots) {
    static const char *const names[] = {"", "i32", "i64", "f32", "f64", "v128"};
    static const unsigned digits[] = {0, 8, 16, 8, 16, 32};
    uint32_t colon = 0;
    while (colon < t.n && t.p[colon] != ':') colon++;
    text kind = {t.p, colon};
    uint64_t v[2] = {0, 0};
    unsigned n = 0;
    for (uint32_t i = colon + 1; i < t.n; i++) {
        uint8_t c = t.p[i];
        unsigned d = c >= '0' && c <= '9' ? c - (unsigned)'0' : c >= 'a' && c <= 'f' ? c - 'a' + 10u :
                     c >= 'A' && c <= 'F' ? c - 'A' + 10u : 16;
        if (d > 15) return false;
        if ((d || n) && ++n > 32) return false;
        v[1] = v[1] << 4 | v[0] >> 60;
        v[0] = v[0] << 4 | d;
    }
    if (!wl_is_ref(type)) {
        if (!same(kind, names[type]) || n > digits[type] || colon + 1 >= t.n) return false;
        memcpy(slots, v, wl_slots(type) * 8);
        return true;
    }
    uint32_t heap = wl_heap(type);
    slots[0] = 0;
    if (same(kind, "ref.null")) return wl_is_nullable(type);
    if (n > 8 || v[0] >> 31) return false;
    if (same(kind, "ref.extern")) {
        slots[0] = v[0] << 2 | WL_TAG_HOST;
        return heap == WL_HEAP_EXTERN || heap == WL_HEAP_ANY;
    }
    slots[0] = wl_i31((uint32_t)v[0]);
    return same(kind, "ref.i31") && (heap == WL_HEAP_ANY || heap == WL_HEAP_EQ || heap == WL_HEAP_I31);
}

/* ---- Outcomes ------------------------------------------------------------------------------------------------------- */

static void outcome(session *s, uint8_t kind, const char *format, ...) {
    char detail[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    put(&s->answer, &kind, 1);
    put_text(&s->answer, detail, n < 0 ? 0 : (size_t)n < sizeof detail ? (size_t)n : sizeof detail - 1);
}
static void outcome_only(session *s, uint8_t kind, const char *detail) {
    outcome(s, kind, "%s", detail);
    put_u32(&s->answer, 0);
}
static void returned(session *s) { outcome_only(s, RETURNED, ""); }
static void rejected(session *s, wl_stage stage, const wl_error *error) {
    static const uint8_t kinds[] = {[WL_MALFORMED] = MALFORMED, [WL_INVALID] = INVALID, [WL_UNLINKABLE] = UNLINKABLE,
                                    [WL_EXHAUSTED] = EXHAUSTED, [WL_UNSUPPORTED] = UNSUPPORTED,
                                    [WL_NO_MEMORY] = EXHAUSTED};
    if (stage == WL_MALFORMED) {
        outcome(s, MALFORMED, "%s (at byte 0x%zx)", error->message, error->offset);
        put_u32(&s->answer, 0);
    } else {
        outcome_only(s, kinds[stage], stage == WL_NO_MEMORY ? "memory" : error->message);
    }
}

/* An uncaught exception, under the name that the called instance exports its tag as. */
static void threw(session *s, wl_instance *instance) {
    const wl_exn *e = wl_exn_of(s->store->exception);
    const wl_module *m = instance ? instance->module : NULL;
    uint8_t kind = THREW;
    put(&s->answer, &kind, 1);
    for (uint32_t i = 0; m && i < m->n_exports; i++) {
        const wl_export *x = &m->exports[i];
        if (x->kind != WL_EXT_TAG || instance->tags[x->index] != e->tag) continue;
        put_text(&s->answer, m->bytes + x->name.at, x->name.size);
        put_values(s, e->values, e->tag->type->u.func.params, e->tag->type->u.func.n_params);
        return;
    }
    put_u32(&s->answer, 0);
    put_u32(&s->answer, 0);
}

static void ended(session *s, int status, wl_instance *instance) {
    if (status == WL_THREW) threw(s, instance);
    else outcome_only(s, status < WL_THREW ? TRAPPED : EXHAUSTED, wl_status_name(status));
    s->store->exception = 0;
}

/* ---- Steps ------------------------------------------------------------------------------------------------------------ */

static wl_instance *instance_named(session *s, text name) {
    wl_instance **i = find(&s->instances, name);
    if (i) return *i;
    outcome(s, UNSUPPORTED, "no instance %.*s", name.n > 100 ? 100 : (int)name.n, (const char *)name.p);
    put_u32(&s->answer, 0);
    return NULL;
}

/* An export of that kind; otherwise the outcome has been written. */
static void *export_of(session *s, reader *r, int kind, const char *what, wl_instance **instance) {
    text name = take_text(r), field = take_text(r);
    *instance = r->failed ? NULL : instance_named(s, name);
    if (!*instance) return NULL;
    wl_externval v = wl_export_named(*instance, field.p, field.n);
    int shown = field.n > 100 ? 100 : (int)field.n;
    if (v.p && (kind < 0 || v.kind == (uint32_t)kind)) return v.p;
    if (v.p) outcome(s, UNSUPPORTED, "export %.*s is no %s", shown, (const char *)field.p, what);
    else outcome(s, UNSUPPORTED, "no export %.*s", shown, (const char *)field.p);
    put_u32(&s->answer, 0);
    return NULL;
}

static void instantiate(session *s, reader *r) {
    text name = take_text(r), bytes = take_text(r);
    uint32_t n = (uint32_t)take(r, 4);
    reader imports = *r;
    bool own_names = n == WL_NONE;
    if (own_names) n = 0;
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        (void)take(r, 1);
        (void)take_text(r);
        (void)take_text(r);
    }
    text of_name = take_text(r);
    if (r->failed) return;
    wl_instance *of = NULL, *instance;
    if (of_name.n && !(of = instance_named(s, of_name))) return;
    wl_module *m;
    wl_error error;
    wl_stage stage = wl_load(s->store->engine, bytes.p, bytes.n, &s->store->limits, &m, &error);
    if (stage != WL_OK) {
        rejected(s, stage, &error);
        return;
    }
    uint32_t room = n > m->n_imports ? n : m->n_imports;
    wl_externval *values = calloc((size_t)room + 1, sizeof *values);
    if (!values) {
        wl_module_release(m);
        outcome_only(s, EXHAUSTED, "memory");
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        bool from = take(&imports, 1);
        text module = take_text(&imports), field = take_text(&imports);
        if (from && of) values[i] = wl_export_named(of, field.p, field.n);
        else if (!from) values[i] = registered(s, module, field);
    }
    for (uint32_t i = 0; own_names && i < m->n_imports; i++) {
        const wl_import *import = &m->imports[i];
        values[i] = registered(s, (text){m->bytes + import->module.at, import->module.size},
                               (text){m->bytes + import->name.at, import->name.size});
    }
    int status = WL_DONE;
    stage = wl_instantiate(s->store, m, values, &instance, &error, &status);
    free(values);
    wl_module_release(m);
    if (stage != WL_OK) {
        rejected(s, stage, &error);
    } else if (status) {
        ended(s, status, NULL);
    } else if (!set(&s->instances, name, instance)) {
        outcome_only(s, EXHAUSTED, "memory");
    } else {
        returned(s);
    }
}

static void load(session *s, reader *r) {
    text bytes = take_text(r);
    wl_module *m;
    wl_error error;
    wl_stage stage = wl_load(s->store->engine, bytes.p, bytes.n, &s->store->limits, &m, &error);
    if (stage != WL_OK) {
        rejected(s, stage, &error);
        return;
    }
    wl_module_release(m);
    returned(s);
}

static void register_step(session *s, reader *r) {
    text name = take_text(r), as = take_text(r);
    wl_instance *i = instance_named(s, name);
    if (!i) return;
    if (set(&s->registered, as, i)) returned(s);
    else outcome_only(s, EXHAUSTED, "memory");
}

#ifdef WASMLAB_EVENTS
static void saw_arguments(session *s, const wl_deftype *type, const uint64_t *slots) {
    for (uint32_t i = 0; i < type->u.func.n_params; slots += wl_slots(type->u.func.params[i++]))
        wl_saw_argument(s->store, type->u.func.params[i], slots);
}
#endif

static void call(session *s, reader *r) {
    wl_instance *instance;
    wl_funcinst *f = export_of(s, r, WL_EXT_FUNC, "function", &instance);
    uint32_t repeat = (uint32_t)take(r, 4), n = (uint32_t)take(r, 4), failed = WL_NONE;
    uint64_t few[64], *slots = few;
    if (f) {
        uint32_t room = f->type->u.func.param_slots + f->type->u.func.result_slots;
        if (room > 64 && !(slots = malloc(room * sizeof *slots))) {
            outcome_only(s, EXHAUSTED, "memory");
            f = NULL;
        }
    }
    uint64_t *slot = slots;
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        text t = take_text(r);
        if (!f || failed != WL_NONE || i >= f->type->u.func.n_params) continue;
        if (!parse(t, f->type->u.func.params[i], slot)) {
            failed = i;
            outcome(s, UNSUPPORTED, "%.*s for parameter %u", t.n > 60 ? 60 : (int)t.n, (const char *)t.p, i);
            put_u32(&s->answer, 0);
        }
        slot += wl_slots(f->type->u.func.params[i]);
    }
    if (!f || failed != WL_NONE) {
        if (slots != few) free(slots);
        return;
    }
    if (n != f->type->u.func.n_params) {
        outcome(s, UNSUPPORTED, "%u arguments for %u parameters", n, f->type->u.func.n_params);
        put_u32(&s->answer, 0);
    } else {
        int status = WL_DONE;
        uint64_t *results = slots + f->type->u.func.param_slots;
        EVENT(saw_arguments(s, f->type, slots));
        for (uint32_t i = 0; i < repeat && (!status || status == WL_THREW); i++)
            status = wl_execute(s->store, f, slots, results);
        if (status) {
            ended(s, status, instance);
        } else {
            outcome(s, RETURNED, "");
            put_values(s, results, f->type->u.func.results, f->type->u.func.n_results);
        }
    }
    if (slots != few) free(slots);
}

static bool within(session *s, const wl_meminst *m, uint64_t at, uint64_t n) {
    if (at <= m->size && n <= m->size - at) return true;
    outcome(s, UNSUPPORTED, "%llu bytes at %llu of a memory of %llu", (unsigned long long)n, (unsigned long long)at,
            (unsigned long long)m->size);
    put_u32(&s->answer, 0);
    return false;
}

static void write_step(session *s, reader *r) {
    wl_instance *instance;
    wl_meminst *m = export_of(s, r, WL_EXT_MEMORY, "memory", &instance);
    uint64_t at = take(r, 8);
    text bytes = take_text(r);
    if (!m || r->failed || !within(s, m, at, bytes.n)) return;
    if (!wl_commit(m, at + bytes.n)) {
        outcome_only(s, EXHAUSTED, "memory");
        return;
    }
    if (bytes.n) memcpy(m->data + at, bytes.p, bytes.n);
    returned(s);
}

static void put_hex(buffer *b, const wl_meminst *m, uint64_t at, uint64_t n) {
    static const char digits[] = "0123456789abcdef";
    put_u32(b, (uint32_t)(6 + 2 * n));
    put(b, "bytes:", 6);
    for (uint64_t i = at; i < at + n && !b->failed; i++) {
        uint8_t byte = i < m->committed ? m->data[i] : 0;
        char two[2] = {digits[byte >> 4], digits[byte & 15]};
        put(b, two, 2);
    }
}

static void read_step(session *s, reader *r) {
    wl_instance *instance;
    const wl_meminst *m = export_of(s, r, WL_EXT_MEMORY, "memory", &instance);
    unsigned mode = (unsigned)take(r, 1);
    uint64_t at = take(r, 8), n = take(r, 8);
    if (!m || r->failed) return;
    if (mode == 0 && !within(s, m, at, n)) return;
    if ((mode == 0 ? n : mode == 2 ? m->size : 0) > (1u << 30)) {
        outcome_only(s, EXHAUSTED, "memory");
        return;
    }
    outcome(s, RETURNED, "");
    put_u32(&s->answer, mode == 0 ? 1 : 2);
    if (mode == 0) {
        put_hex(&s->answer, m, at, n);
        return;
    }
    put_value(s, &m->size, WL_I64);
    if (mode == 2) {
        put_hex(&s->answer, m, 0, m->size);
    } else {
        char digest[17], out[32];
        wl_memory_digest(m, digest);
        snprintf(out, sizeof out, "digest:%s", digest);
        put_text(&s->answer, out, strlen(out));
    }
}

static void get(session *s, reader *r) {
    wl_instance *instance;
    reader again = *r;
    void *p = export_of(s, r, -1, "", &instance);
    if (!p) return;
    (void)take_text(&again);
    text field = take_text(&again);
    wl_externval v = wl_export_named(instance, field.p, field.n);
    if (v.kind == WL_EXT_GLOBAL) {
        const wl_globalinst *g = p;
        outcome(s, RETURNED, "");
        put_values(s, g->value, &g->type, 1);
    } else if (v.kind == WL_EXT_TABLE) {
        const wl_tableinst *t = p;
        uint32_t n = t->size < TABLE_BOUND ? (uint32_t)t->size : TABLE_BOUND;
        outcome(s, RETURNED, "");
        put_u32(&s->answer, n + 1);
        put_value(s, &t->size, t->is64 ? WL_I64 : WL_I32);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t earlier = i;
            if (is_object(s->store, t->elements[i], t->type))
                for (earlier = 0; t->elements[earlier] != t->elements[i];) earlier++;
            if (earlier < i) put_same(s, earlier + 1);
            else put_value(s, &t->elements[i], t->type);
        }
    } else {
        outcome(s, UNSUPPORTED, "export %.*s is no global or table", field.n > 100 ? 100 : (int)field.n,
                (const char *)field.p);
        put_u32(&s->answer, 0);
    }
}

bool wl_program(wl_store *x, const uint8_t *program, size_t size, const uint8_t **answer, size_t *answer_size) {
    session *s = x->session;
    if (!s) {
        if (!(s = x->session = calloc(1, sizeof *s))) return false;
        s->store = x;
    }
    s->answer.n = s->trace.n = s->n_trace = 0;
    s->answer.failed = s->trace.failed = false;
    reader r = {program, program + size, false};
    while (r.p < r.end && !r.failed) switch (take(&r, 1)) {
        case 1: instantiate(s, &r); break;
        case 2: register_step(s, &r); break;
        case 3: call(s, &r); break;
        case 4: write_step(s, &r); break;
        case 5: read_step(s, &r); break;
        case 6: get(s, &r); break;
        case 7: load(s, &r); break;
        default: r.failed = true;
        }
    put_u32(&s->answer, s->n_trace);
    put(&s->answer, s->trace.p, s->trace.n);
    *answer = s->answer.p;
    *answer_size = s->answer.n;
    return !r.failed && !s->answer.failed;
}
