"""The appender: records become durable in their order, and nothing is called durable that the log does not hold."""

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commitlog.cdc.log.appender import Appender
from commitlog.cdc.log.chain import ChainWriter
from commitlog.cdc.log.embedded import Writer
from commitlog.cdc.log.location import Location
from commitlog.cdc.log.reader import Reader
from commitlog.cdc.log.verify import verify
from commitlog.schemas.errors import LogUnwritable, Refused
from commitlog.schemas.record import EMPTY, Head
from fixtures.logs import LOG, chain_after, next_record

WAIT_S = 20


class SlowWriter:
    """A log whose flush waits to be let through, and fails when told to; `wrote` is what is durable."""

    def __init__(self) -> None:
        self.durable = self.head = EMPTY
        self.wrote = b""
        self.flushes = 0
        self.fails: Exception | None = None
        self.may_flush, self.flushing = threading.Event(), threading.Event()
        self._pending = b""

    def append(self, lines: bytes, head: Head) -> None:
        self._pending += lines
        self.head = head

    def flush(self) -> None:
        self.flushing.set()
        assert self.may_flush.wait(WAIT_S)
        if self.fails is not None:
            raise self.fails
        self.wrote, self._pending = self.wrote + self._pending, b""
        self.durable = self.head
        self.flushes += 1


@pytest.fixture
def slow() -> Iterator[SlowWriter]:
    writer = SlowWriter()
    yield writer
    writer.may_flush.set()


def appender_of(writer: SlowWriter, *, bytes_max: int = 1 << 20) -> Appender:
    return Appender(cast(Any, writer), 0, bytes_max=bytes_max)


def add(appender: Appender, number: int, size: int = 4) -> None:
    appender.append(f"{number:>{size - 1}}\n".encode(), Head(number, f"{number:064x}"))


def test_the_mark_moves_when_the_flush_has_ended_and_not_before(slow: SlowWriter) -> None:
    appender = appender_of(slow)
    add(appender, 0)
    assert (appender.idle, appender.pending_bytes) == (False, 4)
    appender.start(10)
    assert slow.flushing.wait(WAIT_S)
    appender.collect()
    assert (appender.durable, appender.idle, appender.head, appender.pending_bytes) == (0, False, EMPTY, 0)
    slow.may_flush.set()
    appender.collect(wait=True)
    assert (appender.durable, appender.idle, appender.head.seq) == (10, True, 0)
    appender.close()


def test_one_flush_runs_at_a_time_and_the_next_takes_all_that_gathered(slow: SlowWriter) -> None:
    appender = appender_of(slow)
    add(appender, 0)
    appender.start(10)
    assert slow.flushing.wait(WAIT_S)
    for number in range(1, 5):
        add(appender, number)
        appender.start(10 + number)
    assert appender.pending_bytes == 16
    slow.may_flush.set()
    appender.collect(wait=True)
    assert (appender.durable, slow.flushes) == (10, 1)
    appender.start(14)
    appender.collect(wait=True)
    assert (appender.durable, slow.flushes, appender.head.seq) == (14, 2, 4)
    assert slow.wrote.split() == [b"0", b"1", b"2", b"3", b"4"]
    appender.close()


def test_with_too_much_gathered_a_start_waits_for_the_flush_before_it(slow: SlowWriter) -> None:
    appender = appender_of(slow, bytes_max=10)
    add(appender, 0)
    appender.start(10)
    assert slow.flushing.wait(WAIT_S)
    add(appender, 1, size=11)
    timer = threading.Timer(0.05, slow.may_flush.set)
    timer.start()
    appender.start(11)
    assert (appender.durable, appender.pending_bytes) == (10, 0)
    appender.collect(wait=True)
    assert appender.durable == 11
    timer.join(WAIT_S)
    appender.close()


@pytest.mark.parametrize("error", [LogUnwritable("full"), Refused("broken")])
def test_after_a_failed_flush_nothing_more_is_called_durable(slow: SlowWriter, error: Exception) -> None:
    appender = appender_of(slow)
    slow.may_flush.set()
    add(appender, 0)
    appender.flush(10)
    slow.fails = error
    add(appender, 1)
    appender.start(11)
    for act in (
        lambda: appender.collect(wait=True),
        appender.collect,
        lambda: appender.start(12),
        lambda: appender.flush(12),
        lambda: (add(appender, 2), appender.flush(13)),
    ):
        with pytest.raises(type(error)):
            act()
        assert (appender.durable, appender.head.seq, appender.idle) == (10, 0, False)
    appender.close()
    assert slow.wrote.split() == [b"0"]


def test_what_is_gathered_is_forgotten_at_the_end(slow: SlowWriter) -> None:
    appender = appender_of(slow)
    slow.may_flush.set()
    add(appender, 0)
    appender.start(10)
    add(appender, 1)
    appender.close()
    assert slow.wrote.split() == [b"0"]
    assert appender.durable == 0


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Writer, Appender, ChainWriter]]:
    """A log with its genesis, and an appender on it."""
    with Writer.open(Location(folder, "shop"), memory=None) as writer:
        appender = Appender(writer, 0, bytes_max=1 << 16)
        chain = chain_after(writer)
        appender.append(next_record(chain), chain.head)
        appender.flush(1)
        yield writer, appender, chain
        appender.close()


steps = st.lists(st.sampled_from(["append", "append", "append", "start", "collect", "wait", "flush"]), max_size=40)


@settings(max_examples=30)
@given(steps)
def test_a_real_log_holds_what_the_mark_says(tmp_path_factory: pytest.TempPathFactory, todo: list[str]) -> None:
    folder = tmp_path_factory.mktemp("log")
    with opened(folder) as (writer, appender, chain):
        reader = Reader(writer.location)
        for step in todo:
            # The mark is the number of records up to here, so that it can be held against the log.
            if step == "append":
                appender.append(next_record(chain), chain.head)
            elif step == "start":
                appender.start(chain.head.seq + 1)
            elif step == "flush":
                appender.flush(chain.head.seq + 1)
                assert appender.idle
            else:
                appender.collect(wait=step == "wait")
            assert appender.durable <= reader.head().seq + 1 <= chain.head.seq + 1
        appender.flush(chain.head.seq + 1)
        assert [record.seq for record in reader.records()] == list(range(chain.head.seq + 1))
        assert appender.head == chain.head == reader.head()
    assert verify(Reader(Location(folder, "shop"))).head == chain.head


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_L4_a_real_log_without_room_fails_at_collect_and_goes_on_with_a_new_writer(tmp_path: Path) -> None:
    with opened(tmp_path) as (writer, appender, chain):
        held = writer.durable
        with largest_file(4096):
            appender.append(next_record(chain, 5000), chain.head)
            appender.start(2)
            with pytest.raises(LogUnwritable, match="cannot be appended to"):
                appender.collect(wait=True)
        # There is room again, but what came after the failure is another writer's to make anew.
        with pytest.raises(LogUnwritable, match="cannot be appended to"):
            appender.flush(3)
        assert (appender.durable, appender.head, Reader(writer.location).head()) == (1, held, held)
    with Writer.open(Location(tmp_path, "shop"), memory=None) as writer:
        chain = chain_after(writer)
        assert (chain.log, chain.head) == (LOG, held)
        appender = Appender(writer, 1, bytes_max=1 << 16)
        appender.append(next_record(chain, 5000), chain.head)
        appender.flush(2)
        appender.close()
    assert verify(Reader(Location(tmp_path, "shop"))).head == chain.head
