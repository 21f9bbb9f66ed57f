/* Collector: messages of pgoutput into whole transactions; the base of tail/assembler.py's Assembler.
 *
 * It takes the plain messages of a transaction that fits in memory. Every other (a table's description, TRUNCATE, a
 * transaction that spills, malformed bytes) goes to the subclass's `feed_any`, which works on the same attributes and raises
 * what is to be raised.
 */

#include "native.h"

#include <structmember.h>
#include <string.h>

enum { KIND_AT = 25, OID_AT = 26, BEGIN_BYTES = 46, COMMIT_BYTES = 51, TAG_LENGTH_AT = 45, TAG_AT = 49 };

static const int64_t PG_EPOCH_OFFSET_US = 946684800000000; /* schemas/position.py */
static const char TAG_HEAD[] = "commitlog"; /* with its NUL, as the message has it */

typedef struct {
    PyObject_HEAD
    PyObject *relations, *changes, *tags, *spill, *xid; /* xid: of the transaction in hand, or None */
    PyObject *transaction;                              /* makes a Transaction of its five values */
    Py_ssize_t bytes, spill_bytes;
    uint32_t oid;       /* of the table that the last change was of, */
    PyObject *relation; /* borrowed from `relations`; NULL where that may have changed since */
} Collector;

static uint32_t u32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static uint64_t u64(const uint8_t *p) { return (uint64_t)u32(p) << 32 | u32(p + 4); }

/* The functions below return 1 where a message is not plain, -1 with an exception set, 0 where it was taken. */

static int take_change(Collector *self, const uint8_t *data, Py_ssize_t size, PyObject *message) {
    if (self->xid == Py_None || self->spill != Py_None || size < OID_AT + 4 ||
        size > self->spill_bytes - self->bytes)
        return 1;
    uint32_t oid = u32(data + OID_AT);
    if (!self->relation || oid != self->oid) {
        PyObject *key = PyBytes_FromStringAndSize((const char *)data + OID_AT, 4);
        if (!key) return -1;
        self->relation = PyDict_GetItemWithError(self->relations, key);
        self->oid = oid;
        Py_DECREF(key);
        if (!self->relation) return PyErr_Occurred() ? -1 : 1;
    }
    message = message ? Py_NewRef(message) : PyBytes_FromStringAndSize((const char *)data, size);
    PyObject *entry = message ? PyTuple_Pack(2, self->relation, message) : NULL;
    Py_XDECREF(message);
    if (!entry) return -1;
    int failed = PyList_Append(self->changes, entry);
    Py_DECREF(entry);
    self->bytes += size;
    return failed;
}

static int take_begin(Collector *self, const uint8_t *data, Py_ssize_t size) {
    if (self->xid != Py_None || size != BEGIN_BYTES) return 1;
    PyObject *xid = PyLong_FromUnsignedLong(u32(data + 42));
    if (!xid) return -1;
    Py_SETREF(self->xid, xid);
    return 0;
}

static int take_tag(Collector *self, const uint8_t *data, Py_ssize_t size) {
    if (self->xid == Py_None || size < TAG_AT || data[26] != 1 || memcmp(data + 35, TAG_HEAD, sizeof TAG_HEAD) ||
        u32(data + TAG_LENGTH_AT) != (size_t)(size - TAG_AT))
        return 1;
    PyObject *tag = PyBytes_FromStringAndSize((const char *)data + TAG_AT, size - TAG_AT);
    if (!tag) return -1;
    int failed = PyList_Append(self->tags, tag);
    Py_DECREF(tag);
    return failed;
}

static int take_commit(Collector *self, const uint8_t *data, Py_ssize_t size, PyObject **transaction) {
    if (self->xid == Py_None || self->spill != Py_None || size != COMMIT_BYTES) return 1;
    int64_t since_2000 = (int64_t)u64(data + 43);
    if (since_2000 > INT64_MAX - PG_EPOCH_OFFSET_US) return 1;
    PyObject *end = PyLong_FromUnsignedLongLong(u64(data + 35));
    PyObject *time = PyLong_FromLongLong(since_2000 + PG_EPOCH_OFFSET_US);
    PyObject *changes = PyList_New(0), *tags = PyList_New(0);
    if (end && time && changes && tags) {
        PyObject *arguments[] = {self->xid, end, time, self->changes, self->tags};
        *transaction = PyObject_Vectorcall(self->transaction, arguments, 5, NULL);
    }
    Py_XDECREF(end);
    Py_XDECREF(time);
    if (!*transaction) {
        Py_XDECREF(changes);
        Py_XDECREF(tags);
        return -1;
    }
    Py_SETREF(self->changes, changes);
    Py_SETREF(self->tags, tags);
    Py_SETREF(self->xid, Py_NewRef(Py_None));
    self->bytes = 0;
    return 0;
}

