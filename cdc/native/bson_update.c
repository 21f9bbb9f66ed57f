/* Deltas of version 2, and whole new documents. What does not fit, or is large or old, is left to Python, which says it. */

#include "bson_update.h"

#include <stdlib.h>

enum { FIELDS_MAX = 48, NESTED_MAX = 40, GROWTH_MAX = 1000, PLACE_DIGITS_MAX = 9 };

/* What a delta says of one field; its section is the letter. */
typedef struct {
    bson_element field;
    char section;
    int met;
} told;

typedef struct {
    told fields[FIELDS_MAX];
    int count;
} delta;

/* The functions below return 0; 1 where an update is not plain; -1 where there is no memory. */

static int add_span(text *out, bson_span span) {
    return span.at == span.end ? 0 : text_add(out, span.at, (size_t)(span.end - span.at));
}

static int add_head(text *out, unsigned kind, bson_span name) {
    uint8_t octet = (uint8_t)kind;
    return text_add(out, &octet, 1) || add_span(out, name) || text_add(out, "", 1) ? -1 : 0;
}

static int add_element(text *out, const bson_element *given) {
    return add_head(out, given->kind, given->name) || add_span(out, given->value) ? -1 : 0;
}

/* Begin a document; its place in the text, for `end_document`. */
static int begin_document(text *out, size_t *place) {
    *place = out->size;
    return text_add(out, "\0\0\0\0", 4);
}

static int end_document(text *out, size_t place) {
    if (text_add(out, "", 1)) return -1;
    size_t size = out->size - place;
    if (size > INT32_MAX) return 1;
    for (int i = 0; i < 4; i++) out->bytes[place + (size_t)i] = (char)(size >> 8 * i & 255);
    return 0;
}

static int same_name(bson_span a, bson_span b) {
    return a.end - a.at == b.end - b.at && !memcmp(a.at, b.at, (size_t)(a.end - a.at));
}

static told *find(delta *of, bson_span name) {
    for (int i = 0; i < of->count; i++)
        if (same_name(of->fields[i].field.name, name)) return &of->fields[i];
    return NULL;
}

static int tell(delta *into, const bson_element *field, char section) {
    if (into->count == FIELDS_MAX || find(into, field->name)) return 1;
    into->fields[into->count++] = (told){*field, section, 0};
    return 0;
}

static int read_delta(delta *into, bson_span given) {
    bson_element section, field;
    into->count = 0;
    if (bson_open(&given)) return 1;
    while (bson_more(&given)) {
        if (bson_next(&given, &section) || section.kind != BSON_DOCUMENT || section.name.at == section.name.end) return 1;
        char letter = (char)section.name.at[0];
        if (letter == 's') {
            section.name.at++;
            if (tell(into, &section, 's')) return 1;
            continue;
        }
        if (section.name.end - section.name.at != 1 || !strchr("dui", letter) || bson_open(&section.value)) return 1;
        while (bson_more(&section.value))
            if (bson_next(&section.value, &field) || tell(into, &field, letter)) return 1;
    }
    return 0;
}

static int patch(text *out, bson_span before, bson_span given, int depth);
static int patch_array(text *out, bson_span before, bson_span given, int depth);

static int is_of_array(bson_span given) {
    bson_element first;
    return !bson_open(&given) && bson_more(&given) && !bson_next(&given, &first) && first.kind == BSON_BOOL && bson_is(first.name, "a") &&
           first.value.at[0] == 1;
}

static int patch_nested(text *out, unsigned kind, bson_span before, bson_span given, int depth) {
    int array = is_of_array(given);
    if (depth > NESTED_MAX || kind != (array ? BSON_ARRAY : BSON_DOCUMENT)) return 1;
    return array ? patch_array(out, before, given, depth + 1) : patch(out, before, given, depth + 1);
}

/* The fields that were there, each as it is now. */
static int patch_fields(text *out, bson_span before, delta *now, int depth) {
    bson_element field;
    int failed = 0;
    if (bson_open(&before)) return 1;
    while (!failed && bson_more(&before)) {
        if (bson_next(&before, &field)) return 1;
        told *is = find(now, field.name);
        /* Of two fields of one name it does not say which. */
        if (is && is->met++) return 1;
        if (!is) failed = add_element(out, &field);
        else if (is->section == 'u') failed = add_element(out, &is->field);
        else if (is->section == 's')
            failed = add_head(out, field.kind, field.name) ? -1 : patch_nested(out, field.kind, field.value, is->field.value, depth);
    }
    return failed;
}

static int patch(text *out, bson_span before, bson_span given, int depth) {
    delta now;
    size_t place;
    int failed = read_delta(&now, given);
    if (failed) return failed;
    if (begin_document(out, &place)) return -1;
    if ((failed = patch_fields(out, before, &now, depth))) return failed;
    for (int i = 0; i < now.count; i++)
        if (!now.fields[i].met && strchr("ds", now.fields[i].section)) return 1;
    for (int i = 0; i < now.count; i++)
        if (now.fields[i].section == 'u' && !now.fields[i].met && add_element(out, &now.fields[i].field)) return -1;
    for (int i = 0; i < now.count; i++)
        if (now.fields[i].section == 'i' && add_element(out, &now.fields[i].field)) return -1;
    return end_document(out, place);
}

