"""Is the source that answers the one the log was made from? By what the server repeats of its end."""

from collections.abc import Callable

import pytest

from commitlog.cdc.log.chain import Clock
from commitlog.cdc.log.state import LogState
from commitlog.cdc.source.check import RepeatCheck
from commitlog.cdc.tail.transaction import Transaction
from commitlog.schemas.errors import HistoryLost
from commitlog.schemas.position import format_lsn

END, XID, TIME_US = 0x500, 77, 123_456_789


def check(*, confirmed: int = 0x400, publishes: bool = True) -> RepeatCheck:
    """Of a log whose last commit ended at END; the slot stands at `confirmed`."""
    commit = {"position": format_lsn(END), "xid": XID, "time": Clock().text(TIME_US)}
    return RepeatCheck(LogState(commit=commit), confirmed, lambda transaction: publishes)


def transaction(end: int = END, xid: int = XID, time_us: int = TIME_US) -> Transaction:
    return Transaction(xid, end, time_us, [], [])


def test_the_last_commit_comes_again_and_the_stream_goes_on() -> None:
    repeat = check()

    repeat.repeated(transaction(end=END - 0x80, xid=XID - 1))
    repeat.repeated(transaction())
    repeat.passed()


def test_a_slot_at_or_past_the_last_commit_repeats_nothing() -> None:
    check(confirmed=END).passed()


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(lambda repeat: repeat.passed(), id="it does not come"),
        pytest.param(lambda repeat: repeat.repeated(transaction(xid=XID + 1)), id="it has another number"),
        pytest.param(lambda repeat: repeat.repeated(transaction(time_us=TIME_US + 1)), id="it has another time"),
        pytest.param(lambda repeat: repeat.repeated(transaction(end=END + 0x80)), id="another follows it"),
    ],
)
def test_another_history_is_named(happens: Callable[[RepeatCheck], None]) -> None:
    with pytest.raises(HistoryLost, match=r"another one: the log's last commit at 0/500 \(transaction 77\)"):
        happens(check())


def test_what_publishes_nothing_may_follow_the_last_commit() -> None:
    repeat = check(publishes=False)

    repeat.repeated(transaction())
    repeat.repeated(transaction(end=END + 0x80))
    repeat.passed()


def test_a_log_without_commits_expects_none() -> None:
    repeat = RepeatCheck(LogState(), 0, lambda transaction: True)

    repeat.repeated(transaction())
    repeat.passed()
