"""A primary fails over to its standby. With a synchronised slot (PostgreSQL 17 and later), and nothing lost, the worker goes on by
itself and says so in a `source` record; anything else stops it by name, and what its `try:` says leads on.
"""

from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest

from fixtures.load import accept_gap, load, open_shop
from fixtures.pair import PHYSICAL, Pair
from fixtures.worker import Run, Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

NewShop = Callable[..., tuple[Pair, Source, Run]]
RESUME = "commitlog resume --accept-gap"

SYNCHRONISING = [pytest.param("18"), pytest.param("17", marks=pytest.mark.full)]


@pytest.fixture
def new_shop(new_pair: Callable[..., Pair], new_source: Callable[[str], Source]) -> NewShop:
    """A function that opens a shop on a primary with a standby, with a worker whose log has everything."""

    def make(version: str = "18", *, synchronised: bool = True, **settings: str) -> tuple[Pair, Source, Run]:
        pair = new_pair(version, synchronised=synchronised, **settings)
        source = open_shop(new_source(pair.url))
        if synchronised:
            pair.synchronise(source)
        run = source.run()
        run.until_caught_up()
        return pair, source, run

    return make


def go_on(source: Source, hint: str) -> None:
    """Only the order to accept a gap leads on, as the `try:` says."""
    assert RESUME in hint
    source.commitlog("resume", code=3)
    accept_gap(source)


def timelines(source: Source) -> list[int]:
    """The timeline in each commit's id, in the log's order."""
    return [int(commit.id.split(":")[2]) for commit in source.history().commits]


def test_setup_makes_a_slot_that_standbys_may_keep_also_of_one_that_is_there(source: Source) -> None:
    open_shop(source)
    source.value("SELECT pg_drop_replication_slot(%s)", source.name)
    source.value("SELECT lsn FROM pg_create_logical_replication_slot(%s, 'pgoutput')", source.name)
    position = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s"
    before = source.value(position, source.name)
    assert "is kept by no standby" in source.commitlog("doctor", code=1).stdout
    assert "ALTER_REPLICATION_SLOT" in source.commitlog("setup", "--sql").stdout

    assert "for a planned failover" in source.commitlog("setup").stdout

    assert source.value("SELECT failover FROM pg_replication_slots WHERE slot_name = %s", source.name)
    assert source.value(position, source.name) == before
    assert "nothing to do" in source.commitlog("setup").stdout
    assert "may go over to a standby" in source.commitlog("doctor", code=1).stdout


@pytest.mark.parametrize("version", SYNCHRONISING)
def test_a_planned_failover_with_a_synchronised_slot_is_followed_by_itself(new_shop: NewShop, version: str) -> None:
    pair, source, run = new_shop(version, max_prepared_transactions="8")
    pair.primary.configure(synchronized_standby_slots=PHYSICAL)
    pair.primary.reload()

    with load(source) as writers:
        run.until(lambda: writers.done >= 100, "transactions before")
        source.execute("BEGIN; INSERT INTO orders VALUES (1000000, 'held', 0); PREPARE TRANSACTION 'held'")
        pair.fail_over()
        source.execute("COMMIT PREPARED 'held'")
        goal = writers.done + 100
        run.until(lambda: writers.done >= goal, "transactions after")

    run.until_caught_up()
    run.terminate()
    history = source.check()
    [(header, items)] = history.of_kind("source")
    assert header["epoch"] == 1
    assert items[2] == {"engine": "postgresql", "system": items[2]["system"], "timeline": 2, "database": "postgres"}
    places = [commit.seqs[0] < header["seq"] for commit in history.commits]
    assert timelines(source) == [1 if before else 2 for before in places]
    assert any(places)
    assert not all(places)
    assert history.of_kind("gap") == []
    assert '"timeline": 2' in source.commitlog("show", str(header["seq"]), "--json").stdout.replace('":2', '": 2')


@pytest.mark.full
def test_what_the_worker_had_not_read_before_a_failover_bears_the_timeline_it_was_written_on(new_shop: NewShop) -> None:
    pair, source, run = new_shop()
    run.terminate()
    source.execute("INSERT INTO orders VALUES (1, 'on the first', 0)")
    pair.fail_over()
    source.execute("INSERT INTO orders VALUES (2, 'on the second', 0)")
    # Killed on the way over, it begins again from what the log holds.
    source.run("after_read:kill:2").until_killed()
    run = source.run()
    run.until_marked()
    run.terminate()

    source.check()
    assert timelines(source)[-3:] == [1, 2, 2]
    assert len(source.history().of_kind("source")) == 1
    source.execute("SELECT pg_switch_wal()")
    run = source.run()
    run.until_marked()
    run.terminate()
    assert len(source.history().of_kind("source")) == 1


