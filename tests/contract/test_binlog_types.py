"""Every type of MySQL and MariaDB, as the binlog has it: the decoded text is the server's own text of the value."""

import random
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from commitlog.cdc.servers.binlog import BinlogServer, connect
from commitlog.cdc.tail.binlog.column import BinlogColumn
from commitlog.schemas.change import INSERT
from fixtures.binlog_dump import place, row_changes

GEOMETRIES: Mapping[str, str] = {
    "point": "point(1 2)",
    "linestring": "linestring(0 0,1 1)",
    "polygon": "polygon((0 0,1 0,1 1,0 0))",
    "multipoint": "multipoint(0 0,1 1)",
    "multilinestring": "multilinestring((0 0,1 1))",
    "multipolygon": "multipolygon(((0 0,1 0,1 1,0 0)))",
    "geometrycollection": "geometrycollection(point(1 2))",
}
MOMENT = "2026-11-22 10:11:12.654321"
FLOATS = (
    "1.1",
    "1e20",
    "-3.4028235e38",
    "1.17549435e-38",
    "1e-45",
    "16777216",
    "1234567",
    "0.1",
    "100000",
    "1000000",
    "0",
    "-0.0",
)
DOUBLES = (
    "1.1",
    "1e20",
    "-1.7976931348623157e308",
    "5e-324",
    "1e15",
    "1e16",
    "123456789012345.6",
    "0.0001",
    "0.00001",
    "-0.0",
)
LABELS = ", ".join(f"'v{n}'" for n in range(300))
MEMBERS = ", ".join(f"'m{n}'" for n in range(64))
CHARSETS: Mapping[str, str] = {
    "utf8mb4": "é漢😀 \\\\",
    "utf8mb3": "é漢",
    "ascii": "abc",
    "latin1": "café €",
    "latin2": "ěšč",
    "cp1251": "при",
    "koi8r": "при",
    "koi8u": "при•",
    "cp866": "при²ⁿ",
    "greek": "αβʽʼ",
    "hebrew": "שלום‾",
    "latin5": "ğış",
    "latin7": "ąčę",
    "macroman": "é∑",
    "tis620": "ไทย",
    "sjis": "日本語\\\\表",
    "cp932": "日本語①",
    "ujis": "日本語\\\\",
    "gbk": "中文",
    "gb2312": "中文",
    "big5": "中文碁銹",
    "euckr": "한국똠",
    "utf16": "中😀",
    "utf16le": "中😀",
    "utf32": "中😀",
    "ucs2": "中",
}

Case = tuple[str, Sequence[str]]