/* Take a message, which may be there as bytes already. Returns -1 with an exception set, or 0; `*transaction` is a new reference to
 * the transaction that it ends, or NULL. */
static int take(PyObject *object, const uint8_t *data, Py_ssize_t size, PyObject *message, PyObject **transaction) {
    Collector *self = (Collector *)object;
    int state = 1;
    *transaction = NULL;
    if (size > KIND_AT) {
        switch (data[KIND_AT]) {
            case 'I':
            case 'U':
            case 'D': state = take_change(self, data, size, message); break;
            case 'B': state = take_begin(self, data, size); break;
            case 'M': state = take_tag(self, data, size); break;
            case 'C': state = take_commit(self, data, size, transaction); break;
        }
    }
    if (state <= 0) return state;
    self->relation = NULL;
    message = message ? Py_NewRef(message) : PyBytes_FromStringAndSize((const char *)data, size);
    *transaction = message ? PyObject_CallMethod(object, "feed_any", "O", message) : NULL;
    Py_XDECREF(message);
    if (!*transaction) return -1;
    if (*transaction == Py_None) Py_CLEAR(*transaction);
    return 0;
}

/* feed(message) -> the transaction that this message ends, or None */
static PyObject *collector_feed(PyObject *object, PyObject *message) {
    PyObject *transaction;
    char *data;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(message, &data, &size) || take(object, (const uint8_t *)data, size, message, &transaction))
        return NULL;
    return transaction ? transaction : Py_NewRef(Py_None);
}

/* Put the transaction that a message ends behind the others. */
static int take_into(PyObject *object, const uint8_t *data, Py_ssize_t size, PyObject *out) {
    PyObject *transaction;
    if (take(object, data, size, NULL, &transaction)) return -1;
    int failed = transaction && PyList_Append(out, transaction);
    Py_XDECREF(transaction);
    return failed ? -1 : 0;
}

/* The two steps of `drain` below return 1 where it goes on, 0 where it ends with `*size` and `*other`, -1 with an exception set. */

static int next_called(PyObject *object, PyObject *get, PyObject *out, Py_ssize_t *size, PyObject **other) {
    Py_buffer bytes;
    PyObject *result = PyObject_CallFunctionObjArgs(get, Py_True, NULL), *data;
    if (!result) return -1;
    int parsed = PyArg_ParseTuple(result, "nO", size, &data);
    if (!parsed || *size <= 0 || PyObject_GetBuffer(data, &bytes, PyBUF_SIMPLE)) {
        Py_DECREF(result);
        return parsed && *size <= 0 ? 0 : -1;
    }
    int state = 0;
    if (bytes.len && *(const char *)bytes.buf != 'w') state = (*other = PyBytes_FromStringAndSize(bytes.buf, bytes.len)) ? 0 : -1;
    else state = take_into(object, bytes.buf, bytes.len, out) ? -1 : 1;
    PyBuffer_Release(&bytes);
    Py_DECREF(result);
    return state;
}

/* libpq's PQgetCopyData and PQfreemem, and the PGconn they are for. */
typedef struct {
    void *connection;
    int (*get)(void *connection, char **buffer, int async);
    void (*free)(void *buffer);
} libpq;

static int next_of_libpq(PyObject *object, const libpq *from, PyObject *out, Py_ssize_t *size, PyObject **other) {
    char *buffer = NULL;
    *size = from->get(from->connection, &buffer, 1);
    if (*size <= 0 || !buffer) return 0;
    int state = 0;
    if (*buffer != 'w') state = (*other = PyBytes_FromStringAndSize(buffer, *size)) ? 0 : -1;
    else state = take_into(object, (const uint8_t *)buffer, *size, out) ? -1 : 1;
    from->free(buffer);
    return state;
}

