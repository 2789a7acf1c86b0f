/* Reads a line of JSON in place: strings are decoded where they stand, which never makes them longer. */
#include <stdlib.h>
#include <string.h>

#include "worker.h"

enum { MAX_DEPTH = 32 };

static char *at, *end;
static size_t used;

/* Nodes lie in blocks that stay for the next line. */
static json *node(void) {
    static struct block { struct block *next; json nodes[1000]; } *block, *blocks;
    if (!used) block = NULL;
    if (used % 1000 == 0) {
        struct block *next = block ? block->next : blocks;
        if (!next) {
            if (!(next = calloc(1, sizeof *next))) abort();
            *(block ? &block->next : &blocks) = next;
        }
        block = next;
    }
    json *made = &block->nodes[used++ % 1000];
    return memset(made, 0, sizeof *made);
}

static void space(void) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')) at++;
}

static bool take(char c) {
    space();
    return at < end && *at == c ? (at++, true) : false;
}

static long four_digits(void) {
    long code = 0;
    if (end - at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = *at++, lower = c | 32;
        int digit = c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
        if (digit < 0) return -1;
        code = code << 4 | digit;
    }
    return code;
}

static char *utf8(char *to, long c) {
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    *to++ = (char)(lead[more] | c >> 6 * more);
    while (more--) *to++ = (char)(0x80 | (c >> 6 * more & 0x3f));
    return to;
}

static bool string(name *into) {
    if (!take('"')) return false;
    char *to = at;
    into->at = at;
    while (at < end && *at != '"') {
        char c = *at++;
        if (c != '\\') {
            *to++ = c;
            continue;
        }
        if (at == end) return false;
        static const char letters[] = "\"\\/bfnrt", plain[] = "\"\\/\b\f\n\r\t";
        const char *found = strchr(letters, c = *at++);
        if (c && found) {
            *to++ = plain[found - letters];
            continue;
        }
        long code = c == 'u' ? four_digits() : -1;
        if (code >= 0xd800 && code < 0xdc00 && end - at >= 2 && at[0] == '\\' && at[1] == 'u') {
            at += 2;
            long low = four_digits();
            code = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00) : -1;
        }
        if (code < 0) return false;
        to = utf8(to, code);
    }
    into->size = (size_t)(to - into->at);
    return take('"');
}

static bool word(const char *text) {
    size_t size = strlen(text);
    if ((size_t)(end - at) < size || memcmp(at, text, size)) return false;
    at += size;
    return true;
}

static bool number(json *made) {
    bool negative = word("-");
    char *start = at;
    uint64_t n = 0;
    while (at < end && *at >= '0' && *at <= '9') {
        if (n > (INT64_MAX - 9) / 10) return false;
        n = n * 10 + (uint64_t)(*at++ - '0');
    }
    made->number = negative ? -(int64_t)n : (int64_t)n;
    return at > start;
}

static json *value_of(int depth) {
    json *made = node();
    space();
    if (at == end || depth > MAX_DEPTH) return NULL;
    if (*at == '"') {
        made->kind = JSON_STRING;
        return string(&made->string) ? made : NULL;
    }
    if (*at == '[' || *at == '{') {
        bool object = *at++ == '{';
        char close = object ? '}' : ']';
        made->kind = object ? JSON_OBJECT : JSON_LIST;
        json **last = &made->first;
        while (!take(close)) {
            name key = {0};
            if (made->first && !take(',')) return NULL;
            if (object && !(string(&key) && take(':'))) return NULL;
            if (!(*last = value_of(depth + 1))) return NULL;
            (*last)->key = key;
            last = &(*last)->next;
        }
        return made;
    }
    if (word("null")) return made;
    made->kind = JSON_TRUE;
    if (word("true")) return made;
    made->kind = JSON_FALSE;
    if (word("false")) return made;
    made->kind = JSON_NUMBER;
    return number(made) ? made : NULL;
}

json *json_read(char *line, size_t size) {
    at = line, end = line + size, used = 0;
    json *made = value_of(0);
    space();
    return at == end ? made : NULL;
}

json *json_get(const json *object, const char *key) {
    if (!object || object->kind != JSON_OBJECT) return NULL;
    for (json *found = object->first; found; found = found->next)
        if (is(found->key, key)) return found;
    return NULL;
}

bool same(name a, name b) { return a.size == b.size && (!a.size || !memcmp(a.at, b.at, a.size)); }

bool is(name a, const char *b) { return same(a, (name){b, strlen(b)}); }
