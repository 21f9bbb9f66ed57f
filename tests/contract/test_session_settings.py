"""What a database or a role is set to for its app does not get into commitlog's way, and setup not into the app's."""

import re
import threading
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from commitlog.cdc.fork.postgres.target import Target
from commitlog.cdc.servers.postgres import Server
from commitlog.cdc.tail.connection import connect
from commitlog.cdc.tail.postgres import connect as replicate
from commitlog.schemas.errors import Refused
from fixtures.load import open_shop
from fixtures.proxy import TcpProxy
from fixtures.worker import Source

LIMITS = ("idle_session_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
# Far above what a connection takes to be made on a busy machine: only after that can the limit on transactions be lifted.
STRICT = {
    **dict.fromkeys(LIMITS, "500ms"),
    "statement_timeout": "500ms",
    "default_transaction_read_only": "on",
    "search_path": "evil",
}


def test_limits_that_a_database_has_for_its_app_do_not_hold_for_commitlog(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as app:
        name = sql.Identifier(app.info.dbname)
        known = [row[0] for row in app.execute("SELECT name FROM pg_settings WHERE name = ANY (%s)", (list(STRICT),))]
        settings = [sql.SQL("{} = {}").format(sql.Identifier(s), sql.Literal(STRICT[s])) for s in known]
        app.execute(sql.SQL("; ").join(sql.SQL("ALTER DATABASE {} SET {}").format(name, s) for s in settings))
    limits = [limit for limit in LIMITS if limit in known]
    with connect(database) as source, Target(database) as target:
        for connection in (source, target.connection):
            for limit in limits:
                assert connection.execute(f"SHOW {limit}".encode()).fetchone() == ("0",)
            connection.execute("CREATE TABLE public.made AS SELECT 1 AS n FROM pg_sleep(0.7)")
            connection.execute("DROP TABLE public.made")


@pytest.mark.parametrize("reach", [connect, replicate, Target])
def test_a_pooler_that_keeps_back_the_settings_of_a_connection_is_named(
    database: str, proxy: Callable[[str], TcpProxy], reach: Callable[[str], object]
) -> None:
    """As PgBouncer does with ignore_startup_parameters = options: values would come in the forms that the role is set to."""
    pooler = proxy(database)
    pooler.said = lambda data: re.sub(rb"(?<=\0options\0)[^\0]+", lambda options: b" " * len(options[0]), data)
    with pytest.raises(Refused, match="behind a pooler that keeps back") as refused:
        reach(pooler.url)
    assert "at the server itself" in refused.value.hint


def test_setup_lets_the_app_pass_while_it_waits_for_a_table_and_says_for_whom(source: Source) -> None:
    source.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    source.map("Order", "orders")
    source.execute("BEGIN; INSERT INTO orders VALUES (1); PREPARE TRANSACTION 'forgotten'")
    passed = threading.Event()
    stop = threading.Event()

    def app() -> None:
        with source.connect() as connection:
            connection.execute("SET lock_timeout = '20s'")
            while not stop.is_set():
                connection.execute("INSERT INTO orders SELECT least(min(id), 0) - 1 FROM orders")
                passed.set()

    thread = threading.Thread(target=app)
    try:
        thread.start()
        error = source.commitlog("setup", code=4).stderr
        assert "public.orders" in error
        assert "prepared transaction 'forgotten' since" in error
        passed.clear()
        assert passed.wait(20)
    finally:
        stop.set()
        thread.join(30)
        source.execute("ROLLBACK PREPARED 'forgotten'")
    source.setup()


def test_text_that_is_in_no_encoding_is_named(
    postgres_server: Server, new_source: Callable[[str], Source], unique: str
) -> None:
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {unique} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'".encode())
    source = new_source(f"{postgres_server.database_url(unique)}?client_encoding=UTF8")
    try:
        open_shop(source)
        run = source.run().streaming()
        run.until_caught_up()
        with source.connect() as app:
            app.execute(b"INSERT INTO orders VALUES (1, E'\\xe9\\xff', 1)")
        assert "resume --accept-gap" in run.refused(4, "text", "0xe9 0xff")
    finally:
        source.close()
        postgres_server.drop_database(unique)
