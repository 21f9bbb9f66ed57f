"""A publication that somebody edits: what is missing then is named, at its place in the stream or as soon as somebody looks."""

import json
from collections.abc import Callable
from contextlib import closing

import pytest

from commitlog.cdc.config import SourceConfig
from commitlog.cdc.source import ddl_notices
from commitlog.cdc.tail.catalog import Catalog
from fixtures.followed import Followed
from fixtures.load import open_shop
from fixtures.midstream import CHUNK, anew, finish, settle, started
from fixtures.worker import MARK, Source

GAP = "commitlog resume --accept-gap"


@pytest.fixture
def shop(source: Source) -> Source:
    open_shop(source)
    source.execute("INSERT INTO orders SELECT n, 'old', n FROM generate_series(1, 12) n")
    return source


def unguarded(source: Source) -> Source:
    """As with a role that may not make event triggers."""
    source.execute(*(f'DROP EVENT TRIGGER "commitlog_{source.name}_{event}"' for event in ("ddl", "drp", "rwr")))
    return source


def out_and_back(source: Source) -> None:
    source.execute(
        f"ALTER PUBLICATION {source.name} DROP TABLE orders",
        "UPDATE orders SET status = 'unseen' WHERE id = 3",
        f"ALTER PUBLICATION {source.name} ADD TABLE orders",
        "UPDATE orders SET status = 'seen' WHERE id = 4",
    )


def accept(source: Source, fork: Followed) -> None:
    """The operator accepts the gap; then log and fork have everything."""
    source.commitlog("resume", "--accept-gap")
    run = source.run(**CHUNK)
    settle(run)
    run.terminate()
    source.check_tables(source.history(), epoch=2)
    source.verify()
    fork.check()


def test_a_table_out_of_the_publication_and_back_stops_the_worker_before_what_came_after(
    shop: Source, fork: Followed
) -> None:
    run = started(shop)
    fork.sync()
    out_and_back(shop)
    # By the event triggers' word in the stream, or by a look at the catalogs that came first.
    assert run.refused(3, "public.orders", "publication", "changes of it may be missing") == GAP
    assert [c.changes[0]["entity"] for c in shop.history().commits] == ["Order", "Mark"]
    accept(shop, fork)


@pytest.mark.full
def test_without_event_triggers_a_table_out_and_back_is_seen_when_somebody_looks(shop: Source, fork: Followed) -> None:
    run = started(unguarded(shop))
    assert "no event triggers" in shop.commitlog("doctor", code=1).stdout
    out_and_back(shop)
    # As a rule it was put back by the time somebody looks, but it may be a look just in between.
    assert run.refused(3, "public.orders", "publication", "changes of it may be missing") == GAP
    accept(shop, fork)


def test_a_table_out_and_back_while_no_worker_runs_is_seen_at_its_start(shop: Source, fork: Followed) -> None:
    started(unguarded(shop)).terminate()
    out_and_back(shop)
    assert shop.run().refused(3, "public.orders was taken out of publication", "and put back") == GAP
    accept(shop, fork)


@pytest.mark.full
def test_a_publication_that_left_something_out_for_a_while_is_named(shop: Source, fork: Followed) -> None:
    run = started(shop)
    shop.execute(
        "BEGIN",
        f"ALTER PUBLICATION {shop.name} SET (publish = 'insert, update')",
        "DELETE FROM orders WHERE id = 3",
        f"ALTER PUBLICATION {shop.name} SET (publish = 'insert, update, delete, truncate')",
    )
    assert run.refused(3, f"publication '{shop.name}' leaves out deletes, truncates") == GAP
    accept(shop, fork)


@pytest.mark.parametrize(("part", "left_out"), [("(id, total)", "columns"), ("WHERE (id > 5)", "rows")])
def test_a_publication_of_ones_own_with_a_part_of_a_table_is_refused_by_name(
    source: Source, part: str, left_out: str
) -> None:
    """Before the table logs whole old rows: the server would refuse the app's updates."""
    source.execute("CREATE TABLE orders (id int PRIMARY KEY, status text, total int)", "INSERT INTO orders VALUES (1)")
    source.map("Order", "orders")
    source.execute(f"CREATE PUBLICATION {source.name} FOR TABLE {MARK}, orders {part}")
    told = f"publication '{source.name}' leaves out {left_out} of public.orders"
    assert told in source.commitlog("setup", code=4).stderr
    assert told.replace("'", "") in source.commitlog("doctor", code=4).stdout
    source.execute("UPDATE orders SET status = 'new'")
    source.execute(f"ALTER PUBLICATION {source.name} SET TABLE {MARK}, orders (id, status, total)")
    source.setup()


@pytest.mark.full
def test_other_publications_and_tables_may_be_edited_as_one_likes(shop: Source, fork: Followed) -> None:
    run = started(shop)
    shop.execute(
        f"CREATE PUBLICATION {shop.name}_other FOR TABLE orders",
        f"DROP PUBLICATION {shop.name}_other",
        "CREATE TABLE other (id int PRIMARY KEY)",
        f"ALTER PUBLICATION {shop.name} ADD TABLE other",
        "INSERT INTO other VALUES (1)",
        f"ALTER PUBLICATION {shop.name} DROP TABLE other",
        "INSERT INTO orders VALUES (100, 'new', 1)",
    )
    settle(run)
    run.terminate()
    shop.check()
    fork.check()


