/* SHA-256, and the digest of a memory: of those blocks that are not all zeros. */
#include <stdio.h>
#include <string.h>

#include "exec.h"

typedef struct sha256 {
    uint32_t h[8];
    uint8_t block[64];
    uint64_t size;
} sha256;

static const uint32_t k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
    0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
    0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
    0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2};

static uint32_t rotate(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

static void compress(sha256 *s, const uint8_t *p) {
    uint32_t w[64], v[8];
    for (unsigned i = 0; i < 16; i++, p += 4)
        w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    for (unsigned i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] + (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(v, s->h, sizeof v);
    for (unsigned i = 0; i < 64; i++) {
        uint32_t e = v[4], a = v[0];
        uint32_t one = v[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & v[5]) ^ (~e & v[6])) + k[i] + w[i];
        uint32_t two = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += one;
        v[0] = one + two;
    }
    for (unsigned i = 0; i < 8; i++) s->h[i] += v[i];
}

static void update(sha256 *s, const uint8_t *p, size_t n) {
    while (n) {
        size_t at = s->size % 64, part = 64 - at < n ? 64 - at : n;
        memcpy(s->block + at, p, part);
        s->size += part;
        p += part;
        n -= part;
        if (s->size % 64 == 0) compress(s, s->block);
    }
}

static void finish(sha256 *s) {
    uint64_t bits = s->size * 8;
    uint8_t end[8];
    update(s, (const uint8_t *)"\x80", 1);
    while (s->size % 64 != 56) update(s, (const uint8_t *)"", 1);
    for (unsigned i = 0; i < 8; i++) end[i] = (uint8_t)(bits >> (56 - 8 * i));
    update(s, end, 8);
}

static bool is_zero(const uint8_t *p, size_t n) {
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        if (word) return false;
    }
    while (n--)
        if (*p++) return false;
    return true;
}

void wl_memory_digest(const wl_meminst *m, char digest[17]) {
    sha256 s = {{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}, {0}, 0};
    for (uint64_t at = 0; at < m->committed; at += 4096) {
        size_t n = m->committed - at < 4096 ? (size_t)(m->committed - at) : 4096;
        if (is_zero(m->data + at, n)) continue;
        uint8_t number[8];
        for (unsigned i = 0; i < 8; i++) number[i] = (uint8_t)((at >> 12) >> (8 * i));
        update(&s, number, 8);
        update(&s, m->data + at, n);
        static const uint8_t zeros[4096]; /* what is not there yet */
        update(&s, zeros, (m->size - at < 4096 ? (size_t)(m->size - at) : 4096) - n);
    }
    finish(&s);
    snprintf(digest, 17, "%08x%08x", s.h[0], s.h[1]);
}
