"""The tables of a fork in MySQL and MariaDB: made, taken, grown, refused by name, dropped."""

import pytest

from commitlog.cdc.cli.main import main
from commitlog.cdc.fork import state
from commitlog.cdc.fork.growth import create
from commitlog.cdc.fork.mysql import connection
from commitlog.cdc.fork.plan import make_plan
from commitlog.cdc.fork.targets import open_target
from commitlog.cdc.servers.mysql import MySqlServer
from commitlog.schemas.errors import Refused, UsageError
from fixtures.fork_log import Fork, MadeLog, column

ID = column("id", "int32", nullable=False)
ODD = "Größe `x` \"y\" 'z' %s; --"


@pytest.fixture
def log(made_log: MadeLog) -> MadeLog:
    return made_log


@pytest.fixture
def fork(log: MadeLog, either_database: str) -> Fork:
    return Fork(log, either_database)


def test_names_and_values_are_what_they_are_whatever_they_hold(log: MadeLog, fork: Fork) -> None:
    values = [ODD, "\\", "\\'; DROP TABLE x; --", "\0\n\r\x1a", "😀", "%s%(x)s", "", " ", "NULL"]
    log.shape("Odd", ID, column(ODD), key=("id", ODD), table='public."Odd ""table"" `x`"')
    log.snapshot("Odd", *({"id": n, ODD: value} for n, value in enumerate(values)))
    log.commit(*(log.rekey("Odd", {"id": n, ODD: v}, {"id": n, ODD: v + "!"}) for n, v in enumerate(values)))

    fork.sync()

    rows = fork.sql('SELECT * FROM "Odd ""table"" `x`" ORDER BY id')
    assert rows == [(n, value + "!") for n, value in enumerate(values)]
    assert fork.conflicts() == []


@pytest.mark.parametrize(
    ("table", "fields", "why"),
    [
        ("public." + "x" * 65, ("v",), "cannot be a name in MySQL"),
        ("public.t", ("x" * 65,), "cannot be a name in MySQL"),
        ("public.t", ("v ",), "cannot be a name in MySQL"),
        ("public.t", ("v", "V"), "has columns v and V, which are one name in MySQL"),
        ("public._commitlog_shapes", ("v",), "the fork's own tables are called"),
    ],
)
def test_a_name_that_mysql_cannot_have_is_refused(
    log: MadeLog, fork: Fork, table: str, fields: tuple[str, ...], why: str
) -> None:
    log.shape("Odd", ID, *map(column, fields), table=table)

    with pytest.raises(Refused, match=why):
        fork.sync()

    assert fork.tables() == []


def test_tables_of_one_name_in_two_schemas_are_refused_by_name_unless_one_is_left_out(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID, table="sales.orders")
    log.shape("Old", ID, table="archive.orders")

    with pytest.raises(Refused, match="Order and Old both come from table orders"):
        fork.sync()
    assert fork.tables() == []

    fork.sync("Order")
    assert "orders" in fork.tables()


def test_a_column_that_a_later_build_publishes_is_added_and_null_is_allowed_where_a_shape_allows_it(
    log: MadeLog, fork: Fork
) -> None:
    log.shape("Order", ID, column("v", nullable=False))
    log.snapshot("Order", {"id": 1, "v": "a"})
    fork.sync()
    log.shape("Order", ID, column("v"), column("w", "bytes"))
    log.commit(log.insert("Order", {"id": 2, "v": None, "w": "AP8="}))
    log.commit(log.update("Order", 1, {"w": "eA=="}, {"w": "eQ=="}))

    fork.sync()

    assert fork.sql('SELECT * FROM "order" ORDER BY id') == [(1, "a", b"y"), (2, None, b"\0\xff")]
    assert fork.conflicts() == []


