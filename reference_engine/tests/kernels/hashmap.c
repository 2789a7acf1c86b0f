/* Open addressing with structures of key, value and state; insert, look up, delete. */
#include "kernel.h"
#define SIZE 4096
typedef struct { u64 key; u32 value; u8 state; } cell;
static cell table[SIZE];
static u32 hash(u64 k) { k *= 0x9E3779B97F4A7C15ull; return (u32)(k >> 40); }
static NOINLINE cell *find(u64 key) {
    u32 i = hash(key) & (SIZE - 1), gap = SIZE;
    while (table[i].state) {
        if (table[i].state == 1 && table[i].key == key) return &table[i];
        if (table[i].state == 2 && gap == SIZE) gap = i;
        i = (i + 1) & (SIZE - 1);
    }
    return &table[gap < SIZE ? gap : i];
}
EXPORT i64 run(i32 n) {
    u64 sum = 0; u32 s = 42;
    for (u32 i = 0; i < SIZE; i++) table[i].state = 0, table[i].key = 0, table[i].value = 0;
    for (i32 k = 0; k < n; k++) {
        u64 key = rnd(&s) & 2047; u32 what = rnd(&s) & 3;
        cell *c = find(key * 77777);
        if (what == 0 && c->state == 1) { sum += c->value; c->state = 2; }
        else if (c->state != 1) { c->key = key * 77777; c->value = (u32)k; c->state = 1; }
        else { sum ^= c->value; c->value += what; }
    }
    return (i64)sum;
}
