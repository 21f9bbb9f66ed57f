/* A record's tree, its header and its line: schemas/README.md §2 and §4, as schemas/tree.py and cdc/log/chain.py. */

#include "seal.h"
#include "sha256.h"

#include <string.h>
#include <time.h>

enum { AT_ONCE = 16, SALT_BYTES = SEAL_SALT_BYTES, SALT_DIGITS = 44, ITEM_SALT_BYTES = 16, HEX_DIGITS = SEAL_HASH_DIGITS };

/* The leaves of up to AT_ONCE items, of which the first is item `index`. */
static void leaves_of(uint8_t (*out)[SHA256_BYTES], const uint8_t salt[SALT_BYTES], size_t index, const piece *items, size_t count) {
    sha256_message messages[AT_ONCE];
    for (size_t i = 0; i < count; i++) {
        size_t at = index + i;
        uint8_t number[4] = {(uint8_t)(at >> 24), (uint8_t)(at >> 16), (uint8_t)(at >> 8), (uint8_t)at};
        messages[i] = (sha256_message){.head_size = SALT_BYTES + sizeof number, .bytes = ""};
        memcpy(messages[i].head, salt, SALT_BYTES);
        memcpy(messages[i].head + SALT_BYTES, number, sizeof number);
    }
    sha256_all(messages, out, count);
    for (size_t i = 0; i < count; i++) {
        messages[i].head_size = 1 + ITEM_SALT_BYTES;
        messages[i].head[0] = 0;
        memcpy(messages[i].head + 1, out[i], ITEM_SALT_BYTES);
        messages[i].bytes = items[i].bytes;
        messages[i].size = items[i].size;
    }
    sha256_all(messages, out, count);
}

/* The nodes over up to AT_ONCE pairs of nodes, which may be where the pairs are. */
static void nodes_of(uint8_t (*out)[SHA256_BYTES], uint8_t (*pairs)[SHA256_BYTES], size_t count) {
    sha256_message messages[AT_ONCE];
    for (size_t i = 0; i < count; i++)
        messages[i] = (sha256_message){.head = {1}, .head_size = 1, .bytes = pairs[2 * i], .size = 2 * SHA256_BYTES};
    sha256_all(messages, out, count);
}