CASES: list[Case] = [
    ("tinyint", ("-128", "127")),
    ("tinyint unsigned", ("0", "255")),
    ("smallint", ("-32768", "32767")),
    ("smallint unsigned", ("65535",)),
    ("mediumint", ("-8388608", "8388607")),
    ("mediumint unsigned", ("16777215",)),
    ("int", ("-2147483648", "2147483647")),
    ("int unsigned", ("4294967295",)),
    ("bigint", ("-9223372036854775808", "9223372036854775807")),
    ("bigint unsigned", ("0", "18446744073709551615")),
    ("bool", ("true",)),
    ("decimal(65,30)", (f"{'9' * 35}.{'9' * 30}", f"-0.{'0' * 29}1", "0", f"-{'1234567890' * 3}.1")),
    ("decimal(5,5)", ("0.12345", "-0.00001", "0")),
    ("decimal(5,0)", ("-1", "99999", "0")),
    ("decimal(18,9) unsigned", ("123456789.000000001", "0.5")),
    ("decimal(12,3)", ("-123456789.012", "1.1", "-0.00")),
    ("float", FLOATS),
    ("double", DOUBLES),
    ("date", ("'2026-11-22'", "'0000-00-00'", "'9999-12-31'", "'2026-00-00'", "'2026-05-00'", "'0001-01-01'")),
    *((f"datetime({n})" if n else "datetime", (f"'{MOMENT}'", "'0000-00-00'", "'9999-12-31 23:59:59'", "'2026-11-00 00:00:00.5'")) for n in range(7)),
    *((f"timestamp({n}) null" if n else "timestamp null", (f"'{MOMENT}'", "'0000-00-00'", "'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'")) for n in range(7)),
    *((f"time({n})" if n else "time", ("'-838:59:59'", "'838:59:59'", "'-00:00:01.5'", "'-00:00:00.000001'", "'0'", "'-12:34:56.789012'")) for n in range(7)),
    ("year", ("0", "1901", "2155")),
    *((f"bit({n})", ("b'0'", f"b'{'1' * n}'", "b'1'")) for n in (1, 7, 8, 9, 63, 64)),
    ("enum('a','b','it''s','back\\\\slash','é漢')", ("'a'", "3", "4", "'é漢'", "''")),
    ("enum('ä','ö') character set latin1", ("'ä'", "2")),
    (f"enum({LABELS})", ("'v0'", "'v299'")),
    ("set('a','b','c')", ("''", "'a,c'", "7")),
    (f"set({MEMBERS})", ("'m0,m63'", "18446744073709551615")),
    ("char(10)", ("'ab  '", "''", "'é漢😀'")),
    ("char(255) character set utf8mb4", ("repeat('漢', 255)", "'a'")),
    ("binary(10)", ("'ab'", "x'00'", "x'6162000000'", "''")),
    ("binary(255)", ("repeat('a', 255)",)),
    ("varbinary(10)", ("x'200020'", "x'6162000000'", "''")),
    ("varbinary(300)", ("x'00ff00'", "repeat(x'20', 300)")),
    *((f"varchar({n})", ("'é漢😀 '", "''")) for n in (20, 63, 64, 5000)),
    *((f"{size}text", ("'é'", "repeat('é', 100)")) for size in ("tiny", "", "medium", "long")),
    *((f"{size}blob", ("x'00ff'", "''")) for size in ("tiny", "", "medium", "long")),
    *((name, (f"st_geomfromtext('{text}')", f"st_geomfromtext('{text}', 4326)")) for name, text in GEOMETRIES.items()),
    *(("geometry", (f"st_geomfromtext('{text}')",)) for text in GEOMETRIES.values()),
    ("json", ('\'{"a": [1, 2.50, true, null], "": "é😀\\\\n"}\'', "'12345678901234567890123'", "'[]'")),
    *((f"varchar(20) character set {name}", (f"'{text}'",)) for name, text in CHARSETS.items()),
    ("varchar(20) character set latin1", ("x'818d8f909d7f80ff'",)),
    ("text character set sjis", ("'表'",)),
]  # fmt: skip

OWN: Mapping[str, list[Case]] = {
    "mysql": [
        ("vector(3)", ("string_to_vector('[1,2,3]')",)),
        ("varchar(20) character set gb18030", ("'中😀ḿ'",)),
        (
            "json",
            (
                "cast(repeat(x'00ff41', 100) as json)",
                "json_array(x'cafe', 1.50, cast(1.5 as decimal(65,30)), cast('-838:59:59' as time), date'2026-11-22')",
                "cast(timestamp'2015-01-15 23:24:25.12' as json)",
                "json_array(1e15, 1e16, 1234567890123456.7, 1e-14, 1e-15, 0e0, -0e0, 1e300, 5e-324, 1e14)",
                "json_array(-32769, 65535, 65536, 4294967296, -2147483649, 18446744073709551615)",
                "json_object('b', 1, 'aa', 2, 'a', repeat('x', 70000), 'é', json_array())",
            ),
        ),
    ],
    "mariadb": [],
}


def own_text(column: BinlogColumn) -> str:
    """The expression that makes the server say what a value's text is."""
    name, kind = f"`{column.name}`", column.engine_type
    if column.canonical == "bytes":
        return f"concat('\\\\x', lower(hex({name})))"
    if column.canonical in ("float32", "float64"):
        return f"cast({name} as double)"
    if column.canonical == "instant":
        return f"concat({name}, '+00')"
    if kind.startswith("bit("):
        return f"lpad(bin({name}), {kind[4:-1]}, '0')"
    if kind in GEOMETRIES or kind == "geometry":
        return f"lower(hex({name}))"
    return f"{name} + 0" if kind == "year" else f"cast({name} as char character set utf8mb4)"


