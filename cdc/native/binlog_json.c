/* MySQL's binary JSON to the text that MySQL prints: cdc/tail/binlog/json_text.py, compiled. */

#include "binlog.h"

enum { DEPTH_MAX = 100, LARGE_ARRAY = 3, LITERAL = 4, INT16 = 5, INT32 = 7, UINT32 = 8, UINT64 = 10, NUMBER = 11, STRING = 12, OPAQUE = 15 };
enum { OPAQUE_DATE = 10, OPAQUE_TIME = 11, OPAQUE_DATETIME = 12, OPAQUE_TIMESTAMP = 7, OPAQUE_DECIMAL = 246 };

typedef struct {
    const uint8_t *data;
    size_t size, room; /* a value takes a byte at least: how many more there may be */
    text *out;
} json;

static int add_value(json *self, unsigned kind, size_t at, int depth);

/* A length of seven bits a byte. */
static int take_length(const json *self, size_t *at, size_t *length) {
    *length = 0;
    for (int shift = 0; shift <= 28; shift += 7) {
        if (*at >= self->size) return 1;
        uint8_t octet = self->data[(*at)++];
        *length |= (size_t)(octet & 0x7f) << shift;
        if (octet < 0x80) return self->size - *at < *length;
    }
    return 1;
}

/* With a point up to fifteen places before or behind it, as the server prints it. */
static int add_number(text *out, const uint8_t *bytes) {
    shortest number;
    int failed = binlog_shortest(&number, bytes);
    if (failed) return failed;
    if (text_reserve(out, 64)) return -1;
    char *p = out->bytes + out->size;
    int count = number.count, point = number.point;
    if (number.negative) *p++ = '-';
    if (!count) {
        memcpy(p, "0.0", 3);
        p += 3;
    } else if (point < -14 || (point > 15 && count <= point)) {
        *p++ = number.digits[0];
        if (count > 1) *p++ = '.';
        memcpy(p, number.digits + 1, (size_t)count - 1);
        p += count - 1;
        *p++ = 'e';
        if (point <= 0) *p++ = '-';
        p += put_number(p, (unsigned)(point > 0 ? point - 1 : 1 - point));
    } else {
        if (point <= 0) *p++ = '0';
        for (int i = 0; i < point; i++) *p++ = i < count ? number.digits[i] : '0';
        *p++ = '.';
        if (count <= point) *p++ = '0';
        for (int i = point; i < 0; i++) *p++ = '0';
        for (int i = point > 0 ? point : 0; i < count; i++) *p++ = number.digits[i];
    }
    out->size = (size_t)(p - out->bytes);
    return 0;
}

static int add_moment(text *out, unsigned kind, const uint8_t *bytes) {
    int64_t packed = (int64_t)binlog_little(bytes, 8);
    int negative = packed < 0, failed;
    uint64_t number = negative ? 0 - (uint64_t)packed : (uint64_t)packed, clock = number >> 24;
    if (ADD(out, "\"")) return -1;
    if (kind == OPAQUE_TIME) {
        if ((negative && ADD(out, "-")) || text_reserve(out, 3)) return -1;
        if ((failed = binlog_add_digits(out, clock >> 12 & 1023, (clock >> 12 & 1023) > 99 ? (clock >> 12 & 1023) > 999 ? 4 : 3 : 2)))
            return failed;
    } else {
        uint64_t months = clock >> 22;
        if (negative) return 1;
        if ((failed = binlog_add_digits(out, months / 13, 4)) || (failed = ADD(out, "-")) ||
            (failed = binlog_add_digits(out, months % 13, 2)) || (failed = ADD(out, "-")) ||
            (failed = binlog_add_digits(out, clock >> 17 & 31, 2)))
            return failed;
        if (kind == OPAQUE_DATE) return ADD(out, "\"");
        if ((failed = ADD(out, " ")) || (failed = binlog_add_digits(out, clock >> 12 & 31, 2))) return failed;
    }
    if ((failed = ADD(out, ":")) || (failed = binlog_add_digits(out, clock >> 6 & 63, 2)) || (failed = ADD(out, ":")) ||
        (failed = binlog_add_digits(out, clock & 63, 2)) || (failed = ADD(out, ".")) ||
        (failed = binlog_add_digits(out, number & 0xffffff, 6)))
        return failed;
    return ADD(out, "\"");
}

