/* The protocol: requests from standard input, answers on a descriptor of their own.

       worker features.tsv [setting=value ...] */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker.h"

void digest_of(uint8_t *, size_t, char digest[17]);

session *current;
static session *sessions;
static text held; /* what is said, but not written yet */
static int answers;

static void stop(const char *why) {
    fprintf(stderr, "worker: %s\n", why);
    exit(2);
}

static void flush(void) {
    size_t done = 0;
    while (done < held.size) {
        ssize_t written = write(answers, held.at + done, held.size - done);
        if (written < 0 && errno != EINTR) stop("the answers cannot be written");
        if (written > 0) done += (size_t)written;
    }
    held.size = 0;
}

/* Outcomes */

void fail(outcome *into, const char *kind, const char *format, ...) {
    char words[1000];
    va_list list;
    va_start(list, format);
    vsnprintf(words, sizeof words, format, list);
    va_end(list);
    into->kind = kind;
    into->detail.size = into->values.size = 0;
    text_print(&into->detail, "%s", words);
}

void put_value(outcome *into, value v) {
    text_print(&into->values, "%s\"%.3s:%llx\"", into->values.size ? "," : "", v.type, (unsigned long long)v.bits);
}

void put_shape(outcome *into, const char *shape) {
    text_print(&into->values, "%s\"%s\"", into->values.size ? "," : "", shape);
}

static void tell(const outcome *found, const char *between) {
    text_print(&held, "%s{\"kind\":\"%s\"", between, found->kind ? found->kind : "returned");
    if (found->values.size) {
        text_print(&held, ",\"values\":[");
        text_put(&held, found->values.at, found->values.size);
        text_put(&held, "]", 1);
    }
    if (found->detail.size) {
        text_print(&held, ",\"detail\":");
        text_quote(&held, found->detail.at, found->detail.size);
    }
    text_put(&held, "}", 1);
}

/* Sessions */

static name copied(name from) {
    char *to = malloc(from.size + 1);
    if (!to) abort();
    memcpy(to, from.at, from.size);
    return (name){to, from.size};
}

static instance *looked_up(const named *list, name wanted) {
    for (; list; list = list->next)
        if (same(list->name, wanted)) return list->instance;
    return NULL;
}

static void add(named **list, name key, instance *found) {
    named *made = malloc(sizeof *made);
    if (!made) abort();
    *made = (named){copied(key), found, *list};
    *list = made;
}

static void drop(named *list) {
    while (list) {
        named *next = list->next;
        free((char *)list->name.at);
        free(list);
        list = next;
    }
}

instance *session_instance(const session *s, name wanted) { return looked_up(s->instances, wanted); }

instance *session_registered(const session *s, name wanted) { return looked_up(s->registered, wanted); }

static session *session_new(void) {
    session *made = calloc(1, sizeof *made);
    if (!made) abort();
    made->store = store_new();
    return made;
}

static void session_free(session *s) {
    store_free(s->store);
    drop(s->instances);
    drop(s->registered);
    free((char *)s->name.at);
    free(s->trace.at);
    free(s);
}

/* The session of a request, taken out of the list; `keep` puts it back. */
static session *take_session(const json *key) {
    for (session **at = &sessions; key && *at; at = &(*at)->next)
        if (same((*at)->name, key->string)) {
            session *found = *at;
            *at = found->next;
            found->trace.size = 0;
            return found;
        }
    session *made = session_new();
    if (key) made->name = copied(key->string);
    return made;
}

static void keep(session *s) {
    s->next = sessions;
    sessions = s;
}

/* The module "lab" */

void lab_log(uint32_t number, uint64_t wide) {
    text *t = &current->trace;
    text_print(t, "%s\"%x,%llx\"", t->size ? "," : "", number, (unsigned long long)wide);
}

function *lab_callee(instance **of) {
    *of = session_registered(current, (name){"lab.callee", 10});
    return *of ? engine_function(*of, (name){"reenter", 7}) : NULL;
}

/* Steps */

static name text_of(const json *step, const char *key) {
    const json *found = json_get(step, key);
    return found && found->kind == JSON_STRING ? found->string : (name){"", 0};
}

static bool number_of(const json *step, const char *key, uint64_t *into) {
    const json *found = json_get(step, key);
    if (!found || found->kind != JSON_NUMBER || found->number < 0) return false;
    *into = (uint64_t)found->number;
    return true;
}

