"""Runs of plain transactions, compiled, become the commits that each becomes alone."""

import itertools
import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc import native
from commitlog.cdc.log import chain
from commitlog.cdc.worker.commits import UnknownBuild
from commitlog.drivers.tag import KEYS, encode
from commitlog.schemas.errors import DecodeError, VerificationFailed
from commitlog.schemas.position import format_binlog, format_oplog
from fixtures.committed import NOW, PLAIN, REPLICA_SET, SERVER, UNPUBLISHED, Log, Seen, row, schema, tag
from fixtures.messages import (
    INT4,
    ITEM,
    TEXT,
    delete,
    insert,
    message,
    relation,
    truncate,
    update,
)

pytestmark = pytest.mark.skipif(not native.COMPILED, reason=f"the compiled part is not there: {native.missing}")

changes = st.sampled_from([
    insert(row()), insert(row(2, None)), insert(row(3), PLAIN), update(row(1, b"m"), row()), update(row(), row()), update(row(2), row()),
    update(row(1, b"k"), [b"1", None, None], kind=b"K"), delete(row()), insert([b"1"], UNPUBLISHED), insert([b"x", b"", b""]),
    truncate([ITEM, UNPUBLISHED]), relation(ITEM, [("id", INT4), ("more", INT4), ("name", TEXT), ("secret", TEXT)]),
])  # fmt: skip
words = st.one_of(st.text(max_size=5), st.sampled_from(["", "b1", "seen", "x" * 400]))
TAGS = [
    tag(user="bob", build="b1"), tag(user="alice", build="b1", version="2", request="r"), tag(request="seen", build="b1"), tag(version="1.1"),
    tag(version="2.1"), tag(version="1.1", app="shop"), tag(user="eve", cause="c"), message(b"{"), message(b'{"v":1}'),
    message(b'{"v":1,"build":"b1"} '), tag(user="u" * 300, build="b1"), message(b"1", prefix=b"commitlog.ddl"),
]  # fmt: skip
tags = st.sampled_from(TAGS) | st.dictionaries(st.sampled_from(KEYS[:-1]), words).map(
    lambda said: message(encode(said)[0])
)
said = st.just([]) | tags.map(lambda one: [one]) | st.lists(tags, max_size=2)
transactions = st.lists(st.tuples(st.lists(changes, min_size=1, max_size=3), said), max_size=6)
WARM = [insert(row()), insert(row(), PLAIN), insert([b"1"], UNPUBLISHED)]


NOTHING: Mapping[str, bool] = {}
LIKE: list[Mapping[str, bool]] = [NOTHING, {"binlog": True}, {"oplog": True}]

Poll = Sequence[tuple[Sequence[bytes], Sequence[bytes]]]
"""The changes and tags of each of its transactions."""


def check_alike(
    polls: Sequence[Poll],
    *,
    part_bytes: int = 1 << 20,
    change_bytes: int = 1 << 20,
    strict: bool = False,
    like: Mapping[str, bool] = NOTHING,
) -> None:
    """What runs make of transactions is what each of them makes alone: lines, figures and errors."""

    def made(*, runs: bool) -> object:
        schemas = schema(strict=strict, builds=("b1", "1.*")), schema("id", builds=("2.*",), default=False)
        log = Log(*schemas, part_bytes=part_bytes, change_bytes=change_bytes, tag_bytes=64, **like)
        ends = itertools.count(0x1000, 0x100)
        for known in ([], [tag(version="2.1")]):  # its tables are not met for the first time any more
            log.commit(*WARM, *known, end=next(ends))
        log.committer.lookup = lambda request, time_us: Seen() if request == "seen" else None
        try:
            for poll in polls:
                waiting = [log.transaction(*rows, *said, end=next(ends)) for rows, said in poll]
                while waiting:
                    taken = log.committer.commit_run(waiting, 0) if runs else 0
                    if not taken:
                        log.committer.commit(waiting[0])
                    del waiting[: taken or 1]
            error = ""
        except (DecodeError, UnknownBuild) as exc:
            error = str(exc)
        return error, b"".join(log.lines), log.counts, log.committer.last, log.chain.head, log.chain.position

    with pytest.MonkeyPatch.context() as still:
        still.setattr(chain, "os", SimpleNamespace(urandom=bytes))
        still.setattr(chain, "time", SimpleNamespace(time_ns=lambda: NOW, strftime=time.strftime, gmtime=time.gmtime))
        assert made(runs=True) == made(runs=False)


SIZES = [(100, 1 << 20), (1 << 20, 90), (1 << 20, 1 << 20)]


@given(st.lists(transactions, max_size=3), st.sampled_from(SIZES), st.booleans(), st.sampled_from(LIKE))
def test_runs_of_transactions_become_what_each_becomes_alone(
    polls: list[list[tuple[list[bytes], list[bytes]]]],
    sizes: tuple[int, int],
    strict: bool,
    like: Mapping[str, bool],
) -> None:
    check_alike(polls, part_bytes=sizes[0], change_bytes=sizes[1], strict=strict, like=like)


