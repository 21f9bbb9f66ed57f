"""A fork reads its log record by record: parts, voids, kinds it does not know, damage, and logs that are not its own."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commitlog.cdc.fork import follow
from commitlog.cdc.fork.follow import Follower
from commitlog.cdc.fork.growth import drop
from commitlog.cdc.fork.postgres import connection as postgres_connection
from commitlog.cdc.fork.postgres.target import Target
from commitlog.cdc.log.location import Location
from commitlog.cdc.log.reader import Reader
from commitlog.schemas.errors import CommitLogError, HistoryLost, Locked, RecordError, Refused, VerificationFailed
from fixtures.fork_log import Fork, MadeLog, Row, column

ID = column("id", "int32", nullable=False)
KEN = {"assurance": 1, "user": "ken"}
ROWS = 'SELECT id, v FROM public."order" ORDER BY id'


@pytest.fixture
def log(made_log: MadeLog) -> MadeLog:
    made_log.shape("Order", ID, column("v"))
    made_log.snapshot("Order")
    return made_log


@pytest.fixture
def fork(log: MadeLog, new_database: Callable[[], str]) -> Fork:
    return Fork(log, new_database())


def order(id_: int, v: str = "a") -> Row:
    return {"id": id_, "v": v}


def test_a_commit_in_parts_is_applied_whole_with_its_last_part(log: MadeLog, fork: Fork) -> None:
    log.commit(*[log.insert("Order", order(n)) for n in range(3000)], by=KEN, part=(0, False))
    log.commit(*[log.insert("Order", order(n)) for n in range(3000, 4000)], part=(1, False))
    fork.sync()
    assert fork.sql(ROWS) == []
    assert fork.position == log.head.seq - 2

    log.commit(log.update("Order", 5, {"v": "a"}, {"v": "b"}), part=(2, True))
    fork.sync()

    assert fork.sql('SELECT v, count(*) FROM public."order" GROUP BY 1 ORDER BY 1') == [("a", 3999), ("b", 1)]


def test_a_conflict_in_a_later_part_names_who_made_the_commit(log: MadeLog, fork: Fork) -> None:
    log.commit(log.insert("Order", order(1)))
    fork.sync()
    fork.sql("UPDATE public.\"order\" SET v = 'mine'")
    log.commit(log.insert("Order", order(2)), by=KEN, part=(0, False))
    seq = log.commit(log.update("Order", 1, {"v": "a"}, {"v": "b"}), part=(1, True))

    fork.sync()

    assert (fork.conflict()["theirs_by"], fork.conflict()["seq"]) == (KEN, seq)


def test_void_parts_do_not_count_and_the_commit_comes_again(log: MadeLog, fork: Fork) -> None:
    first = log.commit(log.insert("Order", order(1)), part=(0, False))
    second = log.commit(log.insert("Order", order(2)), part=(1, False))
    log.void(first, second)
    fork.sync()
    assert fork.sql(ROWS) == []
    log.commit(log.insert("Order", order(1)), part=(0, False))
    log.commit(log.insert("Order", order(2)), log.truncate("Order"), log.insert("Order", order(3)), part=(1, True))

    fork.sync()

    assert fork.sql(ROWS) == [(3, "a")]
    assert fork.conflicts() == []


def test_progress_is_told_against_the_end_of_the_log(log: MadeLog, fork: Fork) -> None:
    fork.sync()
    told: list[follow.Progress] = []
    for _ in range(2):
        log.shape("Order", ID, column("v"))
        log.commit(log.insert("Order", order(len(told))))
    Follower(fork.url, log.reader, stop=threading.Event(), report=told.append).run(once=True)
    assert {progress.head_seq for progress in told} == {log.head.seq}
    assert [progress.seq for progress in told] == sorted(progress.seq for progress in told)


def test_records_without_rows_move_the_position(log: MadeLog, fork: Fork) -> None:
    log.record("coverage")
    log.record("schema", [{"schema": "commitlog.app/v1"}])
    log.record("source", [{"system": "2"}])

    fork.sync()

    assert fork.position == log.head.seq


def test_a_record_of_an_unknown_kind_stops_the_fork_before_it(log: MadeLog, fork: Fork) -> None:
    log.commit(log.insert("Order", order(1)))
    seq = log.record("merge", [{"of": "two"}])
    log.commit(log.insert("Order", order(2)))

    with pytest.raises(Refused, match=f"record {seq} is of kind 'merge'"):
        fork.sync()

    assert fork.position < seq


def test_a_record_of_an_unknown_kind_that_may_be_skipped_is_passed_over(log: MadeLog, fork: Fork) -> None:
    log.record("weather", [{"rain": True}], skip=True)
    log.commit(log.insert("Order", order(2)))

    fork.sync()

    assert fork.sql(ROWS) == [(2, "a")]


def test_who_made_a_commit_when_learned_later_stands_in_its_conflicts(log: MadeLog, fork: Fork) -> None:
    log.commit(log.insert("Order", order(1)))
    fork.sync()
    fork.sql("UPDATE public.\"order\" SET v = 'mine'")
    seq = log.commit(log.update("Order", 1, {"v": "a"}, {"v": "b"}))
    log.amend(seq, KEN)

    fork.sync()

    assert fork.conflict()["theirs_by"] == KEN


def test_every_transaction_of_the_fork_carries_the_commit_it_comes_from(log: MadeLog, fork: Fork, unique: str) -> None:
    fork.sync()
    fork.sql("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", unique)
    for number in range(3):
        log.commit(log.insert("Order", order(number)))
        fork.sync()

    decoded = [row[0] for row in fork.sql("SELECT data FROM pg_logical_slot_get_changes(%s, NULL, NULL)", unique)]

    marks = [
        line.rpartition("content:")[2]
        for line in decoded
        if line.startswith("message: transactional: 1 prefix: commitlog")
    ]
    ids = [f"pg:1:1:{0x100 * number:016X}" for number in range(1, 4)]
    assert marks == [f'{{"v":1,"cause":"{id_}"}}' for id_ in ids]


@pytest.mark.parametrize(
    "change",
    [
        {"op": "insert", "entity": "Order", "key": {"id": 1}, "shape": 0},
        {"op": "insert", "entity": "Order", "key": {"id": 1}, "after": {}, "shape": 0},
        {"op": "insert", "entity": "Order", "key": {"id": 1}, "after": {"id": 1, "other": 1}, "shape": 0},
        {"op": "update", "entity": "Order", "key": {"id": 1}, "after": [1], "shape": 0},
        {"op": "update", "entity": "Order", "key": {"id": 1}, "before": 5, "after": {"v": 1}, "shape": 0},
        {"op": "delete", "entity": "Order", "key": {"id": 1}, "shape": 0},
        {"op": "explode", "entity": "Order", "key": {"id": 1}, "shape": 0},
        {"op": "insert", "shape": 0},
        {"op": "truncate", "entities": "Order"},
        {"op": "truncate"},
        {"entity": "Order"},
        [],
    ],
)
def test_what_is_not_a_change_stops_the_fork_by_record_and_item(log: MadeLog, fork: Fork, change: object) -> None:
    log.commit(log.insert("Order", order(7)))
    seq = log.record("commit", [change])

    with pytest.raises(RecordError, match=rf"record {seq}: item 2 ") as stopped:
        fork.sync()

    assert stopped.value.seq == seq


def test_a_change_without_its_key_is_no_match_and_no_crash(log: MadeLog, fork: Fork) -> None:
    log.record(
        "commit", [{"op": "update", "entity": "Order", "key": {}, "after": {"v": "x"}, "image": "key", "shape": 0}]
    )

    fork.sync()

    assert fork.conflict()["kind"] == "update/delete"


def test_l2_a_body_that_is_not_what_its_header_says_stops_the_fork(log: MadeLog, fork: Fork) -> None:
    fork.sync()
    seq = log.commit(log.insert("Order", order(1, "right")))
    segment = next(log.location.segments.iterdir())
    segment.write_bytes(segment.read_bytes().replace(b'"v":"right"', b'"v":"wrong"'))

    with pytest.raises(RecordError, match=f"record {seq}"):
        fork.sync()

    assert fork.sql(ROWS) == []


def test_a_log_that_ends_before_what_was_applied_stops_the_fork(log: MadeLog, fork: Fork, tmp_path: Path) -> None:
    log.commit(log.insert("Order", order(1)))
    copied = tmp_path / "old"
    shutil.copytree(log.location.folder, copied, ignore=shutil.ignore_patterns("old"))
    log.commit(log.insert("Order", order(2)))
    fork.sync()

    with pytest.raises(HistoryLost, match="ends at record"):
        Follower(fork.url, Reader(Location(copied, "made")), stop=threading.Event()).run(once=True)


def test_a_log_that_was_written_anew_stops_the_fork(log: MadeLog, fork: Fork, tmp_path: Path) -> None:
    copied = tmp_path / "other"
    shutil.copytree(log.location.folder, copied, ignore=shutil.ignore_patterns("other"))
    log.commit(log.insert("Order", order(1)))
    fork.sync()
    fork.sql("UPDATE _commitlog.applied SET hash = repeat('0', 64)")

    with pytest.raises(VerificationFailed, match="written anew"):
        fork.sync()


def test_a_second_process_is_refused_while_the_first_works(
    log: MadeLog, fork: Fork, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fork.sync()
    monkeypatch.setattr(follow, "LOCK_FREE_S", 0.2)
    with Target(fork.url) as other:
        other.lock()

        with pytest.raises(Locked, match="another process works on this fork"):
            fork.sync()
    assert "another process works on this fork; waiting up to 0 s" in caplog.text


def test_a_process_that_was_taken_over_writes_nothing_more(log: MadeLog, fork: Fork) -> None:
    fork.sync()
    stop = threading.Event()
    follower = Follower(fork.url, log.reader, stop=stop)
    errors: list[CommitLogError] = []
    with follow.Session(follower) as session:
        fork.sql("UPDATE _commitlog.applied SET token = token + 1")
        log.commit(log.insert("Order", order(1)))
        try:
            session.run(log.head.seq)
        except Locked as exc:
            errors.append(exc)

    assert [str(error) for error in errors] == ["another process has taken this fork over"]
    assert fork.sql(ROWS) == []


def test_a_local_transaction_in_the_way_is_waited_for_and_the_whole_transaction_tried_again(
    log: MadeLog, fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "LOCK_TIMEOUT_MS", 100)
    log.commit(log.insert("Order", order(1)))
    fork.sync()
    log.commit(
        log.truncate("Order"),
        log.insert("Order", order(2)),
        log.truncate("Order"),
        log.insert("Order", order(3)),
    )
    with psycopg.connect(fork.url) as local:
        local.execute('INSERT INTO public."order" VALUES (3)')
        thread = threading.Thread(target=fork.sync)
        thread.start()
        tried_again = "SELECT count(*) FROM pg_stat_database WHERE datname = current_database() AND xact_rollback > %s"
        with psycopg.connect(fork.url, autocommit=True) as other:
            before = other.execute(
                "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone()
            while other.execute(tried_again, before).fetchone() == (0,):
                assert thread.is_alive()
        local.rollback()
    thread.join(30)

    assert fork.sql(ROWS) == [(3, "a")]
    assert fork.conflicts() == []


Step = tuple[str, int, int]
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["insert", "update", "update", "delete", "rekey", "commit", "commit", "sync", "part", "truncate"]
        ),
        st.integers(1, 5),
        st.integers(1, 5),
    ),
    max_size=40,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_whatever_upstream_does_the_fork_is_equal_to_it(
    steps: list[Step], tmp_path_factory: pytest.TempPathFactory, database: str
) -> None:
    log = MadeLog(tmp_path_factory.mktemp("log"))
    fork = Fork(log, database)
    rows = _play(log, fork, steps)

    fork.sync()

    assert fork.sql(ROWS) == sorted(rows.items())
    assert fork.conflicts() == []
    with Target(database) as target:
        drop(target)
    log.close()


def _play(log: MadeLog, fork: Fork, steps: list[Step]) -> dict[int, str]:
    """Write a history, and give the rows that it leaves."""
    log.shape("Order", ID, column("v"))
    log.snapshot("Order")
    rows: dict[int, str] = {}
    changes: list[Row] = []
    part = 0
    for number, (what, key, other) in enumerate([*steps, ("commit", 0, 0)]):
        value = f"v{number}"
        if what == "insert" and key not in rows:
            rows[key] = value
            changes.append(log.insert("Order", order(key, value)))
        elif what == "update" and key in rows:
            changes.append(log.update("Order", key, {"v": rows[key]}, {"v": value}))
            rows[key] = value
        elif what == "delete" and key in rows:
            changes.append(log.delete("Order", order(key, rows.pop(key))))
        elif what == "rekey" and key in rows and other not in rows:
            rows[other] = rows.pop(key)
            changes.append(log.rekey("Order", key, other))
        elif what == "truncate" and other == 1:
            rows.clear()
            changes.append(log.truncate("Order"))
        elif what == "commit" or (what == "part" and changes):
            last = what == "commit"
            log.commit(*changes, part=(part, last) if part or not last else None)
            part, changes = (0 if last else part + 1), []
        elif what == "sync":
            fork.sync()
    return rows


_BOTH_SIDES = st.lists(
    st.tuples(st.sampled_from(["insert", "update", "delete"]), st.integers(1, 3), st.booleans()), max_size=30
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_BOTH_SIDES)
def test_whatever_both_sides_do_every_difference_is_ours_alone_or_a_conflict(
    steps: list[tuple[str, int, bool]], tmp_path_factory: pytest.TempPathFactory, database: str
) -> None:
    log = MadeLog(tmp_path_factory.mktemp("log"))
    fork = Fork(log, database)
    log.shape("Order", ID, column("v"))
    log.snapshot("Order")
    fork.sync()
    theirs: dict[int, str] = {}
    touched_here: set[int] = set()
    disputed: set[int] = set()
    for number, (what, key, here) in enumerate(steps):
        if here:
            _do_here(fork, what, key, f"local {number}")
            touched_here.add(key)
            disputed.discard(key)
        elif _do_upstream(log, theirs, what, key, f"v{number}"):
            fork.sync()
            disputed |= {key} & touched_here

    ours = dict(fork.sql(ROWS))
    open_keys = {conflict["key"]["id"] for conflict in fork.conflicts()}
    differing = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    assert differing <= touched_here
    assert differing & disputed <= open_keys
    assert open_keys <= touched_here
    with Target(database) as target:
        drop(target)
    log.close()


def _do_here(fork: Fork, what: str, key: int, value: str) -> None:
    if what == "insert":
        fork.sql('INSERT INTO public."order" VALUES (%s, %s) ON CONFLICT DO NOTHING', key, value)
    elif what == "update":
        fork.sql('UPDATE public."order" SET v = %s WHERE id = %s', value, key)
    else:
        fork.sql('DELETE FROM public."order" WHERE id = %s', key)


def _do_upstream(log: MadeLog, rows: dict[int, str], what: str, key: int, value: str) -> bool:
    """Commit one change, if it can be one."""
    if (what == "insert") == (key in rows):
        return False
    if what == "insert":
        rows[key] = value
        log.commit(log.insert("Order", order(key, value)))
    elif what == "update":
        log.commit(log.update("Order", key, {"v": rows[key]}, {"v": value}))
        rows[key] = value
    else:
        log.commit(log.delete("Order", order(key, rows.pop(key))))
    return True
