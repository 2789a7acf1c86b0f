/* Base64 there and back, and a checksum of UTF-8 decoding; bytes and shifts. */
#include "kernel.h"
static u8 in[6000], mid[8192], out[6200]; static u8 rev[256];
static const char abc[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
EXPORT i64 run(i32 n) {
    u64 sum = 0; u32 s = 1234;
    for (u32 i = 0; i < 64; i++) rev[(u8)abc[i]] = (u8)i;
    for (u32 i = 0; i < sizeof in; i++) in[i] = (u8)rnd(&s);
    for (i32 k = 0; k < n; k++) {
        u32 o = 0;
        for (u32 i = 0; i < sizeof in; i += 3) {
            u32 v = (u32)in[i] << 16 | (u32)in[i + 1] << 8 | in[i + 2];
            mid[o++] = (u8)abc[v >> 18]; mid[o++] = (u8)abc[v >> 12 & 63]; mid[o++] = (u8)abc[v >> 6 & 63]; mid[o++] = (u8)abc[v & 63];
        }
        u32 q = 0;
        for (u32 i = 0; i < o; i += 4) {
            u32 v = (u32)rev[mid[i]] << 18 | (u32)rev[mid[i + 1]] << 12 | (u32)rev[mid[i + 2]] << 6 | rev[mid[i + 3]];
            out[q++] = (u8)(v >> 16); out[q++] = (u8)(v >> 8); out[q++] = (u8)v;
        }
        for (u32 i = 0; i < q;) {
            u32 c = out[i], l = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4, v = c;
            for (u32 j = 1; j < l && i + j < q; j++) v = v << 6 | (out[i + j] & 63);
            sum = sum * 7 + v; i += l;
        }
    }
    return (i64)sum;
}