typedef struct {
    unsigned kind;
    bson_span value, given; /* given: its delta, or nothing */
} item;

typedef struct {
    item *items;
    Py_ssize_t count, room;
} list;

static int resize(list *of, Py_ssize_t count) {
    if (count > of->count + GROWTH_MAX) return 1;
    if (count > of->room) {
        Py_ssize_t room = count + count / 2 + 8;
        item *grown = realloc(of->items, (size_t)room * sizeof *grown);
        if (!grown) return -1;
        of->items = grown;
        of->room = room;
    }
    for (; of->count < count; of->count++) of->items[of->count] = (item){.kind = BSON_NULL};
    of->count = count;
    return 0;
}

/* The number behind the letter of an array's section; -1 where there is none. */
static Py_ssize_t place_of(bson_span name) {
    Py_ssize_t place = 0;
    if (name.end - name.at < 2 || name.end - name.at > 1 + PLACE_DIGITS_MAX) return -1;
    for (const uint8_t *at = name.at + 1; at < name.end; at++) {
        if (*at < '0' || *at > '9') return -1;
        place = 10 * place + (*at - '0');
    }
    return place;
}

static int read_array(list *into, bson_span before) {
    bson_element each;
    int failed = 0;
    if (bson_open(&before)) return 1;
    while (!failed && bson_more(&before)) {
        if (bson_next(&before, &each)) return 1;
        if (!(failed = resize(into, into->count + 1))) into->items[into->count - 1] = (item){each.kind, each.value, {0}};
    }
    return failed;
}

static int change_array(list *into, bson_span given) {
    bson_element each;
    Py_ssize_t length = -1;
    int failed, nested = 0;
    if (bson_open(&given) || bson_next(&given, &each)) return 1;
    while (bson_more(&given)) {
        if (bson_next(&given, &each)) return 1;
        if (bson_is(each.name, "l")) {
            if (nested || each.kind != BSON_INT32 || (length = (int32_t)bson_number(each.value.at, 4)) < 0) return 1;
            if ((failed = resize(into, length))) return failed;
            continue;
        }
        Py_ssize_t place = place_of(each.name);
        if (place < 0) return 1;
        if (each.name.at[0] == 'u') {
            if (place >= into->count && (failed = resize(into, place + 1))) return failed;
            if (into->items[place].given.at) return 1;
            into->items[place] = (item){each.kind, each.value, {0}};
        } else if (each.name.at[0] == 's' && each.kind == BSON_DOCUMENT && place < into->count && !into->items[place].given.at) {
            into->items[place].given = each.value;
            nested = 1;
        } else {
            return 1;
        }
    }
    return length >= 0 && length != into->count;
}

static int write_array(text *out, const list *from, int depth) {
    size_t place;
    int failed = begin_document(out, &place);
    for (Py_ssize_t i = 0; !failed && i < from->count; i++) {
        char digits[20];
        const item *each = &from->items[i];
        size_t size = put_number(digits, (unsigned long long)i);
        failed = add_head(out, each->kind, (bson_span){(uint8_t *)digits, (uint8_t *)digits + size});
        if (failed) break;
        failed = each->given.at ? patch_nested(out, each->kind, each->value, each->given, depth) : add_span(out, each->value);
    }
    return failed ? failed : end_document(out, place);
}

static int patch_array(text *out, bson_span before, bson_span given, int depth) {
    list items = {0};
    int failed = read_array(&items, before);
    if (!failed) failed = change_array(&items, given);
    if (!failed) failed = write_array(out, &items, depth);
    free(items.items);
    return failed;
}

static int update_of(text *out, bson_span before, bson_span update) {
    bson_span left = update;
    bson_element first, each;
    if (bson_open(&left)) return 1;
    if (!bson_more(&left)) return add_span(out, update);
    if (bson_next(&left, &first)) return 1;
    if (first.name.at == first.name.end || first.name.at[0] != '$') {
        while (bson_more(&left))
            if (bson_next(&left, &each)) return 1;
        return add_span(out, update);
    }
    if (!bson_is(first.name, "$v") || first.kind != BSON_INT32 || bson_number(first.value.at, 4) != 2) return 1;
    if (!bson_more(&left) || bson_next(&left, &each) || bson_more(&left)) return 1;
    if (each.kind != BSON_DOCUMENT || !bson_is(each.name, "diff")) return 1;
    return patch(out, before, each.value, 0);
}

int bson_update(text *out, bson_span before, bson_span update) {
    size_t place = out->size;
    int failed = update_of(out, before, update);
    if (failed) return failed;
    return out->size < place + 9 || memcmp(out->bytes + place + 5, "_id", 4) != 0;
}
