/* Raw BSON as canonical Extended JSON. What is rare or malformed it leaves to Python (cdc/tail/oplog/extended_json.py), which decides. */

#include "bson.h"

#include <stdlib.h>

enum { DEPTH_MAX = 255, OLD_BINARY = 2, DECIMAL_DIGITS = 34, DECIMAL_BIAS = 6176 };

uint64_t bson_number(const uint8_t *at, unsigned size) {
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++) value |= (uint64_t)at[i] << 8 * i;
    return value;
}

/* Where a document that begins at `at` ends; NULL where it does not end before `limit`. */
static const uint8_t *document_end(const uint8_t *at, const uint8_t *limit) {
    if (limit - at < 5) return NULL;
    int32_t size = (int32_t)bson_number(at, 4);
    return size < 5 || size > limit - at || at[size - 1] ? NULL : at + size;
}

static const uint8_t *string_end(const uint8_t *at, const uint8_t *limit) {
    if (limit - at < 5) return NULL;
    int32_t size = (int32_t)bson_number(at, 4);
    return size < 1 || size > limit - at - 4 || at[4 + size - 1] ? NULL : at + 4 + size;
}

static const uint8_t *name_end(const uint8_t *at, const uint8_t *limit) {
    const uint8_t *stop = limit > at ? memchr(at, 0, (size_t)(limit - at)) : NULL;
    return stop ? stop + 1 : NULL;
}

/* Where a value ends; NULL where it is malformed or of no plain type. */
static const uint8_t *value_end(unsigned kind, const uint8_t *at, const uint8_t *limit) {
    ptrdiff_t size;
    switch (kind) {
        case BSON_UNDEFINED: case BSON_NULL: case BSON_MAX_KEY: case BSON_MIN_KEY: return at;
        case BSON_BOOL: size = 1; break;
        case BSON_INT32: size = 4; break;
        case BSON_DOUBLE: case BSON_DATE: case BSON_TIMESTAMP: case BSON_INT64: size = 8; break;
        case BSON_OBJECT_ID: size = 12; break;
        case BSON_DECIMAL128: size = 16; break;
        case BSON_STRING: case BSON_CODE: case BSON_SYMBOL: return string_end(at, limit);
        case BSON_DOCUMENT: case BSON_ARRAY: return document_end(at, limit);
        case BSON_REGEX: return (at = name_end(at, limit)) ? name_end(at, limit) : NULL;
        case BSON_BINARY:
            if (limit - at < 5) return NULL;
            size = (int32_t)bson_number(at, 4);
            if (size < 0) return NULL;
            size += 5;
            break;
        default: return NULL;
    }
    return size > limit - at ? NULL : at + size;
}

int bson_open(bson_span *document) {
    if (document_end(document->at, document->end) != document->end) return 1;
    document->at += 4;
    document->end--;
    return 0;
}

int bson_next(bson_span *document, bson_element *found) {
    const uint8_t *name = document->at + 1, *behind = name_end(name, document->end);
    if (!behind) return 1;
    found->kind = document->at[0];
    found->name = (bson_span){name, behind - 1};
    found->value = (bson_span){behind, value_end(found->kind, behind, document->end)};
    document->at = found->value.end;
    return !found->value.end;
}

bson_key *bson_find(const bson_keys *keys, bson_span name, Py_ssize_t hint) {
    size_t size = (size_t)(name.end - name.at);
    for (Py_ssize_t i = 0; i < keys->count; i++) {
        Py_ssize_t place = hint + i < keys->count ? hint + i : hint + i - keys->count;
        bson_key *key = &keys->keys[place];
        if (key->size == size && !memcmp(key->name, name.at, size)) return key;
    }
    return NULL;
}

bson_key *bson_key_add(bson_keys *keys, const char *name, size_t size) {
    bson_key *grown = realloc(keys->keys, (size_t)(keys->count + 1) * sizeof *grown);
    if (!grown) return NULL;
    keys->keys = grown;
    bson_key *key = &grown[keys->count];
    *key = (bson_key){.name = malloc(size + 1), .size = size};
    if (!key->name) return NULL;
    memcpy(key->name, name, size);
    keys->count++;
    return key;
}

void bson_keys_free(bson_keys *keys) {
    for (Py_ssize_t i = 0; keys && i < keys->count; i++) {
        free(keys->keys[i].name);
        free(keys->keys[i].places);
        bson_keys_free(keys->keys[i].below);
    }
    if (keys) free(keys->keys);
    free(keys);
}

/* The functions below return 0; 1 where a value is not plain; -1 where there is no memory. */

static int add_document(text *out, bson_span document, const bson_keys *omitted, int depth);

