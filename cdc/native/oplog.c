/* Plain entries of the oplog to transactions: cdc/tail/oplog/assembler.py, compiled.
 *
 * Plain is: a no-op; a lone insert, update or delete of a collection that was met before, its pre-image at hand; a stamp by itself; and an
 * applyOps of such operations that is a whole transaction. Whatever else there is ends the run before its entry, and passes through the
 * Python, which decides.
 */

#include "bson_update.h"
#include "oplog.h"

enum { CHANGE = 30, NAMES_MAX = 400, STAMPS_MAX = 100000 };

/* What a run knows. */
typedef struct {
    PyObject *collections; /* namespace, NUL, uuid: (relation, wanted, number); None where nobody counts it; True of stamps */
    PyObject *stamps;      /* lsid: (seconds, span, content) */
    PyObject *images;      /* uuid: (until, {(timestamp, place): image}) */
    PyObject *transaction;
    long long span, holds_s;
    Py_ssize_t spill_bytes, room;
    char key[NAMES_MAX]; /* of the collection that was met last */
    size_t key_size;
    PyObject *found; /* it, borrowed */
} known;

/* The functions below return 0; 1 where an entry is not plain; -1 with an exception set. */

/* What is known of a collection, borrowed. */
static int find_collection(known *all, const operation *given, PyObject **found) {
    size_t names = (size_t)(given->ns.end - given->ns.at), uuid = given->uuid.at ? UUID_BYTES : 0, size = names + 1 + uuid;
    char key[NAMES_MAX];
    if (size > NAMES_MAX) return 1;
    memcpy(key, given->ns.at, names);
    key[names] = '\0';
    if (uuid) memcpy(key + names + 1, given->uuid.at, uuid);
    if (!all->found || all->key_size != size || memcmp(key, all->key, size)) {
        PyObject *bytes = PyBytes_FromStringAndSize(key, (Py_ssize_t)size);
        if (!bytes) return -1;
        all->found = PyDict_GetItemWithError(all->collections, bytes);
        Py_DECREF(bytes);
        if (!all->found) return PyErr_Occurred() ? -1 : 1;
        memcpy(all->key, key, size);
        all->key_size = size;
    }
    *found = all->found;
    return 0;
}

/* The pre-image of an operation. */
static int find_image(const known *all, const operation *given, uint64_t at, Py_ssize_t place, bson_span *image) {
    if (!given->uuid.at) return 1;
    PyObject *uuid = PyBytes_FromStringAndSize((const char *)given->uuid.at, UUID_BYTES);
    PyObject *held = uuid ? PyDict_GetItemWithError(all->images, uuid) : NULL;
    Py_XDECREF(uuid);
    if (!held) return PyErr_Occurred() ? -1 : 1;
    if (!PyTuple_Check(held) || PyTuple_GET_SIZE(held) != 2 || !PyDict_Check(PyTuple_GET_ITEM(held, 1))) return 1;
    unsigned long long until = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(held, 0));
    if (until == (unsigned long long)-1 && PyErr_Occurred()) return PyErr_Clear(), 1;
    if (at > until) return 1;
    PyObject *key = Py_BuildValue("Kn", (unsigned long long)at, place);
    PyObject *found = key ? PyDict_GetItemWithError(PyTuple_GET_ITEM(held, 1), key) : NULL;
    Py_XDECREF(key);
    if (!found) return PyErr_Occurred() ? -1 : 1;
    if (!PyBytes_CheckExact(found)) return 1;
    *image = (bson_span){(uint8_t *)PyBytes_AS_STRING(found), (uint8_t *)PyBytes_AS_STRING(found) + PyBytes_GET_SIZE(found)};
    return 0;
}

static char *put_row(char *at, char mark, bson_span document) {
    size_t size = (size_t)(document.end - document.at);
    const char head[] = {mark, 0, 1, 't', (char)(size >> 24 & 255), (char)(size >> 16 & 255), (char)(size >> 8 & 255), (char)(size & 255)};
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, document.at, size);
    return at + sizeof head + size;
}