@pytest.mark.parametrize(
    ("old", "new", "value", "type_"),
    [
        (("int16", "smallint"), ("int64", "bigint"), "5000000000", "bigint"),
        (("int32", "integer"), ("decimal", "numeric(30,5)"), "1.50000", "decimal(30,5)"),
        (("decimal", "numeric(10,2)"), ("decimal", "numeric(20,2)"), "123456789012345.25", "decimal(20,2)"),
        (("decimal", "numeric(10,2)"), ("decimal", "numeric"), "1.00001", "longtext"),
        (("text", "character varying(5)"), ("text", "character varying(9)"), "123456789", "varchar(9)"),
        (("text", "character varying(5)"), ("text", "text"), "x" * 300, "longtext"),
        (("float32", "real"), ("float64", "double precision"), "0.1", "double"),
    ],
)
def test_a_column_whose_type_becomes_wider_is_widened(
    log: MadeLog, fork: Fork, old: tuple[str, str], new: tuple[str, str], value: str, type_: str
) -> None:
    log.shape("Order", ID, column("v", *old, nullable=False))
    log.snapshot("Order")
    fork.sync()
    log.shape("Order", ID, column("v", *new, nullable=False))
    log.commit(log.insert("Order", {"id": 1, "v": value}))

    fork.sync()

    assert str(fork.sql('SELECT v FROM "order"')[0][0]) == value
    ((shown, nullable),) = fork.sql(
        "SELECT COLUMN_TYPE, IS_NULLABLE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()"
        " AND TABLE_NAME = 'order' AND COLUMN_NAME = 'v'"
    )
    assert (shown.replace("(20)", "") if type_ == "bigint" else shown, nullable) == (type_, "NO")


def test_a_column_that_gets_another_type_stops_the_fork_until_its_owner_has_changed_it(
    log: MadeLog, fork: Fork
) -> None:
    log.shape("Order", ID, column("v", "int64"))
    log.snapshot("Order", {"id": 1, "v": "5"})
    fork.sync()
    log.shape("Order", ID, column("v", "date"))
    log.commit(log.insert("Order", {"id": 2, "v": "2026-11-22"}))

    with pytest.raises(Refused, match=r"Order\.v becomes date upstream, and is bigint.* in the fork") as refused:
        fork.sync()
    assert "MODIFY COLUMN `v` date" in refused.value.hint

    fork.sql('UPDATE "order" SET v = NULL')
    fork.sql('ALTER TABLE "order" MODIFY COLUMN v date')
    fork.sync()
    assert [str(row[0]) for row in fork.sql('SELECT v FROM "order" ORDER BY id')] == ["None", "2026-11-22"]


def test_labels_come_and_are_renamed_as_upstream_does(log: MadeLog, fork: Fork) -> None:
    def mood(*labels: str) -> None:
        log.shape("Order", ID, column("mood", "enum", "public.mood", labels=labels))

    mood("sad", "ok")
    log.snapshot("Order", {"id": 1, "mood": "sad"}, {"id": 2, "mood": "ok"})
    fork.sync()
    mood("blue", "ok", "it's")
    log.commit(
        log.update("Order", 1, {"mood": "blue"}, {"mood": "it's"}),
        log.update("Order", 2, {"mood": "ok"}, {"mood": "blue"}),
    )

    fork.sync()

    assert fork.sql('SELECT mood FROM "order" ORDER BY id') == [("it's",), ("blue",)]
    assert fork.conflicts() == []


def test_a_label_that_is_none_is_a_conflict_and_no_number_of_another(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID, column("mood", "enum", "public.mood", labels=("a", "b")))
    log.snapshot("Order", {"id": 1, "mood": "2"}, {"id": 2, "mood": "b"})

    fork.sync()

    assert fork.sql('SELECT id, mood FROM "order"') == [(2, "b")]
    assert fork.conflict()["kind"] == "value"


def test_numbers_given_out_here_stay_clear_of_upstreams_and_zero_is_a_number(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", column("id", "int64", nullable=False, identity=True), column("v"))
    log.snapshot("Order", {"id": "0", "v": "zero"}, {"id": "1", "v": "one"})
    fork.sync()
    fork.sql('INSERT INTO "order" (v) VALUES (%s)', "mine")
    log.commit(log.insert("Order", {"id": "2", "v": "two"}))
    fork.sync()
    fork.sql('INSERT INTO "order" (v) VALUES (%s)', "mine too")

    assert fork.sql('SELECT id, v FROM "order" ORDER BY id') == [
        (0, "zero"),
        (1, "one"),
        (2, "two"),
        (1 << 40, "mine"),
        ((1 << 40) + 1, "mine too"),
    ]


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (
            "(id int PRIMARY KEY, v longtext)",
            "its column v is longtext utf8mb4_.*ci where longtext CHARACTER SET utf8mb4",
        ),
        ("(id int PRIMARY KEY, v varchar(9) COLLATE {c})", "its column v is varchar"),
        ("(id bigint PRIMARY KEY, v longtext COLLATE {c})", "its column id is bigint"),
        ("(id int PRIMARY KEY)", "its column v is missing"),
        ("(id int, v longtext COLLATE {c})", "without a unique index on id"),
        (
            "(id int PRIMARY KEY, v longtext COLLATE {c}) ENGINE=MyISAM",
            "is of engine MyISAM, which knows no transactions",
        ),
        ("(id int PRIMARY KEY, v longtext COLLATE {c}, FOREIGN KEY (id) REFERENCES parent (id))", "has foreign keys"),
    ],
)
def test_an_empty_table_that_does_not_fit_is_refused_with_the_reason(
    log: MadeLog, fork: Fork, table: str, why: str
) -> None:
    log.shape("Order", ID, column("v"))
    fork.sql("CREATE TABLE parent (id int PRIMARY KEY)")
    fork.sql('CREATE TABLE "order" ' + table.format(c=collation(fork)))

    with pytest.raises(Refused, match=why):
        fork.sync()

    assert sorted(fork.tables()) == ["order", "parent"]