def same(column: BinlogColumn, decoded: bytes | None, own: Any) -> bool:
    """Whether a decoded value is the server's; of floats, whether it reads back to it."""
    if decoded is None or own is None:
        return decoded is own
    if column.canonical == "float64":
        return struct.pack("<d", float(decoded)) == struct.pack("<d", float(own))
    if column.canonical == "float32":
        return struct.pack("<f", float(decoded)) == struct.pack("<f", float(own))
    return decoded == (own if isinstance(own, bytes) else str(own).encode())


def session(url: str) -> Any:
    connection = connect(url)
    with connection.cursor() as cursor:
        cursor.execute("SET sql_mode = '', time_zone = '+00:00'")
    return connection


@pytest.fixture
def database(either_server: BinlogServer, either_database: str) -> str:
    assert either_database.startswith(either_server.product)
    return either_database.rpartition("/")[2]


@pytest.mark.timeout(120)
def test_every_value_of_every_type_is_the_text_that_the_server_has(either_server: BinlogServer, database: str) -> None:
    file, offset = place(either_server)
    cases = [*CASES, *OWN[either_server.product]]
    with session(either_server.database_url(database)) as connection, connection.cursor() as cursor:
        for number, (kind, values) in enumerate(cases):
            cursor.execute(f"CREATE TABLE t{number} (id int PRIMARY KEY, v {kind})")
            rows = ", ".join(f"({n}, {value})" for n, value in enumerate((*values, "NULL")))
            cursor.execute(f"INSERT INTO t{number} VALUES {rows}")

        found: dict[str, list[Any]] = {}
        columns: dict[str, BinlogColumn] = {}
        for relation, (op, _, new) in row_changes(either_server, file, offset, database=database):
            assert op == INSERT
            column = relation.columns[1]
            assert isinstance(column, BinlogColumn)
            columns[relation.name] = column
            found.setdefault(relation.name, []).append(new[1])

        wrong: list[tuple[Any, ...]] = []
        for number, (kind, values) in enumerate(cases):
            column, decoded = columns[f"t{number}"], found[f"t{number}"]
            cursor.execute(f"SELECT {own_text(column)} FROM t{number} ORDER BY id")
            own = [row[0] for row in cursor.fetchall()]
            assert len(own) == len(decoded) == len(values) + 1
            wrong += [
                (kind, mine, theirs)
                for mine, theirs in zip(decoded, own, strict=True)
                if not same(column, mine, theirs)
            ]
            cursor.execute(
                "SELECT column_type FROM information_schema.columns WHERE table_schema = %s AND table_name = %s AND ordinal_position = 2",
                [database, f"t{number}"],
            )
            (theirs,) = cursor.fetchone()
            told = re.sub(r"(int|year)\(\d+\)", r"\1", str(theirs)).replace("geomcollection", "geometrycollection")
            if column.engine_type != told:
                wrong.append((kind, column.engine_type, told))
        assert not wrong


