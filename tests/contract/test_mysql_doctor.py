"""`doctor` of a MySQL and a MariaDB: what keeps a guarantee from holding is said with what to do about it, and what it says is so."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from commitlog.cdc.servers.mysqld import QUICK, LocalMysqld
from commitlog.cdc.tail.mysql_catalog import Catalog
from fixtures.command import Commands, only
from fixtures.mysql import ENGINES, make_user

SAFE = {**QUICK, "innodb-flush-log-at-trx-commit": "1", "sync-binlog": "1", "binlog-ignore-db": "left_out"}


@pytest.fixture(scope="module", params=ENGINES)
def server(request: pytest.FixtureRequest) -> Iterator[LocalMysqld]:
    """A server for these tests alone, which change its settings."""
    with ENGINES[request.param].start(settings=SAFE) as started:
        yield started


class Shop(Commands):
    """A database with a table, set up, and a folder with its configuration, of a user who may do what the worker needs."""

    def __init__(self, server: LocalMysqld, folder: Path, name: str = "") -> None:
        self.server, self.name = server, name or f"shop_{secrets.token_hex(4)}"
        super().__init__(folder, server.create_database(self.name))
        self.catalog = Catalog(self.url)
        self.catalog.rows("CREATE TABLE orders (id int PRIMARY KEY)")
        self.commitlog("init", self.url, "--name", "shop")
        self.commitlog("setup")
        self.role = make_user(
            server,
            "REPLICATION SLAVE, REPLICATION CLIENT ON *.*",
            "SELECT ON commitlog.stamp",
            f"SELECT ON `{self.name}`.*",
            database=self.name,
        )

    def close(self) -> None:
        self.catalog.close()
        self.server.drop_database(self.name)
        self.server.drop_database("commitlog")


@pytest.fixture
def shop(server: LocalMysqld, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(server, tmp_path)
    yield made
    made.close()


def test_a_server_that_is_set_up_and_a_user_who_may_do_no_more_are_well(shop: Shop) -> None:
    assert shop.doctor(code=0) == {}
    assert "may do everything" in "".join(shop.doctor(code=1, url=shop.url))


@pytest.mark.parametrize(
    ("name", "value", "code", "words"),
    [
        ("binlog_format", "MIXED", 4, "error: binlog_format is MIXED: sessions log statements"),
        ("binlog_row_image", "MINIMAL", 4, "error: binlog_row_image is MINIMAL"),
        ("binlog_row_metadata", "MINIMAL", 4, "error: binlog_row_metadata is MINIMAL"),
        ("sync_binlog", "0", 1, "warning: sync_binlog is 0"),
        ("innodb_flush_log_at_trx_commit", "2", 1, "warning: innodb_flush_log_at_trx_commit is 2"),
        ("binlog_expire_logs_seconds", "86400", 1, "warning: the binary log is kept for 1 days"),
        ("binlog_checksum", "NONE", 1, "warning: binlog_checksum is NONE"),
    ],
)
def test_a_setting_that_weakens_a_guarantee_is_told(shop: Shop, name: str, value: str, code: int, words: str) -> None:
    before = shop.catalog.setting(name)
    shop.catalog.rows(f"SET GLOBAL {name} = {value}")
    try:
        found = shop.doctor(code=code)
        if code == 4:
            assert only(found, words) == "commitlog setup"
            shop.commitlog("setup")
        else:
            shop.catalog.rows(only(found, words).partition(",")[0])
        assert shop.doctor(code=0) == {}
    finally:
        shop.catalog.rows(f"SET GLOBAL {name} = {before}")


def test_gtids_out_of_order_are_told(shop: Shop) -> None:
    if shop.catalog.engine == "mysql":
        shop.catalog.rows("SET GLOBAL gtid_mode = ON_PERMISSIVE")
        assert only(shop.doctor(code=4), "error: gtid_mode is ON_PERMISSIVE") == "commitlog setup"
        shop.commitlog("setup")
    else:
        shop.catalog.rows("SET GLOBAL gtid_strict_mode = OFF")
        shop.catalog.rows(only(shop.doctor(code=1), "gtid_strict_mode is off").partition(",")[0])
    assert shop.doctor(code=0) == {}


def test_privileges_that_are_missing_are_told_with_the_statements_that_grant_them(shop: Shop) -> None:
    stranger = make_user(shop.server, database=shop.name)
    assert "commitlog setup --role" in only(shop.doctor(code=4, url=stranger), "may not connect to that database")

    insert = f"INSERT ON `{shop.name}`.other"
    shop.catalog.rows("CREATE TABLE other (id int)")
    poor = make_user(shop.server, "REPLICATION CLIENT ON *.*", "SELECT ON commitlog.stamp", insert, database=shop.name)
    shop.catalog.rows("DROP TABLE other")
    grants = [hint for what, hint in shop.doctor(code=4, url=poor).items() if what.startswith("error: user")]
    assert len(grants) == 2
    for grant in grants:
        shop.catalog.rows(grant)
    assert shop.doctor(code=0, url=poor) == {}


def test_tables_that_are_not_logged_as_they_are_are_told(shop: Shop) -> None:
    shop.catalog.rows("CREATE TABLE loose (id int PRIMARY KEY) ENGINE=MyISAM")
    assert only(shop.doctor(code=1), f"table {shop.name}.loose is in no app schema") == "commitlog schema draft"
    (shop.folder / "schemas" / "shop.yaml").write_text(shop.commitlog("schema", "draft").stdout)

    found = shop.doctor(code=1)
    shop.catalog.rows(only(found, "is of the engine MyISAM"))
    shop.catalog.rows("DROP TABLE orders")

    assert list(shop.doctor(code=1)) == [f"warning: table {shop.name}.orders of orders does not exist"]


def test_rows_that_foreign_keys_change_are_told_where_they_are_not_logged(shop: Shop) -> None:
    catalog = shop.catalog
    catalog.rows(
        "CREATE TABLE items (id int PRIMARY KEY, o int, CONSTRAINT fk FOREIGN KEY (o) REFERENCES orders (id) ON DELETE CASCADE)"
    )
    (shop.folder / "schemas" / "shop.yaml").write_text(shop.commitlog("schema", "draft").stdout)
    catalog.rows("INSERT INTO orders VALUES (1)")
    catalog.rows("INSERT INTO items VALUES (1, 1)")
    begun = catalog.binlog_status()
    catalog.rows("DELETE FROM orders")
    events = catalog.rows(f"SHOW BINLOG EVENTS IN '{begun.name}' FROM {begun.offset}")
    deletes = sum(row[2].startswith("Delete_rows") for row in events)

    assert catalog.logs_cascades == (deletes == 2)
    found = shop.doctor(code=int(not catalog.logs_cascades))
    assert ["foreign key fk changes rows of" in what for what in found] == [True] * (not catalog.logs_cascades)


def test_a_stamp_that_is_not_there_is_told(shop: Shop) -> None:
    shop.commitlog("teardown", "--yes")

    assert "commitlog setup" in only(shop.doctor(code=1), "warning: there is no table commitlog.stamp")


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_old_versions_that_would_pass_for_rows_are_refused(shop: Shop) -> None:
    shop.catalog.rows("ALTER TABLE orders ADD SYSTEM VERSIONING")

    shop.catalog.rows(only(shop.doctor(code=4), "as rows of its own").partition(",")[0])

    assert shop.doctor(code=0) == {}


def test_a_database_that_the_binary_log_leaves_out_is_told(server: LocalMysqld, tmp_path: Path) -> None:
    shop = Shop(server, tmp_path, "left_out")
    try:
        assert "binlog_ignore_db" in only(shop.doctor(code=4), "the binary log leaves out database left_out")
    finally:
        shop.close()


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_a_column_that_the_server_compresses_is_refused(shop: Shop) -> None:
    shop.catalog.rows("ALTER TABLE orders ADD COLUMN note varchar(200) COMPRESSED")

    assert "without COMPRESSED" in only(
        shop.doctor(code=4), f"table {shop.name}.orders is mapped by an app schema, and"
    )
