/* A record's tree, its header's end and its line: schemas/README.md §2 and §4, as schemas/tree.py and cdc/log/chain.py. */

#include "native.h"
#include "sha256.h"
#include "text.h"

#include <string.h>
#include <time.h>

enum { SALT_BYTES = 32, SALT_DIGITS = 44, ITEM_SALT_BYTES = 16, HEX_DIGITS = 2 * SHA256_BYTES };

static void leaf_of(uint8_t out[SHA256_BYTES], const uint8_t salt[SALT_BYTES], size_t index, PyObject *item) {
    uint8_t number[4] = {(uint8_t)(index >> 24), (uint8_t)(index >> 16), (uint8_t)(index >> 8), (uint8_t)index};
    sha256 hash;
    sha256_begin(&hash);
    sha256_take(&hash, salt, SALT_BYTES);
    sha256_take(&hash, number, sizeof number);
    sha256_end(&hash, out);
    sha256 leaf;
    sha256_begin(&leaf);
    sha256_take(&leaf, "\0", 1);
    sha256_take(&leaf, out, ITEM_SALT_BYTES);
    sha256_take(&leaf, PyBytes_AS_STRING(item), (size_t)PyBytes_GET_SIZE(item));
    sha256_end(&leaf, out);
}

/* The RFC 6962 root over items, into 64 hex digits: pairs level by level, an odd last node carried up. */
static int root_of(char out[HEX_DIGITS], const uint8_t salt[SALT_BYTES], PyObject *items) {
    size_t count = (size_t)PyList_GET_SIZE(items);
    uint8_t few[16][SHA256_BYTES] = {{0}}, (*nodes)[SHA256_BYTES] = few;
    if (count > 16 && !(nodes = PyMem_Malloc(count * SHA256_BYTES))) return -1;
    for (size_t i = 0; i < count; i++) leaf_of(nodes[i], salt, i, PyList_GET_ITEM(items, (Py_ssize_t)i));
    while (count > 1) {
        for (size_t i = 0; i + 1 < count; i += 2) {
            sha256 hash;
            sha256_begin(&hash);
            sha256_take(&hash, "\1", 1);
            sha256_take(&hash, nodes[i], 2 * SHA256_BYTES);
            sha256_end(&hash, nodes[i / 2]);
        }
        if (count % 2) memmove(nodes[count / 2], nodes[count - 1], SHA256_BYTES);
        count = count / 2 + count % 2;
    }
    sha256_hex(out, nodes[0]);
    if (nodes != few) PyMem_Free(nodes);
    return 0;
}

/* Whether these are a salt and a list of at least one item; the size of all items together. */
static int check(PyObject *salt, PyObject *items, size_t *size) {
    *size = 0;
    if (!PyBytes_CheckExact(salt) || PyBytes_GET_SIZE(salt) != SALT_BYTES || !PyList_CheckExact(items) ||
        PyList_GET_SIZE(items) < 1) {
        PyErr_SetString(PyExc_TypeError, "a salt of 32 bytes and a list of items are needed");
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); i++) {
        if (!PyBytes_CheckExact(PyList_GET_ITEM(items, i))) {
            PyErr_SetString(PyExc_TypeError, "an item is bytes");
            return -1;
        }
        *size += (size_t)PyBytes_GET_SIZE(PyList_GET_ITEM(items, i));
    }
    return 0;
}

static char *put(char *at, const void *bytes, size_t size) {
    memcpy(at, bytes, size);
    return at + size;
}

#define PUT(at, literal) put(at, literal, sizeof(literal) - 1)