def test_an_empty_table_that_fits_is_taken_and_given_back_and_one_with_rows_refused(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID, column("v"))
    fork.sql(f'CREATE TABLE "order" (mine int, id int PRIMARY KEY, v longtext COLLATE {collation(fork)})')
    fork.sql('INSERT INTO "order" VALUES (1, 1, NULL)')
    with pytest.raises(Refused, match="table order is there already and holds rows"):
        fork.sync()
    fork.sql('DELETE FROM "order"')
    log.snapshot("Order", {"id": 1, "v": "a"})

    fork.sync()

    assert fork.sql('SELECT * FROM "order"') == [(None, 1, "a")]
    assert main(["fork", "drop", "--into", fork.url, "--yes"]) == 0
    assert fork.tables() == ["order"]


def collation(fork: Fork) -> str:
    return "utf8mb4_0900_bin" if fork.url.startswith("mysql") else "utf8mb4_nopad_bin"


def test_drop_leaves_what_the_fork_did_not_make_and_is_refused_while_others_refer_to_it(
    log: MadeLog, fork: Fork
) -> None:
    log.shape("Order", ID, column("v"))
    log.shape("Person", ID)
    fork.sync()
    fork.sql("DROP TABLE person")
    fork.sql("CREATE TABLE person (id int PRIMARY KEY)")
    fork.sql('CREATE TABLE mine (id int, FOREIGN KEY (id) REFERENCES "order" (id))')

    assert main(["fork", "drop", "--into", fork.url, "--yes"]) == 4
    fork.sql("DROP TABLE mine")
    assert main(["fork", "drop", "--into", fork.url, "--yes"]) == 0

    assert fork.tables() == ["person"]


def test_a_table_of_the_fork_that_is_gone_or_without_transactions_stops_it_by_name(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID, column("v"))
    log.snapshot("Order")
    fork.sync()
    log.commit(log.insert("Order", {"id": 1, "v": "a"}))
    fork.sql('ALTER TABLE "order" ENGINE = MyISAM')
    with pytest.raises(Refused, match="of engine MyISAM"):
        fork.sync()
    fork.sql('ALTER TABLE "order" ENGINE = InnoDB, DROP COLUMN v')
    with pytest.raises(Refused, match="the fork's table order is without v"):
        fork.sync()
    fork.sql('DROP TABLE "order"')
    with pytest.raises(Refused, match="the fork's table order is gone"):
        fork.sync()


def test_what_the_owner_changed_in_another_case_is_seen_though_the_owners_collation_takes_it_for_the_same(
    log: MadeLog, fork: Fork
) -> None:
    log.shape("Order", ID, column("v"))
    log.snapshot("Order", {"id": 1, "v": "a"})
    fork.sync()
    fork.sql('ALTER TABLE "order" MODIFY COLUMN v longtext COLLATE utf8mb4_general_ci')
    fork.sql("UPDATE \"order\" SET v = 'A' WHERE id = 1")
    log.commit(log.update("Order", 1, {"v": "a"}, {"v": "b"}))

    fork.sync()

    assert fork.sql('SELECT v FROM "order"') == [("A",)]
    assert (fork.conflict()["ours"], fork.conflict()["theirs"]) == ("A", "b")


def test_a_change_larger_than_the_servers_packets_is_refused_with_what_to_set(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID, column("v"))
    fork.sync()
    with open_target(fork.url) as target:
        target.load({})
        target.packet_bytes = 2000  # type: ignore[attr-defined]
        with pytest.raises(Refused, match=r"a change takes 30.. bytes") as refused:
            target.execute("DELETE FROM _commitlog.shapes WHERE hash = %s", ("x" * 3000,))
    assert "SET GLOBAL max_allowed_packet = 4096" in refused.value.hint