def test_setup_makes_event_triggers_doctor_says_so_and_teardown_drops_them(shop: Source) -> None:
    count = "SELECT count(*) FROM pg_event_trigger"
    assert shop.value(count) == 3
    assert "ok       event triggers tell the stream" in shop.commitlog("doctor", code=1).stdout
    assert "nothing to do" in shop.commitlog("setup").stdout
    unguarded(shop)
    assert "try: commitlog setup, as a superuser" in shop.commitlog("doctor", code=1).stdout
    assert "done: event triggers" in shop.commitlog("setup").stdout
    shop.commitlog("teardown", "--yes")
    assert shop.value(count) == 0
    assert shop.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'commitlog'") == 0


def test_teardown_leaves_a_publication_that_another_slot_of_the_database_may_read(shop: Source, unique: str) -> None:
    other = f"{unique}_o"
    shop.value(f"SELECT pg_create_logical_replication_slot('{other}', 'pgoutput')")
    left = shop.commitlog("teardown", "--yes").stdout
    assert f"publication {shop.name} and its event triggers, which {other} may need, stay" in left
    assert shop.value("SELECT count(*) FROM pg_publication WHERE pubname = %s", shop.name) == 1
    shop.value("SELECT pg_drop_replication_slot(%s)", other)
    assert f"dropped: publication {shop.name}" in shop.commitlog("teardown", "--yes").stdout


def as_an_older_version_made_them(source: Source) -> str:
    return (
        f'CREATE OR REPLACE FUNCTION commitlog."{source.name}"() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER'
        " SET search_path = pg_catalog AS $body$ BEGIN END $body$"
    )


@pytest.mark.parametrize(
    "alter",
    [
        as_an_older_version_made_them,
        pytest.param(
            lambda source: f'ALTER FUNCTION commitlog."{source.name}"() SECURITY INVOKER', marks=pytest.mark.full
        ),
        pytest.param(
            lambda source: f'ALTER FUNCTION commitlog."{source.name}"() RESET search_path', marks=pytest.mark.full
        ),
        lambda source: (
            f'DROP EVENT TRIGGER "commitlog_{source.name}_ddl"; CREATE EVENT TRIGGER "commitlog_{source.name}_ddl" ON'
            f" ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION commitlog.\"{source.name}\"();"
            f' ALTER EVENT TRIGGER "commitlog_{source.name}_ddl" ENABLE ALWAYS'
        ),
    ],
    ids=["function", "its rights", "its settings", "tags"],
)
def test_event_triggers_that_are_not_as_this_version_makes_them_are_named_and_brought_up_to_date(
    shop: Source, alter: Callable[[Source], str]
) -> None:
    made = functions(shop)
    shop.execute(alter(shop))

    doctor = shop.commitlog("doctor", code=1).stdout

    assert "warning  the event triggers are not as this version makes them" in doctor
    assert "try: commitlog setup, as a superuser" in doctor
    assert "DROP EVENT TRIGGER" in shop.commitlog("setup", "--sql").stdout
    assert "done: event triggers: brought up to date\n" in shop.commitlog("setup").stdout
    assert "ok       event triggers tell the stream" in shop.commitlog("doctor", code=1).stdout
    assert "nothing to do" in shop.commitlog("setup").stdout
    assert functions(shop) == made
    run = started(shop)
    out_and_back(shop)
    assert run.refused(3, "public.orders", "changes of it may be missing") == GAP


def functions(source: Source) -> object:
    return source.value(
        "SELECT json_agg(ARRAY[evtname, evtevent, evttags::text, pg_get_functiondef(evtfoid)] ORDER BY 1)::text FROM pg_event_trigger"
    )


def test_without_event_triggers_doctor_names_each_thing_that_nobody_sees(shop: Source) -> None:
    unguarded(shop)
    findings = map(json.loads, shop.commitlog("doctor", "--json", code=1).stdout.splitlines())
    (finding,) = [finding for finding in findings if "no event triggers" in finding["what"]]
    assert finding["level"] == "warning"
    for hole in ("UNLOGGED", "publication that left out a kind of change"):
        assert hole in finding["what"]


def test_without_event_triggers_a_column_rewritten_within_its_own_type_is_read_again(
    shop: Source, fork: Followed
) -> None:
    unguarded(shop)
    run = started(shop)
    fork.sync()
    shop.execute("UPDATE orders SET status = 'x' WHERE id = 1", "VACUUM FULL orders")
    settle(run)
    shop.execute(
        "ALTER TABLE orders ALTER total TYPE bigint USING total * 2",
        "UPDATE orders SET total = total + 1 WHERE id = 3",
    )
    run.until(
        lambda: "table public.orders was rewritten, and column total altered; its rows are read again" in run.output
    )
    finish(shop, run, fork)
    assert anew(shop, "Order") == 1


