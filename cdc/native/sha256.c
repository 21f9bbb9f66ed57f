/* SHA-256: the processor's own instructions where it has them, portable C elsewhere.
 *
 * hashlib is as fast per byte, but a record of one change needs nine hashes of a few dozen bytes, where the call costs
 * more than the hash.
 *
 * Sources: FIPS 180-4, section 6.2; Intel, "Intel SHA Extensions" (2013).
 */

#include "sha256.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_SHA_NI 1
#include <immintrin.h>
#endif

static const uint32_t K[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static const uint32_t START[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static uint32_t rotated(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

static void compress_portable(uint32_t state[8], const uint8_t *data, size_t blocks) {
    for (; blocks; blocks--, data += 64) {
        uint32_t w[64], s[8];
        for (int t = 0; t < 16; t++) {
            const uint8_t *p = data + 4 * t;
            w[t] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        }
        for (int t = 16; t < 64; t++) {
            uint32_t s0 = rotated(w[t - 15], 7) ^ rotated(w[t - 15], 18) ^ (w[t - 15] >> 3);
            uint32_t s1 = rotated(w[t - 2], 17) ^ rotated(w[t - 2], 19) ^ (w[t - 2] >> 10);
            w[t] = w[t - 16] + s0 + w[t - 7] + s1;
        }
        memcpy(s, state, sizeof s);
        for (int t = 0; t < 64; t++) {
            uint32_t sum1 = rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25);
            uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
            uint32_t t1 = s[7] + sum1 + choice + K[t] + w[t];
            uint32_t sum0 = rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22);
            uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
            memmove(s + 1, s, 7 * sizeof s[0]);
            s[4] += t1;
            s[0] = t1 + sum0 + majority;
        }
        for (int i = 0; i < 8; i++) state[i] += s[i];
    }
}

#ifdef HAVE_SHA_NI
/* Four rounds at a time; the two registers hold ABEF and CDGH, as the instructions want them. */
__attribute__((target("sha,sse4.1,ssse3"))) static void compress_ni(uint32_t state[8], const uint8_t *data,
                                                                    size_t blocks) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xB1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1B);
    __m128i abef = _mm_alignr_epi8(abcd, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, abcd, 0xF0);

    for (; blocks; blocks--, data += 64) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];
        for (int i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), big_endian);
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++) {
            __m128i wk = _mm_add_epi32(w[r & 3], _mm_load_si128((const __m128i *)(K + 4 * r)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0E));
            if (r < 12) {
                __m128i next = _mm_sha256msg1_epu32(w[r & 3], w[(r + 1) & 3]);
                next = _mm_add_epi32(next, _mm_alignr_epi8(w[(r + 3) & 3], w[(r + 2) & 3], 4));
                w[r & 3] = _mm_sha256msg2_epu32(next, w[(r + 3) & 3]);
            }
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }

    __m128i feba = _mm_shuffle_epi32(abef, 0x1B);
    __m128i dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}
#endif

static void (*compress)(uint32_t state[8], const uint8_t *data, size_t blocks) = compress_portable;

const char *sha256_choose(int portable) {
    compress = compress_portable;
#ifdef HAVE_SHA_NI
    if (!portable && __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("ssse3")) {
        uint32_t b = 0, unused;
        __asm__("cpuid" : "=a"(unused), "=b"(b), "=c"(unused), "=d"(unused) : "a"(7), "c"(0));
        if (b >> 29 & 1) {
            compress = compress_ni;
            return "sha-ni";
        }
    }
#endif
    (void)portable;
    return "portable";
}

void sha256_begin(sha256 *hash) {
    memcpy(hash->state, START, sizeof START);
    hash->filled = 0;
    hash->total = 0;
}

void sha256_take(sha256 *hash, const void *data, size_t size) {
    const uint8_t *p = data;
    hash->total += size;
    if (hash->filled) {
        size_t piece = 64 - hash->filled < size ? 64 - hash->filled : size;
        memcpy(hash->block + hash->filled, p, piece);
        hash->filled += piece;
        p += piece;
        size -= piece;
        if (hash->filled < 64) return;
        compress(hash->state, hash->block, 1);
        hash->filled = 0;
    }
    if (size >= 64) compress(hash->state, p, size / 64);
    p += size / 64 * 64;
    hash->filled = size % 64;
    if (hash->filled) memcpy(hash->block, p, hash->filled);
}

void sha256_end(sha256 *hash, uint8_t digest[SHA256_BYTES]) {
    uint64_t bits = hash->total * 8;
    hash->block[hash->filled++] = 0x80;
    if (hash->filled > 56) {
        memset(hash->block + hash->filled, 0, 64 - hash->filled);
        compress(hash->state, hash->block, 1);
        hash->filled = 0;
    }
    memset(hash->block + hash->filled, 0, 56 - hash->filled);
    for (int i = 0; i < 8; i++) hash->block[56 + i] = (uint8_t)(bits >> (56 - 8 * i));
    compress(hash->state, hash->block, 1);
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 4; j++) digest[4 * i + j] = (uint8_t)(hash->state[i] >> (24 - 8 * j));
}

void sha256_hex(char out[2 * SHA256_BYTES], const uint8_t digest[SHA256_BYTES]) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < SHA256_BYTES; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
}
