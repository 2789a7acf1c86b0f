/* The engine as a library.
 *
 *     wl_engine *engine = wl_engine_new();
 *     wl_module *module;
 *     wl_load(engine, bytes, size, &limits, &module, &error);      (module.h)
 *     wl_store *store = wl_store_new(engine, &limits, NULL);
 *     wl_instantiate(store, module, imports, &instance, &error);
 *     wl_externval f = wl_export_named(instance, "run", 3);
 *     int status = wl_execute(store, f.p, args, results);           0, or what ended it: wl_status_name(status)
 *     wl_store_free(store); wl_module_release(module); wl_engine_free(engine);
 *
 * One store belongs to one thread at a time; an engine and its modules are shared freely.  Arguments and results are
 * slots of 8 bytes, i32 zero-extended, v128 two slots.  Nothing here aborts: what runs out is reported.
 *
 * wl_program runs a whole case in one call; program.c describes the bytes. */
#ifndef WASMLAB_WL_H
#define WASMLAB_WL_H

#include "exec.h"

wl_store *wl_store_new(wl_engine *, const wl_limits *, const wl_profile *); /* NULL: no memory; a profile may be NULL */
void wl_store_free(wl_store *);
/* For the outermost calls from now on; the value stack is never larger than it was made. */
void wl_store_limit(wl_store *, int64_t fuel, uint32_t call_depth, uint64_t values);
void wl_store_profile(wl_store *, const wl_profile *);
void wl_store_deadline(wl_store *, uint64_t ns);    /* from now; 0: none */
void wl_store_stress(wl_store *, bool on);          /* collect at every allocation */
uint64_t wl_store_collections(const wl_store *);

/* Instantiate with one import for each of the module's, and run its start function.  WL_OK with *status not 0: a trap
 * or what ran out; what was written until then stays. */
wl_stage wl_instantiate(wl_store *, wl_module *, const wl_externval *imports, wl_instance **, wl_error *, int *status);
wl_externval wl_export_named(const wl_instance *, const void *name, size_t size); /* p is NULL: no such export */
const char *wl_status_name(int status); /* a kind of traps.tbl, or the resource that ran out */

/* A function of the host: params and results in its slots. */
wl_funcinst *wl_host_func(wl_store *, const wl_deftype *, wl_host_function, void *environment);

/* The digest of a memory, as the worker protocol defines it: 16 hexadecimal digits. */
void wl_memory_digest(const wl_meminst *, char digest[17]);

/* Run a program on a store's session; the answer belongs to the store until the next one.  false: no memory. */
bool wl_program(wl_store *, const uint8_t *program, size_t size, const uint8_t **answer, size_t *answer_size);

/* Within the library. */
struct wl_session;
void wl_session_free(struct wl_session *);
wl_meminst *wl_new_memory(wl_store *, const wl_bounds *);
wl_tableinst *wl_new_table(wl_store *, const wl_table *);

#endif
