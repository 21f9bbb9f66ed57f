"""P1 to P7: history that the log still needed is lost. The worker says so by name and ends with 3, and what its `try:` says leads on:
a gap that everyone can see, a new epoch, new snapshots.
"""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from commitlog.cdc.config import Limits
from commitlog.cdc.servers.local import PostgresServer
from commitlog.cdc.tail.postgres import Stream
from commitlog.schemas.errors import Unreachable
from fixtures.load import load, open_shop
from fixtures.worker import MARK, Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

NewSource = Callable[[str], Source]
RESUME = "commitlog resume --accept-gap"


def begin(source: Source) -> Source:
    """A shop whose log has commits and snapshots; its worker was stopped."""
    open_shop(source)
    run = source.run()
    source.execute("INSERT INTO orders SELECT n, 'before', n FROM generate_series(1, 9) n")
    run.until_caught_up()
    run.terminate()
    return source


def write(source: Source, status: str) -> None:
    source.execute(
        f"INSERT INTO orders SELECT coalesce(max(id), 0) + 1, '{status}', 0 FROM orders",
        "UPDATE orders SET total = total + 1",
    )


def go_on(source: Source, hint: str) -> None:
    """Do what the `try:` says, and see that the log goes on with a gap and is the source again."""
    assert hint.endswith(RESUME)
    if hint.startswith("drop the publication"):
        drop_publication(source)
    before = source.history().records[-1][0]

    source.commitlog("resume", "--accept-gap")

    (gap, items) = source.history().records[-1]
    assert gap["kind"] == "gap"
    assert gap["epoch"] == before["epoch"] + 1
    assert items[2]["lost_after"] == before["source"]["position"]
    assert gap["source"]["position"] == items[2]["resumed_at"]
    run = source.run()
    write(source, "after")
    run.until_caught_up()
    run.terminate()
    source.verify()
    source.check_tables(source.history(), epoch=gap["epoch"])


def check_lost(source: Source) -> None:
    """The log holds what was committed before the loss and after it, each once and in order, and lacks something in between."""
    committed = [transaction.xid for transaction in source.referee()]
    epochs = [[c.xid for c in source.history().commits if c.epoch == epoch] for epoch in (1, 2)]
    assert all(epochs)
    assert committed[: len(epochs[0])] == epochs[0]
    assert committed[-len(epochs[1]) :] == epochs[1]
    assert len(committed) > len(epochs[0]) + len(epochs[1])


def drop_slot(source: Source) -> None:
    source.value("SELECT pg_drop_replication_slot(%s)", source.name)


def recreate_slot(source: Source) -> None:
    drop_slot(source)
    write(source, "lost")
    source.value("SELECT slot_name FROM pg_create_logical_replication_slot(%s, 'pgoutput')", source.name)


def advance_slot(source: Source) -> None:
    write(source, "lost")
    source.value("SELECT end_lsn FROM pg_replication_slot_advance(%s, pg_current_wal_lsn())", source.name)


def unpublish(source: Source) -> None:
    source.execute(f'ALTER PUBLICATION "{source.name}" DROP TABLE orders')


def drop_publication(source: Source) -> None:
    source.execute(f'DROP PUBLICATION "{source.name}"')


def publish_less(source: Source) -> None:
    source.execute(f"ALTER PUBLICATION \"{source.name}\" SET (publish = 'insert, update')")


def filter_rows(source: Source) -> None:
    source.execute(f'ALTER PUBLICATION "{source.name}" SET TABLE {MARK}, notes, orders WHERE (id < 0)')


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(drop_slot, ["slot", "is gone"], id="P1-slot-dropped"),
        pytest.param(recreate_slot, ["slot", "re-created", "bytes"], id="P2-slot-re-created"),
        pytest.param(advance_slot, ["slot", "advanced", "bytes"], id="P3-slot-advanced-by-others"),
        pytest.param(unpublish, ["public.orders", "not in publication"], id="P6-table-unpublished"),
        pytest.param(drop_publication, ["publication", "is gone"], id="P6-publication-dropped"),
        pytest.param(publish_less, ["publication", "leaves out deletes, truncates"], id="P6-deletes-unpublished"),
        pytest.param(filter_rows, ["publication", "leaves out rows of public.orders"], id="P6-rows-filtered"),
    ],
)
def test_history_lost_while_the_worker_was_away_is_named(
    source: Source, damage: Callable[[Source], None], words: list[str]
) -> None:
    begin(source)
    damage(source)
    write(source, "lost")

    hint = source.run().refused(3, *words)

    head = source.history().records[-1]
    assert all(word in source.commitlog("resume", code=3).stderr for word in words)
    assert source.history().records[-1] == head
    go_on(source, hint)
    if damage not in (publish_less, filter_rows):
        check_lost(source)


def test_parts_that_a_crash_left_unfinished_are_void_before_the_gap(source: Source) -> None:
    begin(source)
    parts = {"limits__part_bytes": 400, "limits__flush_bytes": 1, "limits__flush_ms": 0}
    source.execute("INSERT INTO notes SELECT 'a', n, repeat('x', 90) FROM generate_series(1, 80) n")
    source.run("between_parts:kill:9", **parts).until_killed()
    assert not source.history().records[-1][0]["part"]["last"]
    drop_slot(source)

    hint = source.run(**parts).refused(3, "slot", "is gone")

    go_on(source, hint)
    check_lost(source)


def test_p1_a_slot_dropped_since_it_was_looked_at_is_looked_at_again(source: Source) -> None:
    with pytest.raises(Unreachable, match="the slot is gone"):
        Stream(source.url, slot="no_such_slot", publication=source.name, limits=Limits())


