"""What every home of a log promises its writer and its readers: ordered, unique, atomic, reliable, resumable, bookmarkable."""

import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
from confluent_kafka import Consumer

from commitlog.cdc.log import kafka_messages, kafka_reader
from commitlog.cdc.log.chain import Extras
from commitlog.cdc.log.embedded import Writer
from commitlog.cdc.log.home import LogLocation, LogReader, LogWriter, open_reader, open_writer
from commitlog.cdc.log.kafka_location import KafkaLocation
from commitlog.cdc.log.kafka_messages import Messages
from commitlog.cdc.log.kafka_reader import KafkaReader
from commitlog.cdc.log.location import Location
from commitlog.schemas.errors import HistoryLost, Locked, UsageError, VerificationFailed
from commitlog.schemas.record import EMPTY, Head
from fixtures.logs import append, chain_after, nap, next_record


@dataclass(frozen=True)
class Home:
    """One log, and how it is opened."""

    open_writer: Callable[[], LogWriter]
    open_reader: Callable[[], LogReader]
    patience: float
    """In how many pauses of 5 ms a follower sees what is durable."""


@pytest.fixture(params=["file", "kafka"])
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Home:
    location: LogLocation = Location(tmp_path / "logs", "shop")
    if request.param == "kafka":
        location = request.getfixturevalue("kafka_location")
    return Home(
        lambda: open_writer(location, memory=tmp_path / "state" / "head", segment_bytes=2000),
        lambda: open_reader(location),
        patience=4 if isinstance(location, Location) else 40,
    )


def test_a_log_that_nobody_made_is_named(home: Home) -> None:
    with pytest.raises(UsageError, match="there is no log"):
        home.open_reader().head()


def test_a_new_log_is_empty(home: Home) -> None:
    with home.open_writer() as writer:
        assert (writer.head, writer.durable, writer.last, writer.unfinished) == (EMPTY, EMPTY, None, None)
    assert home.open_reader().head() == EMPTY
    assert list(home.open_reader().records()) == []


def test_what_is_appended_is_invisible_until_it_is_flushed(home: Home) -> None:
    with home.open_writer() as writer:
        reader, chain = home.open_reader(), chain_after(writer)
        line = next_record(chain)
        writer.append(line, chain.head)
        assert (reader.head(), writer.head, writer.durable) == (EMPTY, chain.head, EMPTY)
        assert writer.pending_bytes == len(line)

        writer.flush()

        assert reader.head() == writer.durable == chain.head
        assert writer.pending_bytes == 0


def test_records_come_in_order_each_once_and_whole(home: Home) -> None:
    with home.open_writer() as writer:
        heads = [head for _ in range(10) for head in append(writer, 3)]

    assert [record.head for record in home.open_reader().records()] == heads


def test_many_records_in_one_append_are_visible_together(home: Home) -> None:
    with home.open_writer() as writer:
        chain = chain_after(writer)
        writer.append(b"".join(next_record(chain) for _ in range(50)), chain.head)
        writer.flush()
        assert len(list(home.open_reader().records())) == 50


@pytest.mark.parametrize("from_seq", [0, 1, 17, 29, 30])
def test_reading_resumes_at_any_record(home: Home, from_seq: int) -> None:
    with home.open_writer() as writer:
        append(writer, 30)
    assert [record.seq for record in home.open_reader().records(from_seq)] == list(range(from_seq, 30))
    assert [record.seq for record in home.open_reader().records(from_seq, until=20)] == list(range(from_seq, 21))


def test_one_record_is_found_by_its_seq(home: Home) -> None:
    with home.open_writer() as writer:
        heads = append(writer, 30)
    reader = home.open_reader()
    assert [reader.record(seq).head for seq in (29, 3, 0, 14)] == [heads[seq] for seq in (29, 3, 0, 14)]
    for seq in (-1, 30):
        with pytest.raises(UsageError, match=f"no record {seq}"):
            reader.record(seq)


def test_a_reader_that_knows_the_record_before_finds_another_history(home: Home) -> None:
    with home.open_writer() as writer:
        heads = append(writer, 5)
    reader = home.open_reader()
    assert next(reader.records(3, after=heads[2])).seq == 3
    with pytest.raises(VerificationFailed, match="does not follow"):
        next(reader.records(3, after=Head(2, "a" * 64)))


def test_a_reader_that_is_ahead_of_the_log_stops(home: Home) -> None:
    with home.open_writer() as writer:
        append(writer, 5)
    with pytest.raises(HistoryLost, match="ends at record 4"):
        list(home.open_reader().records(6))
    with pytest.raises(HistoryLost, match="ends at record 4"):
        next(home.open_reader().follow(6, stop=threading.Event()))


