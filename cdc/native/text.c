#include "text.h"

#include <stdlib.h>

enum { KEPT_BYTES = 1 << 20 };

int text_grow(text *out, size_t size) {
    size_t room = out->room ? out->room : 1024;
    while (room - out->size < size) {
        if (room > SIZE_MAX / 2) return -1;
        room *= 2;
    }
    char *bytes = realloc(out->bytes, room);
    if (!bytes) return -1;
    out->bytes = bytes;
    out->room = room;
    return 0;
}

void text_shrink(text *out) {
    if (out->room <= KEPT_BYTES) return;
    free(out->bytes);
    *out = (text){0};
}

size_t put_number(char out[20], unsigned long long number) {
    char digits[20];
    int at = sizeof digits;
    do digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    memcpy(out, digits + at, sizeof digits - (size_t)at);
    return sizeof digits - (size_t)at;
}

size_t put_hex(char out[16], unsigned long long number, int digits_min) {
    int count = digits_min;
    while (count < 16 && number >> 4 * count) count++;
    for (int i = count; i; number >>= 4) out[--i] = "0123456789ABCDEF"[number & 15];
    return (size_t)count;
}

int text_add_number(text *out, unsigned long long number) {
    if (text_reserve(out, 20)) return -1;
    out->size += put_number(out->bytes + out->size, number);
    return 0;
}

/* The length of the UTF-8 character that begins with a byte above 0x7f; 0 where none does. Source: RFC 3629, section 4. */
static size_t utf8(const uint8_t *p, size_t left) {
    uint8_t low = 0x80, high = 0xbf;
    size_t size;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) size = 2;
    else if (p[0] >= 0xe0 && p[0] <= 0xef) size = 3;
    else if (p[0] >= 0xf0 && p[0] <= 0xf4) size = 4;
    else return 0;
    if (left < size) return 0;
    if (p[0] == 0xe0) low = 0xa0;
    if (p[0] == 0xed) high = 0x9f;
    if (p[0] == 0xf0) low = 0x90;
    if (p[0] == 0xf4) high = 0x8f;
    if (p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < size; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    return size;
}

static int plain(uint8_t c) { return c >= 0x20 && c < 0x80 && c != '"' && c != '\\'; }

