/* SHA-256 (FIPS 180-4) of a message given in pieces. */
#ifndef COMMITLOG_SHA256_H
#define COMMITLOG_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32 };

typedef struct {
    uint32_t state[8];
    uint8_t block[128]; /* with room for the end of the message */
    size_t filled;      /* bytes that wait in `block` */
    uint64_t total;     /* bytes taken so far */
} sha256;

void sha256_begin(sha256 *hash);
void sha256_take(sha256 *hash, const void *data, size_t size);
void sha256_end(sha256 *hash, uint8_t digest[SHA256_BYTES]);

/* A message in two pieces. */
typedef struct {
    uint8_t head[40];
    size_t head_size;
    const void *bytes;
    size_t size;
} sha256_message;

/* The digests of messages, two at a time: within one the processor would wait for itself. `digests[i]` may lie over the bytes of
 * messages up to `i` that are of 64 bytes at most: these are read before. */
void sha256_all(const sha256_message *messages, uint8_t (*digests)[SHA256_BYTES], size_t count);

/* A digest as 64 hex digits, without a NUL. */
void sha256_hex(char out[2 * SHA256_BYTES], const uint8_t digest[SHA256_BYTES]);

/* Choose between the processor's own instructions and portable C, once. Returns the name of the choice. */
const char *sha256_choose(int portable);

#endif
