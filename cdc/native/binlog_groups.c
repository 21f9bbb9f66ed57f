/* Plain groups of the binlog, whole in a buffer of packets, to transactions: cdc/tail/binlog/assembler.py, compiled.
 *
 * Plain is: a GTID, BEGIN (of MySQL), table maps that are known and rows of theirs, XID. Whatever else there is, a checksum that
 * does not hold included, ends the drain before its group, and passes through the Python, which decides.
 */

#include "binlog.h"

enum {
    HEADER = 19, CHECKSUM = 4, SMALLEST = HEADER + CHECKSUM, PACKET = 4, CHANGE = 30, TABLES_MAX = 16, LONG_PACKET = 0xffffff,
    QUERY_EVENT = 2, XID_EVENT = 16, TABLE_MAP = 19, WRITE_V1 = 23, DELETE_V1 = 25, ROWS_QUERY = 29, WRITE_ROWS = 30, DELETE_ROWS = 32,
    MYSQL_GTID = 33, ANNOTATE_ROWS = 160, MARIADB_GTID = 162,
    FLAG_ARTIFICIAL = 0x20, STANDALONE = 1, XA = 64 | 128,
};

typedef struct {
    const uint8_t *bytes; /* from the header on */
    size_t size;          /* without the checksum */
    uint32_t seconds;
    unsigned kind;
} event;

typedef struct {
    const uint8_t *at, *end;
    uint64_t behind; /* position */
    PyObject *tables, *transaction, *out;
    int mariadb;
    Py_ssize_t spill_bytes;
} drain;

typedef struct {
    uint64_t id;
    PyObject *entry; /* (rows, relation, tag, number), borrowed from the tables */
} mapped;

typedef struct {
    PyObject *gtid, *changes, *tag;
    uint64_t number, time_us;
    mapped tables[TABLES_MAX];
    int table_count;
    Py_ssize_t size;
} group;

static uint32_t crc_table[8][256];

static void crc_begin(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++) value = value & 1 ? value >> 1 ^ 0xedb88320 : value >> 1;
        crc_table[0][i] = value;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int n = 1; n < 8; n++) crc_table[n][i] = crc_table[n - 1][i] >> 8 ^ crc_table[0][crc_table[n - 1][i] & 255];
}

/* CRC-32, eight bytes at a time. Source: Kounavis, Berry, "Novel Table Lookup-Based Algorithms for High-Performance CRC Generation". */
static uint32_t crc32(const uint8_t *p, size_t size) {
    uint32_t value = 0xffffffff;
    for (; size >= 8; p += 8, size -= 8) {
        uint32_t low = value ^ (uint32_t)binlog_little(p, 4);
        value = crc_table[7][low & 255] ^ crc_table[6][low >> 8 & 255] ^ crc_table[5][low >> 16 & 255] ^ crc_table[4][low >> 24] ^
                crc_table[3][p[4]] ^ crc_table[2][p[5]] ^ crc_table[1][p[6]] ^ crc_table[0][p[7]];
    }
    while (size--) value = value >> 8 ^ crc_table[0][(value ^ *p++) & 255];
    return ~value;
}

/* The next event; 1 where there is no plain one. */
static int next_event(drain *from, event *found) {
    size_t left = (size_t)(from->end - from->at);
    if (left < PACKET + 1 + SMALLEST) return 1;
    size_t packet = (size_t)binlog_little(from->at, 3);
    if (packet == LONG_PACKET || packet < 1 + SMALLEST || left - PACKET < packet || from->at[PACKET] != 0) return 1;
    const uint8_t *p = from->at + PACKET + 1;
    size_t size = packet - 1;
    if (binlog_little(p + 9, 4) != size || binlog_little(p + 17, 2) & FLAG_ARTIFICIAL) return 1;
    *found = (event){p, size - CHECKSUM, (uint32_t)binlog_little(p, 4), p[4]};
    if (crc32(p, found->size) != (uint32_t)binlog_little(p + found->size, 4)) return 1;
    uint32_t end = (uint32_t)binlog_little(p + 13, 4);
    from->behind += size;
    if (end) {
        uint32_t left_out = end - (uint32_t)from->behind;
        if (left_out >> 31) return 1;
        from->behind += left_out;
    }
    from->at += PACKET + packet;
    return 0;
}

