/* Shaper: one row change of pgoutput to the JSON of one item of a commit; with paths, one of a document.
 *
 * It knows the plain case only: an insert, an update or a delete with its whole old row, its key unchanged, every value of
 * its type. Whatever is not plain (a value that was not sent, another key, malformed bytes) it hands to the Python that it
 * stands in for (transforms/project.py), which decides, and raises what is to be raised. So this file has no errors of its own.
 */

#include "shaper.h"

#include <structmember.h>

#include "explode.h"

enum { CHANGE_AT = 25, TUPLE_AT = 31 };

typedef struct {
    char *label; /* `"field":`, NULL where the column is not published */
    size_t label_size;
    int kind;
    PyObject *values; /* a dict with every text that the column may have; NULL where it may have any */
} column;

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    PyObject *fallback;
    text entity; /* `,"entity":…,"shape":` */
    column *columns;
    cell *old_row, *new_row;
    Py_ssize_t *key;
    Py_ssize_t width, key_size;
    explode_paths *paths; /* NULL where rows have the columns themselves */
    text old_texts, new_texts; /* what documents were exploded to */
    text own;  /* where an item is written that nobody else asked for */
    text *out; /* where the present one is */
} Shaper;

/* Where `data` stands after a TupleData at `at`; 0 where it is not one of `width` columns. */
static size_t read_row(const uint8_t *data, size_t size, size_t at, cell *row, Py_ssize_t width) {
    if (size - at < 2 || (data[at] << 8 | data[at + 1]) != width) return 0;
    at += 2;
    for (Py_ssize_t i = 0; i < width; i++) {
        if (at >= size) return 0;
        uint8_t sent = row[i].sent = data[at++];
        if (sent == 't') {
            if (size - at < 4) return 0;
            uint32_t length =
                (uint32_t)data[at] << 24 | (uint32_t)data[at + 1] << 16 | (uint32_t)data[at + 2] << 8 | data[at + 3];
            at += 4;
            if (size - at < length) return 0;
            row[i].value = data + at;
            row[i].size = length;
            at += length;
        } else if (sent != 'n' && sent != 'u') {
            return 0;
        }
    }
    return at;
}

/* As read_row, of the row that a document becomes. */
static size_t read_change_row(Shaper *self, const uint8_t *data, size_t size, size_t at, int is_old) {
    cell *row = is_old ? self->old_row : self->new_row, document;
    if (!self->paths) return read_row(data, size, at, row, self->width);
    size_t end = read_row(data, size, at, &document, 1);
    if (!end || document.sent != 't') return 0;
    bson_span span = {document.value, document.value + document.size};
    return explode(self->paths, span, is_old ? &self->old_texts : &self->new_texts, row, self->width) ? 0 : end;
}

/* The functions below return 0; -1 where there is no memory; 1 where the change is not plain. */

static int add_cell(text *out, const column *c, const cell *value, int *first) {
    if (value->sent == 'u') return 1;
    if (!*first && text_add(out, ",", 1)) return -1;
    *first = 0;
    if (text_add(out, c->label, c->label_size)) return -1;
    if (value->sent == 'n') return text_add(out, "null", 4);
    if (c->values) {
        PyObject *known = PyBytes_FromStringAndSize((const char *)value->value, value->size);
        int found = known ? PyDict_Contains(c->values, known) : -1;
        Py_XDECREF(known);
        if (found != 1) return found ? -1 : 1;
    }
    return text_add_value(out, c->kind, value->value, value->size);
}

static int add_row(Shaper *self, const cell *row) {
    int first = 1, failed;
    for (Py_ssize_t i = 0; i < self->width; i++)
        if (self->columns[i].label && (failed = add_cell(self->out, &self->columns[i], &row[i], &first)))
            return failed;
    return 0;
}

static int add_head(Shaper *self, const char *op, unsigned long long shape, const cell *row) {
    text *out = self->out;
    int first = 1, failed;
    if (text_add(out, "{\"op\":", 6) || text_add(out, op, 8) || text_add(out, self->entity.bytes, self->entity.size) ||
        text_add_number(out, shape) || text_add(out, ",\"key\":{", 8))
        return -1;
    for (Py_ssize_t i = 0; i < self->key_size; i++) {
        Py_ssize_t place = self->key[i];
        if (row[place].sent != 't') return 1;
        if ((failed = add_cell(out, &self->columns[place], &row[place], &first))) return failed;
    }
    return 0;
}

