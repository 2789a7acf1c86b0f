/* What the lab has to know of a module and engines do not tell: kinds of imports, exports by any name.  And the imports
   of a module under other names: an engine that links by name is told by them what to link. */
#include <stdlib.h>
#include <string.h>

#include "worker.h"

typedef struct reader {
    const uint8_t *at, *end;
    bool failed;
} reader;

static uint64_t number(reader *r) { /* unsigned or signed: only its end matters, or it is small */
    uint64_t n = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (r->at == r->end) break;
        uint8_t byte = *r->at++;
        if (shift < 64) n |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return n;
    }
    r->failed = true;
    return 0;
}

static uint8_t byte(reader *r) {
    if (r->at < r->end) return *r->at++;
    r->failed = true;
    return 0;
}

static void skip(reader *r, uint64_t size) {
    if (size > (uint64_t)(r->end - r->at))
        r->failed = true;
    else
        r->at += size;
}

static void skip_type(reader *r) {
    uint8_t first = byte(r);
    if (first == 0x63 || first == 0x64) number(r); /* (ref null ht), (ref ht) */
}

static void skip_limits(reader *r) {
    if (number(r) & 1) number(r);
    number(r);
}

static void skip_description(reader *r) {
    switch (byte(r)) {
    case 0: number(r); break;                  /* function */
    case 1: skip_type(r), skip_limits(r); break; /* table */
    case 2: skip_limits(r); break;             /* memory */
    case 3: skip_type(r), byte(r); break;      /* global */
    case 4: byte(r), number(r); break;         /* tag */
    default: r->failed = true;
    }
}

static void put_number(text *to, size_t n) {
    do {
        uint8_t low = (uint8_t)(n & 0x7f) | (n > 0x7f ? 0x80 : 0);
        text_put(to, &low, 1);
    } while (n >>= 7);
}

static void put_name(text *to, name n) {
    put_number(to, n.size);
    text_put(to, n.at, n.size);
}

/* The content of the section with other names. */
static text renamed(reader *r, const source *of, name (*module)(const source *, const import *)) {
    text made = {0};
    if (number(r) != of->count) r->failed = true;
    put_number(&made, of->count);
    for (size_t i = 0; i < of->count && !r->failed; i++) {
        skip(r, number(r));
        skip(r, number(r));
        const uint8_t *kept = r->at;
        skip_description(r);
        put_name(&made, module(of, &of->imports[i]));
        put_name(&made, of->imports[i].name);
        if (!r->failed) text_put(&made, kept, (size_t)(r->at - kept));
    }
    if (r->at != r->end) r->failed = true;
    return made;
}

/* The content of the first section of an id; false where there is none, or a section before it is broken. */
static bool section_of(const uint8_t *bytes, size_t size, uint8_t id, reader *content) {
    if (size < 8) return false;
    reader r = {bytes + 8, bytes + size, false};
    while (r.at < r.end && !r.failed) {
        bool found = byte(&r) == id;
        uint64_t length = number(&r);
        content->at = r.at;
        skip(&r, length);
        content->end = r.at;
        content->failed = false;
        if (found && !r.failed) return true;
    }
    return false;
}

uint8_t *imports_renamed(const source *of, name (*module)(const source *, const import *), size_t *size) {
    reader content;
    if (!of->count || !section_of(of->bytes, of->size, 2, &content)) return NULL;
    const uint8_t *start = content.at, *end = content.end, *length = start - 1;
    while (length > of->bytes && length[-1] & 0x80) length--; /* its first byte: those before the last go on */
    text section = renamed(&content, of, module), made = {0};
    text_put(&made, of->bytes, (size_t)(length - of->bytes));
    put_number(&made, section.size);
    text_put(&made, section.at, section.size);
    text_put(&made, end, (size_t)(of->bytes + of->size - end));
    free(section.at);
    if (!content.failed) {
        *size = made.size;
        return (uint8_t *)made.at;
    }
    free(made.at);
    return NULL;
}

bool import_kinds(const source *of, uint8_t *kinds) {
    reader r;
    if (!of->count) return true;
    if (!section_of(of->bytes, of->size, 2, &r) || number(&r) != of->count) return false;
    for (size_t i = 0; i < of->count && !r.failed; i++) {
        skip(&r, number(&r));
        skip(&r, number(&r));
        if (r.at < r.end) kinds[i] = *r.at;
        skip_description(&r);
    }
    return !r.failed;
}

size_t exports_of(const uint8_t *bytes, size_t size, export **into) {
    reader r;
    *into = NULL;
    if (!section_of(bytes, size, 7, &r)) return 0;
    uint64_t count = number(&r);
    if (r.failed || count > size || !(*into = calloc(count + 1, sizeof **into))) return 0;
    for (size_t i = 0; i < count; i++) {
        export *e = &(*into)[i];
        e->name.size = number(&r);
        e->name.at = (const char *)r.at;
        skip(&r, e->name.size);
        e->kind = byte(&r);
        e->index = (uint32_t)number(&r);
        if (r.failed) return i;
    }
    return count;
}

const export *export_named(const export *list, size_t count, name wanted, uint8_t kind) {
    for (size_t i = 0; i < count; i++)
        if (list[i].kind == kind && same(list[i].name, wanted)) return &list[i];
    return NULL;
}

bool table_minimum(const uint8_t *bytes, size_t size, uint32_t *minimum) {
    reader r;
    if (!section_of(bytes, size, 4, &r) || !number(&r)) return false;
    skip_type(&r), byte(&r);
    *minimum = (uint32_t)number(&r);
    return !r.failed;
}

bool memory_flags(const source *of, uint8_t *flags) {
    reader r;
    if (!section_of(of->bytes, of->size, 5, &r) || !number(&r)) return false;
    *flags = byte(&r);
    return !r.failed;
}
