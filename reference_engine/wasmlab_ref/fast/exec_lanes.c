/* Bytes of vectors in any order, by the machine's own instruction where it has one: x86 from SSSE3 on, which is looked
 * for at run time, and arm64. */
#include "exec.h"

#define V(operand) SLOT(ip[1].operand)

/* ---- Anywhere --------------------------------------------------------------------------------------------------- */

static OP(shuffle) {
    uint8_t both[32], r[16];
    const uint8_t *lanes = (const uint8_t *)&ip[2];
    memcpy(both, V(b), 16);
    memcpy(both + 16, V(c), 16);
    for (unsigned i = 0; i < 16; i++) r[i] = both[lanes[i] & 31];
    memcpy(V(a), r, 16);
    NEXT(4);
}

static OP(swizzle) {
    uint8_t from[16], lanes[16], r[16];
    memcpy(from, V(b), 16);
    memcpy(lanes, V(c), 16);
    for (unsigned i = 0; i < 16; i++) r[i] = lanes[i] < 16 ? from[lanes[i]] : 0;
    memcpy(V(a), r, 16);
    NEXT(2);
}

/* ---- x86: pshufb takes the low four bits of each lane number, and gives zero where its top bit is set ------------ */

#if defined(__x86_64__)
#include <tmmintrin.h>

#define SSSE3 __attribute__((target("ssse3")))

SSSE3 static OP(shuffle_ssse3) {
    __m128i lanes = _mm_loadu_si128((const __m128i *)&ip[2]);
    __m128i low = _mm_adds_epu8(lanes, _mm_set1_epi8(0x70)), high = _mm_sub_epi8(lanes, _mm_set1_epi8(16));
    __m128i a = _mm_loadu_si128((const __m128i *)V(b)), b = _mm_loadu_si128((const __m128i *)V(c));
    _mm_storeu_si128((__m128i *)V(a), _mm_or_si128(_mm_shuffle_epi8(a, low), _mm_shuffle_epi8(b, high)));
    NEXT(4);
}

SSSE3 static OP(swizzle_ssse3) {
    __m128i a = _mm_loadu_si128((const __m128i *)V(b)), lanes = _mm_loadu_si128((const __m128i *)V(c));
    _mm_storeu_si128((__m128i *)V(a), _mm_shuffle_epi8(a, _mm_adds_epu8(lanes, _mm_set1_epi8(0x70))));
    NEXT(2);
}

static wl_handler choose(wl_handler plain, wl_handler ssse3) { return __builtin_cpu_supports("ssse3") ? ssse3 : plain; }
wl_handler wl_shuffle(void) { return choose(shuffle, shuffle_ssse3); }
wl_handler wl_swizzle(void) { return choose(swizzle, swizzle_ssse3); }

/* ---- arm64: a table of 16 or 32 bytes; lanes beyond it are zero --------------------------------------------------- */

#elif defined(__aarch64__)
#include <arm_neon.h>

static OP(shuffle_tbl) {
    uint8x16x2_t both = {{vld1q_u8(V(b)), vld1q_u8(V(c))}};
    vst1q_u8(V(a), vqtbl2q_u8(both, vld1q_u8((const uint8_t *)&ip[2])));
    NEXT(4);
}
static OP(swizzle_tbl) {
    vst1q_u8(V(a), vqtbl1q_u8(vld1q_u8(V(b)), vld1q_u8(V(c))));
    NEXT(2);
}
wl_handler wl_shuffle(void) { return (void)shuffle, shuffle_tbl; }
wl_handler wl_swizzle(void) { return (void)swizzle, swizzle_tbl; }

#else
wl_handler wl_shuffle(void) { return shuffle; }
wl_handler wl_swizzle(void) { return swizzle; }
#endif
