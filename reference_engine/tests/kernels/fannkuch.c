/* Fannkuch: flips of permutations of n. */
#include "kernel.h"
EXPORT i64 run(i32 n) {
    i32 perm[16], perm1[16], count[16], max = 0, check = 0, r = n, nperm = 0;
    for (i32 i = 0; i < n; i++) perm1[i] = i;
    for (;;) {
        for (; r != 1; r--) count[r - 1] = r;
        for (i32 i = 0; i < n; i++) perm[i] = perm1[i];
        i32 flips = 0, k;
        while ((k = perm[0]) != 0) {
            i32 half = (k + 1) >> 1;
            for (i32 i = 0; i < half; i++) { i32 t = perm[i]; perm[i] = perm[k - i]; perm[k - i] = t; }
            flips++;
        }
        if (flips > max) max = flips;
        check += nperm & 1 ? -flips : flips;
        for (;;) {
            if (r == n) return (i64)max << 32 | (u32)check;
            i32 p0 = perm1[0];
            for (i32 i = 0; i < r; i++) perm1[i] = perm1[i + 1];
            perm1[r] = p0;
            if (--count[r] > 0) break;
            r++;
        }
        nperm++;
    }
}