@pytest.mark.parametrize("first", [[], *([one] for one in TAGS)])
def test_a_run_ends_where_a_tag_says_something_else(first: list[bytes]) -> None:
    rows = [insert(row())]
    for second in ([], *([one] for one in TAGS), TAGS[:2]):
        check_alike([[(rows, first), (rows, second)]])


def test_plain_transactions_of_one_build_are_taken_at_once() -> None:
    log = Log()
    log.commit(insert(row()))
    said = [tag(user=f"u{n}", build="b1") for n in range(600)]
    waiting = [log.transaction(insert(row(n)), what, end=0x2000 + n) for n, what in enumerate([*said, tag(build="b2")])]

    runs: list[int] = []
    while sum(runs) < len(waiting):
        runs.append(log.committer.commit_run(waiting, sum(runs)))
        assert runs[-1]

    assert len(runs) <= 4
    assert [record.items()[0]["user"] for record in log.records()[-601:-1]] == [f"u{n}" for n in range(600)]


@pytest.mark.parametrize(
    "end", [13 << 40 | 4, (14 << 40) - 1, 14 << 40, 999_999 << 40 | 7, 1_000_000 << 40, (1 << 24) - 1 << 40 | 5]
)
def test_a_place_in_a_binlog_is_written_as_python_writes_it(end: int) -> None:
    log = Log(binlog=True)
    log.commit(insert(row()))
    waiting = [log.transaction(insert(row()), end=16)]
    waiting[0].end = end

    assert log.committer.commit_run(waiting, 0) == 1

    header = log.records()[-1].header
    assert header["source"]["position"] == format_binlog("binlog", end)
    assert header["id"] == f"mysql:{SERVER}:16"


@pytest.mark.parametrize("end", [2 << 32, 1795383766 << 32 | 8, (1 << 64) - 1])
def test_a_place_in_an_oplog_is_written_as_python_writes_it(end: int) -> None:
    log = Log(oplog=True)
    log.commit(insert(row()))
    waiting = [log.transaction(insert(row()))]
    waiting[0].end = end

    assert log.committer.commit_run(waiting, 0) == 1

    header = log.records()[-1].header
    assert header["source"]["position"] == format_oplog(end)
    assert header["id"] == f"mongo:{REPLICA_SET}:{format_oplog(end)}"


def test_inserts_that_the_server_batched_are_said_not_to_be_atomic() -> None:
    log = Log(oplog=True)
    log.commit(insert(row()))
    waiting = [log.transaction(insert(row()), end=0x2000)]
    waiting[0].batched = True  # type: ignore[attr-defined]

    assert log.committer.commit_run(waiting, 0) == 0
    log.committer.commit(waiting[0])

    assert log.records()[-1].items()[1]["atomic"] is False


def test_a_commit_of_an_oplog_comes_behind_the_one_before_and_is_named_by_its_place() -> None:
    log = Log(oplog=True)
    log.commit(insert(row()), end=16)

    with pytest.raises(VerificationFailed, match="does not come after"):
        log.commit(insert(row(2)), end=16)

    log = Log(oplog=True)
    log.committer._source.commit_id = lambda transaction: "mongo:x:1.17"  # type: ignore[method-assign]
    with pytest.raises(VerificationFailed, match="is not that of a commit at"):
        log.commit(insert(row(2)), end=16)


def test_a_commit_that_ends_where_the_one_before_does_is_no_commit_of_a_binlog() -> None:
    log = Log(binlog=True)
    log.commit(insert(row()), end=16)

    with pytest.raises(VerificationFailed, match="does not come after"):
        log.commit(insert(row(2)), end=16)


def test_a_gtid_that_is_too_long_for_a_run_is_left_to_python() -> None:
    log = Log(binlog=True)
    log.commit(insert(row()))
    waiting = [log.transaction(insert(row()))]
    waiting[0].gtid = "g" * 200  # type: ignore[attr-defined]

    assert log.committer.commit_run(waiting, 0) == 0


def test_a_transaction_over_many_tables_is_one_record_with_all_their_shapes() -> None:
    names = [f"t{number}" for number in range(20)]
    log = Log(schema(names=names))
    for oid, name in enumerate(names, 100):
        log.assembler.feed(relation(oid, [("id", INT4)], name=name))
    rows = [insert([b"1"], oid) for oid in range(100, 120)]

    for end in (0x1000, 0x2000):
        waiting = [log.transaction(*rows, end=end), log.transaction(*rows[:16], end=end + 1)]
        while waiting:
            taken = log.committer.commit_run(waiting, 0)
            if not taken:
                log.committer.commit(waiting[0])
            del waiting[: taken or 1]

    commits = [record for record in log.records() if record.kind == "commit"]
    assert [len(record.header["shapes"]) for record in commits] == [20, 16, 20, 16]
    assert [[item["shape"] for item in record.items()[2:]] for record in commits] == [[*range(20)], [*range(16)]] * 2
