/* A growing piece of JSON, and how a column's text from PostgreSQL becomes a value in it. */
#ifndef COMMITLOG_TEXT_H
#define COMMITLOG_TEXT_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *bytes;
    size_t size, room;
} text;

/* How a value is written: the converters of cdc/tail/pgtypes.py, in the order of `native.KINDS`. */
enum { AS_TEXT, AS_NUMBER, AS_BOOLEAN, AS_TIMESTAMP, AS_INSTANT, AS_OCTETS, KIND_COUNT };

/* Each returns 0, or -1 where there is no memory. */
int text_add(text *out, const void *bytes, size_t size);
int text_add_number(text *out, unsigned long long number);

/* Give memory back that one large value took: it is no reason to hold it for good. */
void text_shrink(text *out);

/* Add the JSON of a value. Returns 0; -1 where there is no memory; 1 where it is not plainly of its kind. */
int text_add_value(text *out, int kind, const uint8_t *value, size_t size);

/* Standard base64 of `size` bytes into `out`, which has room for 4 * ((size + 2) / 3); returns its length. */
size_t base64(char *out, const uint8_t *bytes, size_t size);

#endif
