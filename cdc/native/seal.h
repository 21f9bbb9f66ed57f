/* A record's header, tree and line. */
#ifndef COMMITLOG_SEAL_H
#define COMMITLOG_SEAL_H

#include "native.h"
#include "text.h"

typedef struct {
    const char *bytes;
    size_t size;
} piece;

/* What a header says before its tree; log/chain.py's seal says what each is. */
typedef struct {
    piece open, prev, kind, id, engine, position, after, tail;
    unsigned long long seq;
    long long time_us;
} header;

/* Borrow the text of a str. Returns 0, or -1 with an exception set. */
int piece_of(piece *out, PyObject *value);

enum { SEAL_SALT_BYTES = 32, SEAL_HASH_DIGITS = 64 };

/* Add a record's line to `out`, with its line feed, and give its hash. Returns 0, or -1 where there is no memory. */
int seal_line(const header *values, const piece *items, size_t count, const uint8_t salt[SEAL_SALT_BYTES], piece recorded,
              text *out, char hash[SEAL_HASH_DIGITS]);

#endif
