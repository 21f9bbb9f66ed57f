/* Raw BSON: walked, and written as canonical Extended JSON: cdc/tail/oplog/document.py and extended_json.py, compiled. */
#ifndef COMMITLOG_BSON_H
#define COMMITLOG_BSON_H

#include "native.h"
#include "text.h"

enum {
    BSON_DOUBLE = 0x01, BSON_STRING, BSON_DOCUMENT, BSON_ARRAY, BSON_BINARY, BSON_UNDEFINED, BSON_OBJECT_ID, BSON_BOOL, BSON_DATE,
    BSON_NULL, BSON_REGEX, BSON_DB_POINTER, BSON_CODE, BSON_SYMBOL, BSON_CODE_WITH_SCOPE, BSON_INT32, BSON_TIMESTAMP, BSON_INT64,
    BSON_DECIMAL128, BSON_MAX_KEY = 0x7f, BSON_MIN_KEY = 0xff,
};

typedef struct {
    const uint8_t *at, *end;
} bson_span;

typedef struct {
    unsigned kind;
    bson_span name, value;
} bson_element;

/* Keys of a document. */
typedef struct bson_keys bson_keys;
typedef struct {
    char *name;
    size_t size;
    bson_keys *below; /* of what to leave out: NULL where it is all of the value */
    Py_ssize_t *places; /* of what to look for: the columns that the value makes, behind their number */
    int seen;
} bson_key;
struct bson_keys {
    Py_ssize_t count;
    bson_key *keys;
};

/* The elements of a document, or of an array. Each returns 0; 1 where it is malformed, which Python says. */
int bson_open(bson_span *document);
int bson_next(bson_span *document, bson_element *found);
static inline int bson_more(const bson_span *document) { return document->at < document->end; }

/* Add the Extended JSON of a value, without what is left out (may be NULL). Returns 0; 1 where it is not plain; -1 where there is
 * no memory. */
int bson_add_value(text *out, const bson_element *value, const bson_keys *omitted);
int bson_add_document(text *out, bson_span document, const bson_keys *omitted);

bson_key *bson_find(const bson_keys *keys, bson_span name, Py_ssize_t hint);
bson_key *bson_key_add(bson_keys *keys, const char *name, size_t size);
void bson_keys_free(bson_keys *keys);

uint64_t bson_number(const uint8_t *at, unsigned size);
static inline int bson_is(bson_span name, const char *other) {
    size_t size = strlen(other);
    return (size_t)(name.end - name.at) == size && !memcmp(name.at, other, size);
}

#endif
