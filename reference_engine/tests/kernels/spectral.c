/* Spectral norm of an infinite matrix, 100 x 100 of it, n rounds, f64. */
#include "kernel.h"
#define N 100
static f64 u[N], v[N], t[N];
static f64 a(i32 i, i32 j) { return 1.0 / ((i + j) * (i + j + 1) / 2 + i + 1); }
static void mul(f64 *x, f64 *y, int turned) {
    for (i32 i = 0; i < N; i++) { f64 s = 0; for (i32 j = 0; j < N; j++) s += (turned ? a(j, i) : a(i, j)) * x[j]; y[i] = s; }
}
EXPORT i64 run(i32 n) {
    for (i32 i = 0; i < N; i++) u[i] = 1;
    for (i32 k = 0; k < n; k++) { mul(u, t, 0); mul(t, v, 1); mul(v, t, 0); mul(t, u, 1); }
    f64 s = 0; for (i32 i = 0; i < N; i++) s += u[i] * v[i];
    return bits(s);
}
