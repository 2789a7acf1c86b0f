/* A worker for engines with a C interface, as docs/protocol.md has it: what main.c and the engines share.

   main.c speaks the protocol and keeps sessions; a file for each engine compiles, instantiates, calls and reads. */
#ifndef WORKER_H
#define WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Texts that grow. */

typedef struct text {
    char *at;
    size_t size, room;
} text;

void text_put(text *, const void *, size_t);
void text_print(text *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_quote(text *, const char *, size_t); /* as a JSON string */
void text_hex(text *, const uint8_t *, size_t);

/* JSON, read in place: a line is its own storage. */

typedef struct name { /* not ended by a zero: it may hold some */
    const char *at;
    size_t size;
} name;

enum json_kind { JSON_NULL, JSON_TRUE, JSON_FALSE, JSON_NUMBER, JSON_STRING, JSON_LIST, JSON_OBJECT };

typedef struct json {
    enum json_kind kind;
    name key, string;
    int64_t number; /* integers only */
    struct json *first, *next;
} json;

json *json_read(char *line, size_t size); /* NULL for what is none; valid until the next call */
json *json_get(const json *object, const char *key);
bool same(name, name);
bool is(name, const char *);

/* Bytes in texts; both decode in place and return how many there are, or SIZE_MAX. */

size_t from_base64(char *, size_t);
size_t from_hex(char *, size_t);

/* Sessions. */

typedef struct instance instance; /* an engine's */
typedef struct function function;
typedef struct store store;

typedef struct named {
    name name;
    instance *instance;
    struct named *next;
} named;

typedef struct session {
    name name;
    store *store;
    named *instances, *registered;
    text trace;
    unsigned depth; /* of lab.reenter */
    struct session *next;
} session;

extern session *current; /* the one at work, for host functions */

instance *session_instance(const session *, name);
instance *session_registered(const session *, name);

/* Outcomes: a step fails once at most. */

typedef struct outcome {
    const char *kind; /* NULL: returned */
    text detail, values;
} outcome;

void fail(outcome *, const char *kind, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Values, for engines that have native ones: the bits of i32, i64, f32, f64. */

typedef struct value {
    char type[4];
    uint64_t bits;
} value;

enum { MAX_VALUES = 1000, MAX_REENTER = 50 };

void put_value(outcome *, value);
void put_shape(outcome *, const char *); /* of a reference */

/* The module "lab", as far as it is the same for all. */

void lab_log(uint32_t, uint64_t);
function *lab_callee(instance **); /* NULL: none */

typedef struct import {
    bool of;         /* from the instance that the step is of */
    name module, name;
} import;

typedef struct source { /* of a module to be instantiated; the engine may keep nothing of it without a copy */
    uint8_t *bytes;
    size_t size;
    const import *imports;
    size_t count;
    instance *of; /* NULL where it is no bridge */
} source;

/* For engines that link by name only: the module with other names in its import section, those of the step, and
   `module(import)` for each module; a bridge's have none.  Freed by the caller; NULL where there is nothing to change, or the section is not what `imports` says. */

uint8_t *imports_renamed(const source *, name (*module)(const source *, const import *), size_t *size);

/* For engines that know names without zeros only, or tell too little. */

enum { FUNCTION, TABLE, MEMORY, GLOBAL, TAG };

typedef struct export {
    name name; /* in the module */
    uint8_t kind;
    uint32_t index;
} export;

bool import_kinds(const source *, uint8_t *kinds); /* of each import; false where the module is broken */
bool memory_flags(const source *, uint8_t *flags); /* of the first memory; false where there is none */
bool table_minimum(const uint8_t *, size_t, uint32_t *minimum); /* of the first table; false where there is none */
size_t exports_of(const uint8_t *, size_t, export **);
const export *export_named(const export *, size_t, name, uint8_t kind);

/* For engines whose instances are islands. */

enum host { HOST_NONE, HOST_LOG, HOST_TRAP, HOST_REENTER, HOST_NOTHING };

enum host host_function(const import *, const char **params); /* i, I, f, F: i32, i64, f32, f64; no results */
bool host_global(const import *, value *);
bool host_own(const import *, uint8_t kind, bool *given, outcome *); /* memory or table */
bool unknown_import(const import *, outcome *); /* false, as the next */
bool incompatible_import(outcome *);
bool engine_exports(instance *, name, uint8_t kind); /* such engines offer that, too */

/* Recursion may exhaust the thread's stack, which is large: `guarded` says false where it did. */

bool guarded(void (*code)(void *), void *);
void stack_for_signals(void); /* of this thread, for engines that have handlers of their own */
bool stack_ended(const void *); /* whether an address is where the thread's stack ends */

/* What an engine offers. */

extern const char engine_name[];
extern const bool engine_native;
extern const size_t engine_stack; /* bytes of the thread that it runs on */

const char *engine_version(void);
bool engine_set(const char *setting, const char *value); /* false for a wrong one */
void engine_start(void);
bool engine_compiles(uint8_t *, size_t);

store *store_new(void);
void store_free(store *);
instance *engine_instantiate(store *, const source *, outcome *);
function *engine_function(instance *, name); /* NULL where there is none of that name */
void engine_call(instance *, function *, const value *, size_t, outcome *);
bool engine_memory(instance *, name, uint8_t **, size_t *);
void engine_get(instance *, name, outcome *); /* native only: a global */

#endif