@pytest.mark.timeout(120)
def test_tables_of_many_columns_are_told_apart_column_by_column(either_server: BinlogServer, database: str) -> None:
    """What a table map says of its columns it says in lists, each for the columns of some types only."""
    draw = random.Random(20261122)
    kinds = [case for case in CASES if not re.search(r"5000|char\(255\)|varchar\(6|v299", case[0])]
    file, offset = place(either_server)
    expected: dict[str, list[tuple[str, str]]] = {}
    with session(either_server.database_url(database)) as connection, connection.cursor() as cursor:
        for number in range(12):
            chosen = [draw.choice(kinds) for _ in range(draw.randint(2, 24))]
            definitions = [f"c{n} {kind}{draw.choice(('', '', ' invisible'))}" for n, (kind, _) in enumerate(chosen)]
            key = draw.choice(("PRIMARY KEY (id)", "PRIMARY KEY (id, k(3))", "PRIMARY KEY (k, id)", "KEY (id)"))
            charset = draw.choice(("utf8mb4", "latin1", "utf16", "ujis"))
            cursor.execute(
                f"CREATE TABLE w{number} (id bigint, k varchar(10) character set latin1 not null default 'é', {', '.join(definitions)}, "
                f"g1 int AS (id + 1) STORED, g2 int unsigned AS (id + 2) VIRTUAL, {key}) CHARACTER SET {charset}"
            )
            names = ", ".join(f"c{n}" for n in range(len(chosen)))
            for row in range(3):
                values = ", ".join(draw.choice((*values, "NULL")) for _, values in chosen)
                cursor.execute(f"INSERT INTO w{number} (id, {names}) VALUES ({row}, {values})")
            cursor.execute(f"UPDATE w{number} SET k = 'ü', id = id + 10 WHERE id = 1")

        rows: dict[str, dict[bytes, list[Any]]] = {}
        relations: dict[str, Any] = {}
        for relation, (_, old, new) in row_changes(either_server, file, offset, database=database):
            held = rows.setdefault(relation.name, {})
            relations[relation.name] = relation
            if old is not None:
                assert held.pop(old[0]) == old
            held[new[0]] = new

        wrong: list[tuple[Any, ...]] = []
        for name, relation in relations.items():
            cursor.execute(f"SELECT {', '.join(own_text(column) for column in relation.columns)} FROM {name}")
            for own in cursor.fetchall():
                decoded = rows[name][str(own[0]).encode()]
                wrong += [
                    (name, column.name, column.engine_type, mine, theirs)
                    for column, mine, theirs in zip(relation.columns, decoded, own, strict=True)
                    if not same(column, mine, theirs)
                ]
            cursor.execute(
                "SELECT column_name, coalesce(sub_part, 0) FROM information_schema.statistics "
                "WHERE table_schema = %s AND table_name = %s AND index_name = 'PRIMARY' ORDER BY seq_in_index",
                [database, name],
            )
            expected[name] = [(str(column), int(prefix)) for column, prefix in cursor.fetchall()]
        assert not wrong
        assert len(relations) == 12
        assert {
            name: [
                (relation.columns[n].name, prefix) for n, prefix in zip(relation.key, relation.prefixes, strict=True)
            ]
            for name, relation in relations.items()
        } == expected


def test_documents_told_by_their_differences_are_whole_again(mysql_server: BinlogServer, mysql_database: str) -> None:
    database = mysql_database.rpartition("/")[2]
    file, offset = place(mysql_server)
    long = "y" * 200
    assignments = (
        "b = json_set(b, '$.m', 2)",
        "a = json_set(a, '$.k[1]', 9), b = json_remove(b, '$.m')",
        """a = json_set(a, '$.z."q r"', 'v')""",
        """a = json_set(a, '$.z."q\\\\"t"', cast('{"x": [1]}' as json))""",
        "a = json_set(a, '$.new', 1.5)",
        "a = json_set(a, '$.k[9]', 8)",
        "a = json_set(a, '$.k[last]', 'end', '$.k[last-9]', 6)",
        "a = json_remove(a, '$.k[last-1]')",
        "x = 'y'",
        "c = '1'",
        "a = json_array_insert(a, '$.k[0]', 7)",
        "a = json_remove(a, '$.k[1]')",
        "a = json_replace(a, '$.z', json_object('é', 1)), x = 'q'",
        "a = null",
        "b = json_set(b, '$', json_array(1, 2))",
    )
    with session(mysql_server.database_url(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SET binlog_row_value_options = PARTIAL_JSON")
        cursor.execute("CREATE TABLE t (id int PRIMARY KEY, a json, x varchar(10), b json, c json)")
        cursor.execute(
            "INSERT INTO t VALUES (1, %s, 'x', %s, null)",
            [f'{{"k": [1, 2, 3], "long": "{long}", "z": {{"q r": 1}}}}', f'{{"m": 1, "long": "{long}"}}'],
        )
        told = ["{}"]
        for assignment in assignments:
            cursor.execute(f"UPDATE t SET {assignment}")
            cursor.execute("SELECT * FROM t")
            told.append(str(cursor.fetchone()))

    changes = [change for _, change in row_changes(mysql_server, file, offset, database=database)]
    assert len(changes) == len(assignments) + 1
    now: list[bytes | None] = changes[0][2]
    for (_, old, new), row in zip(changes[1:], told[1:], strict=True):
        assert old == now
        now = new
        texts = [None if value is None else value.decode() for value in new]
        assert str((int(texts[0] or 0), *texts[1:])) == row
