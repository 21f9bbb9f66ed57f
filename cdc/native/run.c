/* run: transactions to the lines of their commits, as many as are plain, as worker/commits.py makes them one by one.
 *
 * Plain is a transaction in memory that truncates nothing, touches no table for the first time and none whose rows may share a key
 * within it, fits in one record, and is of the run's app schema by a plain tag whose request the mesh has told nothing of. At the
 * first other one the run ends: it is left to Python, as is every error.
 */

#include "seal.h"
#include "shaper.h"
#include "tag.h"

#include <string.h>

enum { SHAPES_MAX = 16, FIXED_ITEMS = 2, ID_BYTES = 160, ID_NUMBER_BYTES = 16, OPLOG_BYTES = 21, POSITION_BYTES = 128, FILE_DIGITS = 6 };

/* What holds for all transactions of a run. */
typedef struct {
    piece open, engine, id_prefix, binlog, recorded, schema, schema_by, build, version, app;
    PyObject *plans, *lookup;
    Py_ssize_t room, tag_bytes_max;
    int tagged, oplog; /* oplog: places are those of an oplog, and ids end with them */
} rule;

/* One transaction. */
typedef struct {
    PyObject *changes, *tags, *gtid; /* gtid: NULL but of a binlog */
    unsigned long long xid, end;
    long long time_us; /* since 1970 */
    text *by, *meta; /* items 0 and 1 */
    text *body, *sizes; /* the other items one behind the other; the size of each */
    text *tail; /* the end of the header */
    PyObject *shapes[SHAPES_MAX];
    unsigned long long shape_count, count, skipped;
} commit;

/* What a run writes: its lines, and of the present transaction what a commit points to. */
typedef struct {
    text lines, by, meta, body, sizes, tail;
} texts;

/* How far a run has come. */
typedef struct {
    texts t;
    long long seq; /* -1 before the first record */
    unsigned long long rows;
    char prev[SEAL_HASH_DIGITS + 1], position[POSITION_BYTES];
    Py_ssize_t last; /* the last transaction that made a record */
} progress;

/* The functions below return 0; 1 where a transaction is not plain; -1 with an exception set. */

static int no_memory(int failed) {
    if (failed) PyErr_NoMemory();
    return failed ? -1 : 0;
}

static int is_value(const tag_field *field, piece value) {
    return field->value_size == value.size && !memcmp(field->label ? field->label + field->label_size : "", value.bytes, value.size);
}

/* Whether the mesh has told of a request; then Python joins the two. */
static int is_known(const rule *all, const tag_field *request, long long time_us) {
    PyObject *name = tag_value(request), *time = PyLong_FromLongLong(time_us);
    PyObject *found = name && time ? PyObject_CallFunctionObjArgs(all->lookup, name, time, NULL) : NULL;
    Py_XDECREF(name);
    Py_XDECREF(time);
    if (!found) return -1;
    Py_DECREF(found);
    return found != Py_None;
}

static int take_tag(commit *one, const rule *all) {
    tag_field fields[TAG_VALUES];
    if (!PyList_CheckExact(one->tags) || PyList_GET_SIZE(one->tags) != all->tagged) return 1;
    if (!all->tagged) return no_memory(ADD(one->by, "null"));
    PyObject *tag = PyList_GET_ITEM(one->tags, 0);
    if (!PyBytes_CheckExact(tag) || PyBytes_GET_SIZE(tag) > all->tag_bytes_max ||
        !tag_read(fields, PyBytes_AS_STRING(tag), (size_t)PyBytes_GET_SIZE(tag)) || !is_value(&fields[BUILD], all->build) ||
        !is_value(&fields[VERSION], all->version) || !is_value(&fields[APP], all->app))
        return 1;
    int known = fields[REQUEST].value_size ? is_known(all, &fields[REQUEST], one->time_us) : 0;
    return known ? known : no_memory(tag_add_by(one->by, fields));
}

/* The index of a shape among those of this record; SHAPES_MAX where there is no room for it. */
static unsigned long long index_of(commit *one, PyObject *shape) {
    unsigned long long index = 0;
    while (index < one->shape_count && one->shapes[index] != shape && PyUnicode_Compare(one->shapes[index], shape)) index++;
    if (index == one->shape_count && index < SHAPES_MAX) one->shapes[one->shape_count++] = shape;
    return index;
}

