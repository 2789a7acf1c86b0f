/* Tokens and values of an expression: switch on characters, recursion by precedence. */
#include "kernel.h"
static const char *p; static char text[4096];
static i64 expr(void);
static void blank(void) { while (*p == ' ' || *p == '\n') p++; }
static i64 atom(void) {
    blank();
    switch (*p) {
    case '(': { p++; i64 v = expr(); blank(); p++; return v; }
    case '-': p++; return -atom();
    case '~': p++; return ~atom();
    case 'a' ... 'z': { i64 h = 0; while (*p >= 'a' && *p <= 'z') h = h * 131 + *p++; return h & 0xffff; }
    default: { i64 v = 0; while (*p >= '0' && *p <= '9') v = v * 10 + (*p++ - '0'); return v; }
    }
}
static i64 term(void) {
    i64 v = atom();
    for (;;) {
        blank();
        switch (*p) {
        case '*': p++; v *= atom(); break;
        case '/': { p++; i64 d = atom(); v = d > 0 ? v / d : v; break; }
        case '%': { p++; i64 d = atom(); v = d > 0 ? v % d : v; break; }
        case '&': p++; v &= atom(); break;
        default: return v;
        }
    }
}
static i64 expr(void) {
    i64 v = term();
    for (;;) {
        blank();
        switch (*p) {
        case '+': p++; v += term(); break;
        case '-': p++; v -= term(); break;
        case '|': p++; v |= term(); break;
        case '^': p++; v ^= term(); break;
        default: return v;
        }
    }
}
EXPORT i64 run(i32 n) {
    static const char piece[] = "(12 + foo * 3 - (bar / 7)) * ~42 + baz % 1000 ^ (99 | quux) - -5 & hello + ";
    u32 o = 0;
    while (o < sizeof text - 80) for (u32 i = 0; piece[i]; i++) text[o++] = piece[i];
    text[o++] = '1'; text[o] = 0;
    u64 sum = 0;
    for (i32 k = 0; k < n; k++) { p = text; sum = sum * 31 + (u64)expr(); }
    return (i64)sum;
}
