/* Texts that grow, hex and base64. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker.h"

static char *room(text *t, size_t size) {
    if (t->room - t->size < size) {
        t->room = (t->room + size) * 2;
        if (!(t->at = realloc(t->at, t->room))) abort();
    }
    return t->at + t->size;
}

void text_put(text *t, const void *from, size_t size) {
    if (size) memcpy(room(t, size), from, size);
    t->size += size;
}

void text_print(text *t, const char *format, ...) {
    va_list list;
    va_start(list, format);
    int size = vsnprintf(NULL, 0, format, list);
    va_end(list);
    va_start(list, format);
    vsnprintf(room(t, (size_t)size + 1), (size_t)size + 1, format, list);
    va_end(list);
    t->size += (size_t)size;
}

/* Engines' words may be cut in the middle of a character: what is not ASCII becomes a question mark. */
void text_quote(text *t, const char *from, size_t size) {
    text_put(t, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        char c = from[i];
        if (c == '"' || c == '\\')
            text_print(t, "\\%c", c);
        else
            text_put(t, c >= ' ' && c < 0x7f ? &c : "?", 1);
    }
    text_put(t, "\"", 1);
}

void text_hex(text *t, const uint8_t *from, size_t size) {
    static const char digits[] = "0123456789abcdef";
    char *to = room(t, size * 2);
    for (size_t i = 0; i < size; i++) {
        *to++ = digits[from[i] >> 4];
        *to++ = digits[from[i] & 15];
    }
    t->size += size * 2;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

size_t from_hex(char *at, size_t size) {
    for (size_t i = 0; i < size / 2; i++) {
        int high = hex_digit(at[2 * i]), low = hex_digit(at[2 * i + 1]);
        if (high < 0 || low < 0) return SIZE_MAX;
        at[i] = (char)(high << 4 | low);
    }
    return size % 2 ? SIZE_MAX : size / 2;
}

static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t from_base64(char *at, size_t size) {
    static int8_t digits[256];
    if (!digits[0])
        for (int c = 0; c < 256; c++) digits[c] = (int8_t)base64_digit((char)c);
    while (size && at[size - 1] == '=') size--;
    char *to = at;
    uint32_t bits = 0;
    for (size_t i = 0; i < size; i++) {
        int digit = digits[(uint8_t)at[i]];
        if (digit < 0) return SIZE_MAX;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4) *to++ = (char)(bits >> (6 - 2 * (i % 4)));
    }
    return size % 4 == 1 ? SIZE_MAX : (size_t)(to - at);
}
