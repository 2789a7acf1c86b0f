/* Radix-2 transform of 1024 complex f32 and back, n times. */
#include "kernel.h"
#define N 1024
static float re[N], im[N], cw[N / 2], sw[N / 2];
static void fft(int back) {
    for (u32 i = 1, j = 0; i < N; i++) {
        u32 bit = N >> 1;
        for (; j & bit; bit >>= 1) j ^= bit;
        j ^= bit;
        if (i < j) { float t = re[i]; re[i] = re[j]; re[j] = t; t = im[i]; im[i] = im[j]; im[j] = t; }
    }
    for (u32 len = 2; len <= N; len <<= 1) {
        u32 half = len / 2, step = N / len;
        for (u32 i = 0; i < N; i += len)
            for (u32 k = 0; k < half; k++) {
                float wr = cw[k * step], wi = back ? -sw[k * step] : sw[k * step];
                float xr = re[i + k + half] * wr - im[i + k + half] * wi, xi = re[i + k + half] * wi + im[i + k + half] * wr;
                re[i + k + half] = re[i + k] - xr; im[i + k + half] = im[i + k] - xi;
                re[i + k] += xr; im[i + k] += xi;
            }
    }
}
EXPORT i64 run(i32 n) {
    u32 s = 3;
    f64 c = 1, d = 0, pc = 0.99998117528260, ps = 0.00613588464915;
    for (u32 i = 0; i < N / 2; i++) { cw[i] = (float)c; sw[i] = (float)d; f64 e = c * pc - d * ps; d = c * ps + d * pc; c = e; }
    for (u32 i = 0; i < N; i++) { re[i] = (float)(i32)rnd(&s) / 2147483648.0f; im[i] = 0; }
    for (i32 k = 0; k < n; k++) {
        fft(0); fft(1);
        for (u32 i = 0; i < N; i++) re[i] *= 1.0f / N, im[i] *= 1.0f / N;
    }
    f64 sum = 0; for (u32 i = 0; i < N; i++) sum += re[i] + im[i];
    return bits(sum);
}