static void instantiate(const json *step, outcome *out) {
    name bytes = text_of(step, "module");
    source of = {.bytes = (uint8_t *)bytes.at, .size = from_base64((char *)bytes.at, bytes.size)};
    if (of.size == SIZE_MAX) return fail(out, "unsupported", "no base64");
    const json *parent = json_get(step, "of");
    if (parent && parent->kind == JSON_STRING && !(of.of = session_instance(current, parent->string)))
        return fail(out, "unsupported", "no instance %.*s", (int)parent->string.size, parent->string.at);
    static import *imports;
    static size_t room;
    const json *list = json_get(step, "imports");
    for (const json *found = list ? list->first : NULL; found; found = found->next) {
        if (of.count == room && !(imports = realloc(imports, (room = room * 2 + 16) * sizeof *imports))) abort();
        const json *module = found->first, *field = module ? module->next : NULL;
        if (!field) return fail(out, "unsupported", "an import is a module and a name");
        imports[of.count++] = (import){module->kind == JSON_NULL, module->string, field->string};
    }
    of.imports = imports;
    instance *made = engine_instantiate(current->store, &of, out);
    if (made) add(&current->instances, text_of(step, "name"), made);
}

/* The arguments of a call: type:hex each. */
static bool arguments(const json *list, value *into, size_t *count) {
    for (const json *found = list ? list->first : NULL; found; found = found->next) {
        name v = found->string;
        char digits[17] = "";
        if (*count == MAX_VALUES || v.size < 5 || v.size > 20 || v.at[3] != ':') return false;
        memcpy(digits, v.at + 4, v.size - 4);
        memcpy(into[*count].type, v.at, 3);
        into[(*count)++].bits = strtoull(digits, NULL, 16);
    }
    return true;
}

static void call(const json *step, instance *found, outcome *out) {
    static value args[MAX_VALUES];
    size_t count = 0;
    uint64_t times = 1;
    name export = text_of(step, "export");
    function *f = engine_function(found, export);
    if (!f) return fail(out, "unsupported", "no function %.*s", (int)export.size, export.at);
    if (!arguments(json_get(step, "args"), args, &count)) return fail(out, "unsupported", "arguments of that kind");
    if (json_get(step, "repeat") && !number_of(step, "repeat", &times)) return fail(out, "unsupported", "repeat");
    while (times--) {
        out->kind = NULL;
        out->values.size = out->detail.size = 0;
        current->depth = 0;
        engine_call(found, f, args, count, out);
        if (out->kind && strcmp(out->kind, "threw")) return;
    }
}

static void memory(const json *step, instance *found, bool write, bool full, outcome *out) {
    uint8_t *data = NULL;
    size_t size = 0;
    uint64_t at = 0, bytes = 0;
    name export = text_of(step, "export"), hex = text_of(step, "hex");
    if (!engine_memory(found, export, &data, &size))
        return fail(out, "unsupported", "no memory %.*s", (int)export.size, export.at);
    bool part = number_of(step, "bytes", &bytes);
    number_of(step, "at", &at);
    if (write && (bytes = from_hex((char *)hex.at, hex.size)) == SIZE_MAX) return fail(out, "unsupported", "no hex");
    if (at > size || bytes > size - at)
        return fail(out, "unsupported", "%llu bytes at %llu of a memory of %zu", (unsigned long long)bytes,
                    (unsigned long long)at, size);
    if (write) {
        if (bytes) memcpy(data + at, hex.at, bytes);
        return;
    }
    text *to = &out->values;
    if (!part) text_print(to, "\"i64:%zx\",", size);
    if (part || full) {
        text_print(to, "\"bytes:");
        text_hex(to, data + (part ? at : 0), part ? bytes : size);
        text_put(to, "\"", 1);
    } else {
        char digest[17];
        digest_of(data, size, digest);
        text_print(to, "\"digest:%s\"", digest);
    }
}

static void run(const json *step, bool full, outcome *out) {
    name todo = text_of(step, "do"), key = text_of(step, "name");
    if (is(todo, "end")) return;
    if (is(todo, "instantiate")) return instantiate(step, out);
    static const char *const known[] = {"register", "call", "write", "read", "get"};
    size_t which = 0;
    while (which < 5 && !is(todo, known[which])) which++;
    if (which == 5 || (which == 4 && !engine_native))
        return fail(out, "unsupported", "no step %.*s", (int)todo.size, todo.at);
    instance *found = session_instance(current, key);
    if (!found) return fail(out, "unsupported", "no instance %.*s", (int)key.size, key.at);
    switch (which) {
    case 0: return add(&current->registered, text_of(step, "as"), found);
    case 1: return call(step, found, out);
    case 4: return engine_get(found, text_of(step, "export"), out);
    default: return memory(step, found, which == 2, full, out);
    }
}

/* Requests */

