/* Objects with tables of methods: call_indirect on fields. */
#include "kernel.h"
typedef struct shape shape;
typedef struct { i32 (*area)(const shape *); void (*grow)(shape *, i32); i32 (*kind)(void); } methods;
struct shape { const methods *m; i32 a, b; };
static NOINLINE i32 ra(const shape *s) { return s->a * s->b; } static void rg(shape *s, i32 d) { s->a += d; } static i32 rk(void) { return 1; }
static NOINLINE i32 ta(const shape *s) { return s->a * s->b / 2; } static void tg(shape *s, i32 d) { s->b += d; } static i32 tk(void) { return 2; }
static NOINLINE i32 ca(const shape *s) { return s->a * s->a * 3; } static void cg(shape *s, i32 d) { s->a ^= d; } static i32 ck(void) { return 3; }
static const methods all[3] = {{ra, rg, rk}, {ta, tg, tk}, {ca, cg, ck}};
static shape v[300];
EXPORT i64 run(i32 n) {
    u64 sum = 0; u32 s = 11;
    for (u32 i = 0; i < 300; i++) { v[i].m = &all[rnd(&s) % 3]; v[i].a = (i32)(rnd(&s) & 63); v[i].b = (i32)(rnd(&s) & 63); }
    for (i32 k = 0; k < n; k++)
        for (u32 i = 0; i < 300; i++) { shape *x = &v[i]; sum += (u64)(i64)(x->m->area(x) + x->m->kind()); x->m->grow(x, (i32)(i & 3) - 1); }
    return (i64)sum;
}
