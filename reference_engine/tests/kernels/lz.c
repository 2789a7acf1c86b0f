/* LZ77 with a hash of three bytes: compress 32 KiB and expand again. */
#include "kernel.h"
#define N 32768
static u8 in[N], packed[N * 2], out[N + 16]; static u32 head[4096];
static u32 pack(void) {
    u32 at = 0, o = 0;
    for (u32 i = 0; i < 4096; i++) head[i] = 0xffffffff;
    while (at < N) {
        u32 len = 0, dist = 0;
        if (at + 3 < N) {
            u32 h = (in[at] * 33u * 33u + in[at + 1] * 33u + in[at + 2]) & 4095, c = head[h];
            head[h] = at;
            if (c != 0xffffffff && at - c < 65535) {
                while (len < 255 && at + len < N && in[c + len] == in[at + len]) len++;
                dist = at - c;
            }
        }
        if (len >= 4) { packed[o++] = 1; packed[o++] = (u8)dist; packed[o++] = (u8)(dist >> 8); packed[o++] = (u8)len; at += len; }
        else { packed[o++] = 0; packed[o++] = in[at++]; }
    }
    return o;
}
static u32 expand(u32 n) {
    u32 i = 0, o = 0;
    while (i < n) {
        if (packed[i]) { u32 d = packed[i + 1] | packed[i + 2] << 8, l = packed[i + 3]; i += 4; for (u32 k = 0; k < l; k++, o++) out[o] = out[o - d]; }
        else { out[o++] = packed[i + 1]; i += 2; }
    }
    return o;
}
EXPORT i64 run(i32 n) {
    u64 sum = 0;
    for (i32 k = 0; k < n; k++) {
        u32 s = 5 + (u32)k;
        for (u32 i = 0; i < N; i++) { in[i] = i > 64 && (rnd(&s) & 7) ? in[i - 1 - (rnd(&s) & 31)] : (u8)(s >> 24); }
        u32 m = pack(), e = expand(m);
        for (u32 i = 0; i < N; i++) if (in[i] != out[i]) return -1;
        sum = sum * 31 + m + e;
    }
    return (i64)sum;
}
