/* For engines whose instances are islands: they take host functions, and values of globals, but cannot share a memory, a
   table, or a global that changes.  What they import is looked up here; `lab` and `spectest` are the same for all. */
#include <string.h>

#include "worker.h"

bool unknown_import(const import *asked, outcome *out) {
    fail(out, "unlinkable", "unknown import %.*s", (int)asked->name.size, asked->name.at);
    return false;
}

bool incompatible_import(outcome *out) {
    fail(out, "unlinkable", "incompatible import type");
    return false;
}

static bool from(const import *asked, const char *module, const char *wanted) {
    return is(asked->module, module) && is(asked->name, wanted);
}

enum host host_function(const import *asked, const char **params) {
    static const struct { const char *module, *name, *params; enum host host; } all[] = {
        {"lab", "log", "iI", HOST_LOG},
        {"lab", "trap", "", HOST_TRAP},
        {"lab", "reenter", "i", HOST_REENTER},
        {"spectest", "print", "", HOST_NOTHING},
        {"spectest", "print_i32", "i", HOST_NOTHING},
        {"spectest", "print_i64", "I", HOST_NOTHING},
        {"spectest", "print_f32", "f", HOST_NOTHING},
        {"spectest", "print_f64", "F", HOST_NOTHING},
        {"spectest", "print_i32_f32", "if", HOST_NOTHING},
        {"spectest", "print_f64_f64", "FF", HOST_NOTHING},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (from(asked, all[i].module, all[i].name)) {
            *params = all[i].params;
            return all[i].host;
        }
    return HOST_NONE;
}

bool host_global(const import *asked, value *into) {
    static const struct { const char *name; value value; } all[] = {
        {"global_i32", {"i32", 666}},
        {"global_i64", {"i64", 666}},
        {"global_f32", {"f32", 0x4426a666}},
        {"global_f64", {"f64", 0x4084d4cccccccccd}},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (from(asked, "spectest", all[i].name)) {
            *into = all[i].value;
            return true;
        }
    return false;
}

/* The first module of a store that imports the memory or table of spectest has it for itself. */
bool host_own(const import *asked, uint8_t kind, bool *given, outcome *out) {
    const char *what = kind == MEMORY ? "memory" : "table";
    if (from(asked, "spectest", what) && !*given) return *given = true;
    instance *of = session_registered(current, asked->module);
    if (!from(asked, "spectest", what) && !(of && engine_exports(of, asked->name, kind))) return unknown_import(asked, out);
    fail(out, "unsupported", "a %s cannot be imported", what);
    return false;
}