static void answer(char *line, size_t size) {
    static outcome out;
    const json *asked = json_read(line, size), *id = json_get(asked, "id"), *steps = json_get(asked, "steps");
    bool numbered = id && id->kind == JSON_NUMBER;
    if (!numbered || !steps || steps->kind != JSON_LIST) {
        if (numbered)
            text_print(&held, "{\"id\":%lld,\"error\":\"no steps\"}\n", (long long)id->number);
        else
            text_print(&held, "{\"id\":null,\"error\":\"no request\"}\n");
        return;
    }
    text_print(&held, "{\"started\":%lld}\n", (long long)id->number);
    flush();
    const json *key = json_get(asked, "session");
    if (key && key->kind != JSON_STRING) key = NULL;
    current = take_session(key);
    bool full = is(text_of(asked, "observe"), "full"), ended = !key;
    text_print(&held, "{\"id\":%lld,\"outcomes\":[", (long long)id->number);
    for (const json *step = steps->first; step; step = step->next) {
        out.kind = NULL;
        out.values.size = out.detail.size = 0;
        run(step, full, &out);
        tell(&out, step == steps->first ? "" : ",");
        ended |= is(text_of(step, "do"), "end");
    }
    text_put(&held, "]", 1);
    if (current->trace.size) {
        text_print(&held, ",\"trace\":[");
        text_put(&held, current->trace.at, current->trace.size);
        text_put(&held, "]", 1);
    }
    text_put(&held, "}\n", 2);
    ended ? session_free(current) : keep(current);
}

static void *work(void *unused) {
    (void)unused;
    static text lines;
    size_t start = 0, seen = 0;
    for (;;) {
        char *end = seen < lines.size ? memchr(lines.at + seen, '\n', lines.size - seen) : NULL;
        if (end) {
            answer(lines.at + start, (size_t)(end - lines.at) - start);
            start = seen = (size_t)(end - lines.at) + 1;
            continue;
        }
        flush();
        memmove(lines.at, lines.at + start, lines.size -= start);
        start = 0, seen = lines.size;
        if (lines.room - lines.size < 1 << 16 && !(lines.at = realloc(lines.at, lines.room = lines.room * 2 + (1 << 18))))
            abort();
        ssize_t more = read(0, lines.at + lines.size, lines.room - lines.size);
        if (more < 0 && errno == EINTR) continue;
        if (more <= 0) break;
        lines.size += (size_t)more;
    }
    if (lines.size) answer(lines.at, lines.size);
    flush();
    return NULL;
}

/* A row of features.tsv is a feature, what it builds on, and a module that needs it: the engine is asked itself. */
static void tell_features(const char *path) {
    static char row[1 << 16];
    char found[4096] = ",";
    FILE *file = fopen(path, "r");
    if (!file) stop("features.tsv cannot be read");
    const char *between = "";
    while (fgets(row, sizeof row, file)) {
        char *needs = strchr(row, '\t'), *module = needs ? strchr(needs + 1, '\t') : NULL;
        if (!module) stop("features.tsv is of another kind");
        *needs++ = *module++ = 0;
        bool has = true;
        for (char *need = strtok(needs, ","); need; need = strtok(NULL, ",")) {
            char wanted[64];
            snprintf(wanted, sizeof wanted, ",%s,", need);
            has &= strstr(found, wanted) != NULL;
        }
        size_t size = from_base64(module, strcspn(module, "\n"));
        if (!has || size == SIZE_MAX || !engine_compiles((uint8_t *)module, size)) continue;
        strncat(found, row, sizeof found - strlen(found) - 2);
        strcat(found, ",");
        text_print(&held, "%s\"%s\"", between, row);
        between = ",";
    }
    fclose(file);
}

static void on_large_stack(void *(*code)(void *)) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, engine_stack);
    if (pthread_create(&thread, &attributes, code, NULL)) stop("no thread");
    pthread_join(thread, NULL);
}

int main(int count, char **arguments) {
    if ((answers = dup(1)) < 0 || dup2(2, 1) < 0) stop("no descriptors");
    if (count < 2) stop("usage: worker features.tsv [setting=value ...]");
    for (int i = 2; i < count; i++) {
        char *is_at = strchr(arguments[i], '=');
        if (is_at) *is_at = 0;
        if (!is_at || !engine_set(arguments[i], is_at + 1)) stop("a setting that is not known");
    }
    engine_start();
    text_print(&held, "{\"protocol\":1,\"engine\":\"%s\",\"version\":\"%s\",\"values\":\"%s\",", engine_name,
               engine_version(), engine_native ? "native" : "bridge");
    text_print(&held, "%s\"features\":[", engine_native ? "\"spectest\":true,\"linking\":\"functions\"," : "");
    tell_features(arguments[1]);
    text_print(&held, "]}\n");
    flush();
    on_large_stack(work);
    return 0;
}
