/* A growing piece of JSON, and how a column's text from PostgreSQL becomes a value in it. */
#ifndef COMMITLOG_TEXT_H
#define COMMITLOG_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    char *bytes;
    size_t size, room;
} text;

/* How a value is written: the converters of cdc/tail/pgtypes.py, in the order of `native.KINDS`. */
enum { AS_TEXT, AS_NUMBER, AS_BOOLEAN, AS_TIMESTAMP, AS_INSTANT, AS_OCTETS, KIND_COUNT };

/* Each returns 0, or -1 where there is no memory. */
int text_grow(text *out, size_t size);
int text_add_number(text *out, unsigned long long number);

/* Have room for `size` bytes more. */
static inline int text_reserve(text *out, size_t size) { return out->room - out->size < size ? text_grow(out, size) : 0; }

/* Here, so that a literal's few bytes are stored where it stands. */
static inline int text_add(text *out, const void *bytes, size_t size) {
    if (text_reserve(out, size)) return -1;
    memcpy(out->bytes + out->size, bytes, size);
    out->size += size;
    return 0;
}
#define ADD(out, literal) text_add(out, literal, sizeof(literal) - 1)

/* Write a number in decimal, or in upper-case hex of at least so many digits; how many these are. */
size_t put_number(char out[20], unsigned long long number);
size_t put_hex(char out[16], unsigned long long number, int digits_min);

/* Give memory back that one large value took: it is no reason to hold it for good. */
void text_shrink(text *out);

/* Add the JSON of a value. Returns 0; -1 where there is no memory; 1 where it is not plainly of its kind. */
int text_add_value(text *out, int kind, const uint8_t *value, size_t size);

/* Standard base64 of `size` bytes into `out`, which has room for 4 * ((size + 2) / 3); returns its length. */
size_t base64(char *out, const uint8_t *bytes, size_t size);

#endif
