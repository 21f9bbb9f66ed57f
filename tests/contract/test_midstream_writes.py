"""Every way an app writes, beside what it does not write: whole transactions, once, in order, and a fork that has them."""

from collections.abc import Callable

import pytest

from commitlog.cdc.servers.local import PostgresServer
from fixtures.followed import Followed
from fixtures.midstream import anew, finish, settle, started
from fixtures.worker import Source

TABLES = (
    "CREATE TABLE orders (id int PRIMARY KEY, status text, total int)",
    "CREATE TABLE lines (order_id int REFERENCES orders ON UPDATE CASCADE ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,"
    " n int, note text, PRIMARY KEY (order_id, n))",
    "CREATE TABLE places (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, who text)",
    "CREATE TABLE audit (n serial PRIMARY KEY, what text)",
    "CREATE TABLE hidden (id int REFERENCES orders)",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO audit (what) VALUES (TG_OP || ' ' || coalesce(NEW.id, OLD.id)); RETURN NULL; END $$",
    "CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION note()",
    "INSERT INTO orders SELECT n, 'old', n FROM generate_series(1, 12) n",
    "INSERT INTO lines SELECT n, 1, 'old' FROM generate_series(1, 12) n",
    "INSERT INTO places SELECT n, 'p' || n FROM generate_series(1, 6) n",
)


@pytest.fixture
def shop(source: Source) -> Source:
    return open_tables(source)


def open_tables(source: Source) -> Source:
    source.execute(*TABLES)
    source.map("Order", "orders")
    source.map("Line", "lines", key=("order_id", "n"))
    source.map("Place", "places")
    source.map("Audit", "audit", key=("n",))
    return source.setup()


def test_upserts_merges_ctes_triggers_cascades_and_deferred_keys(shop: Source, fork: Followed) -> None:
    run = started(shop)
    fork.sync()
    merge = (
        "MERGE INTO orders o USING (VALUES (2, 'm'), (50, 'm')) v (id, s) ON o.id = v.id WHEN MATCHED AND o.id = 2 THEN DELETE"
        " WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.s, 0)"
    )
    shop.execute(
        "INSERT INTO orders VALUES (1, 'again', 5), (40, 'new', 5) ON CONFLICT (id) DO UPDATE SET status = excluded.status",
        "INSERT INTO orders VALUES (1, 'never', 5) ON CONFLICT DO NOTHING",
        *([merge] if int(shop.value("SHOW server_version_num")) >= 150000 else []),
        "WITH gone AS (DELETE FROM lines WHERE order_id = 3 RETURNING *), more AS (INSERT INTO lines SELECT 4, 9, note FROM gone"
        " RETURNING *) UPDATE orders SET status = (SELECT note || '!' FROM more) WHERE id = 4",
        # Cascades: the lines get another key, and go.
        "UPDATE orders SET id = 60 WHERE id = 5",
        "DELETE FROM orders WHERE id = 6",
        # A line before its order, which comes before the commit.
        "BEGIN; INSERT INTO lines VALUES (70, 1, 'early'); INSERT INTO orders VALUES (70, 'late', 1); COMMIT",
        "UPDATE orders SET id = id + 1000 WHERE id < 3",
        "BEGIN; INSERT INTO places VALUES (6, 'twice for a moment'); DELETE FROM places WHERE who = 'p6'; COMMIT",
        # Keys that all move up, that two rows exchange, and that one took for a moment.
        "UPDATE places SET id = id + 1",
        "UPDATE places SET id = 11 - id WHERE id IN (5, 6)",
        "BEGIN; UPDATE places SET id = 100 WHERE id = 2; UPDATE places SET id = 2 WHERE id = 3; INSERT INTO places VALUES (3, 'new');"
        " DELETE FROM places WHERE id = 100; UPDATE places SET who = 'last' WHERE id = 2; COMMIT",
        # No row that was written, and none that was kept.
        "SELECT * FROM orders FOR UPDATE",
        "BEGIN; SELECT * FROM orders FOR NO KEY UPDATE; INSERT INTO orders VALUES (80, 'no', 1); ROLLBACK",
    )
    settle(run)
    shop.execute(
        "BEGIN; TRUNCATE orders RESTART IDENTITY CASCADE; INSERT INTO orders VALUES (1, 'first', 1); COMMIT",
        "TRUNCATE audit RESTART IDENTITY",
        "INSERT INTO orders VALUES (2, 'second', 2)",
    )
    finish(shop, run, fork)
    emptied = [c for commit in shop.history().commits for c in commit.changes if c["op"] == "truncate"]
    assert [(sorted(c["entities"]), c.get("cascade"), c.get("restart_identity")) for c in emptied] == [
        (["Line", "Order"], True, True),
        (["Audit"], None, True),
    ]


