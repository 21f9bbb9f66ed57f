"""TABLE_MAP events: a table as it was when the rows behind it were written, with all that binlog_row_metadata=FULL says.

Source: MySQL, libs/mysql/binlog/event/rows_event.h (class Table_map_event, enum Optional_metadata_field_type).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from ....schemas.errors import ACCEPT_GAP, DecodeError
from ..transaction import Relation
from .charset import Charset, charset_of, to_utf8
from .column import Attributes, BinlogColumn, resolve
from .event import HEADER_BYTES, packed_bytes, packed_int, whole
from .field_type import CHARACTER, ENUM, GEOMETRY, JSON, NUMERIC, SET, VECTOR, FieldType, read_field_type
from .reading import Reading

STAMP: Final = ("commitlog", "stamp")
"""Database and name of the table whose rows are tags."""

_NO_NAMES: Final = "the binlog does not say the names of the columns of {}"
_FULL: Final = f"SET GLOBAL binlog_row_metadata = FULL, then {ACCEPT_GAP}"


@dataclass(frozen=True, slots=True, eq=False)
class BinlogRelation(Relation):
    """A table as a table map describes it; `identity` is always `f`, for old rows are whole.

    Args:
        key: The positions of the primary key's columns, in its order; empty where there is none.
        prefixes: Of each of them how many characters are part of the key, 0 for all.
        unreadable: Why its rows cannot be read, and what to do; it has no columns then. Empty where they can.
    """

    columns: tuple[BinlogColumn, ...]
    key: tuple[int, ...] = ()
    prefixes: tuple[int, ...] = ()
    unreadable: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A relation and how its rows are read.

    Args:
        relation: The table.
        readings: How the values of each column are read.
        documents: The positions of its JSON columns.
        tag: The position of the column that holds tags, where the rows are no changes but tags.
    """

    relation: BinlogRelation
    readings: tuple[Reading, ...]
    documents: tuple[int, ...]
    tag: int | None


@dataclass(slots=True)
class _Metadata:
    """The optional metadata of a table map, each in the order in which the columns it is of stand."""

    signedness: bytes = b""
    default_charset: tuple[int, dict[int, int]] | None = None
    charsets: list[int] = field(default_factory=list[int])
    names: list[bytes] = field(default_factory=list[bytes])
    sets: list[list[bytes]] = field(default_factory=list[list[bytes]])
    enums: list[list[bytes]] = field(default_factory=list[list[bytes]])
    geometries: list[int] = field(default_factory=list[int])
    key: list[int] = field(default_factory=list[int])
    key_prefixes: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    label_default: tuple[int, dict[int, int]] | None = None
    label_charsets: list[int] = field(default_factory=list[int])
    dimensions: list[int] = field(default_factory=list[int])


