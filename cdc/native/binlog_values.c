/* Values of rows as text. Source of the formats: see the Python of the same. */

#include "binlog.h"

#define LEFT(from) ((size_t)((from)->end - (from)->at))

uint64_t binlog_little(const uint8_t *bytes, unsigned size) {
    uint64_t number = 0;
    while (size) number = number << 8 | bytes[--size];
    return number;
}

uint64_t binlog_big(const uint8_t *bytes, unsigned size) {
    uint64_t number = 0;
    for (unsigned i = 0; i < size; i++) number = number << 8 | bytes[i];
    return number;
}

int binlog_add_digits(text *out, uint64_t number, unsigned width) {
    if (text_reserve(out, width)) return -1;
    char *to = out->bytes + out->size;
    for (unsigned i = width; i; number /= 10) to[--i] = (char)('0' + number % 10);
    out->size += width;
    return number != 0;
}

static int add_signed(text *out, int64_t number) {
    if (number < 0 && ADD(out, "-")) return -1;
    return text_add_number(out, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

static int add_integer(text *out, unsigned size, unsigned is_unsigned, cursor *from) {
    if (!size || size > 8 || LEFT(from) < size) return 1;
    uint64_t number = binlog_little(from->at, size);
    from->at += size;
    if (is_unsigned) return text_add_number(out, number);
    unsigned shift = 64 - 8 * size;
    return add_signed(out, (int64_t)(number << shift) >> shift);
}

int binlog_shortest(shortest *out, const uint8_t *bytes) {
    uint64_t bits = binlog_little(bytes, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    char *repr = PyOS_double_to_string(value, 'r', 0, 0, NULL), *p = repr;
    if (!repr) {
        PyErr_Clear();
        return -1;
    }
    *out = (shortest){.negative = *p == '-'};
    p += out->negative;
    int before = 1, plain = 1;
    for (; *p && *p != 'e'; p++) {
        if (*p == '.') {
            before = 0;
        } else if (*p < '0' || *p > '9' || out->count == (int)sizeof out->digits) {
            plain = 0;
            break;
        } else {
            if (out->count || *p != '0') {
                out->digits[out->count++] = *p;
                out->point += before;
            } else if (!before) {
                out->point--;
            }
        }
    }
    if (*p == 'e') out->point += (int)strtol(p + 1, NULL, 10);
    PyMem_Free(repr);
    while (out->count && out->digits[out->count - 1] == '0') out->count--;
    return plain ? 0 : 1;
}

/* As values.py's double_text: the notation of PostgreSQL. */
static int add_double(text *out, cursor *from) {
    if (LEFT(from) < 8) return 1;
    shortest number;
    int failed = binlog_shortest(&number, from->at);
    from->at += 8;
    if (failed) return failed;
    if (text_reserve(out, 64)) return -1;
    char *p = out->bytes + out->size;
    int count = number.count, point = number.point;
    if (number.negative) *p++ = '-';
    if (!count) {
        *p++ = '0';
    } else if (point < -3 || point > 15) {
        *p++ = number.digits[0];
        if (count > 1) *p++ = '.';
        memcpy(p, number.digits + 1, (size_t)count - 1);
        p += count - 1;
        unsigned exponent = (unsigned)(point > 0 ? point - 1 : 1 - point);
        *p++ = 'e';
        *p++ = point > 0 ? '+' : '-';
        if (exponent < 10) *p++ = '0';
        p += put_number(p, exponent);
    } else {
        if (point <= 0) *p++ = '0';
        for (int i = 0; i < point; i++) *p++ = i < count ? number.digits[i] : '0';
        if (count > point) *p++ = '.';
        for (int i = point; i < 0; i++) *p++ = '0';
        for (int i = point > 0 ? point : 0; i < count; i++) *p++ = number.digits[i];
    }
    out->size = (size_t)(p - out->bytes);
    return 0;
}

/* As values.py's read_float: the fewest of six to nine digits that read back to the same 32 bits. */
static int add_float(text *out, cursor *from) {
    if (LEFT(from) < 4) return 1;
    uint32_t bits = (uint32_t)binlog_little(from->at, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    if ((bits >> 23 & 255) == 255) return 1;
    from->at += 4;
    char *found = NULL;
    for (int digits = 6; digits <= 9; digits++) {
        PyMem_Free(found);
        found = PyOS_double_to_string((double)value, 'g', digits, 0, NULL);
        double back = found ? PyOS_string_to_double(found, NULL, NULL) : -1;
        if (PyErr_Occurred()) {
            PyErr_Clear();
            PyMem_Free(found);
            return -1;
        }
        if ((float)back == value) break;
    }
    const char *p = found + (*found == '-');
    size_t whole = strspn(p, "0123456789");
    int failed;
    if (whole <= 6 || strchr(found, 'e')) {
        failed = text_add(out, found, strlen(found));
    } else {
        char digits[24];
        size_t count = 0;
        for (const char *q = p; *q; q++)
            if (*q != '.') digits[count++] = *q;
        while (count > 1 && digits[count - 1] == '0') count--;
        failed = (p > found && ADD(out, "-")) || text_add(out, digits, 1) || (count > 1 && ADD(out, ".")) ||
                 text_add(out, digits + 1, count - 1) || ADD(out, "e+") || binlog_add_digits(out, whole - 1, 2);
        failed = failed ? -1 : 0;
    }
    PyMem_Free(found);
    return failed;
}

static const unsigned DIGIT_BYTES[] = {0, 1, 1, 2, 2, 3, 3, 4, 4, 4};

int binlog_add_decimal(text *out, unsigned precision, unsigned scale, cursor *from) {
    if (scale > precision || precision > 81) return 1;
    unsigned before = precision - scale, first = before % 9, last = scale % 9, groups = before / 9 + scale / 9;
    unsigned size = DIGIT_BYTES[first] + 4 * groups + DIGIT_BYTES[last];
    if (!size || LEFT(from) < size) return 1;
    uint8_t stored[48];
    int negative = !(from->at[0] & 0x80);
    for (unsigned i = 0; i < size; i++) stored[i] = negative ? (uint8_t)~from->at[i] : from->at[i];
    stored[0] ^= 0x80;
    from->at += size;
    char digits[96];
    text all = {.bytes = digits, .room = sizeof digits};
    const uint8_t *p = stored;
    for (unsigned i = 0, count = groups + 2; i < count; i++) {
        unsigned width = i == 0 ? first : i == count - 1 ? last : 9;
        if (binlog_add_digits(&all, binlog_big(p, DIGIT_BYTES[width]), width)) return 1;
        p += DIGIT_BYTES[width];
    }
    unsigned zeros = 0;
    while (zeros < before && digits[zeros] == '0') zeros++;
    if (text_reserve(out, precision + 3)) return -1;
    if (negative) out->bytes[out->size++] = '-';
    if (zeros == before) out->bytes[out->size++] = '0';
    memcpy(out->bytes + out->size, digits + zeros, before - zeros);
    out->size += before - zeros;
    if (scale) {
        out->bytes[out->size++] = '.';
        memcpy(out->bytes + out->size, digits + before, scale);
        out->size += scale;
    }
    return 0;
}

static int add_date(text *out, unsigned year, unsigned month, unsigned day) {
    int failed;
    if ((failed = binlog_add_digits(out, year, 4)) || (failed = ADD(out, "-")) || (failed = binlog_add_digits(out, month, 2)) ||
        (failed = ADD(out, "-")))
        return failed;
    return binlog_add_digits(out, day, 2);
}

static int add_clock(text *out, unsigned clock) {
    int failed;
    if ((failed = binlog_add_digits(out, clock >> 12, clock >> 12 > 99 ? 3 : 2)) || (failed = ADD(out, ":")) ||
        (failed = binlog_add_digits(out, clock >> 6 & 63, 2)) || (failed = ADD(out, ":")))
        return failed;
    return binlog_add_digits(out, clock & 63, 2);
}

/* The declared digits behind the second; stored is an even number of them. */
static int add_fraction(text *out, uint64_t stored, unsigned decimals) {
    if (!decimals) return 0;
    if (ADD(out, ".")) return -1;
    int failed = binlog_add_digits(out, stored, decimals + decimals % 2);
    out->size -= decimals % 2;
    return failed;
}

static int add_datetime(text *out, unsigned decimals, cursor *from) {
    unsigned size = 5 + (decimals + 1) / 2;
    if (decimals > 6 || LEFT(from) < size || !(from->at[0] & 0x80)) return 1;
    uint64_t packed = binlog_big(from->at, 5) & 0x7fffffffff;
    unsigned months = (unsigned)(packed >> 22);
    int failed;
    if ((failed = add_date(out, months / 13, months % 13, packed >> 17 & 31)) || (failed = ADD(out, " ")) ||
        (failed = add_clock(out, packed & 0x1ffff)))
        return failed;
    failed = add_fraction(out, binlog_big(from->at + 5, size - 5), decimals);
    from->at += size;
    return failed;
}

/* Source of the calendar: howardhinnant.github.io/date_algorithms.html, civil_from_days. */
static int add_timestamp(text *out, unsigned decimals, cursor *from) {
    unsigned size = 4 + (decimals + 1) / 2;
    if (decimals > 6 || LEFT(from) < size) return 1;
    uint32_t seconds = (uint32_t)binlog_big(from->at, 4);
    uint64_t stored = binlog_big(from->at + 4, size - 4);
    from->at += size;
    int failed;
    if (!seconds && stored / (decimals % 2 ? 10 : 1) == 0) {
        if (ADD(out, "0000-00-00 00:00:00")) return -1;
    } else {
        uint32_t days = seconds / 86400 + 719468, era = days / 146097, doe = days % 146097;
        uint32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        uint32_t mp = (5 * doy + 2) / 153, month = mp < 10 ? mp + 3 : mp - 9, rest = seconds % 86400;
        if ((failed = add_date(out, yoe + era * 400 + (month <= 2), month, doy - (153 * mp + 2) / 5 + 1)) ||
            (failed = ADD(out, " ")) || (failed = add_clock(out, rest / 3600 << 12 | rest / 60 % 60 << 6 | rest % 60)))
            return failed;
    }
    if ((failed = add_fraction(out, stored, decimals))) return failed;
    return ADD(out, "+00");
}

static int add_time(text *out, unsigned decimals, cursor *from) {
    unsigned tail = (decimals + 1) / 2, size = 3 + tail;
    if (decimals > 6 || LEFT(from) < size) return 1;
    int64_t packed = (int64_t)binlog_big(from->at, size) - ((int64_t)0x800000 << 8 * tail);
    from->at += size;
    if (packed < 0) {
        if (ADD(out, "-")) return -1;
        packed = -packed;
    }
    uint64_t clock = (uint64_t)packed >> 8 * tail;
    if (clock >> 12 > 999) return 1;
    int failed = add_clock(out, (unsigned)clock);
    return failed ? failed : add_fraction(out, (uint64_t)packed & (((uint64_t)1 << 8 * tail) - 1), decimals);
}

/* What stands behind its length of `size` bytes. */
static int take(cursor *from, unsigned size, const uint8_t **bytes, size_t *length) {
    if (size > 4 || LEFT(from) < size) return 1;
    *length = (size_t)binlog_little(from->at, size);
    from->at += size;
    if (LEFT(from) < *length) return 1;
    *bytes = from->at;
    from->at += *length;
    return 0;
}

static int add_text(text *out, const octet_text *octets, const uint8_t *bytes, size_t length) {
    if (!octets) return text_add(out, bytes, length);
    if (text_reserve(out, 4 * length)) return -1;
    char *p = out->bytes + out->size;
    for (size_t i = 0; i < length; i++) {
        const octet_text *octet = &octets[bytes[i]];
        memcpy(p, octet->bytes, 4);
        p += octet->size;
    }
    out->size = (size_t)(p - out->bytes);
    return 0;
}

static int add_hex(text *out, const uint8_t *bytes, size_t length, size_t at_least) {
    static const char hex[] = "0123456789abcdef";
    size_t padded = length < at_least ? at_least : length;
    if (text_reserve(out, 2 * padded)) return -1;
    char *p = out->bytes + out->size;
    for (size_t i = 0; i < padded; i++) {
        uint8_t octet = i < length ? bytes[i] : 0;
        *p++ = hex[octet >> 4];
        *p++ = hex[octet & 15];
    }
    out->size = (size_t)(p - out->bytes);
    return 0;
}

static int add_label(text *out, PyObject *texts, size_t place) {
    PyObject *label = PyTuple_GET_ITEM(texts, (Py_ssize_t)place);
    return text_add(out, PyBytes_AS_STRING(label), (size_t)PyBytes_GET_SIZE(label));
}

static int add_labels(text *out, const binlog_column *column, cursor *from) {
    size_t count = (size_t)PyTuple_GET_SIZE(column->texts);
    if (column->first > 8 || LEFT(from) < column->first) return 1;
    uint64_t number = binlog_little(from->at, column->first);
    from->at += column->first;
    if (column->kind == ENUM) return number < count ? add_label(out, column->texts, (size_t)number) : 1;
    if (count > 64 || (count < 64 && number >> count)) return 1;
    for (size_t i = 0, some = 0; number; i++, number >>= 1) {
        if (!(number & 1)) continue;
        if ((some++ && ADD(out, ",")) || add_label(out, column->texts, i)) return -1;
    }
    return 0;
}

static int add_bits(text *out, unsigned bits, cursor *from) {
    unsigned size = (bits + 7) / 8;
    if (!bits || bits > 64 || LEFT(from) < size) return 1;
    uint64_t number = binlog_big(from->at, size);
    from->at += size;
    if (bits < 64 && number >> bits) return 1;
    if (text_reserve(out, bits)) return -1;
    for (unsigned i = bits; i--;) out->bytes[out->size++] = (char)('0' + (number >> i & 1));
    return 0;
}

static int add_day(text *out, cursor *from) {
    if (LEFT(from) < 3) return 1;
    unsigned packed = (unsigned)binlog_little(from->at, 3);
    from->at += 3;
    return add_date(out, packed >> 9, packed >> 5 & 15, packed & 31);
}

static int add_year(text *out, cursor *from) {
    if (LEFT(from) < 1) return 1;
    unsigned year = *from->at++;
    return text_add_number(out, year ? 1900 + year : 0);
}

int binlog_add_value(text *out, const binlog_column *column, cursor *from) {
    const uint8_t *bytes;
    size_t length;
    switch (column->kind) {
        case INTEGER: return add_integer(out, column->first, column->second, from);
        case FLOAT: return add_float(out, from);
        case DOUBLE: return add_double(out, from);
        case DECIMAL: return binlog_add_decimal(out, column->first, column->second, from);
        case YEAR: return add_year(out, from);
        case DATE: return add_day(out, from);
        case DATETIME: return add_datetime(out, column->first, from);
        case TIMESTAMP: return add_timestamp(out, column->first, from);
        case TIME: return add_time(out, column->first, from);
        case TEXT: return take(from, column->first, &bytes, &length) ? 1 : add_text(out, column->octets, bytes, length);
        case OCTETS:
            if (take(from, column->first, &bytes, &length)) return 1;
            return ADD(out, "\\x") ? -1 : add_hex(out, bytes, length, column->second);
        case GEOMETRY: return take(from, column->first, &bytes, &length) ? 1 : add_hex(out, bytes, length, 0);
        case ENUM:
        case SET: return add_labels(out, column, from);
        case BIT: return add_bits(out, column->first, from);
        case JSON: return take(from, column->first, &bytes, &length) ? 1 : binlog_add_json(out, bytes, length);
    }
    return 1;
}