def test_p1_a_slot_dropped_under_the_running_worker_is_named(source: Source) -> None:
    open_shop(source)
    run = source.run()
    run.until_caught_up()

    def dropped() -> bool:
        source.value(
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = %s", source.name
        )
        try:
            drop_slot(source)
        except psycopg.errors.ObjectInUse:
            return False
        return True

    with load(source):
        run.until(dropped, "the slot to be free for a moment")
        hint = run.refused(3, "slot", source.name, "is gone")

    go_on(source, hint)
    check_lost(source)


def test_p6_a_table_unpublished_under_the_running_worker_is_named(source: Source) -> None:
    open_shop(source)
    run = source.run()
    run.until_caught_up()

    with load(source):
        unpublish(source)
        hint = run.refused(3, "public.orders", "not in publication")

    go_on(source, hint)


def test_p4_another_server_is_named_and_the_right_one_is_followed_on(
    source: Source, new_source: NewSource, own_server: PostgresServer
) -> None:
    begin(source)
    write(source, "while away")
    other = new_source(own_server.url)
    other.name = source.name
    other.configure(own_server.url)
    open_shop(other)
    write(other, "of another server")
    source.configure(own_server.url)

    hint = source.run().refused(3, "another database", "system")

    assert hint.startswith("correct [source] url")
    source.configure(source.url)
    run = source.run()
    run.until_caught_up()
    run.terminate()
    source.check()

    source.configure(own_server.url)
    source.url = own_server.url
    hint = source.run().refused(3, "another database", "system")
    go_on(source, hint)


class Restored:
    """A server whose data was copied at some time; `restore` goes on with the copy in its place."""

    def __init__(self, source: Source, server: PostgresServer) -> None:
        self.source, self.server = source, server
        server.stop()
        self.copy = PostgresServer.start(copy_of=server, settings={"fsync": "off"})
        server.restart()

    def restore(self) -> None:
        self.server.stop()
        self.source.url = self.copy.url
        self.source.configure(self.copy.url)

    def log(self, *statements: str) -> None:
        """Commit statements on the original, and have them in the log."""
        self.source.execute(*statements)
        run = self.source.run(limits__coverage_s=0.05)
        run.until_marked()
        run.terminate()


@pytest.fixture
def restored(new_source: NewSource, own_server: PostgresServer) -> Iterator[Restored]:
    made = Restored(begin(new_source(own_server.url)), own_server)
    yield made
    made.copy.close()


def test_p5_a_copy_that_ends_before_the_log_is_named(restored: Restored) -> None:
    restored.log("INSERT INTO notes SELECT 'a', n, repeat('x', 900) FROM generate_series(1, 2000) n")
    restored.restore()

    hint = restored.source.run().refused(3, "before the log's position", "restored")

    go_on(restored.source, hint)


def test_p5_a_copy_that_has_gone_on_past_the_log_is_named(restored: Restored) -> None:
    restored.log("INSERT INTO notes VALUES ('a', 1, 'of the original')")
    restored.restore()
    write(restored.source, "of the copy")
    restored.source.execute("INSERT INTO notes SELECT 'b', n, repeat('x', 900) FROM generate_series(1, 2000) n")

    hint = restored.source.run().refused(3, "history is another one", "restored")

    assert "nothing lost is seen from here" in restored.source.commitlog("resume").stdout
    go_on(restored.source, hint)


def test_p5_a_copy_that_has_gone_on_with_nothing_to_record_is_named(restored: Restored) -> None:
    restored.log("INSERT INTO notes VALUES ('a', 1, 'of the original')")
    restored.restore()
    restored.source.execute("INSERT INTO hidden SELECT generate_series(1, 20000)")

    restored.source.run(limits__coverage_s=0.05).refused(3, "history is another one", "restored")


def test_p5_a_copy_with_the_same_statements_is_named(restored: Restored) -> None:
    # On both sides the same transactions follow, under the same numbers, as long, and often in the same places.
    statements = ["INSERT INTO notes VALUES ('a', 1, 'of one of them')", f"INSERT INTO {MARK} VALUES (50)"]
    restored.log(*statements)
    restored.restore()
    restored.source.execute(*statements)
    write(restored.source, "of the copy")
    restored.source.execute("INSERT INTO hidden SELECT generate_series(1, 20000)")

    restored.source.run().refused(3, "history is another one", "restored")


def test_p5_a_copy_that_commits_where_the_log_knows_of_nothing_is_named(restored: Restored) -> None:
    restored.source.execute("INSERT INTO hidden SELECT generate_series(1, 20000)")
    run = restored.source.run(limits__coverage_s=0.05).streaming()
    run.until(lambda: restored.source.history().records[-1][0]["kind"] == "coverage", "coverage")
    run.terminate()
    position = restored.source.history().records[-1][0]["source"]["position"]
    restored.restore()
    write(restored.source, "of the copy")
    assert restored.source.value("SELECT pg_current_wal_lsn() < %s::pg_lsn", position)
    restored.source.execute("INSERT INTO hidden SELECT generate_series(1, 40000)")

    hint = restored.source.run(limits__coverage_s=0.05).refused(3, "history is another one", "restored")

    go_on(restored.source, hint)


def test_p7_wal_that_the_server_removed_is_named(new_source: NewSource) -> None:
    settings = {"fsync": "off", "max_slot_wal_keep_size": "1MB", "wal_keep_size": "0", "max_wal_size": "32MB"}
    with PostgresServer.start(settings=settings) as server:
        source = begin(new_source(server.url))
        source.value("SELECT pg_drop_replication_slot(%s)", f"{source.name}_ref")
        write(source, "lost")
        for _ in range(4):
            source.execute("SELECT pg_logical_emit_message(true, 'filler', repeat('x', 20000000))", "CHECKPOINT")

        hint = source.run().refused(3, "slot", source.name, "lost")

        go_on(source, hint)
