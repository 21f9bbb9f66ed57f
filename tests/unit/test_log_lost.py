"""What stops an embedded log's writer and its readers: a log cut short, put back, damaged or newer, and a head file that lies."""

import os
import threading
from pathlib import Path

import pytest
from golden import make

from commitlog.cdc.log.embedded import Writer
from commitlog.cdc.log.headfile import HEAD_BYTES, DurableHead, read_headfile
from commitlog.cdc.log.location import Location
from commitlog.cdc.log.reader import Reader
from commitlog.cdc.log.segment import first_seqs, segment_name
from commitlog.cdc.log.verify import verify
from commitlog.schemas.errors import (
    HistoryLost,
    Refused,
    UnknownFormat,
    VerificationFailed,
)
from commitlog.schemas.record import Head
from fixtures.logs import append, chain_after, file_end, last_segment, lay, next_record, torn


def test_the_head_file_is_what_the_specification_says(location: Location) -> None:
    with Writer.open(location, memory=None) as writer:
        (head,) = append(writer)
    data = location.head.read_bytes()
    end = last_segment(location).stat().st_size
    assert data.startswith(
        b'{"seq":0,"hash":"%b","segment":"%020d.jsonl","end":%d,"check":"' % (head.hash.encode(), 0, end)
    )
    assert len(data) == HEAD_BYTES
    assert data.endswith(b" \n")
    assert read_headfile(location.head) == DurableHead(head, segment_name(0), end)


def test_no_byte_of_the_head_file_can_change_unseen(location: Location) -> None:
    with Writer.open(location, memory=None) as writer:
        append(writer)
    data = location.head.read_bytes()
    changed = [
        data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :] for at in range(len(data)) for flip in (1, 32, 255)
    ]
    assert [DurableHead.decode(each) for each in [*changed, b"", data[:-1], data + b" ", b"[1]", b"\xff" * 256]] == [
        None
    ] * (len(changed) + 5)


def test_a_head_file_cannot_lead_out_of_the_log(location: Location) -> None:
    data = DurableHead(Head(0, "a" * 64), "../../../etc/passwd", 5).encode()
    assert DurableHead.decode(data) is None


def test_a_head_file_that_is_being_written_is_read_again(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    with Writer.open(location, memory=None) as writer:
        append(writer)
    whole = location.head.read_bytes()
    location.head.write_bytes(whole[:100] + b"?" * 156)
    monkeypatch.setattr("commitlog.cdc.log.headfile.time.sleep", lambda _: location.head.write_bytes(whole))
    assert Reader(location).head().seq == 0


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"?" * 256)], ids=["missing", "damaged"]
)
def test_a_lost_head_file_is_found_again_from_the_records(location: Location, memory: Path, damage) -> None:  # type: ignore[no-untyped-def] # a lambda
    with Writer.open(location, memory=memory, segment_bytes=1000) as writer:
        heads = [append(writer)[0] for _ in range(10)]
    damage(location.head)
    with pytest.raises(VerificationFailed, match="head file"):
        Reader(location).head()

    with Writer.open(location, memory=memory) as writer:
        assert writer.head == heads[-1]

    assert Reader(location).head() == heads[-1]


def test_without_a_head_file_a_damaged_record_stops_the_writer(location: Location) -> None:
    with Writer.open(location, memory=None) as writer:
        append(writer, 5)
    location.head.unlink()
    path = last_segment(location)
    before = path.read_bytes()
    path.write_bytes(before.replace(b'"seq":2', b'"seq":7'))
    with pytest.raises(VerificationFailed, match="record 2 is damaged"):
        Writer.open(location, memory=None)
    assert path.stat().st_size == len(before)


def test_a_damaged_record_before_the_last_segment_stops_the_writer(location: Location) -> None:
    with Writer.open(location, memory=None, segment_bytes=1000) as writer:
        append(writer)
        old = location.head.read_bytes()
        for _ in range(6):
            append(writer)
    location.head.write_bytes(old)
    path = location.segments / segment_name(first_seqs(location.segments)[0])
    data = path.read_bytes()
    path.write_bytes(data[:-300] + bytes([data[-300] ^ 1]) + data[-299:])
    with pytest.raises(VerificationFailed):
        Writer.open(location, memory=None)
    assert path.stat().st_size == len(data)


@pytest.mark.parametrize("lost", [1, 100, 1500])
def test_L1_a_log_cut_short_stops_writer_and_reader(location: Location, memory: Path, lost: int) -> None:
    with Writer.open(location, memory=memory) as writer:
        append(writer, 5)
    path = last_segment(location)
    os.truncate(path, path.stat().st_size - lost)
    before = path.read_bytes()

    with pytest.raises(HistoryLost, match="no longer holds its durable record 4"):
        Writer.open(location, memory=memory)
    with pytest.raises(VerificationFailed):
        list(Reader(location).records())
    with pytest.raises(VerificationFailed) as failure:
        verify(Reader(location))

    assert failure.value.seq in (2, 3, 4)
    assert path.read_bytes() == before


