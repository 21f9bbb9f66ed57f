#include "explode.h"

#include <stdlib.h>

enum { NESTED_MAX = 100 };

struct explode_paths {
    Py_ssize_t width;
    bson_keys *branch;   /* what to look for from the top */
    bson_keys **omitted; /* of each column, or NULL */
    uint8_t *whole;      /* whether a column is the document itself */
};

/* A mapping of keys to mappings of the same form, or None. Returns NULL with an exception set. */
static bson_keys *take_omitted(PyObject *described, int depth) {
    PyObject *name, *below;
    Py_ssize_t at = 0;
    if (!PyDict_Check(described) || depth > NESTED_MAX) {
        PyErr_SetString(PyExc_TypeError, "what is left out is a dict of dicts");
        return NULL;
    }
    bson_keys *keys = calloc(1, sizeof *keys);
    if (!keys) return (bson_keys *)PyErr_NoMemory();
    while (PyDict_Next(described, &at, &name, &below)) {
        char *bytes;
        Py_ssize_t size;
        int failed = PyBytes_AsStringAndSize(name, &bytes, &size);
        bson_key *key = failed ? NULL : bson_key_add(keys, bytes, (size_t)size);
        if (!failed && !key) PyErr_NoMemory();
        if (!key || (below != Py_None && !(key->below = take_omitted(below, depth + 1)))) {
            bson_keys_free(keys);
            return NULL;
        }
    }
    return keys;
}

/* Have a column looked for at a path. */
static int take_path(explode_paths *paths, PyObject *path, Py_ssize_t column) {
    bson_keys **at = &paths->branch;
    bson_key *key = NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(path); i++) {
        char *bytes;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyTuple_GET_ITEM(path, i), &bytes, &size)) return -1;
        if (!*at) *at = calloc(1, sizeof **at);
        if (!*at) break;
        key = bson_find(*at, (bson_span){(uint8_t *)bytes, (uint8_t *)bytes + size}, 0);
        if (!key) key = bson_key_add(*at, bytes, (size_t)size);
        if (!key) break;
        at = &key->below;
    }
    if (!key && PyTuple_GET_SIZE(path)) return PyErr_NoMemory(), -1;
    if (!key) {
        paths->whole[column] = 1;
        return 0;
    }
    Py_ssize_t count = key->places ? key->places[0] : 0;
    Py_ssize_t *places = realloc(key->places, (size_t)(count + 2) * sizeof *places);
    if (!places) return PyErr_NoMemory(), -1;
    places[0] = count + 1;
    places[count + 1] = column;
    key->places = places;
    return 0;
}

explode_paths *explode_paths_of(PyObject *described, Py_ssize_t width) {
    if (!PyTuple_Check(described) || PyTuple_GET_SIZE(described) != width) {
        PyErr_SetString(PyExc_TypeError, "there is a path for each column");
        return NULL;
    }
    explode_paths *paths = calloc(1, sizeof *paths);
    if (!paths) return (explode_paths *)PyErr_NoMemory();
    paths->width = width;
    paths->omitted = calloc((size_t)width + 1, sizeof *paths->omitted);
    paths->whole = calloc((size_t)width + 1, 1);
    paths->branch = calloc(1, sizeof *paths->branch);
    int failed = !paths->omitted || !paths->whole || !paths->branch;
    if (failed) PyErr_NoMemory();
    for (Py_ssize_t i = 0; !failed && i < width; i++) {
        PyObject *path, *omitted;
        failed = !PyArg_ParseTuple(PyTuple_GET_ITEM(described, i), "O!O", &PyTuple_Type, &path, &omitted) ||
                 (omitted != Py_None && !(paths->omitted[i] = take_omitted(omitted, 0))) || take_path(paths, path, i);
    }
    if (!failed) return paths;
    explode_free(paths);
    return NULL;
}

void explode_free(explode_paths *paths) {
    if (!paths) return;
    for (Py_ssize_t i = 0; paths->omitted && i < paths->width; i++) bson_keys_free(paths->omitted[i]);
    bson_keys_free(paths->branch);
    free(paths->omitted);
    free(paths->whole);
    free(paths);
}

/* A text may still move, so a cell has its place for a while, and not its address. */
static int keep(text *texts, size_t begin, cell *into) {
    if (texts->size - begin > UINT32_MAX) return 1;
    *into = (cell){.value = (const uint8_t *)begin, .size = (uint32_t)(texts->size - begin), .sent = 't'};
    return 0;
}

static int gather(const explode_paths *paths, bson_keys *branch, bson_span document, text *texts, cell *row) {
    bson_element each;
    Py_ssize_t next = 0;
    if (bson_open(&document)) return 1;
    for (Py_ssize_t i = 0; i < branch->count; i++) branch->keys[i].seen = 0;
    while (bson_more(&document)) {
        if (bson_next(&document, &each)) return 1;
        bson_key *key = bson_find(branch, each.name, next);
        if (!key || key->seen) continue;
        key->seen = 1;
        next = key - branch->keys + 1;
        for (Py_ssize_t i = 0; key->places && i < key->places[0]; i++) {
            Py_ssize_t column = key->places[i + 1];
            size_t begin = texts->size;
            if (bson_add_value(texts, &each, paths->omitted[column]) || keep(texts, begin, &row[column])) return 1;
        }
        if (key->below && each.kind == BSON_DOCUMENT && gather(paths, key->below, each.value, texts, row)) return 1;
    }
    return 0;
}

int explode(explode_paths *paths, bson_span document, text *texts, cell *row, Py_ssize_t width) {
    size_t begin = texts->size = 0;
    for (Py_ssize_t i = 0; i < width; i++) {
        row[i] = (cell){.sent = 'n'};
        if (paths->whole[i] && ((begin = texts->size, bson_add_document(texts, document, paths->omitted[i])) || keep(texts, begin, &row[i]))) return 1;
    }
    if (gather(paths, paths->branch, document, texts, row)) return 1;
    for (Py_ssize_t i = 0; i < width; i++)
        if (row[i].sent == 't') row[i].value = (const uint8_t *)texts->bytes + (uintptr_t)row[i].value;
    return 0;
}
