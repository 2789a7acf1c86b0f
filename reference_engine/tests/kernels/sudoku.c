/* A puzzle by backtracking, n times, over bytes. */
#include "kernel.h"
static const char start[] = "..............3.85..1.2.......5.7.....4...1...9.......5......73..2.1........4...9";
static u8 b[81]; static u16 rows[9], cols[9], boxes[9]; static u32 tries;
static int solve(u32 at) {
    while (at < 81 && b[at]) at++;
    if (at == 81) return 1;
    if (++tries > 40000) return 1;
    u32 r = at / 9, c = at % 9, x = r / 3 * 3 + c / 3;
    for (u32 v = 1; v <= 9; v++) {
        u16 bit = (u16)(1 << v);
        if ((rows[r] | cols[c] | boxes[x]) & bit) continue;
        b[at] = (u8)v; rows[r] |= bit; cols[c] |= bit; boxes[x] |= bit;
        if (solve(at + 1)) return 1;
        b[at] = 0; rows[r] &= (u16)~bit; cols[c] &= (u16)~bit; boxes[x] &= (u16)~bit;
    }
    return 0;
}
EXPORT i64 run(i32 n) {
    u64 sum = 0;
    for (i32 k = 0; k < n; k++) {
        for (u32 i = 0; i < 9; i++) rows[i] = cols[i] = boxes[i] = 0;
        for (u32 i = 0; i < 81; i++) {
            b[i] = start[i] == '.' ? 0 : (u8)(start[i] - '0');
            u16 bit = b[i] ? (u16)(1 << b[i]) : 0; rows[i / 9] |= bit; cols[i % 9] |= bit; boxes[i / 9 / 3 * 3 + i % 9 / 3] |= bit;
        }
        tries = 0; solve(0);
        for (u32 i = 0; i < 81; i++) sum = sum * 31 + b[i];
    }
    return (i64)sum;
}
