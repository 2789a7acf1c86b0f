/* Factorials in 32-bit limbs with 64-bit products; then the digits by division. */
#include "kernel.h"
static u32 d[600];
EXPORT i64 run(i32 n) {
    u64 sum = 0;
    for (i32 r = 0; r < n; r++) {
        u32 len = 1; d[0] = 1;
        for (u32 k = 2; k <= 600; k++) {
            u64 carry = 0;
            for (u32 i = 0; i < len; i++) { carry += (u64)d[i] * k; d[i] = (u32)carry; carry >>= 32; }
            while (carry) { d[len++] = (u32)carry; carry >>= 32; }
        }
        while (len) {
            u64 rem = 0;
            for (u32 i = len; i-- > 0;) { rem = rem << 32 | d[i]; d[i] = (u32)(rem / 1000000000u); rem %= 1000000000u; }
            sum = sum * 31 + rem;
            while (len && !d[len - 1]) len--;
        }
    }
    return (i64)sum;
}