static int add_whole(Shaper *self, const char *name, const cell *row) {
    int failed;
    if (text_add(self->out, name, strlen(name))) return -1;
    if ((failed = add_row(self, row))) return failed;
    return text_add(self->out, "}}", 2);
}

static int same(const cell *a, const cell *b) {
    return a->sent == b->sent && (a->sent == 'n' || (a->size == b->size && !memcmp(a->value, b->value, a->size)));
}

/* As the others, and 2 where nothing that is published changed. */
static int add_update(Shaper *self, unsigned long long shape) {
    cell *old = self->old_row, *new = self->new_row;
    text *out = self->out;
    int failed, changed = 0;
    for (Py_ssize_t i = 0; i < self->width; i++) {
        if (!self->columns[i].label || new[i].sent == 'u' || same(&old[i], &new[i]))
            new[i].value = NULL; /* unchanged, and so left out below */
        else if (old[i].sent == 'u')
            return 1;
        else
            changed = 1, new[i].value = new[i].sent == 'n' ? (const uint8_t *)"" : new[i].value;
    }
    if (!changed) return 2;
    for (Py_ssize_t i = 0; i < self->key_size; i++)
        if (new[self->key[i]].value) return 1;
    if ((failed = add_head(self, "\"update\"", shape, old))) return failed;
    for (int after = 0; after < 2; after++) {
        const char *name = after ? "},\"after\":{" : "},\"image\":\"full\",\"before\":{";
        int first = 1;
        if (text_add(out, name, strlen(name))) return -1;
        for (Py_ssize_t i = 0; i < self->width; i++)
            if (new[i].value && (failed = add_cell(out, &self->columns[i], after ? &new[i] : &old[i], &first)))
                return failed;
    }
    return text_add(out, "}}", 2);
}

static int add_change(Shaper *self, const uint8_t *data, size_t size, unsigned long long shape) {
    if (size < TUPLE_AT) return 1;
    uint8_t op = data[CHANGE_AT], mark = data[TUPLE_AT - 1];
    size_t at = TUPLE_AT;
    int failed;
    if (op == 'I') {
        if (mark != 'N' || read_change_row(self, data, size, at, 0) != size) return 1;
        for (Py_ssize_t i = 0; i < self->width; i++)
            if (self->new_row[i].sent == 'u') return 1;
        if ((failed = add_head(self, "\"insert\"", shape, self->new_row))) return failed;
        return add_whole(self, "},\"after\":{", self->new_row);
    }
    if (mark != 'O' || !(at = read_change_row(self, data, size, at, 1))) return 1;
    if (op == 'D') {
        if (at != size) return 1;
        if ((failed = add_head(self, "\"delete\"", shape, self->old_row))) return failed;
        return add_whole(self, "},\"before\":{", self->old_row);
    }
    if (op != 'U' || at >= size || data[at] != 'N') return 1;
    return read_change_row(self, data, size, at + 1, 0) == size ? add_update(self, shape) : 1;
}

static void shaper_free(PyObject *object);

int shaper_add(PyObject *object, PyObject *data, unsigned long long shape, text *out) {
    if (Py_TYPE(object)->tp_dealloc != shaper_free || !PyBytes_CheckExact(data)) return 1;
    Shaper *self = (Shaper *)object;
    size_t before = out->size;
    self->out = out;
    int state = add_change(self, (const uint8_t *)PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data), shape);
    if (state) out->size = before;
    text_shrink(&self->old_texts);
    text_shrink(&self->new_texts);
    if (state < 0 && !PyErr_Occurred()) PyErr_NoMemory();
    return state;
}

static PyObject *shaper_call(PyObject *object, PyObject *const *arguments, size_t flags, PyObject *names) {
    Shaper *self = (Shaper *)object;
    if (PyVectorcall_NARGS(flags) != 2 || names || !PyBytes_CheckExact(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "a shaper takes the bytes of a change and the index of a shape");
        return NULL;
    }
    unsigned long long shape = PyLong_AsUnsignedLongLong(arguments[1]);
    if (shape == (unsigned long long)-1 && PyErr_Occurred()) return NULL;
    self->own.size = 0;
    int state = shaper_add(object, arguments[0], shape, &self->own);
    PyObject *item = NULL;
    if (state == 0) item = PyBytes_FromStringAndSize(self->own.bytes, (Py_ssize_t)self->own.size);
    else if (state == 1) item = PyObject_Vectorcall(self->fallback, arguments, 2, NULL);
    else if (state == 2) item = Py_NewRef(Py_None);
    text_shrink(&self->own);
    return item;
}