/* The event that begins a group. */
static int begin(const drain *from, const event *first, group *into) {
    const uint8_t *p = first->bytes + HEADER;
    size_t size = first->size - HEADER;
    if (from->mariadb) {
        if (first->kind != MARIADB_GTID || size < 13 || p[12] & (STANDALONE | XA)) return 1;
        into->number = binlog_little(p, 8);
        into->gtid = PyUnicode_FromFormat("%u-%u-%llu", (unsigned)binlog_little(p + 8, 4), (unsigned)binlog_little(first->bytes + 5, 4),
                                          (unsigned long long)into->number);
        return into->gtid ? 0 : -1;
    }
    if (first->kind != MYSQL_GTID || size < 49 || p[25] != 2) return 1;
    into->number = binlog_little(p + 17, 8);
    if (into->number >> 63) return 1;
    into->time_us = binlog_little(p + 42, 7) & (((uint64_t)1 << 55) - 1);
    char text[64];
    int at = 0;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text[at++] = '-';
        text[at++] = "0123456789abcdef"[p[1 + i] >> 4];
        text[at++] = "0123456789abcdef"[p[1 + i] & 15];
    }
    text[at++] = ':';
    at += (int)put_number(text + at, into->number);
    into->gtid = PyUnicode_FromStringAndSize(text, at);
    return into->gtid ? 0 : -1;
}

static int is_begin(const event *query) {
    size_t size = query->size - HEADER;
    const uint8_t *p = query->bytes + HEADER;
    if (query->kind != QUERY_EVENT || size < 13) return 0;
    size_t at = 13 + (size_t)binlog_little(p + 11, 2) + p[8] + 1;
    return size == at + 5 && !memcmp(p + at, "BEGIN", 5);
}

static int map_table(const drain *from, const event *map, group *into) {
    if (map->size < HEADER + 8) return 1;
    PyObject *description = PyBytes_FromStringAndSize((const char *)map->bytes + HEADER, (Py_ssize_t)(map->size - HEADER));
    if (!description) return -1;
    PyObject *entry = PyDict_GetItemWithError(from->tables, description);
    Py_DECREF(description);
    if (!entry) return PyErr_Occurred() ? -1 : 1;
    if (!PyTuple_Check(entry) || PyTuple_GET_SIZE(entry) != 4 || !binlog_is_rows(PyTuple_GET_ITEM(entry, 0))) return 1;
    uint64_t id = binlog_little(map->bytes + HEADER, 6);
    int place = 0;
    while (place < into->table_count && into->tables[place].id != id) place++;
    if (place == TABLES_MAX) return 1;
    if (place == into->table_count) into->table_count++;
    into->tables[place] = (mapped){id, entry};
    return 0;
}

/* The text of a column in a row change that has a new row; 1 where there is none. */
static int take_tag(PyObject *change, Py_ssize_t place, int after_old, group *into) {
    const uint8_t *p = (const uint8_t *)PyBytes_AS_STRING(change), *end = p + PyBytes_GET_SIZE(change);
    p += CHANGE;
    for (int row = 0; row <= after_old; row++) {
        unsigned width = (unsigned)p[1] << 8 | p[2];
        p += 3;
        for (unsigned i = 0; i < width && p < end; i++) {
            if (*p++ != 't') continue;
            size_t length = (size_t)binlog_big(p, 4);
            if (row == after_old && (Py_ssize_t)i == place) {
                PyObject *tag = PyBytes_FromStringAndSize((const char *)p + 4, (Py_ssize_t)length);
                if (!tag) return -1;
                Py_XSETREF(into->tag, tag);
            }
            p += 4 + length;
        }
    }
    return 0;
}

static int take_tags(const binlog_event *rows, PyObject *entry, PyObject *body, unsigned op, group *into) {
    Py_ssize_t place = PyLong_AsSsize_t(PyTuple_GET_ITEM(entry, 2));
    if (place == -1 && PyErr_Occurred()) return -1;
    PyObject *changes = PyList_New(0);
    if (!changes) return -1;
    int failed = binlog_add_changes(PyTuple_GET_ITEM(entry, 0), body, rows, NULL, changes);
    for (Py_ssize_t i = 0; !failed && op != 'D' && i < PyList_GET_SIZE(changes); i++)
        failed = take_tag(PyList_GET_ITEM(changes, i), place, op == 'U', into);
    Py_DECREF(changes);
    return failed;
}