def test_subtransactions_kept_and_rolled_back_also_more_than_a_process_remembers(shop: Source, fork: Followed) -> None:
    run = started(shop)
    with shop.connect() as connection:
        connection.execute("BEGIN")
        for n in range(100, 250):
            connection.execute(f"SAVEPOINT s; INSERT INTO orders VALUES ({n}, 'sub', {n})".encode())
            connection.execute(b"ROLLBACK TO s" if n % 3 == 0 else b"RELEASE s" if n % 3 == 1 else b"SELECT")
        connection.execute("SAVEPOINT outer_one; UPDATE orders SET status = 'kept' WHERE id = 100; SAVEPOINT inner_one")
        connection.execute(
            "DELETE FROM orders; ROLLBACK TO inner_one; INSERT INTO orders VALUES (300, 'end', 1); COMMIT"
        )
    finish(shop, run, fork)
    (commit,) = [c for c in shop.history().commits if len(c.changes) > 50]
    assert sum(c["entity"] == "Order" for c in commit.changes) == 102


def test_rewrites_of_the_servers_own_and_large_objects_make_no_record(shop: Source, fork: Followed) -> None:
    run = started(shop)
    shop.execute("CREATE TABLE parts (id int PRIMARY KEY, big oid)")
    before = len(shop.history().records)
    shop.execute(
        "VACUUM FULL orders",
        "CLUSTER lines USING lines_pkey",
        "REINDEX TABLE orders",
        "REINDEX TABLE CONCURRENTLY orders",
        "VACUUM (FREEZE, ANALYZE) lines",
        "CREATE INDEX CONCURRENTLY ON orders (total)",
        "ALTER TABLE orders ADD CONSTRAINT positive CHECK (total > -1)",
        "ALTER TABLE orders ALTER total SET DEFAULT 5",
        "ALTER TABLE lines SET (fillfactor = 50)",
        "SELECT lo_from_bytea(0, 'large')",
        "CREATE TEMP TABLE mine AS SELECT * FROM orders",
        "CREATE UNLOGGED TABLE fast AS SELECT * FROM orders",
        "CREATE MATERIALIZED VIEW seen AS SELECT * FROM orders",
        "REFRESH MATERIALIZED VIEW seen",
    )
    settle(run)
    written = [(h["kind"], items) for h, items in shop.history().records[before:] if h["kind"] != "coverage"]
    assert [kind for kind, _ in written] == ["commit", "commit"]
    assert {item["entity"] for _, items in written for item in items[2:]} == {"Mark"}
    shop.execute("UPDATE orders SET status = 'after' WHERE id = 1")
    finish(shop, run, fork)
    assert anew(shop, "Order") == 0


@pytest.mark.parametrize("rows", [20_000, pytest.param(1_000_000, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
def test_a_copy_of_many_rows_is_one_commit(shop: Source, fork: Followed, rows: int) -> None:
    run = started(shop)
    with shop.connect() as connection, connection.cursor().copy("COPY places FROM STDIN") as copy:
        for n in range(100, 100 + rows):
            copy.write_row((n, f"copied {n}"))
    run.until_marked(timeout_s=300)
    run.terminate(timeout_s=60)
    (commit,) = [c for c in shop.history().commits if len(c.changes) > 10]
    assert len(commit.changes) == rows
    shop.check()
    fork.check()


def test_prepared_transactions_wait_for_their_commit_over_restarts_of_worker_and_server(
    own_server: PostgresServer, new_source: Callable[[str], Source], new_database: Callable[[], str]
) -> None:
    shop = open_tables(new_source(own_server.url))
    fork = Followed(shop, new_database())
    shop.execute("BEGIN; INSERT INTO orders VALUES (99, 'before the first snapshot', 1); PREPARE TRANSACTION 'early'")
    run = started(shop)
    for name, status in (("one", "kept"), ("two", "rolled back")):
        shop.execute(
            f"BEGIN; UPDATE orders SET status = '{status}' WHERE id = 1; PREPARE TRANSACTION '{name}'",
            "INSERT INTO places VALUES (50, 'x')",
        )
        shop.execute("DELETE FROM places WHERE id = 50")
        if name == "one":
            run.until_marked()
            run.terminate()
            own_server.restart()
            run = started(shop)
            shop.execute("COMMIT PREPARED 'one'")
        else:
            shop.execute("ROLLBACK PREPARED 'two'")
    shop.execute("COMMIT PREPARED 'early'")
    finish(shop, run, fork)
    done = [
        c for commit in shop.history().commits for c in commit.changes if c["entity"] == "Order" and c["op"] != "row"
    ]
    assert [(c["op"], c["after"].get("status")) for c in done][-2:] == [
        ("update", "kept"),
        ("insert", "before the first snapshot"),
    ]