def test_a_timestamp_is_set_by_upstream_alone_whatever_the_server_is_set_to(
    tmp_path_factory: pytest.TempPathFactory, either_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection._SETTINGS, "explicit_defaults_for_timestamp", "0")
    log = MadeLog(tmp_path_factory.mktemp("log"), engine="mysql")
    log.shape("Order", ID, column("at", "instant", "timestamp", nullable=False), column("v"), table="shop.orders")
    log.snapshot("Order", {"id": 1, "at": "2020-01-01T00:00:00Z", "v": "a"})
    log.commit(log.update("Order", 1, {"v": "a"}, {"v": "b"}))
    fork = Fork(log, either_database)

    fork.sync()

    assert fork.sql("SELECT year(at), v FROM orders") == [(2020, "b")]
    assert "ON UPDATE" not in fork.sql("SHOW CREATE TABLE orders")[0][1].upper()
    log.close()


def test_tables_whose_names_differ_in_case_are_two(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID, column("v"), table='public."Orders"')
    log.snapshot("Order", {"id": 1, "v": "a"})
    fork.sql("CREATE TABLE orders (id bigint PRIMARY KEY, w int)")
    fork.sql("INSERT INTO orders VALUES (1, 1)")

    fork.sync()

    assert fork.sql('SELECT * FROM "Orders"') == [(1, "a")]
    assert main(["fork", "drop", "--into", fork.url, "--yes"]) == 0
    assert fork.tables() == ["orders"]


def test_a_server_that_takes_no_writes_is_refused_by_name(log: MadeLog, own_mysql: MySqlServer) -> None:
    log.shape("Order", ID)
    url = own_mysql.create_database("fork")
    own_mysql.query("SET GLOBAL super_read_only = ON")

    with pytest.raises(Refused, match="the fork's database is read-only"):
        Fork(log, url).sync()


def test_the_source_itself_is_no_place_for_a_fork(
    tmp_path_factory: pytest.TempPathFactory, mysql_database: str
) -> None:
    with open_target(mysql_database) as target:
        server, database = target.database()
        genesis = {"server": server, "database": database}
        log = MadeLog(tmp_path_factory.mktemp("log"), genesis=genesis, engine="mysql")
        log.shape("Order", ID, table="shop.orders")
        with pytest.raises(Refused, match="is the source of this log itself"):
            make_plan(log.reader, target)
    log.close()


def test_a_url_without_a_database_or_of_the_other_product_is_refused(log: MadeLog, either_database: str) -> None:
    with pytest.raises(UsageError, match="--into names no database"):
        open_target(either_database.rpartition("/")[0])
    product, _, rest = either_database.partition("://")
    other = "mariadb" if product == "mysql" else "mysql"
    with pytest.raises(Refused, match="the fork's database is a"):
        open_target(f"{other}://{rest}")


def test_a_fork_of_another_log_is_refused(tmp_path_factory: pytest.TempPathFactory, log: MadeLog, fork: Fork) -> None:
    fork.sync()
    other = MadeLog(tmp_path_factory.mktemp("other"), "other")
    other.shape("Order", ID)

    assert main(["fork", other.url, "--into", fork.url, "--yes", "--once"]) == 4

    other.close()


def test_a_fork_needs_no_more_than_rights_on_its_database(
    log: MadeLog, either_server: object, either_database: str, new_user: object
) -> None:
    log.shape("Order", ID, column("v"))
    log.snapshot("Order", {"id": 1, "v": "a"})
    database = either_database.rpartition("/")[2]
    url = new_user(either_server, f"ALL ON {database}.*", database=database)  # type: ignore[operator]
    fork = Fork(log, url)

    fork.sync()

    assert fork.sql('SELECT * FROM "order"') == [(1, "a")]
    less = new_user(either_server, f"SELECT ON {database}.*", database=database)  # type: ignore[operator]
    with open_target(less) as target:
        assert state.exists(target.memory)
    log.commit(log.insert("Order", {"id": 2, "v": "b"}))
    with pytest.raises(Refused, match="the fork's user may not do what it must") as refused:
        Fork(log, less).sync()
    assert f"GRANT ALL ON `{database}`.*" in refused.value.hint


def test_what_was_planned_is_what_is_made(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID, column("v"))
    with open_target(fork.url) as target:
        plan = make_plan(log.reader, target)
        create(target, plan)

        assert plan.memory == "tables _commitlog_…"
        assert target.rows("SELECT seq FROM _commitlog.applied") == [("-1",)]
