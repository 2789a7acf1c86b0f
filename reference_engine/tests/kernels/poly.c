/* f64 polynomials, conversions, min, max, comparisons: logistic map, exp by series, bins. */
#include "kernel.h"
static i32 bins[64];
static f64 ex(f64 x) { f64 t = 1, s = 1; for (i32 i = 1; i < 14; i++) { t = t * x / i; s += t; } return s; }
EXPORT i64 run(i32 n) {
    f64 x = 0.3, lo = 1, hi = 0, sum = 0;
    for (i32 i = 0; i < 64; i++) bins[i] = 0;
    for (i32 i = 0; i < n; i++) {
        x = 3.99 * x * (1 - x);
        if (x < lo) lo = x;
        if (x > hi) hi = x;
        bins[(i32)(x * 63.999)]++;
        sum += ex(x) - __builtin_fabs(x - 0.5) + __builtin_floor(x * 10);
    }
    u64 h = 0; for (i32 i = 0; i < 64; i++) h = h * 31 + (u32)bins[i];
    return bits(sum + lo + hi) ^ (i64)h;
}
