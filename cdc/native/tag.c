/* plain_tag: a tag as our drivers write it, to the JSON of `by`; transforms/join.py says what a tag is. */

#include "native.h"

#include <string.h>

enum { TRACEPARENT, REQUEST, SESSION, USER, APP, VERSION, BUILD, NAME_COUNT, VALUE_CHARS_MAX = 512 };

#define NAME(name) {",\"" name "\":\"", sizeof(",\"" name "\":\"") - 1}

/* In the order of a tag. */
static const struct {
    const char *label;
    size_t size;
} NAMES[NAME_COUNT] = {
    NAME("traceparent"), NAME("request"), NAME("session"), NAME("user"), NAME("app"), NAME("version"), NAME("build"),
};

/* The order of a record. */
static const int SHOWN[NAME_COUNT] = {USER, REQUEST, SESSION, TRACEPARENT, APP, VERSION, BUILD};

static const char OPEN[] = "{\"v\":1", BY[] = "{\"assurance\":1";

typedef struct {
    const char *label; /* NULL where the tag does not name it */
    size_t label_size, value_size;
} field;

static PyObject *value_of(const field *f) {
    return f->label ? PyUnicode_FromStringAndSize(f->label + f->label_size, (Py_ssize_t)f->value_size)
                    : PyUnicode_FromStringAndSize(NULL, 0);
}

/* Printable ASCII without escapes, up to the quote that ends it. */
static const char *end_of_value(const char *at, const char *end) {
    while (at < end && *at >= 0x20 && *at < 0x7f && *at != '"' && *at != '\\') at++;
    return at < end && *at == '"' ? at : NULL;
}

static int read_fields(field fields[NAME_COUNT], const char *at, const char *end) {
    if ((size_t)(end - at) < sizeof OPEN || memcmp(at, OPEN, sizeof OPEN - 1)) return 0;
    at += sizeof OPEN - 1;
    for (int i = 0; i < NAME_COUNT; i++) {
        fields[i].label = NULL;
        if ((size_t)(end - at) < NAMES[i].size || memcmp(at, NAMES[i].label, NAMES[i].size)) continue;
        const char *value_end = end_of_value(at + NAMES[i].size, end);
        if (!value_end) return 0;
        fields[i] = (field){at, NAMES[i].size, (size_t)(value_end - at) - NAMES[i].size};
        if (fields[i].value_size > VALUE_CHARS_MAX) return 0;
        at = value_end + 1;
    }
    return end - at == 1 && *at == '}';
}

/* plain_tag(tag) -> (by, build, version, app, request), or None where the tag is not plain or says nothing */
PyObject *native_plain_tag(PyObject *module, PyObject *tag) {
    (void)module;
    field fields[NAME_COUNT];
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(tag, &bytes, &size)) return NULL;
    if (!read_fields(fields, bytes, bytes + size)) Py_RETURN_NONE;
    size_t by_size = sizeof BY; /* and the closing brace instead of the NUL */
    for (int i = 0; i < NAME_COUNT; i++)
        if (fields[i].label) by_size += fields[i].label_size + fields[i].value_size + 1;
    if (by_size == sizeof BY) Py_RETURN_NONE;
    PyObject *by = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)by_size);
    if (!by) return NULL;
    char *at = PyBytes_AS_STRING(by);
    memcpy(at, BY, sizeof BY - 1);
    at += sizeof BY - 1;
    for (int i = 0; i < NAME_COUNT; i++) {
        const field *f = &fields[SHOWN[i]];
        if (!f->label) continue;
        memcpy(at, f->label, f->label_size + f->value_size + 1);
        at += f->label_size + f->value_size + 1;
    }
    *at = '}';
    return Py_BuildValue("NNNNN", by, value_of(&fields[BUILD]), value_of(&fields[VERSION]), value_of(&fields[APP]),
                         value_of(&fields[REQUEST]));
}