static void shaper_free(PyObject *object) {
    Shaper *self = (Shaper *)object;
    for (Py_ssize_t i = 0; self->columns && i < self->width; i++) {
        free(self->columns[i].label);
        Py_XDECREF(self->columns[i].values);
    }
    free(self->columns);
    free(self->old_row);
    free(self->new_row);
    free(self->key);
    free(self->entity.bytes);
    free(self->own.bytes);
    free(self->old_texts.bytes);
    free(self->new_texts.bytes);
    explode_free(self->paths);
    Py_XDECREF(self->fallback);
    PyTypeObject *type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static int take_column(column *c, PyObject *described) {
    const char *label;
    Py_ssize_t size;
    PyObject *values;
    if (!PyArg_ParseTuple(described, "z#iO", &label, &size, &c->kind, &values)) return -1;
    if (PyDict_Check(values)) c->values = Py_NewRef(values);
    if (c->kind < 0 || c->kind >= KIND_COUNT) {
        PyErr_Format(PyExc_ValueError, "there is no kind of value %d", c->kind);
        return -1;
    }
    if (!label) return 0;
    c->label_size = (size_t)size;
    c->label = malloc(c->label_size + 1);
    if (!c->label) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(c->label, label, c->label_size);
    return 0;
}

static int take_key(Shaper *self, PyObject *places) {
    for (Py_ssize_t i = 0; i < self->key_size; i++) {
        Py_ssize_t place = PyLong_AsSsize_t(PyTuple_GET_ITEM(places, i));
        if (place == -1 && PyErr_Occurred()) return -1;
        if (place < 0 || place >= self->width || !self->columns[place].label) {
            PyErr_SetString(PyExc_ValueError, "the key is not of published columns");
            return -1;
        }
        self->key[i] = place;
    }
    return 0;
}

static PyObject *shaper_new(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    const char *entity;
    Py_ssize_t size;
    PyObject *columns, *key, *fallback, *paths = Py_None;
    if (names && PyDict_GET_SIZE(names)) return PyErr_Format(PyExc_TypeError, "a Shaper takes no names");
    if (!PyArg_ParseTuple(arguments, "y#O!O!O|O", &entity, &size, &PyTuple_Type, &columns, &PyTuple_Type, &key, &fallback, &paths))
        return NULL;
    Shaper *self = (Shaper *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->call = shaper_call;
    self->fallback = Py_NewRef(fallback);
    self->width = PyTuple_GET_SIZE(columns);
    self->key_size = PyTuple_GET_SIZE(key);
    /* One more each, so that none is of no size. */
    self->columns = calloc((size_t)self->width + 1, sizeof *self->columns);
    self->old_row = calloc((size_t)self->width + 1, sizeof *self->old_row);
    self->new_row = calloc((size_t)self->width + 1, sizeof *self->new_row);
    self->key = calloc((size_t)self->key_size + 1, sizeof *self->key);
    int failed = !self->columns || !self->old_row || !self->new_row || !self->key ||
                 text_add(&self->entity, entity, (size_t)size);
    if (failed) PyErr_NoMemory();
    for (Py_ssize_t i = 0; !failed && i < self->width; i++)
        failed = take_column(&self->columns[i], PyTuple_GET_ITEM(columns, i));
    if (!failed && paths != Py_None) failed = !(self->paths = explode_paths_of(paths, self->width));
    if (failed || take_key(self, key)) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyMemberDef shaper_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Shaper, call), READONLY, NULL},
    {0},
};

static PyType_Slot shaper_slots[] = {
    {Py_tp_doc, "A plain row change to the bytes of its item; the module's comment says the rest."},
    {Py_tp_new, shaper_new},
    {Py_tp_dealloc, shaper_free},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_members, shaper_members},
    {0},
};

PyType_Spec shaper_spec = {
    .name = "commitlog.cdc.native._native.Shaper",
    .basicsize = sizeof(Shaper),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    .slots = shaper_slots,
};
