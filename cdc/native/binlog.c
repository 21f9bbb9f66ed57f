/* BinlogRows: the rows of an event of the binlog to row changes (cdc/tail/row_change.py).
 *
 * What a value is not plainly, its column's Python reader decides; where that one fails, or the event is malformed, the answer
 * is None, and the Python that this stands in for (cdc/tail/binlog/rows.py) says what is to be said. So there are no errors here.
 */

#include "binlog.h"

#include <structmember.h>

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    binlog_column *columns;
    Py_ssize_t width;
    text out;
} BinlogRows;

static PyObject *rows_new(PyTypeObject *type, PyObject *arguments, PyObject *names);

/* What the column's reader makes of a value. */
static int ask(const binlog_column *column, text *out, PyObject *body, cursor *from) {
    const uint8_t *start = (const uint8_t *)PyBytes_AS_STRING(body);
    PyObject *answer = PyObject_CallFunction(column->read, "On", body, (Py_ssize_t)(from->at - start));
    const char *bytes;
    Py_ssize_t size, end;
    int failed = 1;
    if (answer && PyTuple_Check(answer) && PyArg_ParseTuple(answer, "y#n", &bytes, &size, &end) &&
        end >= from->at - start && end <= from->end - start) {
        failed = text_add(out, bytes, (size_t)size);
        from->at = start + end;
    }
    Py_XDECREF(answer);
    if (PyErr_Occurred()) PyErr_Clear();
    return failed;
}

static void put_big(char *to, uint32_t number) {
    for (int i = 4; i--; number >>= 8) to[i] = (char)(number & 255);
}

/* How many columns a row has. `present` has a bit for each of the table's. */
static Py_ssize_t columns_of(const BinlogRows *self, const uint8_t *present) {
    Py_ssize_t there = 0;
    for (Py_ssize_t i = 0; i < self->width; i++) there += present[i >> 3] >> (i & 7) & 1;
    return there;
}

/* A row as TupleData. */
static int add_row(BinlogRows *self, PyObject *body, cursor *from, const uint8_t *present) {
    text *out = &self->out;
    Py_ssize_t width = self->width, there = columns_of(self, present);
    const uint8_t *nulls = from->at;
    if (from->end - from->at < (there + 7) / 8) return 1;
    from->at += (there + 7) / 8;
    char count[2] = {(char)(width >> 8), (char)(width & 255)};
    if (text_add(out, count, 2)) return -1;
    for (Py_ssize_t i = 0, bit = 0; i < width; i++) {
        if (!(present[i >> 3] >> (i & 7) & 1)) {
            if (text_add(out, "u", 1)) return -1;
            continue;
        }
        int is_null = nulls[bit >> 3] >> (bit & 7) & 1;
        bit++;
        if (is_null) {
            if (text_add(out, "n", 1)) return -1;
            continue;
        }
        if (text_add(out, "t\0\0\0\0", 5)) return -1;
        size_t start = out->size;
        const uint8_t *value = from->at;
        int failed = binlog_add_value(out, &self->columns[i], from);
        if (failed > 0) {
            out->size = start;
            from->at = value;
            failed = ask(&self->columns[i], out, body, from);
        }
        if (failed) return failed;
        if (out->size - start > UINT32_MAX) return 1;
        put_big(out->bytes + start - 4, (uint32_t)(out->size - start));
    }
    return 0;
}

static int add_change(BinlogRows *self, PyObject *body, cursor *from, const binlog_event *event) {
    text *out = &self->out;
    const uint8_t *first = event->first, *second = event->second;
    out->size = 0;
    if (text_add(out, event->opening, event->opening_size) || text_add(out, &event->mark, 1)) return -1;
    int failed = add_row(self, body, from, first);
    if (failed || !second) return failed;
    if (text_add(out, "N", 1)) return -1;
    return add_row(self, body, from, second);
}

Py_ssize_t binlog_width(PyObject *rows) { return ((BinlogRows *)rows)->width; }

int binlog_is_rows(PyObject *object) { return Py_TYPE(object)->tp_new == rows_new; }

int binlog_add_changes(PyObject *rows, PyObject *body, const binlog_event *event, PyObject *relation, PyObject *changes) {
    BinlogRows *self = (BinlogRows *)rows;
    const uint8_t *start = (const uint8_t *)PyBytes_AS_STRING(body);
    cursor from = {start + event->at, start + PyBytes_GET_SIZE(body)};
    if (!columns_of(self, event->first) || (event->second && !columns_of(self, event->second))) return 1;
    int failed = 0;
    while (!failed && from.at < from.end) {
        failed = add_change(self, body, &from, event);
        if (failed) break;
        PyObject *change = PyBytes_FromStringAndSize(self->out.bytes, (Py_ssize_t)self->out.size);
        PyObject *entry = change && relation ? PyTuple_Pack(2, relation, change) : Py_XNewRef(change);
        failed = !entry || PyList_Append(changes, entry) ? -1 : 0;
        Py_XDECREF(change);
        Py_XDECREF(entry);
    }
    text_shrink(&self->out);
    return failed;
}