/* cdc/tail/oplog/collection.py, row_change and untold_change: NULL spans are rows that are not there. */
static PyObject *write_change(char op, uint32_t number, int wanted, bson_span old, bson_span new) {
    size_t rows = wanted ? (old.at ? 8 + (size_t)(old.end - old.at) : 0) + (new.at ? 8 + (size_t)(new.end - new.at) : 0) : op == 'U' ? 6 : 3;
    PyObject *change = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(CHANGE + rows));
    if (!change) return NULL;
    char *at = PyBytes_AS_STRING(change);
    memset(at, 0, CHANGE + (wanted ? 0 : rows));
    at[0] = 'w';
    at[25] = op;
    for (int i = 0; i < 4; i++) at[26 + i] = (char)(number >> 8 * (3 - i) & 255);
    at += CHANGE;
    if (wanted) {
        if (old.at) at = put_row(at, 'O', old);
        if (new.at) put_row(at, 'N', new);
    } else {
        if (op != 'I') at[0] = 'O';
        if (op != 'D') at[op == 'U' ? 3 : 0] = 'N';
    }
    return change;
}

static char op_of(bson_span op) {
    if (op.end - op.at != 1) return 0;
    switch (op.at[0]) {
        case 'i': return 'I';
        case 'u': return 'U';
        case 'd': return 'D';
        case 'n': return 'n';
        case 'c': return 'c';
    }
    return 0;
}

static int make_change(known *all, const operation *given, char op, int wanted, uint32_t number, uint64_t at, Py_ssize_t place, PyObject **made) {
    static text after;
    bson_span old = {0}, new = {0};
    int failed = 0;
    if (wanted && op != 'I') failed = find_image(all, given, at, place, &old);
    if (wanted && op == 'I') new = given->o;
    if (!failed && wanted && op == 'U') {
        after.size = 0;
        failed = bson_update(&after, old, given->o);
        if (failed < 0) PyErr_NoMemory();
        new = (bson_span){(uint8_t *)after.bytes, (uint8_t *)after.bytes + after.size};
    }
    if (!failed && !(*made = write_change(op, number, wanted, old, new))) failed = -1;
    text_shrink(&after);
    return failed;
}

/* Add what an operation does to a list of changes; `found` is what is known of its collection. */
static int take_change(known *all, const operation *given, PyObject *found, uint64_t at, Py_ssize_t place, PyObject *changes, Py_ssize_t *size) {
    char op = op_of(given->op);
    if (!op || op == 'n' || op == 'c' || !PyTuple_Check(found) || PyTuple_GET_SIZE(found) != 3) return 1;
    int wanted = PyObject_IsTrue(PyTuple_GET_ITEM(found, 1));
    unsigned long number = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(found, 2));
    if (wanted < 0 || (number == (unsigned long)-1 && PyErr_Occurred())) return -1;
    PyObject *change = NULL;
    int failed = make_change(all, given, op, wanted, (uint32_t)number, at, place, &change);
    if (failed) return failed;
    *size += PyBytes_GET_SIZE(change);
    PyObject *pair = PyTuple_Pack(2, PyTuple_GET_ITEM(found, 0), change);
    failed = !pair || PyList_Append(changes, pair) ? -1 : 0;
    Py_XDECREF(pair);
    all->room -= PyBytes_GET_SIZE(change);
    Py_DECREF(change);
    return failed ? failed : *size > all->spill_bytes;
}

/* The session and the content of a stamp: stamps.py, stamp_of. */
static int read_stamp(bson_span o, bson_span *session, bson_span *content) {
    bson_element field;
    *session = *content = (bson_span){0};
    if (bson_open(&o)) return 1;
    while (bson_more(&o)) {
        if (bson_next(&o, &field)) return 1;
        if (bson_is(field.name, "_id")) *session = oplog_binary(&field, UUID_BYTES);
        if (bson_is(field.name, "ctx") && oplog_string(&field, content)) return 1;
    }
    return 0;
}

