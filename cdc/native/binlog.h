/* Values of the binlog's rows as text: cdc/tail/binlog/values.py, temporal.py and json_text.py, compiled. */
#ifndef COMMITLOG_BINLOG_H
#define COMMITLOG_BINLOG_H

#include "native.h"
#include "text.h"

/* How a value is read: cdc/tail/binlog/reading.py, class Kind. */
enum {
    BY_PYTHON, INTEGER, DOUBLE, DECIMAL, YEAR, DATE, DATETIME, TIMESTAMP, TIME, TEXT, OCTETS, GEOMETRY, ENUM, SET, BIT, JSON, FLOAT
};

typedef struct {
    char bytes[4];
    uint8_t size;
} octet_text;

typedef struct {
    int kind;
    unsigned first, second;
    PyObject *read;     /* the Python that decides */
    PyObject *texts;    /* labels */
    octet_text *octets; /* what each byte stands for; NULL where the text is UTF-8 */
} binlog_column;

typedef struct {
    const uint8_t *at, *end;
} cursor;

/* Each adds the text of a value, and moves the cursor behind it. They return 0; 1 where it is not plain; -1 where there is
 * no memory. After 1, `out` and the cursor are wherever they are. */
int binlog_add_value(text *out, const binlog_column *column, cursor *from);
int binlog_add_decimal(text *out, unsigned precision, unsigned scale, cursor *from);
int binlog_add_json(text *out, const uint8_t *document, size_t size);

/* A finite number, of eight bytes as the server stores it, as the shortest digits that read back: the value is 0.DIGITS times ten to the power of
 * `point`. */
typedef struct {
    char digits[20];
    int count, point, negative;
} shortest;
int binlog_shortest(shortest *out, const uint8_t *bytes);

uint64_t binlog_little(const uint8_t *bytes, unsigned size);
uint64_t binlog_big(const uint8_t *bytes, unsigned size);

/* Write a number in decimal with `width` digits; 1 where it has more. */
int binlog_add_digits(text *out, uint64_t number, unsigned width);

/* An event's rows: where they begin in its body, what each change begins with, and which columns are there. */
typedef struct {
    Py_ssize_t at;
    const char *opening;
    size_t opening_size;
    char mark; /* before the old or only row */
    const uint8_t *first, *second; /* a bit for each column; the second of new rows, NULL where there are none */
} binlog_event;

/* Whether an object is a BinlogRows, and of how many columns. */
int binlog_is_rows(PyObject *object);
Py_ssize_t binlog_width(PyObject *rows);

/* Append an event's changes to a list, as (relation, change) where there is a relation. Returns 0; 1 where they are not plain;
 * -1 where there is no memory. After another than 0 the list holds some of them. */
int binlog_add_changes(PyObject *rows, PyObject *body, const binlog_event *event, PyObject *relation, PyObject *changes);

#endif
