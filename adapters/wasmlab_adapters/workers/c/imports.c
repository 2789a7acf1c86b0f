/* Gives the imports of a module other names: an engine that links by name is told what to link by them. */
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

uint8_t *imports_renamed(const source *of, name (*module)(const source *, const import *), size_t *size) {
    if (!of->count || of->size < 8) return NULL;
    reader r = {of->bytes + 8, of->bytes + of->size, false};
    while (r.at < r.end && !r.failed) {
        const uint8_t *start = r.at;
        uint8_t id = byte(&r);
        reader content = {0};
        uint64_t length = number(&r);
        content.at = r.at;
        skip(&r, length);
        content.end = r.at;
        if (id != 2 || r.failed) continue;
        text section = renamed(&content, of, module), made = {0};
        text_put(&made, of->bytes, (size_t)(start - of->bytes));
        text_put(&made, &id, 1);
        put_number(&made, section.size);
        text_put(&made, section.at, section.size);
        text_put(&made, r.at, (size_t)(r.end - r.at));
        free(section.at);
        if (!content.failed) {
            *size = made.size;
            return (uint8_t *)made.at;
        }
        free(made.at);
        break;
    }
    return NULL;
}
