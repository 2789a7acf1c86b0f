/* Binary search tree from an arena, 4096 keys, insert, find, sum by recursion. */
#include "kernel.h"
typedef struct node { struct node *l, *r; u32 key; i32 value; } node;
static node pool[4096]; static u32 used;
static NOINLINE node *insert(node *t, u32 key) {
    if (!t) { node *x = &pool[used++]; x->l = x->r = 0; x->key = key; x->value = 1; return x; }
    if (key < t->key) t->l = insert(t->l, key);
    else if (key > t->key) t->r = insert(t->r, key);
    else t->value++;
    return t;
}
static NOINLINE i64 sum(const node *t) { return t ? sum(t->l) + (i64)t->key * t->value + sum(t->r) : 0; }
EXPORT i64 run(i32 n) {
    u64 total = 0;
    for (i32 k = 0; k < n; k++) {
        u32 s = 1 + (u32)k; node *root = 0; used = 0;
        for (u32 i = 0; i < 4096; i++) root = insert(root, rnd(&s) & 0xfffff);
        total += (u64)sum(root);
    }
    return (i64)total;
}
