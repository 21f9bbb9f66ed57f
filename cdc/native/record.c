/* plain_record: the line of nearly every record taken apart, as schemas/record.py does by `_PLAIN`; None for any other. */

#include "native.h"
#include "sha256.h"

#include <string.h>

enum { HEX64 = 64, HEX32 = 32, TEXT_MAX = 200, KIND_MAX = 20, TAIL_BYTES = 42, LINE_BYTES_MAX = 64 * 1024 * 1024 };

enum key { V, LOG, EPOCH, SEQ, PREV, KIND, ID, TIME, SOURCE, SCHEMA, SHAPES, TREE, ENGINE, POSITION, AFTER, COUNT, BYTES, ROOT, KEY_COUNT };

static PyObject *keys[KEY_COUNT]; /* made once, and kept as long as the process */

int native_record_begin(void) {
    static const char *const names[KEY_COUNT] = {
        "v", "log", "epoch", "seq", "prev", "kind", "id", "time", "source", "schema", "shapes", "tree",
        "engine", "position", "after", "count", "bytes", "root",
    };
    for (int i = 0; i < KEY_COUNT; i++)
        if (!keys[i] && !(keys[i] = PyUnicode_InternFromString(names[i]))) return -1;
    return 0;
}

typedef struct {
    const char *at, *end;
} cursor;

#define SKIP(c, literal) skip(c, literal, sizeof(literal) - 1)

static int skip(cursor *c, const char *literal, size_t size) {
    if ((size_t)(c->end - c->at) < size || memcmp(c->at, literal, size)) return 0;
    c->at += size;
    return 1;
}

static int is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

/* What most records have in common with the one before, or, `prev`, know from it: looked at as it stands before it is read. */
static PyObject *last[KEY_COUNT];

static PyObject *keep(enum key key, PyObject *value) {
    if (value) Py_XSETREF(last[key], Py_NewRef(value));
    return value;
}

static PyObject *same_again(cursor *c, enum key key) {
    PyObject *value = last[key];
    if (!value || !skip(c, PyUnicode_DATA(value), (size_t)PyUnicode_GET_LENGTH(value))) return NULL;
    return Py_NewRef(value);
}

static PyObject *digest(cursor *c, Py_ssize_t digits) {
    if (c->end - c->at < digits) return NULL;
    for (Py_ssize_t i = 0; i < digits; i++)
        if (!is_hex(c->at[i])) return NULL;
    c->at += digits;
    return PyUnicode_FromStringAndSize(c->at - digits, digits);
}

/* As `digest`, of a key whose digest seldom changes. */
static PyObject *known_digest(cursor *c, Py_ssize_t digits, enum key key) {
    PyObject *value = same_again(c, key);
    return value ? value : keep(key, digest(c, digits));
}

/* At most fifteen digits without a leading zero. */
static PyObject *count(cursor *c, int digits_max) {
    const char *begin = c->at;
    long long value = 0;
    while (c->at < c->end && c->at - begin <= digits_max && *c->at >= '0' && *c->at <= '9') value = value * 10 + *c->at++ - '0';
    if (c->at == begin || c->at - begin > digits_max || (*begin == '0' && c->at - begin > 1)) return NULL;
    return PyLong_FromLongLong(value);
}

/* Printable ASCII without escapes, and the quote behind it. */
static PyObject *text(cursor *c) {
    const char *begin = c->at;
    while (c->at < c->end && *c->at >= 0x20 && *c->at < 0x7f && *c->at != '"' && *c->at != '\\') c->at++;
    Py_ssize_t size = c->at - begin;
    return size <= TEXT_MAX && SKIP(c, "\"") ? PyUnicode_FromStringAndSize(begin, size) : NULL;
}

static PyObject *kind(cursor *c) {
    const char *begin = c->at;
    while (c->at < c->end && *c->at >= 'a' && *c->at <= 'z') c->at++;
    Py_ssize_t size = c->at - begin;
    return size >= 1 && size <= KIND_MAX && SKIP(c, "\"") ? PyUnicode_FromStringAndSize(begin, size) : NULL;
}

/* Put a value that was just made; 0 where there is none. */
static int put(PyObject *header, enum key key, PyObject *value) {
    if (!value) return 0;
    int failed = PyDict_SetItem(header, keys[key], value);
    Py_DECREF(value);
    return !failed;
}

static PyObject *source_of(cursor *c) {
    PyObject *source = PyDict_New();
    if (source && SKIP(c, "{\"engine\":\"") && put(source, ENGINE, text(c)) && SKIP(c, ",\"position\":\"") &&
        put(source, POSITION, text(c)) && SKIP(c, ",\"after\":\"") && put(source, AFTER, text(c)) && SKIP(c, "}"))
        return source;
    Py_XDECREF(source);
    return NULL;
}