/* Add an item by calling the shaper, which may be Python's. As above, and 2 where nothing that is published changed. */
static int add_called(commit *one, PyObject *shaper, PyObject *data, unsigned long long index) {
    PyObject *number = PyLong_FromUnsignedLongLong(index);
    PyObject *item = number ? PyObject_CallFunctionObjArgs(shaper, data, number, NULL) : NULL;
    Py_XDECREF(number);
    if (!item) return -1;
    char *bytes;
    Py_ssize_t size;
    int state = 2;
    if (item != Py_None) {
        state = PyBytes_AsStringAndSize(item, &bytes, &size);
        if (!state) state = no_memory(text_add(one->body, bytes, (size_t)size));
    }
    Py_DECREF(item);
    return state;
}

static int take_change(commit *one, PyObject *plan, PyObject *data) {
    unsigned long long index = index_of(one, PyTuple_GET_ITEM(plan, 1));
    if (index == SHAPES_MAX) return 1;
    size_t before = one->body->size;
    PyObject *shaper = PyTuple_GET_ITEM(plan, 2);
    int state = shaper_add(shaper, data, index, one->body);
    if (state == 1) state = add_called(one, shaper, data, index);
    if (state < 0) return state;
    if (state == 2) {
        one->skipped++;
        return 0;
    }
    size_t size = one->body->size - before;
    one->count++;
    return no_memory(text_add(one->sizes, &size, sizeof size));
}

static int take_changes(commit *one, const rule *all) {
    PyObject *known = NULL, *plan = NULL;
    if (!PyList_CheckExact(one->changes)) return 1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(one->changes); i++) {
        PyObject *entry = PyList_GET_ITEM(one->changes, i), *relation = PyTuple_GET_ITEM(entry, 0);
        if (relation != known) {
            if (PyTuple_Check(relation)) return 1;
            plan = PyDict_GetItemWithError(all->plans, relation);
            if (!plan) return PyErr_Occurred() ? -1 : 1;
            if (plan != Py_None && PyTuple_GET_ITEM(plan, 3) != Py_None) return 1; /* late: worker/plans.py */
            known = relation;
        }
        int state = 0;
        if (plan == Py_None) one->skipped++;
        else state = take_change(one, plan, PyTuple_GET_ITEM(entry, 1));
        if (state) return state;
        if (one->body->size > (size_t)all->room) return 1;
    }
    return 0;
}

static int write_tail(commit *one, const rule *all) {
    piece shape;
    text *tail = one->tail;
    if (ADD(tail, "\"schema\":\"") || text_add(tail, all->schema.bytes, all->schema.size) || ADD(tail, "\",\"shapes\":[\""))
        return no_memory(1);
    for (unsigned long long i = 0; i < one->shape_count; i++) {
        if (piece_of(&shape, one->shapes[i])) return -1;
        if ((i && ADD(tail, "\",\"")) || text_add(tail, shape.bytes, shape.size)) return no_memory(1);
    }
    return no_memory(ADD(tail, "\"],"));
}

static int write_meta(commit *one, const rule *all) {
    text *meta = one->meta;
    int failed = ADD(meta, "{\"xid\":") || text_add_number(meta, one->xid);
    if (one->skipped) failed = failed || ADD(meta, ",\"skipped\":") || text_add_number(meta, one->skipped);
    return no_memory(failed || ADD(meta, ",\"schema_by\":\"") || text_add(meta, all->schema_by.bytes, all->schema_by.size) ||
                     ADD(meta, "\"}"));
}

/* schemas/position.py, format_oplog. */
static size_t put_oplog(char *out, unsigned long long end) {
    size_t size = put_number(out, end >> 32);
    out[size++] = '.';
    return size + put_number(out + size, end & 0xffffffff);
}

/* worker/source.py, `commit_id` and `text`. The size; of an id that is too long 0. */
static size_t write_id(char id[ID_BYTES], const commit *one, const rule *all) {
    piece gtid;
    char *at = id + all->id_prefix.size;
    memcpy(id, all->id_prefix.bytes, all->id_prefix.size);
    if (all->oplog) return all->id_prefix.size + put_oplog(at, one->end);
    if (!one->gtid) return all->id_prefix.size + put_hex(at, one->end, ID_NUMBER_BYTES);
    if (piece_of(&gtid, one->gtid) || gtid.size > ID_BYTES - all->id_prefix.size) {
        PyErr_Clear();
        return 0;
    }
    memcpy(at, gtid.bytes, gtid.size);
    return all->id_prefix.size + gtid.size;
}

