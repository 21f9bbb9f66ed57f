/* A tag as our drivers write it, to the JSON of `by`; transforms/join.py says what a tag is. */

#include "tag.h"

#include <string.h>

enum { VALUE_CHARS_MAX = 512 };

#define NAME(name) {",\"" name "\":\"", sizeof(",\"" name "\":\"") - 1}

/* In the order of a tag. */
static const struct {
    const char *label;
    size_t size;
} NAMES[TAG_VALUES] = {
    NAME("traceparent"), NAME("request"), NAME("session"), NAME("user"), NAME("app"), NAME("version"), NAME("build"),
};

/* The order of a record. */
static const int SHOWN[TAG_VALUES] = {USER, REQUEST, SESSION, TRACEPARENT, APP, VERSION, BUILD};

static const char OPEN[] = "{\"v\":1", BY[] = "{\"assurance\":1";

PyObject *tag_value(const tag_field *field) {
    return PyUnicode_FromStringAndSize(field->label ? field->label + field->label_size : "", (Py_ssize_t)field->value_size);
}

/* Printable ASCII without escapes, up to the quote that ends it. */
static const char *end_of_value(const char *at, const char *end) {
    while (at < end && *at >= 0x20 && *at < 0x7f && *at != '"' && *at != '\\') at++;
    return at < end && *at == '"' ? at : NULL;
}

int tag_read(tag_field fields[TAG_VALUES], const char *at, size_t size) {
    const char *end = at + size;
    int said = 0;
    if (size < sizeof OPEN || memcmp(at, OPEN, sizeof OPEN - 1)) return 0;
    at += sizeof OPEN - 1;
    for (int i = 0; i < TAG_VALUES; i++) {
        fields[i] = (tag_field){0};
        if ((size_t)(end - at) < NAMES[i].size || memcmp(at, NAMES[i].label, NAMES[i].size)) continue;
        const char *value_end = end_of_value(at + NAMES[i].size, end);
        if (!value_end) return 0;
        fields[i] = (tag_field){at, NAMES[i].size, (size_t)(value_end - at) - NAMES[i].size};
        if (fields[i].value_size > VALUE_CHARS_MAX) return 0;
        at = value_end + 1;
        said = 1;
    }
    return said && end - at == 1 && *at == '}';
}

int tag_add_by(text *out, const tag_field fields[TAG_VALUES]) {
    if (text_add(out, BY, sizeof BY - 1)) return -1;
    for (int i = 0; i < TAG_VALUES; i++) {
        const tag_field *f = &fields[SHOWN[i]];
        if (f->label && text_add(out, f->label, f->label_size + f->value_size + 1)) return -1;
    }
    return text_add(out, "}", 1);
}