static int add_opaque(json *self, size_t at) {
    if (at >= self->size) return 1;
    unsigned kind = self->data[at++];
    size_t length;
    if (take_length(self, &at, &length)) return 1;
    const uint8_t *bytes = self->data + at;
    if (kind == OPAQUE_DECIMAL) {
        if (length < 3) return 1;
        cursor from = {bytes + 2, bytes + length};
        int failed = binlog_add_decimal(self->out, bytes[0], bytes[1], &from);
        return failed ? failed : from.at != from.end;
    }
    if (kind == OPAQUE_DATE || kind == OPAQUE_TIME || kind == OPAQUE_DATETIME || kind == OPAQUE_TIMESTAMP)
        return length < 8 ? 1 : add_moment(self->out, kind, bytes);
    return 1; /* base64 with the server's line breaks: Python's */
}

/* Keys are sorted by length, then by their bytes; others are none of the server's. */
static int add_key(json *self, size_t at, size_t length, const uint8_t **last, size_t *last_length) {
    if (at > self->size || self->size - at < length) return 1;
    const uint8_t *key = self->data + at;
    if (*last && (length < *last_length || (length == *last_length && memcmp(key, *last, length) <= 0))) return 1;
    *last = key;
    *last_length = length;
    int failed = text_add_value(self->out, AS_TEXT, key, length);
    return failed ? failed : ADD(self->out, ": ");
}

static int add_container(json *self, unsigned kind, size_t base, int depth) {
    int large = kind & 1, keyed = kind < 2;
    unsigned width = large ? 4 : 2;
    if (base > self->size || self->size - base < 2 * width) return 1;
    size_t count = (size_t)binlog_little(self->data + base, width), keys = base + 2 * width;
    size_t entry = width + 1, key_entry = keyed ? width + 2 : 0;
    if (count > (self->size - keys) / (entry + key_entry)) return 1;
    size_t entries = keys + key_entry * count, last_length = 0;
    const uint8_t *last = NULL;
    if (text_add(self->out, keyed ? "{" : "[", 1)) return -1;
    for (size_t i = 0; i < count; i++) {
        int failed;
        if (i && ADD(self->out, ", ")) return -1;
        if (keyed) {
            const uint8_t *place = self->data + keys + i * key_entry;
            failed = add_key(self, base + binlog_little(place, width), (size_t)binlog_little(place + width, 2), &last, &last_length);
            if (failed) return failed;
        }
        size_t at = entries + i * entry;
        unsigned inner = self->data[at];
        int inlined = (inner >= LITERAL && inner < INT32) || (large && (inner == INT32 || inner == UINT32));
        failed = add_value(self, inner, inlined ? at + 1 : base + (size_t)binlog_little(self->data + at + 1, width), depth + 1);
        if (failed) return failed;
    }
    return text_add(self->out, keyed ? "}" : "]", 1);
}

static int add_value(json *self, unsigned kind, size_t at, int depth) {
    if (depth > DEPTH_MAX || !self->room--) return 1;
    if (kind <= LARGE_ARRAY) return add_container(self, kind, at, depth);
    if (at > self->size) return 1;
    size_t left = self->size - at;
    const uint8_t *data = self->data + at;
    if (kind == STRING) {
        size_t length;
        if (take_length(self, &at, &length)) return 1;
        return text_add_value(self->out, AS_TEXT, self->data + at, length);
    }
    if (kind >= INT16 && kind <= UINT64) {
        unsigned size = 2u << (kind - INT16) / 2;
        if (left < size) return 1;
        uint64_t number = binlog_little(data, size);
        unsigned shift = 64 - 8 * size;
        int64_t with_sign = (int64_t)(number << shift) >> shift;
        if (!(kind & 1) || with_sign >= 0) return text_add_number(self->out, number);
        return ADD(self->out, "-") ? -1 : text_add_number(self->out, 0 - (uint64_t)with_sign);
    }
    if (kind == NUMBER) return left < 8 ? 1 : add_number(self->out, data);
    if (kind == LITERAL) {
        if (!left || *data > 2) return 1;
        return *data == 0 ? ADD(self->out, "null") : *data == 1 ? ADD(self->out, "true") : ADD(self->out, "false");
    }
    return kind == OPAQUE ? add_opaque(self, at) : 1;
}

int binlog_add_json(text *out, const uint8_t *document, size_t size) {
    if (!size) return ADD(out, "null");
    json self = {.data = document, .size = size, .room = size, .out = out};
    return add_value(&self, document[0], 1, 0);
}