static size_t write_position(char out[POSITION_BYTES], unsigned long long end, const rule *all) {
    size_t size;
    if (all->oplog) size = put_oplog(out, end);
    else if (!all->binlog.size) {
        size = put_hex(out, end >> 32, 1);
        out[size++] = '/';
        size += put_hex(out + size, end & 0xffffffff, 1);
    } else { /* schemas/position.py, format_binlog */
        char number[20];
        size_t digits = put_number(number, end >> 40);
        memcpy(out, all->binlog.bytes, size = all->binlog.size);
        out[size++] = '.';
        for (size_t i = digits; i < FILE_DIGITS; i++) out[size++] = '0';
        memcpy(out + size, number, digits);
        size += digits;
        out[size++] = ':';
        size += put_number(out + size, end & ((1ULL << 40) - 1));
    }
    out[size] = '\0';
    return size;
}

static int write_line(commit *one, const rule *all, progress *run, const uint8_t *salt) {
    char id[ID_BYTES], position[sizeof run->position], hash[SEAL_HASH_DIGITS];
    if (write_tail(one, all) || write_meta(one, all)) return -1;
    size_t id_size = write_id(id, one, all), position_size = write_position(position, one->end, all);
    if (!id_size) return 1;
    header values = {
        .open = all->open, .engine = all->engine, .kind = {"commit", 6}, .seq = (unsigned long long)(run->seq + 1), .time_us = one->time_us,
        .prev = {run->prev, SEAL_HASH_DIGITS}, .after = {run->position, strlen(run->position)}, .id = {id, id_size},
        .position = {position, position_size}, .tail = {one->tail->bytes, one->tail->size},
    };
    piece *items = PyMem_Malloc((FIXED_ITEMS + one->count) * sizeof *items);
    if (!items) return no_memory(1);
    items[0] = (piece){one->by->bytes, one->by->size};
    items[1] = (piece){one->meta->bytes, one->meta->size};
    const char *at = one->body->bytes;
    for (unsigned long long i = 0; i < one->count; i++) {
        size_t size;
        memcpy(&size, one->sizes->bytes + i * sizeof size, sizeof size);
        items[FIXED_ITEMS + i] = (piece){at, size};
        at += size;
    }
    size_t before = run->t.lines.size;
    int failed = seal_line(&values, items, FIXED_ITEMS + one->count, salt, all->recorded, &run->t.lines, hash);
    PyMem_Free(items);
    if (failed) {
        run->t.lines.size = before;
        return no_memory(1);
    }
    run->seq++;
    run->rows += one->count;
    memcpy(run->prev, hash, sizeof hash);
    memcpy(run->position, position, sizeof position);
    return 0;
}

static PyObject *CHANGES, *TAGS, *XID, *END, *TIME_US, *GTID, *BATCHED;

int native_run_begin(void) {
    return (CHANGES = PyUnicode_InternFromString("changes")) && (TAGS = PyUnicode_InternFromString("tags")) &&
                   (XID = PyUnicode_InternFromString("xid")) && (END = PyUnicode_InternFromString("end")) &&
                   (TIME_US = PyUnicode_InternFromString("time_us")) && (GTID = PyUnicode_InternFromString("gtid")) &&
                   (BATCHED = PyUnicode_InternFromString("batched"))
               ? 0
               : -1;
}

static int read_number(PyObject *transaction, PyObject *name, unsigned long long *out) {
    PyObject *number = PyObject_GetAttr(transaction, name);
    if (!number) return -1;
    *out = PyLong_AsUnsignedLongLongMask(number);
    Py_DECREF(number);
    return PyErr_Occurred() ? -1 : 0;
}

/* Whether a transaction was not committed as one. */
static int is_batched(PyObject *transaction) {
    PyObject *batched = PyObject_GetAttr(transaction, BATCHED);
    int is = batched ? PyObject_IsTrue(batched) : -1;
    Py_XDECREF(batched);
    return is;
}

static int take(PyObject *transaction, const rule *all, progress *run, const uint8_t *salt) {
    commit one = {.by = &run->t.by, .meta = &run->t.meta, .body = &run->t.body, .sizes = &run->t.sizes, .tail = &run->t.tail};
    unsigned long long time_us;
    run->t.by.size = run->t.meta.size = run->t.body.size = run->t.sizes.size = run->t.tail.size = 0;
    if (read_number(transaction, XID, &one.xid) || read_number(transaction, END, &one.end) ||
        read_number(transaction, TIME_US, &time_us))
        return -1;
    int batched = all->oplog ? is_batched(transaction) : 0;
    if (batched) return batched;
    one.time_us = (long long)time_us;
    one.changes = PyObject_GetAttr(transaction, CHANGES);
    one.tags = PyObject_GetAttr(transaction, TAGS);
    if (all->binlog.size) one.gtid = PyObject_GetAttr(transaction, GTID);
    int state = one.changes && one.tags && (one.gtid || !all->binlog.size) ? take_tag(&one, all) : -1;
    if (!state) state = take_changes(&one, all);
    if (!state && one.count) state = write_line(&one, all, run, salt);
    Py_XDECREF(one.changes);
    Py_XDECREF(one.tags);
    Py_XDECREF(one.gtid);
    return state;
}