/* (line, hash) of a record whose header begins with `begin`, up to its tree. */
static PyObject *sealed(const char *begin, size_t begin_size, PyObject *items, PyObject *salt, PyObject *recorded) {
    size_t size;
    char *recorded_bytes;
    Py_ssize_t recorded_size, item_count;
    if (check(salt, items, &size) || PyBytes_AsStringAndSize(recorded, &recorded_bytes, &recorded_size)) return NULL;
    const uint8_t *salt_bytes = (const uint8_t *)PyBytes_AS_STRING(salt);
    item_count = PyList_GET_SIZE(items);
    char root[HEX_DIGITS], tree[160];
    if (root_of(root, salt_bytes, items)) return PyErr_NoMemory();
    int tree_size = PyOS_snprintf(tree, sizeof tree, "\"tree\":{\"count\":%zd,\"bytes\":%zu,\"root\":\"%.64s\"}}", item_count,
                                  size, root);

    size_t header_size = begin_size + (size_t)tree_size;
    size_t line_size = sizeof("{\"header\":,\"body\":{\"salt\":\"\",\"items\":[]},\"recorded\":\"\"}\n") - 1 + header_size +
                       SALT_DIGITS + size + (size_t)(item_count - 1) + (size_t)recorded_size;
    PyObject *line = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)line_size);
    if (!line) return NULL;
    char *header = PUT(PyBytes_AS_STRING(line), "{\"header\":");
    char *at = put(put(header, begin, begin_size), tree, (size_t)tree_size);
    at = PUT(at, ",\"body\":{\"salt\":\"");
    at += base64(at, salt_bytes, SALT_BYTES);
    at = PUT(at, "\",\"items\":[");
    for (Py_ssize_t i = 0; i < item_count; i++) {
        if (i) *at++ = ',';
        PyObject *item = PyList_GET_ITEM(items, i);
        at = put(at, PyBytes_AS_STRING(item), (size_t)PyBytes_GET_SIZE(item));
    }
    at = PUT(at, "]},\"recorded\":\"");
    at = put(at, recorded_bytes, (size_t)recorded_size);
    PUT(at, "\"}\n");

    sha256 hash;
    uint8_t digest[SHA256_BYTES];
    char digits[HEX_DIGITS];
    sha256_begin(&hash);
    sha256_take(&hash, header, header_size);
    sha256_end(&hash, digest);
    sha256_hex(digits, digest);
    return Py_BuildValue("Ns#", line, digits, (Py_ssize_t)HEX_DIGITS);
}

/* `2026-11-22T10:11:12.345678Z` of microseconds since 1970 UTC; the second that came last is remembered. */
static int add_time(text *out, long long time_us) {
    static time_t known = -1;
    static char second_text[40];
    static size_t second_size;
    long long rest = time_us % 1000000, second = time_us / 1000000;
    if (rest < 0) rest += 1000000, second--;
    if (!second_size || known != (time_t)second) {
        struct tm at;
        known = (time_t)second;
        second_size = gmtime_r(&known, &at) ? strftime(second_text, sizeof second_text, "%Y-%m-%dT%H:%M:%S", &at) : 0;
        if (!second_size) return -1;
    }
    char micros[9];
    micros[0] = '.';
    for (int i = 6; i; i--, rest /= 10) micros[i] = (char)('0' + rest % 10);
    micros[7] = 'Z';
    return text_add(out, second_text, second_size) || text_add(out, micros, 8) ? -1 : 0;
}

static int add_text(text *out, PyObject *value) {
    Py_ssize_t size;
    const char *bytes = PyUnicode_AsUTF8AndSize(value, &size);
    return bytes ? text_add(out, bytes, (size_t)size) : -1;
}

#define ADD(out, literal) text_add(out, literal, sizeof(literal) - 1)

enum { OPEN, SEQ, PREV, KIND, ID, TIME_US, ENGINE, POSITION, AFTER, TAIL, ITEMS, SALT, RECORDED, ARGUMENT_COUNT };

/* seal(open, seq, prev, kind, id, time_us, engine, position, after, tail, items, salt, recorded) -> (line, hash) */
PyObject *native_seal(PyObject *module, PyObject *const *given, Py_ssize_t count) {
    (void)module;
    static text begin; /* the GIL is held throughout */
    if (count != ARGUMENT_COUNT) return PyErr_Format(PyExc_TypeError, "seal takes %d values", ARGUMENT_COUNT);
    unsigned long long seq = PyLong_AsUnsignedLongLong(given[SEQ]);
    long long time_us = PyLong_AsLongLong(given[TIME_US]);
    if (PyErr_Occurred()) return NULL;
    begin.size = 0;
    if (add_text(&begin, given[OPEN]) || text_add_number(&begin, seq) || ADD(&begin, ",\"prev\":\"") ||
        add_text(&begin, given[PREV]) || ADD(&begin, "\",\"kind\":\"") || add_text(&begin, given[KIND]) ||
        ADD(&begin, "\",\"id\":\"") || add_text(&begin, given[ID]) || ADD(&begin, "\",\"time\":\"") ||
        add_time(&begin, time_us) || add_text(&begin, given[ENGINE]) || add_text(&begin, given[POSITION]) ||
        ADD(&begin, "\",\"after\":\"") || add_text(&begin, given[AFTER]) || ADD(&begin, "\"},") ||
        add_text(&begin, given[TAIL]))
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    return sealed(begin.bytes, begin.size, given[ITEMS], given[SALT], given[RECORDED]);
}