static int take_rows(const drain *from, const event *given, group *into) {
    int first_version = given->kind < WRITE_ROWS;
    const uint8_t *p = given->bytes, op = (uint8_t)"IUD"[given->kind - (first_version ? WRITE_V1 : WRITE_ROWS)];
    size_t at = HEADER + 8, size = given->size;
    if (size < at + 3) return 1;
    uint64_t id = binlog_little(p + HEADER, 6);
    PyObject *entry = NULL;
    for (int i = 0; i < into->table_count; i++)
        if (into->tables[i].id == id) entry = into->tables[i].entry;
    if (!entry) return 1;
    if (!first_version) {
        size_t extra = (size_t)binlog_little(p + at, 2);
        at += extra < 2 ? 2 : extra;
    }
    if (at >= size || p[at] > 250 || p[at] != binlog_width(PyTuple_GET_ITEM(entry, 0))) return 1;
    size_t bitmap = ((size_t)p[at++] + 7) / 8, bitmaps = op == 'U' ? 2 * bitmap : bitmap;
    if (size - at < bitmaps) return 1;
    into->size += (Py_ssize_t)size;
    if (into->size > from->spill_bytes) return 1;
    unsigned long number = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(entry, 3));
    if (number == (unsigned long)-1 && PyErr_Occurred()) return -1;
    char opening[CHANGE] = "w";
    opening[25] = (char)op;
    for (int i = 4; i--; number >>= 8) opening[26 + i] = (char)(number & 255);
    PyObject *body = PyBytes_FromStringAndSize((const char *)p, (Py_ssize_t)size);
    if (!body) return -1;
    const uint8_t *copy = (const uint8_t *)PyBytes_AS_STRING(body);
    binlog_event rows = {
        .at = (Py_ssize_t)(at + bitmaps),
        .opening = opening,
        .opening_size = CHANGE,
        .mark = op == 'I' ? 'N' : 'O',
        .first = copy + at,
        .second = op == 'U' ? copy + at + bitmap : NULL,
    };
    int failed = PyTuple_GET_ITEM(entry, 2) == Py_None
                     ? binlog_add_changes(PyTuple_GET_ITEM(entry, 0), body, &rows, PyTuple_GET_ITEM(entry, 1), into->changes)
                     : take_tags(&rows, entry, body, op, into);
    Py_DECREF(body);
    return failed;
}

static int add_transaction(const drain *from, const event *last, group *into) {
    uint64_t time_us = into->time_us ? into->time_us : (uint64_t)last->seconds * 1000000;
    PyObject *tags = PyList_New(0);
    if (!tags || (into->tag && PyList_Append(tags, into->tag))) {
        Py_XDECREF(tags);
        return -1;
    }
    PyObject *made = PyObject_CallFunction(from->transaction, "KKKONO", (unsigned long long)into->number,
                                           (unsigned long long)from->behind, (unsigned long long)time_us, into->changes, tags,
                                           into->gtid);
    int failed = !made || PyList_Append(from->out, made) ? -1 : 0;
    Py_XDECREF(made);
    return failed;
}

/* One group. */
static int take_group(drain *from, group *into) {
    event each;
    int failed;
    if ((failed = next_event(from, &each)) || (failed = begin(from, &each, into))) return failed;
    if (!from->mariadb && ((failed = next_event(from, &each)) || (failed = !is_begin(&each)))) return failed;
    into->changes = PyList_New(0);
    if (!into->changes) return -1;
    while (!(failed = next_event(from, &each))) {
        unsigned write = from->mariadb ? WRITE_V1 : WRITE_ROWS, delete = from->mariadb ? DELETE_V1 : DELETE_ROWS;
        if (each.kind == XID_EVENT) return add_transaction(from, &each, into);
        if (each.kind == TABLE_MAP) failed = map_table(from, &each, into);
        else if (each.kind >= write && each.kind <= delete) failed = take_rows(from, &each, into);
        else if (each.kind != (from->mariadb ? ANNOTATE_ROWS : ROWS_QUERY)) failed = 1;
        if (failed) break;
    }
    return failed;
}

/* (buffer, at, room, behind, tables, mariadb, spill bytes, transaction, out) -> (at, behind) */
PyObject *native_binlog_groups(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer buffer;
    Py_ssize_t at, room;
    unsigned long long behind;
    drain from = {0};
    if (!PyArg_ParseTuple(arguments, "y*nnKO!pnOO!", &buffer, &at, &room, &behind, &PyDict_Type, &from.tables, &from.mariadb,
                          &from.spill_bytes, &from.transaction, &PyList_Type, &from.out))
        return NULL;
    const uint8_t *start = buffer.buf;
    int failed = at < 0 || at > buffer.len;
    from.at = start + (failed ? 0 : at);
    from.end = start + buffer.len;
    from.behind = behind;
    drain stood = from;
    while (!failed && from.at - start < at + room) {
        group into = {0};
        failed = take_group(&from, &into);
        Py_XDECREF(into.gtid);
        Py_XDECREF(into.changes);
        Py_XDECREF(into.tag);
        if (!failed) stood = from;
    }
    PyBuffer_Release(&buffer);
    if (failed < 0) return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    return Py_BuildValue("nK", (Py_ssize_t)(stood.at - start), (unsigned long long)stood.behind);
}

void native_binlog_begin(void) { crc_begin(); }