static PyObject *shapes_of(cursor *c) {
    PyObject *shapes = PyList_New(0);
    do {
        PyObject *shape = shapes && SKIP(c, "\"") ? known_digest(c, HEX64, SHAPES) : NULL;
        int failed = !shape || PyList_Append(shapes, shape);
        Py_XDECREF(shape);
        if (failed || !SKIP(c, "\"")) {
            Py_XDECREF(shapes);
            return NULL;
        }
    } while (SKIP(c, ","));
    return shapes;
}

static PyObject *tree_of(cursor *c) {
    PyObject *tree = PyDict_New();
    if (tree && SKIP(c, "{\"count\":") && put(tree, COUNT, count(c, 15)) && SKIP(c, ",\"bytes\":") &&
        put(tree, BYTES, count(c, 15)) && SKIP(c, ",\"root\":\"") && put(tree, ROOT, digest(c, HEX64)) && SKIP(c, "\"}"))
        return tree;
    Py_XDECREF(tree);
    return NULL;
}

static int read_header(cursor *c, PyObject *header) {
    return SKIP(c, "{\"v\":1,\"log\":\"") && put(header, V, PyLong_FromLong(1)) && put(header, LOG, known_digest(c, HEX32, LOG)) &&
           SKIP(c, "\",\"epoch\":") && c->at < c->end && *c->at != '0' && put(header, EPOCH, count(c, 9)) &&
           SKIP(c, ",\"seq\":") && put(header, SEQ, count(c, 15)) && SKIP(c, ",\"prev\":\"") &&
           put(header, PREV, known_digest(c, HEX64, PREV)) && SKIP(c, "\",\"kind\":\"") && put(header, KIND, kind(c)) &&
           SKIP(c, ",\"id\":\"") && put(header, ID, text(c)) && SKIP(c, ",\"time\":\"") && put(header, TIME, text(c)) &&
           SKIP(c, ",\"source\":") && put(header, SOURCE, source_of(c)) &&
           (!SKIP(c, ",\"schema\":\"") || (put(header, SCHEMA, known_digest(c, HEX64, SCHEMA)) && SKIP(c, "\""))) &&
           (!SKIP(c, ",\"shapes\":[") || (put(header, SHAPES, shapes_of(c)) && SKIP(c, "]"))) && SKIP(c, ",\"tree\":") &&
           put(header, TREE, tree_of(c)) && SKIP(c, "}");
}

/* `,"recorded":"2026-11-22T10:11:12.345678Z"}` at the very end. */
static int ends_as_record(const char *tail) {
    static const char form[TAIL_BYTES + 1] = ",\"recorded\":\"dddd-dd-ddTdd:dd:dd.ddddddZ\"}";
    for (int i = 0; i < TAIL_BYTES; i++)
        if (form[i] == 'd' && i > 12 ? tail[i] < '0' || tail[i] > '9' : tail[i] != form[i]) return 0;
    return 1;
}

/* plain_record(line without its line feed) -> (header bytes, body bytes, recorded, header, hash), or None */
PyObject *native_plain_record(PyObject *module, PyObject *line) {
    (void)module;
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(line, &bytes, &size)) return NULL;
    cursor c = {bytes, bytes + size};
    if (size > LINE_BYTES_MAX || !SKIP(&c, "{\"header\":")) Py_RETURN_NONE;
    const char *begin = c.at, *tail = bytes + size - TAIL_BYTES;
    PyObject *header = PyDict_New();
    if (!header) return NULL;
    int plain = read_header(&c, header);
    const char *end = c.at;
    if (!plain || !SKIP(&c, ",\"body\":") || c.at >= tail || !ends_as_record(tail)) {
        Py_DECREF(header);
        if (PyErr_Occurred()) return NULL;
        Py_RETURN_NONE;
    }
    sha256 hash;
    uint8_t raw[SHA256_BYTES];
    char digits[HEX64];
    sha256_begin(&hash);
    sha256_take(&hash, begin, (size_t)(end - begin));
    sha256_end(&hash, raw);
    sha256_hex(digits, raw);
    PyObject *text_of_hash = keep(PREV, PyUnicode_FromStringAndSize(digits, HEX64));
    return Py_BuildValue("y#y#s#NN", begin, (Py_ssize_t)(end - begin), c.at, (Py_ssize_t)(tail - c.at), tail + 13,
                         (Py_ssize_t)27, header, text_of_hash);
}