def test_an_event_trigger_that_cannot_write_warns_and_lets_the_statement_pass(shop: Source, unique: str) -> None:
    shop.execute(
        f"CREATE ROLE {unique}",
        "REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text, boolean) FROM PUBLIC",
        f"GRANT ALL ON SCHEMA public TO {unique}",
        f'ALTER FUNCTION commitlog."{shop.name}"() SECURITY INVOKER',
    )
    with shop.connect() as connection:
        notices: list[str] = []
        connection.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
        connection.execute(f"SET ROLE {unique}".encode())
        connection.execute("CREATE TABLE mine (id int)")
        connection.execute("ALTER TABLE mine ADD note text")
        connection.execute("RESET ROLE")
        connection.execute("DROP TABLE mine")
    assert ["commitlog is not told of this ALTER TABLE" in notice for notice in notices] == [True]
    shop.execute(f"DROP OWNED BY {unique}", f"DROP ROLE {unique}")


@pytest.mark.full
def test_a_table_that_was_unlogged_for_a_while_is_lost_history(source: Source, fork: Followed) -> None:
    source.execute("CREATE TABLE orders (id int PRIMARY KEY, n int)", "INSERT INTO orders VALUES (1, 1), (2, 2)")
    source.map("Order", "orders")
    source.execute(
        f"CREATE PUBLICATION {source.name} FOR ALL TABLES", "ALTER TABLE commitlog_mark REPLICA IDENTITY FULL"
    )
    source.setup()
    run = started(source)
    fork.sync()
    source.execute(
        "ALTER TABLE orders SET UNLOGGED", "UPDATE orders SET n = 5 WHERE id = 1", "ALTER TABLE orders SET LOGGED"
    )
    assert run.refused(3, "public.orders", "changes of it may be missing") == GAP
    accept(source, fork)
    source.execute("ALTER TABLE orders SET UNLOGGED")
    assert "ALTER TABLE public.orders SET LOGGED, then commitlog setup" in source.commitlog("doctor", code=4).stdout


def test_the_publication_of_another_log_of_the_same_database_is_edited_as_one_likes(shop: Source) -> None:
    """It has event triggers of its own, and all of them fire."""
    other = f"{shop.name}_other"
    run = started(shop)
    with closing(Catalog(shop.url)) as catalog:
        config = SourceConfig(url=shop.url, publication=other, slot=other)
        shop.execute(f"CREATE PUBLICATION {other} FOR TABLE notes", *ddl_notices.make(catalog, config))
        shop.execute(
            f"ALTER PUBLICATION {other} SET (publish = 'insert')",
            f"ALTER PUBLICATION {other} DROP TABLE notes",
            f"DROP PUBLICATION {other}",
            "INSERT INTO orders VALUES (100, 'new', 1)",
        )
    settle(run)
    run.terminate()
    shop.check()


def test_notices_that_anyone_wrote_and_the_catalogs_do_not_bear_out_change_nothing(shop: Source, unique: str) -> None:
    run = started(shop)
    told = anew(shop, "Order")
    shop.execute(f"CREATE ROLE {unique}", f"GRANT ALL ON orders TO {unique}")
    with shop.connect() as connection:
        oid = shop.value("SELECT 'orders'::regclass::oid::int8")
        connection.execute(f"SET ROLE {unique}".encode())
        for forged in (
            {"publication": shop.name, "ways": [], "left_out": "", "by_leaf": False},
            {"publication": shop.name, "ways": [], "left_out": "deletes", "by_leaf": True},
            {"ways": [], "left_out": "inserts", "by_leaf": True},
            *({"rewritten": oid, "reason": reason} for reason in (1, 2, 4, 7)),
            {"dropped": [oid]},
        ):
            connection.execute("SELECT pg_logical_emit_message(true, 'commitlog.ddl', %s)", (json.dumps(forged),))
            connection.execute(f"UPDATE orders SET total = total + 1 WHERE id = {len(forged)}".encode())
    settle(run)
    assert anew(shop, "Order") == told
    assert run.output.count("the catalogs do not bear it out") == 3
    shop.execute(f"DROP OWNED BY {unique}", f"DROP ROLE {unique}")
    run.terminate()
    shop.check()


def test_a_role_that_may_not_write_messages_still_tells_of_what_it_alters(source: Source, unique: str) -> None:
    source.execute(
        "REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text, boolean) FROM PUBLIC",
        f"CREATE ROLE {unique}", f"GRANT ALL ON SCHEMA public TO {unique}", f"SET ROLE {unique}",
        "CREATE TABLE orders (id int PRIMARY KEY, n int)", "INSERT INTO orders VALUES (1, 1), (2, 2)",
    )  # fmt: skip
    try:
        source.map("Order", "orders")
        source.setup()
        run = started(source)
        told = anew(source, "Order")
        source.execute(f"SET ROLE {unique}", "ALTER TABLE orders ALTER n TYPE int USING n * 10")
        settle(run)
        assert anew(source, "Order") > told
        run.terminate()
        source.check()
    finally:
        source.execute(f"DROP OWNED BY {unique}", f"DROP ROLE {unique}")