@pytest.mark.full
def test_a_standby_is_waited_for_until_it_is_promoted(new_shop: NewShop) -> None:
    pair, source, run = new_shop()
    run.terminate()
    source.configure(pair.standby.url)

    run = source.run()
    run.until(lambda: "is a standby" in run.output, "being told that it is a standby")
    hint = source.commitlog("doctor", code=4).stdout
    assert "is a standby" in hint
    assert "standby" in source.commitlog("setup", code=5).stderr
    pair.fail_over()
    run.until_marked()
    run.terminate()

    source.check()


def test_a_standby_is_named_and_no_slot_is_asked_for_there(new_shop: NewShop) -> None:
    pair, source, run = new_shop(synchronised=False)
    run.terminate()
    source.configure(pair.standby.url)
    for command, code in (("status", 0), ("doctor", 4), ("setup", 5)):
        done = source.commitlog(command, code=code)
        assert "is a standby" in done.stdout + done.stderr
    assert "commitlog setup" not in source.commitlog("status").stdout


@pytest.mark.full
def test_a_slot_that_was_not_synchronised_is_named(new_shop: NewShop) -> None:
    pair, source, run = new_shop(synchronised=False)
    pair.fail_over()

    hint = run.refused(3, "timeline 2", f"slot '{source.name}' was not synchronised")

    go_on(source, hint)


@pytest.mark.full
@pytest.mark.parametrize("version", ["15"])
def test_before_postgresql_17_every_failover_is_named(new_shop: NewShop, version: str) -> None:
    pair, source, run = new_shop(version, synchronised=False)
    pair.fail_over()

    hint = run.refused(3, "timeline 2", "before PostgreSQL 17")

    go_on(source, hint)


@pytest.mark.full
def test_a_slot_that_was_made_anew_on_the_new_primary_is_named(new_shop: NewShop) -> None:
    pair, source, run = new_shop(synchronised=False)
    run.terminate()
    pair.fail_over()
    source.value("SELECT lsn FROM pg_create_logical_replication_slot(%s, 'pgoutput', failover => true)", source.name)

    hint = source.run().refused(3, "timeline 2", "was not synchronised")

    go_on(source, hint)


def test_a_commit_that_the_new_primary_never_got_is_named(new_shop: NewShop) -> None:
    """Without synchronized_standby_slots the server shows a commit to logical decoding before any standby has it, even while the
    commit itself still waits for a synchronous standby."""
    pair, source, run = new_shop()
    pair.primary.configure(synchronous_standby_names="*")
    pair.primary.reload()
    pair.standby.stop("immediate")
    with closing(psycopg.connect(pair.primary.url, autocommit=True)) as waiting:
        waiting.pgconn.send_query(b"INSERT INTO orders VALUES (7, 'never confirmed', 0)")
        waiting.pgconn.flush()
        run.until(
            lambda: any(c.changes[0].get("key") == {"id": 7} for c in source.history().commits), "it to be in the log"
        )
        assert waiting.pgconn.is_busy(), "it was confirmed without a standby"
        pair.primary.stop("kill")
    pair.standby.restart()
    pair.standby.promote()

    hint = run.refused(3, "timeline 1 ended at", "never got")

    assert source.value("SELECT count(*) FROM orders WHERE id = 7") == 0
    go_on(source, hint)


@pytest.mark.full
def test_with_synchronized_standby_slots_a_commit_is_logged_only_once_the_standby_has_it(new_shop: NewShop) -> None:
    pair, source, run = new_shop()
    assert f"synchronized_standby_slots = '{PHYSICAL}'" in source.commitlog("doctor", code=1).stdout
    pair.primary.configure(synchronized_standby_slots=PHYSICAL)
    pair.primary.reload()
    assert "synchronized_standby_slots" not in source.commitlog("doctor", code=1).stdout
    pair.standby.stop("immediate")
    mark = source.mark()

    # The server says so in its own log once its sender waits; the log must not have the commit by then.
    run.until(lambda: f'replication slot "{PHYSICAL}"' in pair.primary.log_tail(200), "the server to wait")
    assert not source.marked(mark)
    assert run.running

    pair.standby.restart()
    run.until_marked(mark)
    run.terminate()
    source.check()


@pytest.mark.full
def test_a_server_from_before_the_failover_is_named_and_the_right_one_is_followed_on(new_shop: NewShop) -> None:
    pair, source, run = new_shop()
    pair.fail_over()
    run.until_marked()
    run.terminate()
    pair.primary.restart()
    source.configure(pair.primary.url)

    hint = source.run().refused(3, "timeline 1", "the log on 2", "before a failover")

    assert hint.startswith("point [source] url at the primary")
    source.configure(pair.standby.url)
    source.url = pair.standby.url
    run = source.run()
    run.until_marked()
    run.terminate()
    source.check()
