"""Every type of MySQL and MariaDB comes into the log the same by a snapshot and by the stream, under one shape, as the text it is."""

import pytest

from fixtures.binlog_source import BinlogSource

CASES: dict[str, tuple[str, list[tuple[str, object]]]] = {
    "tinyint": ("tinyint", [("-128", -128), ("127", 127)]),
    "tinyint_unsigned": ("tinyint unsigned", [("255", 255)]),
    "smallint": ("smallint unsigned", [("65535", 65535)]),
    "mediumint": ("mediumint", [("-8388608", -8388608)]),
    "int": ("int", [("-2147483648", -2147483648)]),
    "int_unsigned": ("int unsigned", [("4294967295", "4294967295")]),
    "zerofill": ("int(8) unsigned zerofill", [("42", "42"), ("0", "0")]),
    "bigint": ("bigint", [("-9223372036854775808", "-9223372036854775808")]),
    "bigint_unsigned": ("bigint unsigned", [("18446744073709551615", "18446744073709551615"), ("0", "0")]),
    "decimal": (
        "decimal(65,30)",
        [("-12345678901234567890123456789012345.000000000000000000000000000001",) * 2, ("0", "0." + "0" * 30)],
    ),
    "decimal_zerofill": ("decimal(10,2) zerofill", [("0.5", "0.50"), ("7", "7.00")]),
    "float": ("float", [("0.1", "0.1"), ("16777217", "1.6777216e+07"), ("-3.4e38", "-3.4e+38"), ("1e-30", "1e-30")]),
    "double": ("double", [("0.1", "0.1"), ("1e300", "1e+300"), ("1234567890123456789", "1.2345678901234568e+18")]),
    "float_7_3": ("float(7,3)", [("1234.567", "1234.567")]),
    "double_10_2": ("double(10,2)", [("1.5", "1.5")]),
    "date": ("date", [("'2026-02-28'", "2026-02-28"), ("'9999-12-31'", "9999-12-31")]),
    "zero_date": ("date", [("'0000-00-00'", "0000-00-00"), ("'2026-00-00'", "2026-00-00")]),
    "datetime": ("datetime", [("'2026-01-02 03:04:05'", "2026-01-02T03:04:05")]),
    "datetime_6": ("datetime(6)", [("'1000-01-01 00:00:00.000001'", "1000-01-01T00:00:00.000001"), ("'0000-00-00'", "0000-00-00T00:00:00.000000")]),
    "datetime_3": ("datetime(3)", [("'2026-01-02 03:04:05.12'", "2026-01-02T03:04:05.120")]),
    "timestamp": ("timestamp(3) NULL", [("'2026-01-02 03:04:05.678'", "2026-01-02T03:04:05.678Z")]),
    "time": ("time(6)", [("'-838:59:58.999999'", "-838:59:58.999999"), ("'00:00:00.000001'", "00:00:00.000001"), ("'-00:00:01'", "-00:00:01.000000")]),
    "year": ("year", [("2155", 2155), ("0", 0)]),
    "char": ("char(5)", [("'ab'", "ab"), ("'ü€😀'", "ü€😀")]),
    "varchar": ("varchar(100)", [("'a ''quoted'' \\\\ line\\n'", "a 'quoted' \\ line\n"), ("''", "")]),
    "long_varchar": ("varchar(1000)", [("repeat('x', 300)", "x" * 300)]),
    "latin1": ("varchar(20) CHARACTER SET latin1", [("'é€ÿ'", "é€ÿ")]),
    "sjis": ("varchar(20) CHARACTER SET sjis", [("'日本語'", "日本語")]),
    "utf16": ("char(4) CHARACTER SET utf16", [("'a😀'", "a😀")]),
    "text": ("longtext", [("repeat('é', 70000)", "é" * 70000)]),
    "tinytext": ("tinytext", [("'t'", "t")]),
    "binary": ("binary(4)", [("x'0001'", "AAEAAA==")]),
    "varbinary": ("varbinary(10)", [("x'ff00'", "/wA="), ("x''", "")]),
    "blob": ("blob", [("x'00ff'", "AP8=")]),
    "bit": ("bit(9)", [("b'1'", "000000001"), ("b'111111111'", "1" * 9)]),
    "bit_64": ("bit(64)", [("b'1" + "0" * 63 + "'", "1" + "0" * 63)]),
    "enum": ("enum('a','b c','ü''x')", [("'b c'", "b c"), ("'ü''x'", "ü'x")]),
    "set": ("set('a','b','c')", [("'c,a'", "a,c"), ("''", "")]),
    "point": ("point", [("ST_GeomFromText('POINT(1 2)')", "000000000101000000000000000000f03f0000000000000040")]),
    "geometries": ("geometrycollection", [("ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2))')", "000000000107000000010000000101000000000000000000f03f0000000000000040")]),
}  # fmt: skip

OWN: dict[str, dict[str, tuple[str, str, str]]] = {
    "mysql": {"vector": ("vector(2)", "STRING_TO_VECTOR('[1,2]')", "AACAPwAAAEA=")},
    "mariadb": {
        "uuid": ("uuid", "'123e4567-e89b-12d3-a456-426655440000'", "Ej5FZ+ibEtOkVkJmVUQAAA=="),
        "inet6": ("inet6", "'::1'", "AAAAAAAAAAAAAAAAAAAAAQ=="),
        "inet4": ("inet4", "'1.2.3.4'", "AQIDBA=="),
        "json": ("json", "'{\"a\":1}'", '{"a":1}'),
    },
}
"""Types that one of them has; of MariaDB's own the binlog tells the bytes only."""

