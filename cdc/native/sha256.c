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

static void compress_two_portable(uint32_t *const states[2], const uint8_t *const data[2], size_t blocks) {
    for (int i = 0; i < 2; i++) compress_portable(states[i], data[i], blocks);
}

#ifdef HAVE_SHA_NI
#define WITH_SHA_NI __attribute__((target("sha,sse4.1,ssse3")))
#define STEP WITH_SHA_NI __attribute__((always_inline)) static inline

/* A hash in hand: two registers hold ABEF and CDGH, as the instructions want them. */
typedef struct {
    __m128i abef, cdgh, abef_before, cdgh_before, w[4];
} registers;

STEP void load_state(registers *x, const uint32_t state[8]) {
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xB1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1B);
    x->abef = _mm_alignr_epi8(abcd, efgh, 8);
    x->cdgh = _mm_blend_epi16(efgh, abcd, 0xF0);
}

STEP void load_block(registers *x, const uint8_t *data) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    x->abef_before = x->abef;
    x->cdgh_before = x->cdgh;
    for (int i = 0; i < 4; i++) x->w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), big_endian);
}

STEP void four_rounds(registers *x, int r) {
    __m128i *w = x->w, wk = _mm_add_epi32(w[r & 3], _mm_load_si128((const __m128i *)(K + 4 * r)));
    x->cdgh = _mm_sha256rnds2_epu32(x->cdgh, x->abef, wk);
    x->abef = _mm_sha256rnds2_epu32(x->abef, x->cdgh, _mm_shuffle_epi32(wk, 0x0E));
    if (r < 12) {
        __m128i next = _mm_sha256msg1_epu32(w[r & 3], w[(r + 1) & 3]);
        next = _mm_add_epi32(next, _mm_alignr_epi8(w[(r + 3) & 3], w[(r + 2) & 3], 4));
        w[r & 3] = _mm_sha256msg2_epu32(next, w[(r + 3) & 3]);
    }
}

STEP void end_block(registers *x) {
    x->abef = _mm_add_epi32(x->abef, x->abef_before);
    x->cdgh = _mm_add_epi32(x->cdgh, x->cdgh_before);
}

STEP void store_state(const registers *x, uint32_t state[8]) {
    __m128i feba = _mm_shuffle_epi32(x->abef, 0x1B);
    __m128i dchg = _mm_shuffle_epi32(x->cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

WITH_SHA_NI static void compress_ni(uint32_t state[8], const uint8_t *data, size_t blocks) {
    registers x;
    load_state(&x, state);
    for (; blocks; blocks--, data += 64) {
        load_block(&x, data);
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++) four_rounds(&x, r);
        end_block(&x);
    }
    store_state(&x, state);
}

/* Each round waits for the one before: with a second hash in hand the processor has something to do meanwhile. */
WITH_SHA_NI static void compress_two_ni(uint32_t *const states[2], const uint8_t *const data[2], size_t blocks) {
    registers x, y;
    load_state(&x, states[0]);
    load_state(&y, states[1]);
    for (size_t at = 0; at < 64 * blocks; at += 64) {
        load_block(&x, data[0] + at);
        load_block(&y, data[1] + at);
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++) {
            four_rounds(&x, r);
            four_rounds(&y, r);
        }
        end_block(&x);
        end_block(&y);
    }
    store_state(&x, states[0]);
    store_state(&y, states[1]);
}
#endif

static void (*compress)(uint32_t state[8], const uint8_t *data, size_t blocks) = compress_portable;
static void (*compress_two)(uint32_t *const states[2], const uint8_t *const data[2], size_t blocks) = compress_two_portable;