/* drain(get, out, room) -> (room, size, message): tail/assembler.py says what they are */
static PyObject *collector_drain(PyObject *object, PyObject *arguments) {
    PyObject *get, *out, *other = NULL;
    Py_ssize_t room, size = 0;
    int state = 1;
    if (!PyArg_ParseTuple(arguments, "OO!n", &get, &PyList_Type, &out, &room)) return NULL;
    libpq from = {0};
    int direct = PyTuple_CheckExact(get);
    if (direct) {
        unsigned long long connection, get_copy_data, freemem;
        if (!PyArg_ParseTuple(get, "KKK", &connection, &get_copy_data, &freemem)) return NULL;
        from.connection = (void *)(uintptr_t)connection;
        from.get = (int (*)(void *, char **, int))(uintptr_t)get_copy_data;
        from.free = (void (*)(void *))(uintptr_t)freemem;
    }
    while (room > 0) {
        state = direct ? next_of_libpq(object, &from, out, &size, &other) : next_called(object, get, out, &size, &other);
        if (state != 1) break;
        room -= size;
    }
    if (state < 0) return NULL;
    return other ? Py_BuildValue("nnN", room, size, other) : Py_BuildValue("nnO", room, size, Py_None);
}

static int collector_init(PyObject *object, PyObject *arguments, PyObject *names) {
    Collector *self = (Collector *)object;
    static char *known[] = {"spill_bytes", "transaction", NULL};
    PyObject *transaction;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "nO", known, &self->spill_bytes, &transaction)) return -1;
    PyObject *relations = PyDict_New(), *changes = PyList_New(0), *tags = PyList_New(0);
    if (!relations || !changes || !tags) {
        Py_XDECREF(relations);
        Py_XDECREF(changes);
        Py_XDECREF(tags);
        return -1;
    }
    self->relation = NULL;
    Py_XSETREF(self->relations, relations);
    Py_XSETREF(self->changes, changes);
    Py_XSETREF(self->tags, tags);
    Py_XSETREF(self->transaction, Py_NewRef(transaction));
    Py_XSETREF(self->spill, Py_NewRef(Py_None));
    Py_XSETREF(self->xid, Py_NewRef(Py_None));
    self->bytes = 0;
    return 0;
}

static int collector_traverse(PyObject *object, visitproc visit, void *arg) {
    Collector *self = (Collector *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->relations);
    Py_VISIT(self->changes);
    Py_VISIT(self->tags);
    Py_VISIT(self->spill);
    Py_VISIT(self->xid);
    Py_VISIT(self->transaction);
    return 0;
}

static int collector_clear(PyObject *object) {
    Collector *self = (Collector *)object;
    self->relation = NULL;
    Py_CLEAR(self->relations);
    Py_CLEAR(self->changes);
    Py_CLEAR(self->tags);
    Py_CLEAR(self->spill);
    Py_CLEAR(self->xid);
    Py_CLEAR(self->transaction);
    return 0;
}

static void collector_free(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    collector_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef collector_methods[] = {
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {"drain", collector_drain, METH_VARARGS, "drain(get, out, room) -> (room, size, message)"},
    {"feed", collector_feed, METH_O, "feed(message) -> the transaction that this message ends, or None"},
    {0},
};

static PyMemberDef collector_members[] = {
    {"_relations", T_OBJECT_EX, offsetof(Collector, relations), READONLY, NULL},
    {"_changes", T_OBJECT_EX, offsetof(Collector, changes), 0, NULL},
    {"_tags", T_OBJECT_EX, offsetof(Collector, tags), 0, NULL},
    {"_spill", T_OBJECT_EX, offsetof(Collector, spill), 0, NULL},
    {"_xid", T_OBJECT_EX, offsetof(Collector, xid), 0, NULL},
    {"_bytes", T_PYSSIZET, offsetof(Collector, bytes), 0, NULL},
    {"_spill_bytes", T_PYSSIZET, offsetof(Collector, spill_bytes), READONLY, NULL},
    {0},
};

static PyType_Slot collector_slots[] = {
    {Py_tp_doc, "Collects plain messages into transactions; a subclass's feed_any takes the others."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, collector_init},
    {Py_tp_dealloc, collector_free},
    {Py_tp_traverse, collector_traverse},
    {Py_tp_clear, collector_clear},
    {Py_tp_methods, collector_methods},
    {Py_tp_members, collector_members},
    {0},
};

PyType_Spec collector_spec = {
    .name = "commitlog.cdc.native._native.Collector",
    .basicsize = sizeof(Collector),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = collector_slots,
};