static int add_signed(text *out, int64_t number) {
    if (number < 0 && ADD(out, "-")) return -1;
    return text_add_number(out, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

static int add_string(text *out, bson_span value) {
    return text_add_value(out, AS_TEXT, value.at, (size_t)(value.end - value.at));
}

static int add_wrapped_number(text *out, const char *open, int64_t number, const char *close) {
    return text_add(out, open, strlen(open)) || add_signed(out, number) || text_add(out, close, strlen(close)) ? -1 : 0;
}

static int add_double(text *out, const uint8_t *at) {
    uint64_t bits = bson_number(at, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    if (ADD(out, "{\"$numberDouble\":\"")) return -1;
    if (value != value) return ADD(out, "NaN\"}");
    if (value - value != 0) return value > 0 ? ADD(out, "Infinity\"}") : ADD(out, "-Infinity\"}");
    char *shortest = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (!shortest) {
        PyErr_Clear();
        return -1;
    }
    int failed = text_add(out, shortest, strlen(shortest)) || ADD(out, "\"}");
    PyMem_Free(shortest);
    return failed ? -1 : 0;
}

static int add_hex(text *out, const uint8_t *at, size_t size) {
    static const char hex[] = "0123456789abcdef";
    if (text_reserve(out, 2 * size)) return -1;
    for (size_t i = 0; i < size; i++) {
        out->bytes[out->size++] = hex[at[i] >> 4];
        out->bytes[out->size++] = hex[at[i] & 15];
    }
    return 0;
}

static int add_binary(text *out, bson_span value) {
    uint8_t subtype = value.at[4];
    const uint8_t *at = value.at + 5;
    if (subtype == OLD_BINARY) {
        if (value.end - at < 4 || (int32_t)bson_number(at, 4) != value.end - at - 4) return 1;
        at += 4;
    }
    size_t size = (size_t)(value.end - at);
    if (ADD(out, "{\"$binary\":{\"base64\":\"") || text_reserve(out, 4 * ((size + 2) / 3))) return -1;
    out->size += base64(out->bytes + out->size, at, size);
    return ADD(out, "\",\"subType\":\"") || add_hex(out, &subtype, 1) || ADD(out, "\"}}") ? -1 : 0;
}

static int add_regex(text *out, bson_span value) {
    const uint8_t *options = name_end(value.at, value.end), *last = value.end - 1;
    for (const uint8_t *at = options; at + 1 < last; at++)
        if (at[0] > at[1]) return 1;
    int failed = ADD(out, "{\"$regularExpression\":{\"pattern\":");
    if (!failed) failed = add_string(out, (bson_span){value.at, options - 1});
    if (!failed) failed = ADD(out, ",\"options\":");
    if (!failed) failed = add_string(out, (bson_span){options, last});
    return failed ? failed : ADD(out, "}}");
}

/* tail/oplog/decimal128.py, for what is a number. */
static int add_decimal(text *out, const uint8_t *at) {
    uint64_t low = bson_number(at, 8), high = bson_number(at + 8, 8);
    if ((high >> 61 & 3) == 3) return 1;
    unsigned __int128 coefficient = (unsigned __int128)(high & ((UINT64_C(1) << 49) - 1)) << 64 | low;
    int exponent = (int)(high >> 49 & 0x3fff) - DECIMAL_BIAS, count = 0;
    char digits[40];
    do digits[sizeof digits - (size_t)++count] = (char)('0' + (int)(coefficient % 10));
    while (coefficient /= 10);
    if (count > DECIMAL_DIGITS) return 1;
    const char *first = digits + sizeof digits - (size_t)count;
    int adjusted = exponent + count - 1, failed = ADD(out, "{\"$numberDecimal\":\"") || (high >> 63 && ADD(out, "-"));
    if (exponent > 0 || adjusted < -6) {
        failed = failed || text_add(out, first, 1) || (count > 1 && (ADD(out, ".") || text_add(out, first + 1, (size_t)count - 1))) ||
                 ADD(out, "E") || (adjusted >= 0 && ADD(out, "+")) || add_signed(out, adjusted);
    } else if (-exponent < count) {
        failed = failed || text_add(out, first, (size_t)(count + exponent)) ||
                 (exponent && (ADD(out, ".") || text_add(out, first + count + exponent, (size_t)-exponent)));
    } else {
        failed = failed || ADD(out, "0.");
        for (int i = count; i < -exponent; i++) failed = failed || ADD(out, "0");
        failed = failed || text_add(out, first, (size_t)count);
    }
    return failed || ADD(out, "\"}") ? -1 : 0;
}

static int add_array(text *out, bson_span array, const bson_keys *omitted, int depth);

static int add_value(text *out, const bson_element *given, const bson_keys *omitted, int depth) {
    bson_span value = given->value;
    int failed;
    switch (given->kind) {
        case BSON_STRING: return add_string(out, (bson_span){value.at + 4, value.end - 1});
        case BSON_INT32: return add_wrapped_number(out, "{\"$numberInt\":\"", (int32_t)bson_number(value.at, 4), "\"}");
        case BSON_INT64: return add_wrapped_number(out, "{\"$numberLong\":\"", (int64_t)bson_number(value.at, 8), "\"}");
        case BSON_DATE: return add_wrapped_number(out, "{\"$date\":{\"$numberLong\":\"", (int64_t)bson_number(value.at, 8), "\"}}");
        case BSON_DOUBLE: return add_double(out, value.at);
        case BSON_DOCUMENT: return add_document(out, value, omitted, depth + 1);
        case BSON_ARRAY: return add_array(out, value, omitted, depth + 1);
        case BSON_BINARY: return add_binary(out, value);
        case BSON_OBJECT_ID: return ADD(out, "{\"$oid\":\"") || add_hex(out, value.at, 12) || ADD(out, "\"}") ? -1 : 0;
        case BSON_BOOL:
            if (value.at[0] > 1) return 1;
            return value.at[0] ? ADD(out, "true") : ADD(out, "false");
        case BSON_NULL: return ADD(out, "null");
        case BSON_UNDEFINED: return ADD(out, "{\"$undefined\":true}");
        case BSON_MIN_KEY: return ADD(out, "{\"$minKey\":1}");
        case BSON_MAX_KEY: return ADD(out, "{\"$maxKey\":1}");
        case BSON_DECIMAL128: return add_decimal(out, value.at);
        case BSON_REGEX: return add_regex(out, value);
        case BSON_TIMESTAMP:
            failed = add_wrapped_number(out, "{\"$timestamp\":{\"t\":", (int64_t)bson_number(value.at + 4, 4), ",\"i\":");
            return failed || text_add_number(out, bson_number(value.at, 4)) || ADD(out, "}}") ? -1 : 0;
        case BSON_CODE: case BSON_SYMBOL:
            if (given->kind == BSON_CODE ? ADD(out, "{\"$code\":") : ADD(out, "{\"$symbol\":")) return -1;
            failed = add_string(out, (bson_span){value.at + 4, value.end - 1});
            return failed ? failed : ADD(out, "}");
    }
    return 1;
}

/* Whether a name is the first key of a type wrapper. */
static int is_wrapper(bson_span name) {
    static const char *const wrappers[] = {
        "$oid", "$symbol", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal", "$binary", "$code", "$timestamp",
        "$regularExpression", "$dbPointer", "$date", "$minKey", "$maxKey", "$undefined",
    };
    if (name.at == name.end || name.at[0] != '$') return 0;
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
        if (bson_is(name, wrappers[i])) return 1;
    return 0;
}

static int add_key(text *out, bson_span name, int first) {
    int failed = first ? 0 : ADD(out, ",");
    if (failed) return -1;
    if (first && is_wrapper(name))
        return ADD(out, "\"\\u0024") || text_add(out, name.at + 1, (size_t)(name.end - name.at) - 1) || ADD(out, "\":") ? -1 : 0;
    failed = add_string(out, name);
    return failed ? failed : ADD(out, ":");
}

static int add_array(text *out, bson_span array, const bson_keys *omitted, int depth) {
    bson_element each;
    int failed, first = 1;
    if (depth > DEPTH_MAX || bson_open(&array)) return 1;
    if (ADD(out, "[")) return -1;
    for (; bson_more(&array); first = 0) {
        if (bson_next(&array, &each)) return 1;
        if (!first && ADD(out, ",")) return -1;
        if ((failed = add_value(out, &each, omitted, depth))) return failed;
    }
    return ADD(out, "]");
}

static int add_document(text *out, bson_span document, const bson_keys *omitted, int depth) {
    bson_element each;
    int failed, first = 1;
    if (depth > DEPTH_MAX || bson_open(&document)) return 1;
    if (ADD(out, "{")) return -1;
    while (bson_more(&document)) {
        if (bson_next(&document, &each)) return 1;
        const bson_key *told = omitted ? bson_find(omitted, each.name, 0) : NULL;
        if (told && !told->below) continue;
        if ((failed = add_key(out, each.name, first)) || (failed = add_value(out, &each, told ? told->below : NULL, depth)))
            return failed;
        first = 0;
    }
    return ADD(out, "}");
}

int bson_add_value(text *out, const bson_element *value, const bson_keys *omitted) { return add_value(out, value, omitted, 0); }

int bson_add_document(text *out, bson_span document, const bson_keys *omitted) { return add_document(out, document, omitted, 0); }