/* The RFC 6962 root over items, into 64 hex digits: pairs level by level, an odd last node carried up. */
static int root_of(char out[HEX_DIGITS], const uint8_t salt[SALT_BYTES], const piece *items, size_t count) {
    uint8_t few[AT_ONCE][SHA256_BYTES] = {{0}}, (*nodes)[SHA256_BYTES] = few;
    if (count > AT_ONCE && !(nodes = PyMem_Malloc(count * SHA256_BYTES))) return -1;
    for (size_t i = 0; i < count; i += AT_ONCE)
        leaves_of(nodes + i, salt, i, items + i, count - i < AT_ONCE ? count - i : AT_ONCE);
    while (count > 1) {
        size_t pairs = count / 2;
        for (size_t i = 0; i < pairs; i += AT_ONCE)
            nodes_of(nodes + i, nodes + 2 * i, pairs - i < AT_ONCE ? pairs - i : AT_ONCE);
        if (count % 2) memmove(nodes[pairs], nodes[count - 1], SHA256_BYTES);
        count = pairs + count % 2;
    }
    sha256_hex(out, nodes[0]);
    if (nodes != few) PyMem_Free(nodes);
    return 0;
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

static int add(text *out, piece value) { return text_add(out, value.bytes, value.size); }

/* Add the header up to its tree. Returns 0, or -1 where there is no memory. */
static int add_header(text *out, const header *values) {
    return add(out, values->open) || text_add_number(out, values->seq) || ADD(out, ",\"prev\":\"") ||
                   add(out, values->prev) || ADD(out, "\",\"kind\":\"") || add(out, values->kind) ||
                   ADD(out, "\",\"id\":\"") || add(out, values->id) || ADD(out, "\",\"time\":\"") ||
                   add_time(out, values->time_us) || add(out, values->engine) || add(out, values->position) ||
                   ADD(out, "\",\"after\":\"") || add(out, values->after) || ADD(out, "\"},") || add(out, values->tail)
               ? -1
               : 0;
}

int seal_line(const header *values, const piece *items, size_t count, const uint8_t salt[SALT_BYTES], piece recorded,
              text *out, char hash[HEX_DIGITS]) {
    size_t size = 0;
    for (size_t i = 0; i < count; i++) size += items[i].size;
    char root[HEX_DIGITS], salt_digits[SALT_DIGITS];
    if (root_of(root, salt, items, count) || ADD(out, "{\"header\":")) return -1;
    size_t begin = out->size;
    if (add_header(out, values) || ADD(out, "\"tree\":{\"count\":") || text_add_number(out, count) || ADD(out, ",\"bytes\":") ||
        text_add_number(out, size) || ADD(out, ",\"root\":\"") || text_add(out, root, HEX_DIGITS) || ADD(out, "\"}}"))
        return -1;

    sha256 sum;
    uint8_t digest[SHA256_BYTES];
    sha256_begin(&sum);
    sha256_take(&sum, out->bytes + begin, out->size - begin);
    sha256_end(&sum, digest);
    sha256_hex(hash, digest);

    if (ADD(out, ",\"body\":{\"salt\":\"") || text_add(out, salt_digits, base64(salt_digits, salt, SALT_BYTES)) ||
        ADD(out, "\",\"items\":["))
        return -1;
    for (size_t i = 0; i < count; i++)
        if ((i && ADD(out, ",")) || add(out, items[i])) return -1;
    return ADD(out, "]},\"recorded\":\"") || add(out, recorded) || ADD(out, "\"}\n") ? -1 : 0;
}

int piece_of(piece *out, PyObject *value) {
    Py_ssize_t size;
    out->bytes = PyUnicode_AsUTF8AndSize(value, &size);
    out->size = (size_t)size;
    return out->bytes ? 0 : -1;
}

enum { OPEN, SEQ, PREV, KIND, ID, TIME_US, ENGINE, POSITION, AFTER, TAIL, ITEMS, SALT, RECORDED, ARGUMENT_COUNT };

/* seal(open, seq, prev, kind, id, time_us, engine, position, after, tail, items, salt, recorded) -> (line, hash) */
PyObject *native_seal(PyObject *module, PyObject *const *given, Py_ssize_t count) {
    (void)module;
    static text line; /* the GIL is held throughout */
    if (count != ARGUMENT_COUNT || !PyList_CheckExact(given[ITEMS]) || !PyList_GET_SIZE(given[ITEMS]) ||
        !PyBytes_CheckExact(given[SALT]) || PyBytes_GET_SIZE(given[SALT]) != SALT_BYTES ||
        !PyBytes_CheckExact(given[RECORDED]))
        return PyErr_Format(PyExc_TypeError, "seal takes %d values, at least one item and a salt of 32 bytes", ARGUMENT_COUNT);
    header values = {.seq = PyLong_AsUnsignedLongLong(given[SEQ]), .time_us = PyLong_AsLongLong(given[TIME_US])};
    piece recorded = {PyBytes_AS_STRING(given[RECORDED]), (size_t)PyBytes_GET_SIZE(given[RECORDED])};
    if (PyErr_Occurred() || piece_of(&values.open, given[OPEN]) || piece_of(&values.prev, given[PREV]) ||
        piece_of(&values.kind, given[KIND]) || piece_of(&values.id, given[ID]) || piece_of(&values.engine, given[ENGINE]) ||
        piece_of(&values.position, given[POSITION]) || piece_of(&values.after, given[AFTER]) ||
        piece_of(&values.tail, given[TAIL]))
        return NULL;
    size_t item_count = (size_t)PyList_GET_SIZE(given[ITEMS]);
    piece *items = PyMem_Malloc(item_count * sizeof *items);
    if (!items) return PyErr_NoMemory();
    char *bytes, hash[HEX_DIGITS];
    Py_ssize_t size;
    int failed = 0;
    for (size_t i = 0; i < item_count && !failed; i++) {
        failed = PyBytes_AsStringAndSize(PyList_GET_ITEM(given[ITEMS], (Py_ssize_t)i), &bytes, &size);
        if (!failed) items[i] = (piece){bytes, (size_t)size};
    }
    line.size = 0;
    if (!failed && (failed = seal_line(&values, items, item_count, (uint8_t *)PyBytes_AS_STRING(given[SALT]), recorded, &line, hash)))
        PyErr_NoMemory();
    PyMem_Free(items);
    PyObject *result = failed ? NULL : Py_BuildValue("y#s#", line.bytes, (Py_ssize_t)line.size, hash, (Py_ssize_t)HEX_DIGITS);
    text_shrink(&line);
    return result;
}
