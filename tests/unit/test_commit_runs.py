"""Runs of plain transactions, compiled, become the commits that each becomes alone."""

import itertools
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc import native
from commitlog.cdc.commits import UnknownBuild
from commitlog.cdc.log import chain
from commitlog.drivers.tag import KEYS, encode
from commitlog.schemas.errors import DecodeError
from fixtures.committed import NOW, PLAIN, UNPUBLISHED, Log, Seen, row, schema, tag
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

changes = st.sampled_from([
    insert(row()), insert(row(2, None)), insert(row(3), PLAIN), update(row(1, b"m"), row()), update(row(), row()), update(row(2), row()),
    update(row(1, b"k"), [b"1", None, None], kind=b"K"), delete(row()), insert([b"1"], UNPUBLISHED), insert([b"x", b"", b""]),
    truncate([ITEM, UNPUBLISHED]), relation(ITEM, [("id", INT4), ("more", INT4), ("name", TEXT), ("secret", TEXT)]),
])  # fmt: skip
words = st.one_of(st.text(max_size=5), st.sampled_from(["", "b1", "seen", "x" * 600]))
tags = st.dictionaries(st.sampled_from(KEYS[:-1]), words).map(lambda said: message(encode(said)[0])) | st.sampled_from([
    tag(user="alice", build="b1", request="r"), tag(user="bob", build="b1"), tag(request="seen", build="b1"), tag(version="1", app="shop"), tag(user="eve", cause="c"),
    message(b"{"), message(b"x" * 5000), message(b'{"v":1}'), message(b'{"v":1,"build":"b1"} '), message(b"1", prefix=b"commitlog.ddl"),
])  # fmt: skip
transactions = st.lists(
    st.tuples(st.lists(changes, max_size=3), st.lists(tags, max_size=1) | st.lists(tags, max_size=2))
)


@pytest.mark.skipif(not native.COMPILED, reason=f"the compiled part is not there: {native.missing}")
@given(st.lists(transactions, max_size=4), st.sampled_from([100, 1 << 20]), st.booleans())
def test_runs_of_transactions_become_what_each_becomes_alone(
    polls: list[list[tuple[list[bytes], list[bytes]]]], part_bytes: int, strict: bool
) -> None:
    def made(*, runs: bool) -> object:
        log, ends = Log(schema(strict=strict), part_bytes=part_bytes), itertools.count(0x1000, 0x100)
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


@pytest.mark.skipif(not native.COMPILED, reason=f"the compiled part is not there: {native.missing}")
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