JSON: list[tuple[str, str]] = [
    ('{"b": 1, "a": [1.5, true, null, "x"]}',) * 2,
    ("18446744073709551615", "18446744073709551615"),
    ("[]", "[]"),
    ('"\\\\u00fc \\\\" \\\\n"', '"ü \\" \\n"'),
    ('{"a": 1e100}', '{"a": 1e100}'),
]


def open_table(source: BinlogSource, columns: dict[str, str]) -> None:
    declared = ", ".join(f"`{name}` {type_}" for name, type_ in columns.items())
    source.execute(f"CREATE TABLE t (id int PRIMARY KEY, {declared}) CHARACTER SET utf8mb4")
    source.map("T", "t")
    source.setup()


def fill(source: BinlogSource, first: int, values: list[tuple[str, str]]) -> None:
    """One row for each (column, SQL of its value), with null in all others."""
    rows = [
        f"INSERT INTO t (id, `{column}`) VALUES ({number}, {text})"
        for number, (column, text) in enumerate(values, first)
    ]
    source.execute("SET sql_mode = ''", *rows)


def told(source: BinlogSource, values: list[tuple[str, str]]) -> tuple[list[object], list[object]]:
    """What the log tells of these values: by the snapshot, by the stream."""
    fill(source, 0, values)
    run = source.run()
    run.until_caught_up()
    fill(source, 10_000, values)
    run.until_marked()
    run.terminate()
    history = source.history()
    assert len(history.shapes("T")) == 1, "a snapshot and the stream describe the table in two ways"
    rows = history.rows(source.entities["T"])
    columns = [column for column, _ in values]
    return (
        [rows[number,][column] for number, column in enumerate(columns)],
        [rows[number,][column] for number, column in enumerate(columns, 10_000)],
    )


def test_every_type_has_one_text(binlog_source: BinlogSource) -> None:
    source = binlog_source
    open_table(source, {name: type_ for name, (type_, _) in CASES.items()})
    flat = [(name, sql, expected) for name, (_, cases) in CASES.items() for sql, expected in cases]

    by_snapshot, by_stream = told(source, [(name, sql) for name, sql, _ in flat])

    found = [
        (name, snapshot, stream) for (name, _, _), snapshot, stream in zip(flat, by_snapshot, by_stream, strict=True)
    ]
    meant = [(name, expected, expected) for name, _, expected in flat]
    assert [pair for pair in zip(found, meant, strict=True) if pair[0] != pair[1]] == []


def test_a_type_that_only_one_of_them_has_comes_as_its_binlog_has_it(binlog_source: BinlogSource) -> None:
    source, cases = binlog_source, OWN[binlog_source.engine]
    open_table(source, {name: type_ for name, (type_, _, _) in cases.items()})

    by_snapshot, by_stream = told(source, [(name, sql) for name, (_, sql, _) in cases.items()])

    assert by_snapshot == by_stream == [expected for _, _, expected in cases.values()]


def test_json_is_the_servers_text(new_binlog_source, mysql_database: str) -> None:  # type: ignore[no-untyped-def]
    source = new_binlog_source(mysql_database)
    open_table(source, {"j": "json"})

    by_snapshot, by_stream = told(source, [("j", f"'{text}'") for text, _ in JSON])

    assert by_stream == by_snapshot
    assert by_stream[0] == '{"a": [1.5, true, null, "x"], "b": 1}'
    assert by_stream[1:3] == ["18446744073709551615", "[]"]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("varchar(20)", ["'b'", "'B '", "'a'", "'é'", "'Z'", "'😀'"]),
        ("bigint unsigned", ["18446744073709551615", "9007199254740993", "9007199254740992", "0"]),
        ("decimal(40,10)", ["1.5", "-1.5", "12345678901234567890.0000000001"]),
        ("varbinary(10)", ["x'00'", "x'0000'", "x'ff'", "x''"]),
        ("datetime(6)", ["'2026-01-01'", "'2026-01-01 00:00:00.000001'"]),
        ("enum('z','a','m')", ["'m'", "'a'", "'z'"]),
        ("float", ["0.1", "0.2", "-1"]),
        ("bit(5)", ["b'10000'", "b'00001'"]),
    ],
    ids=lambda value: value.split("(")[0] if isinstance(value, str) else "",
)
def test_a_table_with_any_key_is_read_in_chunks(binlog_source: BinlogSource, key: str, values: list[str]) -> None:
    source = binlog_source
    source.execute(
        f"CREATE TABLE k (k {key} COLLATE utf8mb4_bin PRIMARY KEY, n int)"
        if "char" in key
        else f"CREATE TABLE k (k {key} PRIMARY KEY, n int)"
    )
    for number, value in enumerate(values):
        source.execute(f"INSERT INTO k VALUES ({value}, {number})")
    source.map("K", "k", key=("k",))
    source.setup()

    run = source.run(limits__snapshot_rows=1)
    run.until_caught_up()
    run.terminate()

    history = source.history()
    chunks = [items for _, items in history.of_kind("snapshot") if items[1]["entity"] == "K"]
    brought = [item["after"]["n"] for items in chunks for item in items[2:]]
    assert sorted(brought) == list(range(len(values)))
    assert len(chunks) >= len(values)
