/* Tags as our drivers write them. */
#ifndef COMMITLOG_TAG_H
#define COMMITLOG_TAG_H

#include "native.h"
#include "text.h"

/* The values, in the order of a tag. */
enum { TRACEPARENT, REQUEST, SESSION, USER, APP, VERSION, BUILD, TAG_VALUES };

typedef struct {
    const char *label; /* where the name and then the value stand in the tag; NULL where it does not name it */
    size_t label_size, value_size;
} tag_field;

/* Whether a tag is plain, and says something: then its fields. */
int tag_read(tag_field fields[TAG_VALUES], const char *tag, size_t size);

/* Add the JSON of `by`. Returns 0, or -1 where there is no memory. */
int tag_add_by(text *out, const tag_field fields[TAG_VALUES]);

/* A value as a str, empty where there is none; NULL with an exception set. */
PyObject *tag_value(const tag_field *field);

#endif
