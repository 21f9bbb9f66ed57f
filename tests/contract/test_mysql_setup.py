"""`init`, `setup` and `teardown` of a MySQL and a MariaDB; what they grant is what the worker and the app need, and no more."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from pymysql.err import OperationalError

from commitlog.cdc.log.state import LogState
from commitlog.cdc.servers.binlog import connect
from commitlog.cdc.servers.mysqld import QUICK, LocalMysqld
from commitlog.cdc.source.mysql.checks import check_log, check_published, check_settings
from commitlog.cdc.source.mysql.grants import Privileges, account
from commitlog.cdc.source.mysql.provision import stamp_table
from commitlog.cdc.tail.mysql_catalog import Catalog
from commitlog.drivers.mysql_stamp import STAMPS, stamp
from commitlog.schemas.errors import Refused
from commitlog.transforms.registry import Registry
from fixtures.command import Commands
from fixtures.mysql import ENGINES, make_user

STAMP_ROW, STAMP_LOGGED = (stamp(form, b"a").decode() for form in STAMPS)


@pytest.fixture(scope="module", params=ENGINES)
def server(request: pytest.FixtureRequest) -> Iterator[LocalMysqld]:
    """A server for these tests alone: its settings change, and there is one stamp for all its databases."""
    with ENGINES[request.param].start(settings=QUICK) as started:
        yield started


@pytest.fixture
def shop(server: LocalMysqld, tmp_path: Path) -> Iterator["Shop"]:
    made = Shop(server, tmp_path)
    yield made
    made.catalog.close()
    server.drop_database(made.name)
    server.drop_database("commitlog")


class Shop(Commands):
    """A database with two tables, and a folder with its configuration."""

    def __init__(self, server: LocalMysqld, folder: Path) -> None:
        self.server, self.name = server, f"Shop_{secrets.token_hex(4)}"
        super().__init__(folder, server.create_database(self.name))
        self.catalog = Catalog(self.url)
        self.catalog.rows("CREATE TABLE orders (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, note text)")
        self.catalog.rows("CREATE TABLE `Line``s` (a int, b int, PRIMARY KEY (b, a))")
        self.commitlog("init", self.url, "--name", "shop")


def test_a_database_is_made_ready_once_and_taken_back(shop: Shop) -> None:
    printed = shop.commitlog("setup", "--sql").stdout
    assert shop.catalog.table("commitlog", "stamp") is None

    done = shop.commitlog("setup").stdout

    stamp = stamp_table(shop.catalog)
    assert stamp is not None
    assert (stamp.engine, [column.engine_type for column in stamp.columns]) == ("BLACKHOLE", ["varchar(4000)"])
    assert "CREATE TABLE `commitlog`.`stamp`" in printed
    assert "done: table commitlog.stamp" in done
    assert "nothing to do: the source is ready" in shop.commitlog("setup").stdout
    assert "`commitlog`" not in shop.commitlog("schema", "draft").stdout

    assert "dropped: table commitlog.stamp\ndropped: database commitlog\n" in shop.commitlog("teardown", "--yes").stdout
    assert "nothing to do: there is no table commitlog.stamp" in shop.commitlog("teardown", "--yes").stdout


def test_a_teardown_leaves_what_is_not_ours(shop: Shop) -> None:
    shop.commitlog("setup")
    shop.catalog.rows("CREATE TABLE commitlog.mine (id int)")

    shop.commitlog("teardown", "--yes")

    assert shop.catalog.table("commitlog", "mine") is not None
    assert shop.catalog.table("commitlog", "stamp") is None


def test_a_stamp_that_is_none_is_not_taken_for_one(shop: Shop) -> None:
    shop.catalog.rows("CREATE DATABASE commitlog")
    shop.catalog.rows("CREATE TABLE commitlog.stamp (id int, name text)")

    assert "other columns than a stamp" in shop.commitlog("setup", code=4).stderr


def test_settings_are_set_as_they_must_be(shop: Shop) -> None:
    names = {"binlog_row_metadata": "MINIMAL", "binlog_row_image": "MINIMAL", "binlog_format": "MIXED"}
    for name, weak in names.items():
        shop.catalog.rows(f"SET GLOBAL {name} = {weak}")

    shop.commitlog("setup")

    assert [shop.catalog.setting(name) for name in names] == ["FULL", "FULL", "ROW"]


def test_the_apps_role_may_stamp_and_no_more(shop: Shop) -> None:
    url = make_user(shop.server)
    shop.commitlog("setup", "--app-role", urlsplit(url).username or "")

    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(STAMP_LOGGED)
        for denied in ("SELECT ctx FROM commitlog.stamp", "DELETE FROM commitlog.stamp", "DROP TABLE commitlog.stamp"):
            with pytest.raises(OperationalError, match="denied"):
                cursor.execute(denied)


def test_where_no_blackhole_may_be_the_stamp_is_a_row_for_each_connection(shop: Shop) -> None:
    name, on, off = {
        "mysql": ("sql_require_primary_key", "ON", "OFF"),
        "mariadb": ("enforce_storage_engine", "InnoDB", "DEFAULT"),
    }[shop.catalog.engine]
    url = make_user(shop.server)
    shop.catalog.rows(f"SET GLOBAL {name} = {on}")
    try:
        assert name in shop.commitlog("setup", "--app-role", urlsplit(url).username or "").stdout
    finally:
        shop.catalog.rows(f"SET GLOBAL {name} = {off}")

    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(STAMP_ROW)
        cursor.execute(STAMP_ROW)
        with pytest.raises(OperationalError, match="denied"):
            cursor.execute("DELETE FROM commitlog.stamp")
    assert shop.catalog.rows("SELECT n, ctx FROM commitlog.stamp") == [(2, "a")]


def test_the_workers_role_gets_what_it_needs_and_no_more(shop: Shop) -> None:
    role = f"w_{secrets.token_hex(4)}@127.0.0.1"
    done = shop.commitlog("setup", "--role", role).stdout
    assert f"CREATE USER {account(role)} ACCOUNT LOCK" in done
    assert "nothing to do" in shop.commitlog("setup", "--role", role).stdout

    shop.catalog.rows(f"ALTER USER {account(role)} IDENTIFIED BY 'geheim' ACCOUNT UNLOCK")
    catalog = Catalog(shop.server.user_url(role.partition("@")[0], "geheim", shop.name))
    try:
        check_settings(catalog)
        begun, identity = catalog.binlog_status(), catalog.identity()
        genesis = {"server": identity.server, "database": shop.name, "gtids": str(begun.gtids)}
        check_log(catalog, identity, LogState(genesis=genesis, position=begun.text))
        check_published(catalog, Registry([]), LogState())
        assert {table.name for table in catalog.tables()} == {"orders", "Line`s"}
        assert catalog.rows("SELECT * FROM `Line``s`") == []
        with pytest.raises(Refused, match="denied"):
            catalog.rows("INSERT INTO orders VALUES (1, '')")
    finally:
        catalog.close()
        shop.catalog.rows(f"DROP USER {account(role)}")


def test_who_may_not_set_up_is_told_what_a_dba_can_run(shop: Shop) -> None:
    url = make_user(shop.server, f"SELECT ON `{shop.name}`.*", "REPLICATION CLIENT ON *.*")

    denied = shop.commitlog("setup", "--source", _in(url, shop.name), code=4).stderr

    assert "database commitlog: for the stamp: Access denied" in denied
    assert "let a DBA run what commitlog setup --sql prints" in denied


def test_a_key_that_the_server_does_not_keep_is_refused(shop: Shop) -> None:
    file = shop.folder / "schemas" / "shop.yaml"
    file.write_text(file.read_text().replace("key: [b, a]", "key: [a]"))

    assert "does not tell the rows" in shop.commitlog("setup", code=4).stderr


def test_privileges_are_read_as_the_server_prints_them(shop: Shop) -> None:
    server = shop.server
    url = make_user(
        server,
        "SELECT (id), INSERT (id, note) ON `" + shop.name + "`.orders",
        f"SELECT, UPDATE (a) ON `{shop.name}`.`Line``s`",
        "SELECT ON `other\\_%`.*",
        "REPLICATION SLAVE ON *.*",
    )
    catalog = Catalog(url)
    held = Privileges.parse(catalog.grants())
    catalog.close()

    assert (held.everywhere_has("REPLICATION SLAVE"), held.everywhere_has("SELECT")) == (True, False)
    assert not held.has("SELECT", (shop.name, "orders"))
    assert held.has("SELECT", (shop.name, "Line`s"))
    assert [held.has("SELECT", (name, "t")) for name in ("other_1", "otherx1", "other_")] == [True, False, True]
    assert Privileges.parse(shop.catalog.grants()).has("SELECT", ("any", "thing"))


def _in(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{quote(database)}").geturl()
