/* Documents to the columns that an app schema makes of them: cdc/tail/oplog/explode.py, compiled. */
#ifndef COMMITLOG_EXPLODE_H
#define COMMITLOG_EXPLODE_H

#include "bson.h"

/* A value of a row. */
typedef struct {
    const uint8_t *value;
    uint32_t size;
    uint8_t sent; /* t: a text, n: null, u: not sent */
} cell;

typedef struct explode_paths explode_paths;

/* The paths of as many columns: a tuple of (keys, what to leave out or None). NULL with an exception set. */
explode_paths *explode_paths_of(PyObject *described, Py_ssize_t width);
void explode_free(explode_paths *paths);

/* Fill a row from a document; its texts stand in `texts`, which holds nothing else. Returns 0, or 1 where that is not plain. */
int explode(explode_paths *paths, bson_span document, text *texts, cell *row, Py_ssize_t width);

#endif