/* (body, at, opening, mark, columns of the old or only rows, columns of the new rows or None) */
static PyObject *rows_call(PyObject *object, PyObject *const *arguments, size_t counted, PyObject *names) {
    BinlogRows *self = (BinlogRows *)object;
    Py_ssize_t bitmap = (self->width + 7) / 8;
    if (PyVectorcall_NARGS(counted) != 6 || names || !PyBytes_Check(arguments[0]) || !PyBytes_Check(arguments[2]) ||
        !PyBytes_Check(arguments[3]) || PyBytes_GET_SIZE(arguments[3]) != 1 || !PyBytes_Check(arguments[4]) ||
        PyBytes_GET_SIZE(arguments[4]) != bitmap ||
        (arguments[5] != Py_None && (!PyBytes_Check(arguments[5]) || PyBytes_GET_SIZE(arguments[5]) != bitmap)))
        return PyErr_Format(PyExc_TypeError, "BinlogRows takes body, at, opening, mark and the bitmaps of columns");
    Py_ssize_t at = PyLong_AsSsize_t(arguments[1]);
    if (at == -1 && PyErr_Occurred()) return NULL;
    if (at < 0 || at > PyBytes_GET_SIZE(arguments[0])) Py_RETURN_NONE;
    binlog_event event = {
        .at = at,
        .opening = PyBytes_AS_STRING(arguments[2]),
        .opening_size = (size_t)PyBytes_GET_SIZE(arguments[2]),
        .mark = PyBytes_AS_STRING(arguments[3])[0],
        .first = (const uint8_t *)PyBytes_AS_STRING(arguments[4]),
        .second = arguments[5] == Py_None ? NULL : (const uint8_t *)PyBytes_AS_STRING(arguments[5]),
    };
    PyObject *changes = PyList_New(0);
    int failed = changes ? binlog_add_changes(object, arguments[0], &event, NULL, changes) : -1;
    if (!failed) return changes;
    Py_XDECREF(changes);
    if (failed > 0) Py_RETURN_NONE;
    return PyErr_Occurred() ? NULL : PyErr_NoMemory();
}

static int take_octets(binlog_column *column) {
    column->octets = PyMem_Calloc(256, sizeof *column->octets);
    if (!column->octets) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < 256; i++) {
        PyObject *octet = PyTuple_GET_ITEM(column->texts, i);
        if (PyBytes_GET_SIZE(octet) > 4) {
            PyErr_SetString(PyExc_ValueError, "a byte stands for more than a character");
            return -1;
        }
        memcpy(column->octets[i].bytes, PyBytes_AS_STRING(octet), (size_t)PyBytes_GET_SIZE(octet));
        column->octets[i].size = (uint8_t)PyBytes_GET_SIZE(octet);
    }
    return 0;
}

/* (reader, kind, first, second, texts) */
static int take_column(binlog_column *column, PyObject *given) {
    PyObject *read, *texts;
    if (!PyTuple_Check(given) || !PyArg_ParseTuple(given, "OiIIO!", &read, &column->kind, &column->first, &column->second, &PyTuple_Type, &texts)) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "a column is no tuple");
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(texts); i++)
        if (!PyBytes_Check(PyTuple_GET_ITEM(texts, i))) {
            PyErr_SetString(PyExc_TypeError, "a column's texts are bytes");
            return -1;
        }
    column->read = Py_NewRef(read);
    column->texts = Py_NewRef(texts);
    return column->kind == TEXT && PyTuple_GET_SIZE(texts) == 256 ? take_octets(column) : 0;
}

static void rows_free(PyObject *object) {
    BinlogRows *self = (BinlogRows *)object;
    PyTypeObject *type = Py_TYPE(object);
    for (Py_ssize_t i = 0; self->columns && i < self->width; i++) {
        Py_XDECREF(self->columns[i].read);
        Py_XDECREF(self->columns[i].texts);
        PyMem_Free(self->columns[i].octets);
    }
    PyMem_Free(self->columns);
    free(self->out.bytes);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *rows_new(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    PyObject *columns;
    if (names && PyDict_GET_SIZE(names)) return PyErr_Format(PyExc_TypeError, "BinlogRows takes no names");
    if (!PyArg_ParseTuple(arguments, "O!", &PyTuple_Type, &columns)) return NULL;
    BinlogRows *self = (BinlogRows *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->call = rows_call;
    self->width = PyTuple_GET_SIZE(columns);
    self->columns = PyMem_Calloc((size_t)self->width + 1, sizeof *self->columns);
    int failed = !self->columns || self->width > UINT16_MAX;
    if (failed) PyErr_NoMemory();
    for (Py_ssize_t i = 0; !failed && i < self->width; i++)
        failed = take_column(&self->columns[i], PyTuple_GET_ITEM(columns, i));
    if (failed) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyMemberDef rows_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(BinlogRows, call), READONLY, NULL},
    {0},
};

static PyType_Slot rows_slots[] = {
    {Py_tp_doc, "The rows of an event to row changes; the module's comment says the rest."},
    {Py_tp_new, rows_new},
    {Py_tp_dealloc, rows_free},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_members, rows_members},
    {0},
};

PyType_Spec binlog_rows_spec = {
    .name = "commitlog.cdc.native._native.BinlogRows",
    .basicsize = sizeof(BinlogRows),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    .slots = rows_slots,
};
