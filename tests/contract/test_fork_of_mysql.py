"""Forks of MySQL's and MariaDB's logs: into PostgreSQL, into MySQL, into MariaDB, each value compared with the source's own."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commitlog.cdc.fork import state
from commitlog.cdc.fork.conflicts import listed
from commitlog.cdc.fork.equality import compare
from commitlog.cdc.fork.follow import Follower
from commitlog.cdc.fork.growth import create
from commitlog.cdc.fork.plan import make_plan
from commitlog.cdc.fork.targets import open_target
from commitlog.cdc.log.home import open_reader
from commitlog.cdc.servers.binlog import BinlogServer
from fixtures.binlog_source import BinlogSource
from fixtures.fork_log import Fork, MadeLog, column

pytestmark = pytest.mark.timeout(120)

TYPES: dict[str, tuple[str, list[str]]] = {
    "tiny": ("tinyint", ["-128", "127"]),
    "small_unsigned": ("smallint unsigned", ["65535"]),
    "medium": ("mediumint", ["-8388608"]),
    "int_unsigned": ("int unsigned", ["4294967295"]),
    "zerofill": ("int(8) unsigned zerofill", ["42"]),
    "big": ("bigint", ["-9223372036854775808"]),
    "big_unsigned": ("bigint unsigned", ["18446744073709551615", "0"]),
    "dec": ("decimal(65,30)", ["-12345678901234567890123456789012345.000000000000000000000000000001", "0"]),
    "f": ("float", ["0.1", "16777217", "-3.4e38", "1e-30"]),
    "d": ("double", ["0.1", "1e300", "1234567890123456789", "5e-324"]),
    "day": ("date", ["'9999-12-31'"]),
    "dt": ("datetime", ["'2026-01-02 03:04:05'"]),
    "dt6": ("datetime(6)", ["'1000-01-01 00:00:00.000001'"]),
    "dt3": ("datetime(3)", ["'2026-01-02 03:04:05.12'"]),
    "ts": ("timestamp(3) NULL", ["'2026-01-02 03:04:05.678'"]),
    "t": ("time(6)", ["'-838:59:58.999999'", "'00:00:00.000001'", "'-00:00:01'"]),
    "y": ("year", ["2155", "0"]),
    "c": ("char(5)", ["'ab '", "'ü€😀'"]),
    "v": ("varchar(100)", ["'a ''quoted'' \\\\ line\\n '", "''"]),
    "latin": ("varchar(20) CHARACTER SET latin1", ["'é€ÿ'"]),
    "sjis": ("varchar(20) CHARACTER SET sjis", ["'日本語'"]),
    "txt": ("text", ["repeat('é', 30000)"]),
    "bin": ("binary(4)", ["x'0001'"]),
    "vbin": ("varbinary(10)", ["x'ff00'", "x''"]),
    "bl": ("blob", ["x'00ff'"]),
    "b": ("bit(9)", ["b'1'", "b'111111111'"]),
    "e": ("enum('a','b c','ü''x')", ["'b c'", "'ü''x'"]),
    "s": ("set('a','b','c')", ["'c,a'", "''"]),
    "p": ("point", ["ST_GeomFromText('POINT(1 2)')"]),
    "j": ("json", ["""'{"b": 1, "a": [1.5, true, null, "x"]}'"""]),
}  # fmt: skip

NO_PLACE = {"day": "'0000-00-00'", "dt": "'0000-00-00 00:00:00'", "txt": "'a\\0b'"}
"""In PostgreSQL."""


def run_fork(source: BinlogSource, url: str) -> None:
    reader = open_reader(source.location)
    with open_target(url) as target:
        if not state.exists(target.memory):
            create(target, make_plan(reader, target))
    Follower(url, reader, stop=threading.Event()).run(once=True)


def test_every_type_arrives_in_every_engine(
    binlog_source: BinlogSource, new_database: Callable[[], str], new_binlog_database: Callable[[str], str]
) -> None:
    source = binlog_source
    values = [(name, text) for name, (_, texts) in TYPES.items() for text in texts]
    source.execute(
        f"CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, n int, {', '.join(f'`{n}` {t}' for n, (t, _) in TYPES.items())})"
        " CHARACTER SET utf8mb4",
        "CREATE TABLE `odd keys` (word varchar(700) COLLATE utf8mb4_bin, u bigint unsigned, at timestamp(6) NULL DEFAULT NULL,"
        " n int, PRIMARY KEY (word, u))",
        "CREATE TABLE odd (id int PRIMARY KEY, day date, dt datetime, txt text) CHARACTER SET utf8mb4",
    )
    source.map("T", "t")
    source.map("Keyed", "odd keys", key=("word", "u"))
    source.map("Odd", "odd")
    source.setup()

    def fill(first: int) -> None:
        rows = [
            f"INSERT INTO t (id, `{name}`) VALUES ({number}, {text})"
            for number, (name, text) in enumerate(values, first)
        ]
        odd = [
            f"INSERT INTO odd (id, {name}) VALUES ({n}, {text})"
            for n, (name, text) in enumerate(NO_PLACE.items(), first)
        ]
        keyed = [
            f"INSERT INTO `odd keys` VALUES ('{word}', {unsigned}, '2026-11-22 10:00:00.5', {first})"
            for word in (f"a{first}", f"A{first}", f"ä{first}")
            for unsigned in (0, 18446744073709551615)
        ]
        source.execute("SET sql_mode = ''", *rows, *odd, *keyed)

    fill(1)
    worker = source.run()
    worker.until_caught_up()
    fill(1000)
    source.execute(
        "UPDATE t SET n = 1 WHERE id % 2 = 0",
        "UPDATE t SET id = id + 5000, n = 2 WHERE id % 5 = 0",
        "DELETE FROM t WHERE id % 7 = 0",
        "UPDATE `odd keys` SET word = concat(word, 'x'), n = n + 1 WHERE u = 0",
    )
    worker.until_marked()
    worker.terminate()

    for url in (new_database(), new_binlog_database("mysql"), new_binlog_database("mariadb")):
        run_fork(source, url)

        compared = {table.entity: table for table in compare(source.url, url)}
        in_postgres = url.startswith("postgres")
        assert [
            t.to_json() for name, t in compared.items() if not t.equal and not (in_postgres and name == "Odd")
        ] == []
        with open_target(url) as target:
            conflicts = listed(target.memory)
        expected = [1, 2, 3, 1000, 1001, 1002] if in_postgres else []
        assert sorted(c["key"]["id"] for c in conflicts) == expected
        assert compared["Odd"].missing.count == len(expected)


def test_the_fork_in_mysql_has_the_sources_own_types(made: MadeLog, either_database: str) -> None:
    fork = Fork(made, either_database)

    fork.sync()

    rows = fork.sql(
        "SELECT COLUMN_NAME, COLUMN_TYPE, EXTRA FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()"
        " AND TABLE_NAME = 'place'"
    )
    types = {name: (type_.replace("(20) unsigned", " unsigned"), extra) for name, type_, extra in rows}
    assert types == {
        "id": ("bigint unsigned", "auto_increment"),
        "code": ("varchar(20)", ""),
        "at": ("datetime(6)", ""),
        "mood": ("enum('a','b''c')", ""),
        "price": ("decimal(12,2)", ""),
    }
    fork.sql("INSERT INTO place (code) VALUES ('mine')")
    assert fork.sql("SELECT id FROM place WHERE code = 'mine'") == [(1 << 40,)]


def test_the_fork_in_postgresql_has_types_that_hold_the_values(made: MadeLog, database: str) -> None:
    fork = Fork(made, database)

    fork.sync()

    rows = fork.sql(
        "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE a.attrelid = 'shop.place'::regclass"
        " AND a.attnum > 0"
    )
    assert dict(rows) == {
        "id": "numeric(20,0)",
        "code": "character varying(20)",
        "at": "timestamp without time zone",
        "mood": "shop.place_mood",
        "price": "numeric(12,2)",
    }
    assert fork.sql("SELECT id::text, code, mood::text FROM shop.place") == [("7", "x", "b'c")]
    made.shape("Place", *columns(("b'c", "d")), table="shop.place")
    row = {"id": "18446744073709551615", "code": "y", "at": None, "mood": "d", "price": None}
    made.commit(made.insert("Place", row))
    fork.sync()
    assert fork.sql("SELECT mood::text FROM shop.place ORDER BY id") == [("b'c",), ("d",)]


@pytest.fixture
def new_binlog_database(
    mysql_server: BinlogServer, mariadb_server: BinlogServer, unique: str
) -> Iterator[Callable[[str], str]]:
    """A function that makes a database on the server of a product."""
    servers = {"mysql": mysql_server, "mariadb": mariadb_server}
    name = f"fork_{unique}"
    yield lambda product: servers[product].create_database(name)
    for server in servers.values():
        server.query(f"DROP DATABASE IF EXISTS {name}")


def columns(labels: tuple[str, ...]) -> list[object]:
    texts = ",".join("'" + label.replace("'", "''") + "'" for label in labels)
    return [
        column("id", "decimal", "bigint unsigned", nullable=False, identity=True),
        column("code", "text", "varchar(20)"),
        column("at", "timestamp", "datetime(6)"),
        column("mood", "enum", f"enum({texts})", labels=labels),
        column("price", "decimal", "decimal(12,2)"),
    ]


@pytest.fixture(params=["mysql", "mariadb"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MadeLog]:
    """A log of a MySQL or a MariaDB, with one row."""
    log = MadeLog(tmp_path, engine=request.param, genesis={"system": "s", "database": "shop"})
    log.shape("Place", *columns(("a", "b'c")), table="shop.place")
    log.snapshot("Place", {"id": "7", "code": "x", "at": None, "mood": "b'c", "price": "1.50"})
    yield log
    log.close()


def test_a_log_of_the_fork_says_which_commit_of_upstream_each_of_its_commits_applies(
    binlog_source: BinlogSource, tmp_path: Path
) -> None:
    upstream = MadeLog(tmp_path, genesis={"database": "shop"})
    upstream.shape("Order", column("id", "int32", nullable=False), column("n", "int32"))
    upstream.snapshot("Order")
    fork = Fork(upstream, binlog_source.url)
    fork.sync()
    binlog_source.map("Order", "order")
    binlog_source.setup()
    worker = binlog_source.run()
    worker.until_caught_up()
    seq = upstream.commit(upstream.insert("Order", {"id": 1, "n": 1}), upstream.insert("Order", {"id": 2, "n": 1}))
    fork.sync()
    fork.sql('UPDATE "order" SET n = 2 WHERE id = 1')
    worker.until_marked()
    worker.terminate()
    upstream.close()

    commits = [c for c in binlog_source.history().commits if c.changes and c.changes[0]["entity"] == "Order"]
    assert [(commit.by or {}).get("cause") for commit in commits[:2]] == [
        upstream.reader.record(seq).header["id"],
        None,
    ]


def test_tables_that_change_upstream_change_in_forks_in_every_engine(
    binlog_source: BinlogSource, new_database: Callable[[], str], new_binlog_database: Callable[[str], str]
) -> None:
    source = binlog_source
    source.execute(
        "CREATE TABLE p (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, name varchar(20) NOT NULL, mood enum('a','b'), n int,"
        " price decimal(8,2)) CHARACTER SET utf8mb4",
        "INSERT INTO p (name, mood, n, price) VALUES ('x', 'a', 1, 1.5), ('y', 'b', 2, NULL)",
    )
    source.map("P", "p")
    source.setup()
    worker = source.run()
    worker.until_caught_up()
    urls = [new_database(), new_binlog_database("mysql"), new_binlog_database("mariadb")]
    for url in urls:
        run_fork(source, url)
    source.execute(
        "ALTER TABLE p MODIFY name varchar(60) NULL, MODIFY n bigint, MODIFY price decimal(12,2)",
        "INSERT INTO p (name, mood, n, price) VALUES (NULL, 'a', 5000000000, 1234567890.25)",
        "ALTER TABLE p MODIFY mood enum('a','b','c')",
        "UPDATE p SET mood = 'c', name = repeat('ü', 60) WHERE id = 1",
        "ALTER TABLE p MODIFY mood enum('c','b','a','d')",
        "INSERT INTO p (name, mood) VALUES ('z', 'd'), ('z', 'a')",
        "DELETE FROM p WHERE id = 2",
    )
    worker.until_marked()
    for url in urls:
        run_fork(source, url)
        assert [table.to_json() for table in compare(source.url, url) if not table.equal] == []
    source.execute("TRUNCATE p", "INSERT INTO p (name, mood, n) VALUES ('after', 'b', 1)")
    worker.until_marked()
    worker.terminate()

    for url in urls:
        run_fork(source, url)
        assert [table.to_json() for table in compare(source.url, url) if not table.equal] == []
        with open_target(url) as target:
            assert listed(target.memory, closed=True) == []
