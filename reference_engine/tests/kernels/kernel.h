/* What the kernels share: no library, a random number generator, the bits of an f64. */
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef double f64;
#define EXPORT __attribute__((visibility("default"), used))
#define NOINLINE __attribute__((noinline))
static inline u32 rnd(u32 *s) {
    u32 x = *s;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *s = x;
}
static inline i64 bits(f64 d) {
    union {
        f64 d;
        i64 i;
    } u = {.d = d};
    return u.i;
}