def test_a_follower_sees_every_record_soon_after_it_is_durable(home: Home) -> None:
    stop, follows, seen, durable, naps = threading.Event(), threading.Event(), [], [], []

    def follow() -> None:
        for record in home.open_reader().follow(0, stop=stop):
            seen.append((record.seq, time.monotonic()))
            follows.set()
            if record.seq == 300:
                return

    with home.open_writer() as writer:
        append(writer, 1)
        thread = threading.Thread(target=follow)
        thread.start()
        assert follows.wait(30)  # to find the way to a broker may take a while
        for _ in range(100):
            append(writer, 3)
            durable += [time.monotonic()] * 3
            naps.append(nap(0.005))
        thread.join(timeout=10)
        stop.set()
        thread.join(timeout=10)

    assert [seq for seq, _ in seen] == list(range(301))
    waits = [at - before for (_, at), before in zip(seen[1:], durable, strict=True)]
    # A folder is polled every 5 ms, a broker sends by itself; where others take the processors, such a pause takes longer.
    assert median(waits) < home.patience * median(naps)


def test_a_follower_ends_when_it_is_told_to(home: Home) -> None:
    stop = threading.Event()
    with home.open_writer() as writer:
        append(writer, 2)
        follower = home.open_reader().follow(0, stop=stop)
        assert [next(follower).seq, next(follower).seq] == [0, 1]
        threading.Timer(0.05, stop.set).start()
        assert list(follower) == []


def test_a_writer_that_comes_back_goes_on_from_the_last_record(home: Home) -> None:
    with home.open_writer() as writer:
        heads = append(writer, 3)
    for _ in range(3):
        with home.open_writer() as writer:
            assert writer.last is not None
            assert writer.last.head == writer.head == writer.durable == heads[-1]
            if isinstance(writer, Writer):
                assert (writer.adopted, writer.cut_bytes) == (0, 0)
            heads += append(writer, 4)
    assert [record.head for record in home.open_reader().records()] == heads


def test_what_was_not_flushed_is_forgotten(home: Home) -> None:
    with home.open_writer() as writer:
        heads = append(writer, 3)
        chain = chain_after(writer)
        writer.append(next_record(chain), chain.head)
    with home.open_writer() as writer:
        assert writer.head == heads[-1]


def test_F10_a_second_writer_is_refused_and_the_first_goes_on(home: Home) -> None:
    with home.open_writer() as writer:
        append(writer)
        with pytest.raises(Locked, match="is being written by"):
            home.open_writer()
        append(writer)
    with home.open_writer() as writer:
        assert writer.head.seq == 1


def test_parts_without_their_last_are_named_until_they_are_void(home: Home) -> None:
    with home.open_writer() as writer:
        chain = chain_after(writer)
        for part in (None, (0, False), (1, False)):
            line = next_record(chain, extras=Extras(part=part))
            writer.append(line, chain.head)
        writer.flush()
    with home.open_writer() as writer:
        assert writer.unfinished == (1, 2)
        chain = chain_after(writer)
        writer.append(next_record(chain, extras=Extras(void=(1, 2))), chain.head)
        writer.flush()
    with home.open_writer() as writer:
        assert writer.unfinished is None


def test_a_reader_beside_the_writer_only_sees_whole_prefixes(home: Home) -> None:
    stop = threading.Event()
    failures: list[str] = []
    lengths: list[int] = []

    def read() -> None:
        reader = home.open_reader()
        while not stop.is_set():
            head = reader.head()
            seqs = [record.seq for record in reader.records()]
            if seqs != list(range(len(seqs))) or len(seqs) <= head.seq:
                failures.append(f"{seqs} under head {head}")
            lengths.append(len(seqs))

    with home.open_writer() as writer:
        thread = threading.Thread(target=read)
        thread.start()
        for size in range(150):
            append(writer, 1 + size % 3, size)
        stop.set()
        thread.join(timeout=10)

    assert not failures
    assert lengths == sorted(lengths)


def test_a_follower_on_kafka_that_is_sent_nothing_more_asks_again(
    kafka_location: KafkaLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a broker stood still the library may ask it for nothing more, and say nothing of it."""
    monkeypatch.setattr(kafka_messages, "SILENT_S", 0.3)
    monkeypatch.setattr(kafka_reader, "_LOOK_EVERY", 5)
    used: list[Consumer] = []
    plain = KafkaReader._borrow

    def borrow(reader: KafkaReader) -> Messages:
        messages = plain(reader)
        used.append(messages._consumer)
        return messages

    monkeypatch.setattr(KafkaReader, "_borrow", borrow)
    with (
        closing(KafkaReader(kafka_location)) as reader,
        open_writer(kafka_location, memory=tmp_path / "head") as writer,
    ):
        append(writer, 2)
        follower = reader.follow(0, stop=threading.Event())
        assert [next(follower).seq, next(follower).seq] == [0, 1]
        used[-1].unassign()
        append(writer, 1)
        assert next(follower).seq == 2
        used[-1].unassign()
        append(writer, 1)
        assert next(follower).seq == 3
