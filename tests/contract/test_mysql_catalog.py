"""What MySQL and MariaDB say of themselves: who they are, their binary logs, their tables; and sets of GTIDs as the server reckons them."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commitlog.cdc.app_schemas.draft import draft
from commitlog.cdc.app_schemas.files import load_text
from commitlog.cdc.servers.binlog import BinlogServer
from commitlog.cdc.tail.gtids import MysqlGtids
from commitlog.cdc.tail.mysql_catalog import Catalog, MysqlColumn, MysqlTable
from commitlog.schemas.errors import Refused
from fixtures.mysql import make_user

TABLE = """
CREATE TABLE `Odd ``Name` (
    b int(5) unsigned zerofill, a bigint unsigned AUTO_INCREMENT, c varchar(20) CHARACTER SET latin1 COLLATE latin1_german1_ci,
    d decimal(65,30) NOT NULL, e enum('it''s', 'a,b', '\\\\', 'ä'), f set('x', 'y'), g int AS (b + 1) VIRTUAL, h int AS (b + 2) STORED,
    i int INVISIBLE, j datetime(6), k timestamp(3) NULL, l tinyint(1), m bit(9), n binary(4), o year, p json, q char(3), r time(2),
    PRIMARY KEY (a, b)
)
"""


@pytest.fixture
def catalog(either_database: str) -> Iterator[Catalog]:
    made = Catalog(either_database)
    yield made
    made.close()


def columns(table: MysqlTable) -> dict[str, MysqlColumn]:
    return {column.name: column for column in table.columns if isinstance(column, MysqlColumn)}


def test_a_table_is_described_as_it_stands(catalog: Catalog) -> None:
    catalog.rows(TABLE)
    database = catalog.address.database

    table = catalog.table(database, "Odd `Name")

    assert table is not None
    assert [table] == catalog.tables()
    assert (table.key, table.engine, table.transactional, table.identity) == (("a", "b"), "InnoDB", True, "f")
    assert catalog.rows(f"SELECT count(*) FROM {table.sql}") == [(0,)]
    found = columns(table)
    assert list(found) == [*"bacdefghijklmnopqr"]
    assert {name: (column.engine_type, column.canonical) for name, column in found.items() if name not in "ep"} == {
        "b": ("int unsigned", "int64"),
        "a": ("bigint unsigned", "decimal"),
        "c": ("varchar(20)", "text"),
        "d": ("decimal(65,30)", "decimal"),
        "f": ("set('x','y')", "exact"),
        "g": ("int", "int32"),
        "h": ("int", "int32"),
        "i": ("int", "int32"),
        "j": ("datetime(6)", "timestamp"),
        "k": ("timestamp(3)", "instant"),
        "l": ("tinyint", "int16"),
        "m": ("bit(9)", "exact"),
        "n": ("binary(4)", "bytes"),
        "o": ("year", "int16"),
        "q": ("char(3)", "text"),
        "r": ("time(2)", "exact"),
    }
    assert found["p"].canonical == ("json" if catalog.engine == "mysql" else "text")
    assert (found["e"].canonical, found["e"].labels) == ("enum", ("it's", "a,b", "\\", "ä"))
    assert [name for name, column in found.items() if column.identity] == ["a"]
    assert [name for name, column in found.items() if not column.nullable] == ["b", "a", "d"]
    assert {name: column.virtual for name, column in found.items() if column.generated} == {"g": True, "h": False}
    assert "i" in found
    assert (found["c"].charset, found["c"].collation) == ("latin1", "latin1_german1_ci")


def test_a_table_of_another_case_or_none_is_not_there(catalog: Catalog) -> None:
    catalog.rows("CREATE TABLE orders (id int PRIMARY KEY)")
    catalog.rows("CREATE VIEW seen AS SELECT * FROM orders")
    database = catalog.address.database

    assert catalog.table(database, "orders") is not None
    assert [catalog.table(database, name) for name in ("ORDERS", "Orders", "seen", "x")] == [None] * 4
    assert [table.name for table in catalog.tables()] == ["orders"]


def test_tables_of_other_engines_and_foreign_keys_that_cascade_are_told(catalog: Catalog) -> None:
    catalog.rows("CREATE TABLE plain (id int PRIMARY KEY) ENGINE=MyISAM")
    catalog.rows("CREATE TABLE parent (id int PRIMARY KEY)")
    catalog.rows(
        "CREATE TABLE child (id int PRIMARY KEY, p int, q int, r int, CONSTRAINT one FOREIGN KEY (p) REFERENCES parent (id)"
        " ON DELETE CASCADE, CONSTRAINT two FOREIGN KEY (q) REFERENCES parent (id) ON UPDATE SET NULL,"
        " CONSTRAINT three FOREIGN KEY (r) REFERENCES parent (id))"
    )
    database = catalog.address.database

    plain = catalog.table(database, "plain")
    child, parent = catalog.table(database, "child"), catalog.table(database, "parent")

    assert plain is not None
    assert (plain.engine, plain.transactional) == ("MyISAM", False)
    assert child is not None
    assert parent is not None
    assert catalog.cascades(parent) == []
    cascades = catalog.cascades(child)
    assert sorted((key.name, key.table[1], key.parent, key.on_delete) for key in cascades if key.name == "one") == [
        ("one", "child", (database, "parent"), "CASCADE")
    ]
    assert sorted(key.name for key in cascades) == ["one", "two"]
    assert [key.on_update for key in cascades if key.name == "two"] == ["SET NULL"]


def test_a_key_that_the_server_made_itself_is_a_key(mysql_database: str, mysql_server: BinlogServer) -> None:
    catalog = Catalog(mysql_database)
    catalog.rows("SET SESSION sql_generate_invisible_primary_key = ON")
    catalog.rows("CREATE TABLE keyless (a int)")
    catalog.close()
    mysql_server.query("SET GLOBAL show_gipk_in_create_table_and_information_schema = OFF")
    try:
        table = catalog.table(catalog.address.database, "keyless")
    finally:
        mysql_server.query("SET GLOBAL show_gipk_in_create_table_and_information_schema = ON")
        catalog.close()

    assert table is not None
    assert table.key == ("my_row_id",)
    assert "my_row_id" in columns(table)


def test_what_a_fork_remembers_is_no_table_of_an_app(catalog: Catalog) -> None:
    for name in ("_commitlog_applied", "orders"):
        catalog.rows(f"CREATE TABLE {name} (id int PRIMARY KEY)")
    assert [table.name for table in catalog.tables()] == ["orders"]


def test_a_draft_of_an_app_schema_is_made_of_the_tables(catalog: Catalog) -> None:
    catalog.rows("CREATE TABLE users (id bigint unsigned PRIMARY KEY, email varchar(80), born date)")

    schema = load_text(draft(catalog.tables(), app="shop").encode(), origin="drafted.yaml")

    assert set(schema.by_table) == {(catalog.address.database, "users")}
    assert schema.entities["users"].key == ("id",)


def test_the_identity_and_the_end_of_the_log_are_the_servers(catalog: Catalog) -> None:
    before = catalog.binlog_status()
    catalog.rows("CREATE TABLE t (id int PRIMARY KEY)")
    catalog.rows("INSERT INTO t VALUES (1)")

    identity, end = catalog.identity(), catalog.binlog_status()
    logs = {file.name: file.size for file in catalog.binary_logs()}

    assert (identity.engine, identity.database) == (catalog.engine, catalog.address.database)
    assert (identity.read_only, identity.replica) == (False, False)
    wanted = "@@server_uuid" if catalog.engine == "mysql" else "@@server_id"
    assert [(identity.server,)] == [(str(value),) for (value,) in catalog.rows(f"SELECT {wanted}")]
    assert (end.name, end.offset) > (before.name, before.offset)
    assert not before.gtids.subtract(end.gtids)
    assert end.gtids.subtract(before.gtids)
    assert not end.gtids.subtract(catalog.gtid_executed())
    assert logs[end.name] >= end.offset
    assert not catalog.gtid_purged().subtract(before.gtids)
    assert catalog.begins_event(end.name, before.offset if before.name == end.name else 4)
    assert not catalog.begins_event(end.name, end.offset - 1)
    assert not catalog.begins_event(f"{end.name}9", 4)


def test_settings_are_texts_and_unknown_ones_empty(catalog: Catalog) -> None:
    assert (catalog.setting("log_bin"), catalog.setting("nothing_of_the_kind")) == ("ON", "")


def test_a_missing_privilege_is_named(either_server: BinlogServer) -> None:
    catalog = Catalog(make_user(either_server, "SELECT ON mysql.*"))
    try:
        with pytest.raises(Refused, match=r"cannot be read: Access denied; you need"):
            catalog.binary_logs()
        assert catalog.setting("log_bin") == "ON"
    finally:
        catalog.close()


def test_a_connection_that_was_killed_is_made_anew(catalog: Catalog, either_server: BinlogServer) -> None:
    ((number,),) = catalog.rows("SELECT connection_id()")
    either_server.query(f"KILL {number}")

    with pytest.raises(Exception, match="catalogs cannot be read"):
        catalog.rows("SELECT 1")
    assert catalog.rows("SELECT 1") == [(1,)]


_UUIDS = [f"{n}0000000-1111-2222-3333-444444444444" for n in (1, 2)]
_sets = st.lists(
    st.tuples(st.sampled_from(_UUIDS), st.integers(1, 20), st.integers(0, 5)).map(
        lambda t: f"{t[0]}:{t[1]}-{t[1] + t[2]}"
    ),
    max_size=5,
).map(",".join)


@pytest.fixture(scope="module")
def reckoner(mysql_server: BinlogServer) -> Iterator[Catalog]:
    made = Catalog(mysql_server.url)
    yield made
    made.close()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=_sets, two=_sets)
def test_sets_of_gtids_are_reckoned_as_the_server_does(reckoner: Catalog, one: str, two: str) -> None:
    a, b = MysqlGtids.parse(one), MysqlGtids.parse(two)

    ((subset, left),) = reckoner.rows("SELECT GTID_SUBSET(%s, %s), GTID_SUBTRACT(%s, %s)", (one, two, one, two))

    assert (not a.subtract(b)) == bool(subset)
    assert str(a.subtract(b)) == left.replace("\n", "")
    ((all_of_a,),) = reckoner.rows("SELECT GTID_SUBTRACT(%s, '')", (one,))
    assert str(a) == all_of_a.replace("\n", "")


def test_tagged_gtids_are_reckoned_as_the_server_does(reckoner: Catalog) -> None:
    text = f"{_UUIDS[0]}:1-2:Blue:4-6:red:1,{_UUIDS[0]}:blue:7:9"

    ((said, subset),) = reckoner.rows(
        "SELECT GTID_SUBTRACT(%s, ''), GTID_SUBSET(%s, %s)", (text, f"{_UUIDS[0]}:blue:5-7", text)
    )

    assert str(MysqlGtids.parse(text)) == said.replace("\n", "").replace(", ", ",")
    assert subset == 1