def test_L1_a_missing_segment_is_named(location: Location, memory: Path) -> None:
    with Writer.open(location, memory=memory, segment_bytes=1000) as writer:
        for _ in range(10):
            append(writer)
    firsts = first_seqs(location.segments)
    (location.segments / segment_name(firsts[2])).unlink()
    with pytest.raises(VerificationFailed, match=f"{segment_name(firsts[2])} is missing") as failure:
        verify(Reader(location))
    assert failure.value.seq == firsts[2]

    (location.segments / segment_name(firsts[-1])).unlink()
    with pytest.raises(HistoryLost, match="is missing"):
        Writer.open(location, memory=memory)


def test_L1_a_log_put_back_from_an_older_copy_stops_its_writer(location: Location, memory: Path) -> None:
    with Writer.open(location, memory=memory) as writer:
        append(writer, 3)
        older = (last_segment(location).read_bytes(), location.head.read_bytes())
        head = append(writer, 2)[-1]
    last_segment(location).write_bytes(older[0])
    location.head.write_bytes(older[1])

    assert verify(Reader(location)).records == 3
    with pytest.raises(HistoryLost, match=f"no longer holds record {head}") as failure:
        Writer.open(location, memory=memory)
    assert failure.value.exit_code == 3
    assert last_segment(location).read_bytes() == older[0]


def test_L1_a_log_written_anew_stops_its_writer(location: Location, memory: Path, tmp_path: Path) -> None:
    with Writer.open(location, memory=memory) as writer:
        append(writer, 3)
    other = Location(tmp_path / "others", "shop")
    with Writer.open(other, memory=None) as writer:
        append(writer, 4, size=20)
    location.root.rename(tmp_path / "gone")
    other.root.rename(location.root)
    with pytest.raises(HistoryLost, match=r"stands in its place|ends at byte|no line ends"):
        Writer.open(location, memory=memory)


def test_L1_a_log_that_is_gone_is_not_begun_again(location: Location, memory: Path, tmp_path: Path) -> None:
    with Writer.open(location, memory=memory) as writer:
        append(writer, 3)
    location.root.rename(tmp_path / "gone")
    with pytest.raises(HistoryLost, match="it ends at record -1"):
        Writer.open(location, memory=memory)


def test_a_damaged_memory_stops_the_writer(location: Location, memory: Path) -> None:
    with Writer.open(location, memory=memory) as writer:
        append(writer, 3)
    memory.write_bytes(memory.read_bytes().replace(b'"seq":2', b'"seq":1'))
    with pytest.raises(Refused, match="is damaged"):
        Writer.open(location, memory=memory)


def test_a_memory_that_is_behind_is_no_fault(location: Location, memory: Path) -> None:
    with Writer.open(location, memory=memory) as writer:
        append(writer, 3)
        older = memory.read_bytes()
        head = append(writer, 2)[-1]
    memory.write_bytes(older)
    with Writer.open(location, memory=memory) as writer:
        assert writer.head == head


def test_L3_a_record_of_a_newer_format_stops_reader_and_verify_by_its_seq(tmp_path: Path) -> None:
    lines = make.make().lines
    lines[5] = lines[5].replace(b'{"v":1,', b'{"v":2,')
    reader = Reader(lay(tmp_path, lines))
    for read in (lambda: list(reader.records()), lambda: verify(reader)):
        with pytest.raises(UnknownFormat, match=r"record 5: .*version 2") as failure:
            read()
        assert failure.value.exit_code == 4


def test_L3_a_writer_never_cuts_what_a_newer_version_wrote(location: Location) -> None:
    with Writer.open(location, memory=None) as writer:
        append(writer)
        chain = chain_after(writer)
        chain.head = writer.head
        torn(location, next_record(chain).replace(b'{"v":1,', b'{"v":2,'))
    size = last_segment(location).stat().st_size
    with pytest.raises(UnknownFormat):
        Writer.open(location, memory=None)
    assert last_segment(location).stat().st_size == size


def test_a_follower_of_a_log_that_is_cut_back_stops(location: Location) -> None:
    with Writer.open(location, memory=None) as writer:
        append(writer, 2)
        older = location.head.read_bytes()
        append(writer, 2)
        follower = Reader(location).follow(0, stop=threading.Event())
        assert [next(follower).seq for _ in range(4)] == [0, 1, 2, 3]
        location.head.write_bytes(older)
        with pytest.raises(HistoryLost):
            next(follower)


def test_a_head_inside_a_line_is_found(location: Location) -> None:
    with Writer.open(location, memory=None) as writer:
        (head,) = append(writer)
    location.head.write_bytes(DurableHead(head, segment_name(0), file_end(location) - 5).encode())
    with pytest.raises(VerificationFailed):
        list(Reader(location).records())
    with pytest.raises(HistoryLost):
        Writer.open(location, memory=None)
