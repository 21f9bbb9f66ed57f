/* What an entry of the oplog says: cdc/tail/oplog/entry.py, compiled. */

#include "oplog.h"

enum { VERSION = 2 };

static const int64_t WALL_MAX = INT64_C(1) << 53; /* of what microseconds of it fit */

static int take_integer(const bson_element *given, int64_t *into) {
    if (given->kind == BSON_INT32) *into = (int32_t)bson_number(given->value.at, 4);
    else if (given->kind == BSON_INT64) *into = (int64_t)bson_number(given->value.at, 8);
    else return 1;
    return 0;
}

int oplog_string(const bson_element *given, bson_span *into) {
    *into = (bson_span){given->value.at + 4, given->value.end - 1};
    return given->kind != BSON_STRING;
}

bson_span oplog_binary(const bson_element *given, ptrdiff_t size) {
    int is = given->kind == BSON_BINARY && given->value.end - given->value.at == 5 + size;
    return is ? (bson_span){given->value.at + 5, given->value.end} : (bson_span){0};
}

int oplog_operation_field(const bson_element *field, operation *into) {
    bson_span name = field->name;
    if (bson_is(name, "op")) return oplog_string(field, &into->op);
    if (bson_is(name, "ns")) return oplog_string(field, &into->ns);
    if (bson_is(name, "ui")) into->uuid = oplog_binary(field, UUID_BYTES);
    else if (bson_is(name, "o")) {
        into->o = field->value;
        return field->kind != BSON_DOCUMENT;
    } else if (bson_is(name, "fromMigrate")) return 1;
    return 0;
}

/* One field of a document in it: lsid.id or prevOpTime.ts. */
static int take_nested(const bson_element *given, entry *into) {
    bson_span inner = given->value;
    bson_element field;
    if (given->name.at[0] == 'l') into->lsid = (bson_span){0};
    else into->previous = 0;
    if (given->kind != BSON_DOCUMENT || bson_open(&inner)) return 1;
    while (bson_more(&inner)) {
        if (bson_next(&inner, &field)) return 1;
        if (given->name.at[0] == 'l' && bson_is(field.name, "id")) into->lsid = oplog_binary(&field, UUID_BYTES);
        if (given->name.at[0] == 'p' && bson_is(field.name, "ts")) {
            if (field.kind != BSON_TIMESTAMP) return 1;
            into->previous = bson_number(field.value.at, 8);
        }
    }
    return 0;
}

static int take_field(const bson_element *field, entry *into) {
    bson_span name = field->name;
    if (bson_is(name, "ts")) {
        into->has_at = 1;
        into->at = bson_number(field->value.at, 8);
        return field->kind != BSON_TIMESTAMP;
    }
    if (bson_is(name, "v")) return take_integer(field, &into->version);
    if (bson_is(name, "wall")) {
        into->has_wall = 1;
        into->wall_ms = (int64_t)bson_number(field->value.at, 8);
        return field->kind != BSON_DATE || into->wall_ms > WALL_MAX || into->wall_ms < -WALL_MAX;
    }
    if (bson_is(name, "txnNumber")) {
        into->has_number = 1;
        return take_integer(field, &into->number);
    }
    if (bson_is(name, "multiOpType")) return 1;
    if (bson_is(name, "lsid") || bson_is(name, "prevOpTime")) return take_nested(field, into);
    return oplog_operation_field(field, &into->what);
}

int oplog_read(bson_span given, entry *into) {
    bson_element field;
    *into = (entry){0};
    if (bson_open(&given)) return 1;
    while (bson_more(&given))
        /* A number may be shorter than what is read of it before its type is looked at. */
        if (bson_next(&given, &field) || (field.value.end - field.value.at < 8 && (bson_is(field.name, "ts") || bson_is(field.name, "wall"))) ||
            take_field(&field, into))
            return 1;
    return !into->has_at || into->version != VERSION || !oplog_whole(&into->what);
}
