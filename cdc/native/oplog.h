/* What an entry of the oplog says: cdc/tail/oplog/entry.py, compiled. */
#ifndef COMMITLOG_OPLOG_H
#define COMMITLOG_OPLOG_H

#include "bson.h"

enum { UUID_BYTES = 16 };

typedef struct {
    bson_span op, ns, uuid, o;
    int migrated;
} operation;

typedef struct {
    operation what;
    uint64_t at, previous;
    int64_t wall_ms, version, number;
    int has_at, has_wall, has_number;
    bson_span lsid;
} entry;

/* Each returns 0, or 1 where it is not plain. */
int oplog_read(bson_span given, entry *into);
int oplog_operation_field(const bson_element *field, operation *into);
int oplog_string(const bson_element *given, bson_span *into);

/* The bytes of a binary value, where it is one of this size; else nothing. */
bson_span oplog_binary(const bson_element *given, ptrdiff_t size);

static inline int oplog_whole(const operation *given) { return given->op.at && given->ns.at && given->o.at; }

#endif