static long long floor_div(long long number, long long by) {
    return number / by - (number % by < 0);
}

static PyObject *bytes_of(bson_span span) { return PyBytes_FromStringAndSize((const char *)span.at, span.end - span.at); }

/* stamps.py, note. */
static int take_stamp(known *all, const entry *one) {
    bson_span session, content;
    char op = op_of(one->what.op);
    if ((op != 'I' && op != 'U') || PyDict_GET_SIZE(all->stamps) >= STAMPS_MAX) return 1;
    if (!one->has_number) return 0;
    if (!one->lsid.at || read_stamp(one->what.o, &session, &content)) return 1;
    PyObject *lsid = bytes_of(one->lsid), *told = NULL;
    if (!lsid) return -1;
    int is = content.at && session.at && !memcmp(session.at, one->lsid.at, UUID_BYTES), failed = 0;
    if (PyDict_DelItem(all->stamps, lsid)) {
        failed = !PyErr_ExceptionMatches(PyExc_KeyError);
        if (!failed) PyErr_Clear();
    }
    if (!failed && is) {
        told = Py_BuildValue("LLN", (long long)(one->at >> 32), floor_div(one->number, all->span), bytes_of(content));
        failed = !told || PyDict_SetItem(all->stamps, lsid, told);
    }
    Py_XDECREF(told);
    Py_DECREF(lsid);
    return failed ? -1 : 0;
}

/* stamps.py, tags. */
static int add_tag(const known *all, const entry *one, PyObject *tags) {
    long long seconds, span;
    PyObject *content;
    if (!one->has_number || !one->lsid.at) return 0;
    PyObject *lsid = bytes_of(one->lsid), *told = lsid ? PyDict_GetItemWithError(all->stamps, lsid) : NULL;
    Py_XDECREF(lsid);
    if (!told) return PyErr_Occurred() ? -1 : 0;
    if (!PyTuple_Check(told) || !PyArg_ParseTuple(told, "LLS", &seconds, &span, &content)) return -1;
    if (!PyBytes_GET_SIZE(content) || span != floor_div(one->number, all->span) || (long long)(one->at >> 32) - seconds > all->holds_s)
        return 0;
    return PyList_Append(tags, content);
}

static int add_transaction(const known *all, const entry *one, PyObject *changes, PyObject *tags, PyObject *out) {
    int64_t time_us = one->has_wall ? one->wall_ms * 1000 : (int64_t)((one->at >> 32) * 1000000);
    PyObject *made = PyObject_CallFunction(all->transaction, "KKLOO", (unsigned long long)(one->at & 0xffffffff),
                                           (unsigned long long)one->at, (long long)time_us, changes, tags);
    int failed = !made || PyList_Append(out, made) ? -1 : 0;
    Py_XDECREF(made);
    return failed;
}

static int take_lone(known *all, const entry *one, PyObject *out) {
    PyObject *found;
    int failed = find_collection(all, &one->what, &found);
    if (failed) return failed;
    if (found == Py_True) return take_stamp(all, one);
    if (found == Py_None) return !strchr("IUD", op_of(one->what.op) ? op_of(one->what.op) : 'x');
    PyObject *changes = PyList_New(0), *tags = PyList_New(0);
    Py_ssize_t size = 0;
    failed = changes && tags ? take_change(all, &one->what, found, one->at, 0, changes, &size) : -1;
    if (!failed) failed = add_tag(all, one, tags);
    if (!failed) failed = add_transaction(all, one, changes, tags, out);
    Py_XDECREF(changes);
    Py_XDECREF(tags);
    return failed;
}