static int add_escaped(text *out, uint8_t c) {
    static const char hex[] = "0123456789abcdef";
    switch (c) {
        case '"': return ADD(out, "\\\"");
        case '\\': return ADD(out, "\\\\");
        case '\b': return ADD(out, "\\b");
        case '\t': return ADD(out, "\\t");
        case '\n': return ADD(out, "\\n");
        case '\f': return ADD(out, "\\f");
        case '\r': return ADD(out, "\\r");
    }
    char escape[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    return text_add(out, escape, sizeof escape);
}

enum { WORD = sizeof(uint64_t) };

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* How many of eight bytes, from the first on, are plain. */
static size_t plain_of_word(uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    /* A byte's high bit is set where it is not plain; what a borrow sets wrongly stands behind one that is not plain. */
    uint64_t quote = word ^ EACH('"'), backslash = word ^ EACH('\\');
    uint64_t marks = ((word - EACH(0x20)) & ~word) | ((quote - EACH(1)) & ~quote) | ((backslash - EACH(1)) & ~backslash) | word;
    marks &= EACH(0x80);
    return marks ? (size_t)__builtin_ctzll(marks) / 8 : WORD;
#else
    uint8_t bytes[WORD];
    size_t count = 0;
    memcpy(bytes, &word, WORD);
    while (count < WORD && plain(bytes[count])) count++;
    return count;
#endif
}

/* Copy what is plain at the beginning of a value; how much that is. There is room for the whole value. */
static size_t add_plain(text *out, const uint8_t *value, size_t size) {
    char *begin = out->bytes + out->size;
    size_t at = 0;
    for (uint64_t word; size - at >= WORD; at += WORD) {
        memcpy(&word, value + at, WORD);
        memcpy(begin + at, &word, WORD);
        size_t count = plain_of_word(word);
        if (count < WORD) {
            out->size += at + count;
            return at + count;
        }
    }
    for (; at < size && plain(value[at]); at++) begin[at] = (char)value[at];
    out->size += at;
    return at;
}

/* A string, with the escapes of schemas/README.md §1. */
static int add_string(text *out, const uint8_t *value, size_t size) {
    if (text_reserve(out, size + 2)) return -1;
    out->bytes[out->size++] = '"';
    for (size_t at = add_plain(out, value, size); at < size;) {
        if (value[at] >= 0x80) {
            size_t length = utf8(value + at, size - at);
            if (!length) return 1;
            if (text_add(out, value + at, length)) return -1;
            at += length;
        } else if (add_escaped(out, value[at++])) {
            return -1;
        }
        if (text_reserve(out, size - at + 1)) return -1;
        at += add_plain(out, value + at, size - at);
    }
    return ADD(out, "\"");
}

/* An integer of at most ten digits, as the server writes it: no sign but a minus, no leading zero. */
static int add_number(text *out, const uint8_t *value, size_t size) {
    size_t at = size && value[0] == '-';
    if (at == size || size - at > 10 || (value[at] == '0' && size > 1)) return 1;
    for (; at < size; at++)
        if (value[at] < '0' || value[at] > '9') return 1;
    return text_add(out, value, size);
}

/* `date time` with a T between; an instant's `+00` becomes Z. Anything else (infinity, BC) stands as it is. */
static int add_time(text *out, const uint8_t *value, size_t size, int instant) {
    for (size_t i = 0; i < size; i++)
        if (!plain(value[i])) return 1;
    size_t end = size;
    if (size < 11 || value[10] != ' ') return add_string(out, value, size);
    if (instant) {
        if (size < 14 || memcmp(value + size - 3, "+00", 3)) return add_string(out, value, size);
        end = size - 3;
    } else if (value[size - 1] == 'C') {
        return add_string(out, value, size);
    }
    if (ADD(out, "\"") || text_add(out, value, 10) || ADD(out, "T") || text_add(out, value + 11, end - 11)) return -1;
    return (instant ? ADD(out, "Z\"") : ADD(out, "\"")) ? -1 : 0;
}

static int nibble(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

size_t base64(char *out, const uint8_t *bytes, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *p = out;
    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        uint32_t three =
            (uint32_t)bytes[at] << 16 | (left > 1 ? (uint32_t)bytes[at + 1] << 8 : 0) | (left > 2 ? bytes[at + 2] : 0);
        *p++ = digits[three >> 18];
        *p++ = digits[three >> 12 & 63];
        *p++ = left > 1 ? digits[three >> 6 & 63] : '=';
        *p++ = left > 2 ? digits[three & 63] : '=';
    }
    return (size_t)(p - out);
}

/* `\x…` in hex, as base64: 48 bytes at a time, which need no padding. */
static int add_octets(text *out, const uint8_t *value, size_t size) {
    if (size < 2 || size % 2 || value[0] != '\\' || value[1] != 'x') return 1;
    if (ADD(out, "\"")) return -1;
    for (size_t at = 2; at < size;) {
        uint8_t bytes[48];
        char digits[64];
        size_t count = 0;
        for (; count < sizeof bytes && at < size; count++, at += 2) {
            int high = nibble(value[at]), low = nibble(value[at + 1]);
            if (high < 0 || low < 0) return 1;
            bytes[count] = (uint8_t)(high << 4 | low);
        }
        if (text_add(out, digits, base64(digits, bytes, count))) return -1;
    }
    return ADD(out, "\"");
}

int text_add_value(text *out, int kind, const uint8_t *value, size_t size) {
    switch (kind) {
        case AS_TEXT: return add_string(out, value, size);
        case AS_NUMBER: return add_number(out, value, size);
        case AS_BOOLEAN:
            if (size != 1 || (value[0] != 't' && value[0] != 'f')) return 1;
            return value[0] == 't' ? ADD(out, "true") : ADD(out, "false");
        case AS_TIMESTAMP: return add_time(out, value, size, 0);
        case AS_INSTANT: return add_time(out, value, size, 1);
        case AS_OCTETS: return add_octets(out, value, size);
    }
    return 1;
}
