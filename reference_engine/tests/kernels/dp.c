/* Edit distance of two texts of 512 bytes, and a knapsack; rows of i32, min by select. */
#include "kernel.h"
static u8 a[512], b[512]; static i32 row[513]; static i32 best[2000];
EXPORT i64 run(i32 n) {
    u64 sum = 0; u32 s = 31;
    for (i32 k = 0; k < n; k++) {
        for (u32 i = 0; i < 512; i++) a[i] = (u8)(rnd(&s) & 7), b[i] = (u8)(rnd(&s) & 7);
        for (i32 j = 0; j <= 512; j++) row[j] = j;
        for (i32 i = 1; i <= 512; i++) {
            i32 diag = row[0]; row[0] = i;
            for (i32 j = 1; j <= 512; j++) {
                i32 up = row[j], c = diag + (a[i - 1] != b[j - 1]), l = row[j - 1] + 1;
                if (up + 1 < c) c = up + 1;
                if (l < c) c = l;
                diag = up; row[j] = c;
            }
        }
        for (i32 i = 0; i < 2000; i++) best[i] = 0;
        for (i32 i = 0; i < 40; i++) { i32 w = (i32)(rnd(&s) % 90) + 5, v = (i32)(rnd(&s) & 255); for (i32 c = 1999; c >= w; c--) { i32 x = best[c - w] + v; if (x > best[c]) best[c] = x; } }
        sum = sum * 31 + (u32)row[512] + (u32)best[1999];
    }
    return (i64)sum;
}
