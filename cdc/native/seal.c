/* A record's tree, its header's end and its line: schemas/README.md §2 and §4, as schemas/tree.py and cdc/log/chain.py. */

#include "native.h"
#include "sha256.h"
#include "text.h"

#include <string.h>

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

PyObject *native_tree_root(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    char root[HEX_DIGITS];
    size_t size;
    if (count != 2) return PyErr_Format(PyExc_TypeError, "tree_root(salt, items)");
    if (check(arguments[0], arguments[1], &size)) return NULL;
    if (root_of(root, (const uint8_t *)PyBytes_AS_STRING(arguments[0]), arguments[1])) return PyErr_NoMemory();
    return PyUnicode_FromStringAndSize(root, HEX_DIGITS);
}

static char *put(char *at, const void *bytes, size_t size) {
    memcpy(at, bytes, size);
    return at + size;
}

#define PUT(at, literal) put(at, literal, sizeof(literal) - 1)

/* seal(header's beginning, items, salt, recorded) -> (line, hash) */
PyObject *native_seal(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    size_t size;
    Py_ssize_t begin_size, recorded_size;
    if (count != 4) return PyErr_Format(PyExc_TypeError, "seal(begin, items, salt, recorded)");
    PyObject *items = arguments[1];
    const char *begin = PyUnicode_AsUTF8AndSize(arguments[0], &begin_size);
    char *recorded;
    if (!begin || check(arguments[2], items, &size) ||
        PyBytes_AsStringAndSize(arguments[3], &recorded, &recorded_size))
        return NULL;
    const uint8_t *salt = (const uint8_t *)PyBytes_AS_STRING(arguments[2]);
    Py_ssize_t item_count = PyList_GET_SIZE(items);
    char root[HEX_DIGITS], tree[160];
    if (root_of(root, salt, items)) return PyErr_NoMemory();
    int tree_size = PyOS_snprintf(tree, sizeof tree, "\"tree\":{\"count\":%zd,\"bytes\":%zu,\"root\":\"%.64s\"}}", item_count, size, root);

    size_t header_size = (size_t)begin_size + (size_t)tree_size;
    size_t line_size = sizeof("{\"header\":,\"body\":{\"salt\":\"\",\"items\":[]},\"recorded\":\"\"}\n") - 1 +
                       header_size + SALT_DIGITS + size + (size_t)(item_count - 1) + (size_t)recorded_size;
    PyObject *line = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)line_size);
    if (!line) return NULL;
    char *at = PUT(PyBytes_AS_STRING(line), "{\"header\":");
    sha256 hash;
    uint8_t digest[SHA256_BYTES];
    char hash_text[HEX_DIGITS];
    sha256_begin(&hash);
    sha256_take(&hash, begin, (size_t)begin_size);
    sha256_take(&hash, tree, (size_t)tree_size);
    sha256_end(&hash, digest);
    sha256_hex(hash_text, digest);
    at = put(put(at, begin, (size_t)begin_size), tree, (size_t)tree_size);
    at = PUT(at, ",\"body\":{\"salt\":\"");
    at += base64(at, salt, SALT_BYTES);
    at = PUT(at, "\",\"items\":[");
    for (Py_ssize_t i = 0; i < item_count; i++) {
        if (i) *at++ = ',';
        PyObject *item = PyList_GET_ITEM(items, i);
        at = put(at, PyBytes_AS_STRING(item), (size_t)PyBytes_GET_SIZE(item));
    }
    at = PUT(at, "]},\"recorded\":\"");
    at = put(at, recorded, (size_t)recorded_size);
    at = PUT(at, "\"}\n");
    return Py_BuildValue("Ns#", line, hash_text, (Py_ssize_t)HEX_DIGITS);
}
