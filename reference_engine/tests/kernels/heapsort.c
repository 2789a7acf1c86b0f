/* Heap sort of 8192 u32. */
#include "kernel.h"
#define N 8192
static u32 v[N];
static void sift(u32 *a, u32 at, u32 n) {
    for (;;) {
        u32 child = 2 * at + 1;
        if (child >= n) return;
        if (child + 1 < n && a[child] < a[child + 1]) child++;
        if (a[at] >= a[child]) return;
        u32 t = a[at]; a[at] = a[child]; a[child] = t;
        at = child;
    }
}
EXPORT i64 run(i32 n) {
    u64 sum = 0;
    for (i32 k = 0; k < n; k++) {
        u32 s = 12345 + (u32)k;
        for (u32 i = 0; i < N; i++) v[i] = rnd(&s);
        for (u32 i = N / 2; i-- > 0;) sift(v, i, N);
        for (u32 i = N - 1; i > 0; i--) {
            u32 t = v[0]; v[0] = v[i]; v[i] = t;
            sift(v, 0, i);
        }
        for (u32 i = 0; i < N; i++) sum = sum * 31 + v[i];
    }
    return (i64)sum;
}