/* One operation of a transaction; a stamp becomes its tag. */
static int take_one(known *all, const entry *one, const operation *given, Py_ssize_t place, PyObject *changes, PyObject *tags, Py_ssize_t *size) {
    PyObject *found;
    char op = op_of(given->op);
    bson_span session, content;
    if (!op || op == 'c' || op == 'n') return 1;
    int failed = find_collection(all, given, &found);
    if (failed || found == Py_None) return failed;
    if (found != Py_True) return take_change(all, given, found, one->at, place, changes, size);
    if (op == 'D') return 0;
    if (read_stamp(given->o, &session, &content)) return 1;
    if (PyList_SetSlice(tags, 0, PyList_GET_SIZE(tags), NULL)) return -1;
    if (!content.at || content.at == content.end) return 0;
    PyObject *tag = bytes_of(content);
    failed = !tag || PyList_Append(tags, tag) ? -1 : 0;
    Py_XDECREF(tag);
    return failed;
}

static int take_operations(known *all, const entry *one, bson_span operations, PyObject *changes, PyObject *tags) {
    bson_element each, field;
    Py_ssize_t size = 0, place = 0;
    if (bson_open(&operations)) return 1;
    for (; bson_more(&operations); place++) {
        operation inner = {0};
        if (bson_next(&operations, &each) || each.kind != BSON_DOCUMENT || bson_open(&each.value)) return 1;
        while (bson_more(&each.value))
            if (bson_next(&each.value, &field) || oplog_operation_field(&field, &inner)) return 1;
        int failed = oplog_whole(&inner) ? take_one(all, one, &inner, place, changes, tags, &size) : 1;
        if (failed) return failed;
    }
    return 0;
}

/* An applyOps that is a whole transaction. */
static int take_transaction(known *all, const entry *one, PyObject *out) {
    bson_span o = one->what.o;
    bson_element list, other;
    if (!bson_is(one->what.ns, "admin.$cmd") || one->previous || bson_open(&o) || !bson_more(&o) || bson_next(&o, &list) ||
        list.kind != BSON_ARRAY || !bson_is(list.name, "applyOps"))
        return 1;
    while (bson_more(&o))
        if (bson_next(&o, &other) || bson_is(other.name, "applyOps") || bson_is(other.name, "prepare") || bson_is(other.name, "partialTxn"))
            return 1;
    PyObject *changes = PyList_New(0), *tags = PyList_New(0);
    int failed = changes && tags ? take_operations(all, one, list.value, changes, tags) : -1;
    if (!failed) failed = add_transaction(all, one, changes, tags, out);
    Py_XDECREF(changes);
    Py_XDECREF(tags);
    return failed;
}

static int take_entry(known *all, bson_span given, PyObject *out, uint64_t *at) {
    entry one;
    if (oplog_read(given, &one)) return 1;
    char op = op_of(one.what.op);
    int failed = op == 'n' ? 0 : op == 'c' ? take_transaction(all, &one, out) : op ? take_lone(all, &one, out) : 1;
    if (!failed) *at = one.at;
    return failed;
}

/* (batch, at, collections, stamps, images, (span, holds, spill bytes, room), transaction, out) -> (at, timestamp of the last entry or 0, room):
 * room is how many bytes of changes to hand on, or an entry more. */
PyObject *native_oplog_entries(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer batch;
    Py_ssize_t at;
    uint64_t last = 0;
    PyObject *out;
    known all = {0};
    if (!PyArg_ParseTuple(arguments, "y*nO!O!O!(LLnn)OO!", &batch, &at, &PyDict_Type, &all.collections, &PyDict_Type, &all.stamps,
                          &PyDict_Type, &all.images, &all.span, &all.holds_s, &all.spill_bytes, &all.room, &all.transaction, &PyList_Type, &out))
        return NULL;
    const uint8_t *start = batch.buf;
    int failed = at < 0 || at > batch.len || all.span < 1;
    while (!failed && all.room > 0 && batch.len - at >= 5) {
        Py_ssize_t room = all.room;
        int32_t size = (int32_t)bson_number(start + at, 4);
        if (size < 5 || size > batch.len - at) break;
        failed = take_entry(&all, (bson_span){start + at, start + at + size}, out, &last);
        if (!failed) at += size;
        else all.room = room;
    }
    PyBuffer_Release(&batch);
    if (failed < 0) return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    return Py_BuildValue("nKn", at, (unsigned long long)last, all.room);
}