def parse_table_map(body: bytes, flavour: Literal["mysql", "mariadb"]) -> Table:
    """Take a table map apart.

    Args:
        body: The event without its checksum.
        flavour: Whose it is: MariaDB names a character set for geometries, too.

    Raises:
        DecodeError: It does not say all that it must.
        ValueError, IndexError, struct.error: It is malformed.
    """
    table_id = int.from_bytes(whole(body, HEADER_BYTES, HEADER_BYTES + 6), "little")
    at = HEADER_BYTES + 8
    database, at = _name(body, at)
    name, at = _name(body, at)
    count, at = packed_int(body, at)
    numbers = whole(body, at, at + count)
    metadata, at = packed_bytes(body, at + count)
    nullable = _bits(whole(body, at, at + (count + 7) // 8))
    table = f"{database}.{name}"
    fields = _fields(numbers, metadata)
    said = _optional(body, at + (count + 7) // 8)
    if len(said.names) != count:
        raise DecodeError(_NO_NAMES.format(table), hint=_FULL)
    try:
        columns, readings = _columns(table, said, [*zip(fields, numbers, nullable, strict=False)], flavour)
    except DecodeError as exc:
        if exc.hint == _FULL or (database, name) == STAMP:
            raise
        # Whether anybody wants its rows is not known here: a server has tables of others, too.
        why = (f"{exc} (table {table})", exc.hint)
        relation = BinlogRelation(table_id & 0xFFFFFFFF, database, name, "f", (), unreadable=why)
        return Table(relation, (), (), None)
    key = said.key_prefixes or [(position, 0) for position in said.key]
    if any(position >= count for position, _ in key):
        raise ValueError("a key of columns that are not there")
    relation = BinlogRelation(
        oid=table_id & 0xFFFFFFFF,
        namespace=database,
        name=name,
        identity="f",
        columns=tuple(columns),
        key=tuple(position for position, _ in key),
        prefixes=tuple(prefix for _, prefix in key),
    )
    documents = tuple(i for i, column in enumerate(fields) if column.number == JSON)
    return Table(relation, tuple(readings), documents, _tag_column(relation))


def _columns(
    table: str, said: _Metadata, declared: list[tuple[FieldType, int, int]], flavour: str
) -> tuple[list[BinlogColumn], list[Reading]]:
    """The columns, and how each is read.

    Args:
        table: Its name, for messages.
        said: The optional metadata.
        declared: Of each column its type, the type's number, and whether it may be null.
        flavour: Whose binlog it is.

    Raises:
        DecodeError: One cannot be decoded here.
    """
    columns: list[BinlogColumn] = []
    readings: list[Reading] = []
    attributed = _attributes([column for column, _, _ in declared], said, flavour)
    for (column, number, bit), attributes, label in zip(declared, attributed, said.names, strict=False):
        try:
            canonical, engine_type, reading = resolve(column, attributes)
        except DecodeError as exc:
            raise DecodeError(f"{exc} (column {label.decode()!r} of {table})", hint=exc.hint) from None
        charset = attributes.charset.name if attributes.charset else ""
        columns.append(
            BinlogColumn(
                label.decode(), True, number, -1, None, canonical, engine_type, bool(bit), attributes.labels, charset
            )
        )
        readings.append(reading)
    return columns, readings


def _tag_column(relation: Relation) -> int | None:
    if relation.table != STAMP:
        return None
    for position, column in enumerate(relation.columns):
        if column.name == "ctx":
            return position
    raise DecodeError("the table commitlog.stamp has no column ctx", hint="commitlog setup")


def _name(body: bytes, at: int) -> tuple[str, int]:
    value, at = packed_bytes(body, at)
    if body[at] != 0:
        raise ValueError("a name that does not end")
    return value.decode(), at + 1


def _fields(numbers: bytes, metadata: bytes) -> list[FieldType]:
    fields: list[FieldType] = []
    at = 0
    for number in numbers:
        column, at = read_field_type(number, metadata, at)
        fields.append(column)
    if at != len(metadata):
        raise ValueError("metadata of more columns than there are")
    return fields


def _attributes(fields: list[FieldType], said: _Metadata, flavour: str) -> Iterator[Attributes]:
    """What is said of each column. Which of the lists a column takes from depends on its type alone."""
    signs = iter(_bits(said.signedness, first=0x80))
    charsets = _collations(said.default_charset, said.charsets)
    labels = _collations(said.label_default, said.label_charsets)
    sets, enums = iter(said.sets), iter(said.enums)
    geometries, dimensions = iter(said.geometries), iter(said.dimensions)
    try:
        for column in fields:
            if column.number in NUMERIC:
                yield Attributes(unsigned=bool(next(signs)))
            elif column.number in CHARACTER:
                yield Attributes(charset=next(charsets))
            elif column.number in (ENUM, SET):
                charset = next(labels)
                recode = to_utf8(charset)
                texts = next(enums if column.number == ENUM else sets)
                yield Attributes(
                    charset=charset, labels=tuple((recode(text) if recode else text).decode() for text in texts)
                )
            elif column.number == GEOMETRY:
                if flavour == "mariadb":
                    next(charsets)
                yield Attributes(geometry=next(geometries))
            elif column.number == VECTOR:
                yield Attributes(dimensions=next(dimensions, 0))
            else:
                yield Attributes()
    except (StopIteration, RuntimeError):
        raise DecodeError("the binlog does not say all it could of a table's columns", hint=_FULL) from None


def _collations(default: tuple[int, dict[int, int]] | None, each: list[int]) -> Iterator[Charset]:
    if default is None:
        yield from map(charset_of, each)
        return
    usual, others = default
    position = 0
    while True:
        yield charset_of(others.get(position, usual))
        position += 1


def _optional(body: bytes, at: int) -> _Metadata:
    said = _Metadata()
    while at < len(body):
        kind = body[at]
        value, at = packed_bytes(body, at + 1)
        # What a later server says beside is not needed to read rows.
        if kind in _READ:
            _READ[kind](said, value)
    return said


def _integers(value: bytes) -> list[int]:
    numbers: list[int] = []
    at = 0
    while at < len(value):
        number, at = packed_int(value, at)
        numbers.append(number)
    return numbers


def _pairs(value: bytes) -> list[tuple[int, int]]:
    numbers = _integers(value)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _default(value: bytes) -> tuple[int, dict[int, int]]:
    usual, at = packed_int(value, 0)
    return usual, dict(_pairs(value[at:]))


def _strings(value: bytes) -> list[bytes]:
    texts: list[bytes] = []
    at = 0
    while at < len(value):
        text, at = packed_bytes(value, at)
        texts.append(text)
    return texts


def _label_lists(value: bytes) -> list[list[bytes]]:
    lists: list[list[bytes]] = []
    at = 0
    while at < len(value):
        count, at = packed_int(value, at)
        texts: list[bytes] = []
        for _ in range(count):
            text, at = packed_bytes(value, at)
            texts.append(text)
        lists.append(texts)
    return lists


def _setter(name: str, read: Callable[[bytes], object]) -> Callable[[_Metadata, bytes], None]:
    return lambda said, value: setattr(said, name, read(value))


_READ: Final = {
    1: _setter("signedness", bytes),
    2: _setter("default_charset", _default),
    3: _setter("charsets", _integers),
    4: _setter("names", _strings),
    5: _setter("sets", _label_lists),
    6: _setter("enums", _label_lists),
    7: _setter("geometries", _integers),
    8: _setter("key", _integers),
    9: _setter("key_prefixes", _pairs),
    10: _setter("label_default", _default),
    11: _setter("label_charsets", _integers),
    13: _setter("dimensions", _integers),
}
"""By the number of the metadata's type; 12, visibility, makes no difference to a row."""


def _bits(data: bytes, first: int = 1) -> list[int]:
    places = [1 << i for i in range(8)]
    if first == 0x80:
        places.reverse()
    return [1 if octet & place else 0 for octet in data for place in places]