static int read_rule(rule *out, PyObject *given) {
    PyObject *open, *engine, *id_prefix, *binlog, *schema, *schema_by, *build, *version, *app;
    Py_ssize_t recorded_size;
    if (!PyArg_ParseTuple(given, "UUUUpy#UUUUUpO!Onn", &open, &engine, &id_prefix, &binlog, &out->oplog, &out->recorded.bytes, &recorded_size, &schema,
                          &schema_by, &build, &version, &app, &out->tagged, &PyDict_Type, &out->plans, &out->lookup,
                          &out->room, &out->tag_bytes_max) ||
        piece_of(&out->open, open) || piece_of(&out->engine, engine) || piece_of(&out->id_prefix, id_prefix) || piece_of(&out->binlog, binlog) ||
        piece_of(&out->schema, schema) || piece_of(&out->schema_by, schema_by) || piece_of(&out->build, build) ||
        piece_of(&out->version, version) || piece_of(&out->app, app))
        return -1;
    out->recorded.size = (size_t)recorded_size;
    /* Beside the name of a binlog stand a dot, a colon and two numbers. */
    if (out->id_prefix.size <= ID_BYTES - OPLOG_BYTES && out->binlog.size < POSITION_BYTES - 42) return 0;
    PyErr_SetString(PyExc_ValueError, "the prefix of ids, or the name of the binlog, is too long");
    return -1;
}

/* The memory that the texts of one run grew to serves the next; a run that begins within another one finds none. */
static texts spare;

static texts take_spare(void) {
    texts taken = spare;
    memset(&spare, 0, sizeof spare);
    taken.lines.size = 0;
    return taken;
}

static void keep_spare(texts kept) {
    text *const all[] = {&spare.lines, &spare.by, &spare.meta, &spare.body, &spare.sizes, &spare.tail};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]->bytes);
    spare = kept;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) text_shrink(all[i]);
}

/* run(rule, seq, hash, position, transactions, start, salts) -> (taken, lines, seq, hash, position, rows, last): log/chain.py */
PyObject *native_run(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *given, *transactions;
    const char *prev, *position, *salts;
    Py_ssize_t prev_size, position_size, start, salts_size;
    long long seq;
    progress run;
    rule all;
    if (!PyArg_ParseTuple(arguments, "O!Ls#s#O!ny#", &PyTuple_Type, &given, &seq, &prev, &prev_size, &position,
                          &position_size, &PyList_Type, &transactions, &start, &salts, &salts_size) ||
        read_rule(&all, given))
        return NULL;
    if (prev_size != SEAL_HASH_DIGITS || position_size >= (Py_ssize_t)sizeof run.position || start < 0)
        return PyErr_Format(PyExc_ValueError, "run takes a hash, a position and a place in a list");
    run = (progress){.t = take_spare(), .seq = seq, .last = -1};
    memcpy(run.prev, prev, (size_t)prev_size);
    memcpy(run.position, position, (size_t)position_size);

    Py_ssize_t at = start;
    int state = 0;
    for (; !state && at < PyList_GET_SIZE(transactions) && (at - start + 1) * SEAL_SALT_BYTES <= salts_size; at += !state) {
        seq = run.seq;
        state = take(PyList_GET_ITEM(transactions, at), &all, &run, (const uint8_t *)salts + (at - start) * SEAL_SALT_BYTES);
        if (run.seq != seq) run.last = at;
    }
    PyObject *result = NULL;
    if (state < 0 && PyErr_ExceptionMatches(PyExc_Exception)) PyErr_Clear(); /* Python meets it again, and says it */
    if (!PyErr_Occurred())
        result = Py_BuildValue("ny#Ls#sKn", at - start, run.t.lines.bytes ? run.t.lines.bytes : "", (Py_ssize_t)run.t.lines.size, run.seq,
                               run.prev, (Py_ssize_t)SEAL_HASH_DIGITS, run.position, run.rows, run.last);
    keep_spare(run.t);
    return result;
}