const char *sha256_choose(int portable) {
    compress = compress_portable;
    compress_two = compress_two_portable;
#ifdef HAVE_SHA_NI
    if (!portable && __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("ssse3")) {
        uint32_t b = 0, unused;
        __asm__("cpuid" : "=a"(unused), "=b"(b), "=c"(unused), "=d"(unused) : "a"(7), "c"(0));
        if (b >> 29 & 1) {
            compress = compress_ni;
            compress_two = compress_two_ni;
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

static void write_digest(uint8_t digest[SHA256_BYTES], const uint32_t state[8]) {
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 4; j++) digest[4 * i + j] = (uint8_t)(state[i] >> (24 - 8 * j));
}

/* Put the end of a message behind its last bytes, of which `filled` are in a block with room for another; how many blocks these are. */
static size_t pad(uint8_t *block, size_t filled, uint64_t total) {
    size_t size = filled < 56 ? 64 : 128;
    block[filled++] = 0x80;
    memset(block + filled, 0, size - 8 - filled);
    for (int i = 0; i < 8; i++) block[size - 8 + i] = (uint8_t)(total * 8 >> (56 - 8 * i));
    return size / 64;
}

void sha256_end(sha256 *hash, uint8_t digest[SHA256_BYTES]) {
    compress(hash->state, hash->block, pad(hash->block, hash->filled, hash->total));
    write_digest(digest, hash->state);
}

/* A message on its way: its first block, the whole blocks that are hashed where they stand, and its end. */
typedef struct {
    uint32_t state[8];
    struct {
        const uint8_t *data;
        size_t blocks;
    } runs[3];
    int run;
    uint8_t first[64], last[128];
    uint8_t *digest; /* NULL where there is none any more */
} lane;

static void load_message(lane *at, const sha256_message *message, uint8_t *digest) {
    size_t size = message->size, taken = 64 - message->head_size < size ? 64 - message->head_size : size;
    const uint8_t *bytes = message->bytes;
    memcpy(at->state, START, sizeof START);
    at->run = 0;
    at->digest = digest;
    uint8_t *block = message->head_size + size < 64 ? at->last : at->first;
    memcpy(block, message->head, message->head_size);
    if (taken) memcpy(block + message->head_size, bytes, taken);
    at->runs[0].data = at->first;
    at->runs[1].data = bytes + taken;
    at->runs[2].data = at->last;
    size_t filled = message->head_size + taken;
    at->runs[0].blocks = at->runs[1].blocks = 0;
    if (block == at->first) {
        at->runs[0].blocks = 1;
        at->runs[1].blocks = (size - taken) / 64;
        filled = (size - taken) % 64;
        if (filled) memcpy(at->last, bytes + size - filled, filled);
    }
    at->runs[2].blocks = pad(at->last, filled, message->head_size + size);
    while (!at->runs[at->run].blocks) at->run++;
}

/* Pass `blocks` blocks of the present run; whether the message has ended, and its digest is written. */
static int pass(lane *at, size_t blocks) {
    at->runs[at->run].data += 64 * blocks;
    at->runs[at->run].blocks -= blocks;
    while (at->run < 3 && !at->runs[at->run].blocks) at->run++;
    if (at->run < 3) return 0;
    write_digest(at->digest, at->state);
    return 1;
}

/* Messages that wait for a lane. */
typedef struct {
    const sha256_message *messages;
    uint8_t (*digests)[SHA256_BYTES];
    size_t count;
} queue;

static void load_next(lane *at, queue *from) {
    at->digest = NULL;
    if (!from->count) return;
    load_message(at, from->messages++, *from->digests++);
    from->count--;
}

void sha256_all(const sha256_message *messages, uint8_t (*digests)[SHA256_BYTES], size_t count) {
    queue waiting = {messages, digests, count};
    lane lanes[2];
    for (int i = 0; i < 2; i++) load_next(&lanes[i], &waiting);
    while (lanes[0].digest && lanes[1].digest) {
        uint32_t *const states[2] = {lanes[0].state, lanes[1].state};
        const uint8_t *const data[2] = {lanes[0].runs[lanes[0].run].data, lanes[1].runs[lanes[1].run].data};
        size_t one = lanes[0].runs[lanes[0].run].blocks, other = lanes[1].runs[lanes[1].run].blocks;
        size_t blocks = one < other ? one : other;
        compress_two(states, data, blocks);
        for (int i = 0; i < 2; i++)
            if (pass(&lanes[i], blocks)) load_next(&lanes[i], &waiting);
    }
    for (lane *left = lanes[0].digest ? &lanes[0] : &lanes[1]; left->digest;) {
        size_t blocks = left->runs[left->run].blocks;
        compress(left->state, left->runs[left->run].data, blocks);
        if (pass(left, blocks)) left->digest = NULL;
    }
}

void sha256_hex(char out[2 * SHA256_BYTES], const uint8_t digest[SHA256_BYTES]) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < SHA256_BYTES; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
}
