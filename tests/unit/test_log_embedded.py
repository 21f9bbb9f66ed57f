"""The embedded log's files: what a writer finds when it comes back, and what it refuses to go on from."""

import os
import stat
from pathlib import Path

import pytest
from golden import make

from commitlog.cdc.log.embedded import Writer
from commitlog.cdc.log.headfile import DurableHead
from commitlog.cdc.log.location import Location
from commitlog.cdc.log.reader import Reader
from commitlog.cdc.log.segment import first_seqs, seek, segment_name
from commitlog.cdc.log.verify import verify
from commitlog.schemas.errors import (
    HistoryLost,
    LogUnwritable,
    RecordError,
    Refused,
    UsageError,
    VerificationFailed,
)
from commitlog.schemas.record import Head
from fixtures.logs import append, chain_after, file_end, last_segment, lay, next_record, torn


@pytest.mark.parametrize(
    ("url", "folder", "name"),
    [
        ("file:logs#shop", "logs", "shop"),
        ("file:/var/logs#shop", "/var/logs", "shop"),
        ("file:///var/logs#shop-2_b", "/var/logs", "shop-2_b"),
        ("file:a#b#c", "a#b", "c"),
    ],
)
def test_a_location_is_read_and_written(url: str, folder: str, name: str) -> None:
    location = Location.parse(url)
    assert location == Location(Path(folder), name)
    assert Location.parse(str(location)) == location


@pytest.mark.parametrize(
    "url",
    [
        "",
        "logs#shop",
        "file:#shop",
        "file:logs",
        "file:logs#",
        "file:logs#../x",
        "file:logs#Shop",
        "file:logs#" + "a" * 65,
        "kafka:x#y",
    ],
)
def test_what_is_no_location_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError):
        Location.parse(url)


def test_files_are_for_their_owner_only(location: Location, memory: Path) -> None:
    with Writer.open(location, memory=memory, segment_bytes=100) as writer:
        append(writer)
        append(writer)
    paths = [location.folder, *location.folder.rglob("*"), memory.parent, memory]
    modes = {str(path): oct(stat.S_IMODE(path.stat().st_mode)) for path in paths}
    assert modes == {str(path): "0o700" if path.is_dir() else "0o600" for path in paths}


def test_segments_are_closed_at_their_size_and_read_as_one(location: Location) -> None:
    with Writer.open(location, memory=None, segment_bytes=2000) as writer:
        heads = [head for _ in range(20) for head in append(writer, 2)]
    sizes = [(location.segments / segment_name(first)).stat().st_size for first in first_seqs(location.segments)]
    assert len(sizes) > 5
    assert all(2000 <= size < 4000 for size in sizes[:-1])
    assert [record.head for record in Reader(location).records()] == heads
    with Writer.open(location, memory=None, segment_bytes=2000) as writer:
        assert writer.head == heads[-1]


def test_a_place_in_a_segment_is_found_from_any_mark(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    lines = [b"x" * (number * 7919 % 3000) + b"\n" for number in range(3000)]
    path.write_bytes(b"".join(lines))
    fd = os.open(path, os.O_RDONLY)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    marks = [(0, 0)]
    try:
        order = [2999, 0, 1, 1500, 700, 3000, 2998, *range(0, 3000, 97)]
        assert [seek(fd, count, marks) for count in order] == [offsets[count] for count in order]
        assert len(marks) > 3
        assert seek(fd, 5000, marks) == offsets[-1]
    finally:
        os.close(fd)


@pytest.mark.parametrize("cut", [1, 30, 400])
def test_a_torn_tail_is_cut(location: Location, memory: Path, cut: int) -> None:
    with Writer.open(location, memory=memory) as writer:
        heads = append(writer, 3)
        chain = chain_after(writer)
        chain.head = writer.head
        line = next_record(chain, 400)
    torn(location, line[:-cut])

    with Writer.open(location, memory=memory) as writer:
        assert (writer.head, writer.adopted, writer.cut_bytes) == (heads[-1], 0, len(line) - cut)
        heads += append(writer, 2)

    assert [record.head for record in Reader(location).records()] == heads


def test_whole_records_behind_the_head_are_adopted(location: Location, memory: Path) -> None:
    with Writer.open(location, memory=memory) as writer:
        append(writer, 3)
        chain = chain_after(writer)
        chain.head = writer.head
        lines = [next_record(chain) for _ in range(4)]
    torn(location, b"".join(lines[:3]) + lines[3][:50])
    assert Reader(location).head().seq == 2

    with Writer.open(location, memory=memory) as writer:
        assert (writer.head.seq, writer.adopted, writer.cut_bytes) == (5, 3, 50)
        assert writer.last is not None
        assert writer.last.seq == 5

    assert Reader(location).head().seq == 5
    assert verify(Reader(location)).records == 6


@pytest.mark.parametrize(
    "tail",
    [
        b"\0" * 5000,
        b"\n\n\n",
        make.make().lines[0],
        make.make().lines[3],
        b"".join(make.make().lines[3:]),
    ],
    ids=["zeros", "feeds", "genesis of another log", "record of another log", "another log"],
)
def test_records_that_do_not_follow_are_cut(location: Location, memory: Path, tail: bytes) -> None:
    with Writer.open(location, memory=memory) as writer:
        heads = append(writer, 3)
    torn(location, tail)
    with Writer.open(location, memory=memory) as writer:
        assert (writer.head, writer.cut_bytes) == (heads[-1], len(tail))


def test_a_record_whose_body_did_not_reach_the_disk_is_cut(location: Location, memory: Path) -> None:
    with Writer.open(location, memory=memory) as writer:
        heads = append(writer, 3)
        chain = chain_after(writer)
        chain.head = writer.head
        line = next_record(chain)
    torn(location, line.replace(b"xxxx", b"yyyy"))
    with Writer.open(location, memory=memory) as writer:
        assert (writer.head, writer.adopted) == (heads[-1], 0)


def test_a_segment_begun_before_a_crash_is_taken_away(location: Location, memory: Path) -> None:
    with Writer.open(location, memory=memory) as writer:
        heads = append(writer, 3)
    (location.segments / segment_name(3)).write_bytes(b"")
    with Writer.open(location, memory=memory) as writer:
        assert writer.head == heads[-1]
        heads += append(writer, 3)
    assert [record.head for record in Reader(location).records()] == heads
    assert first_seqs(location.segments) == [0]


def test_a_crash_right_after_a_new_segment_was_filled_loses_nothing(location: Location, memory: Path) -> None:
    with Writer.open(location, memory=memory) as writer:
        append(writer, 3)
        chain = chain_after(writer)
        chain.head = writer.head
        lines = [next_record(chain), next_record(chain)]
    (location.segments / segment_name(3)).write_bytes(b"".join(lines))
    with Writer.open(location, memory=memory) as writer:
        assert (writer.head.seq, writer.adopted) == (4, 2)
        append(writer)
    assert verify(Reader(location)).records == 6


def test_a_lock_refused_leaves_no_descriptor(location: Location, memory: Path) -> None:
    def descriptors() -> list[str]:
        return sorted(str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.exists())

    with Writer.open(location, memory=memory) as writer:
        append(writer, 2)
    before = descriptors()
    os.truncate(last_segment(location), 10)
    for _ in range(3):
        with pytest.raises(HistoryLost):
            Writer.open(location, memory=memory)
    assert descriptors() == before


def test_a_failed_sync_ends_the_writer_and_nothing_of_it_is_seen(
    location: Location, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer.open(location, memory=memory)
    heads = append(writer, 2)
    calls = []

    def fail(fd: int) -> None:
        calls.append(fd)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(Refused, match="Input/output error") as failure:
            append(writer)
    assert failure.value.retry == "after_operator"
    with pytest.raises(Refused, match="an earlier write failed"):
        append(writer)
    assert len(calls) == 1
    assert Reader(location).head() == writer.durable == heads[-1]
    writer.close()
    with Writer.open(location, memory=memory) as writer:
        assert (writer.head, writer.adopted) == (heads[-1], 0)


def test_a_write_that_comes_short_is_carried_on(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(
        os, "pwrite", lambda fd, data, at: pwrite(fd, bytes(data)[:100] if len(data) > 256 else data, at)
    )
    with Writer.open(location, memory=None) as writer:
        append(writer, 5, size=1000)
    monkeypatch.undo()
    assert verify(Reader(location)).records == 5


def test_a_closed_writer_refuses(location: Location) -> None:
    writer = Writer.open(location, memory=None)
    writer.close()
    writer.close()
    with pytest.raises(Refused, match="it was closed"):
        append(writer)


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises((Refused, LogUnwritable), match="shop"):
        Writer.open(Location(tmp_path / "logs", "shop"), memory=None)


def test_a_line_above_the_limit_is_refused_without_reading_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commitlog.cdc.log.segment.LINE_BYTES_MAX", 3 << 20)
    location = lay(tmp_path, make.make().lines[:3])
    with (location.segments / segment_name(0)).open("ab") as file:
        file.write(b"x" * (5 << 20))
    location.head.write_bytes(DurableHead(Head(3, "a" * 64), segment_name(0), file_end(location)).encode())
    with pytest.raises(VerificationFailed, match="above the limit"):
        list(Reader(location).records())


def test_a_record_error_says_which_record_of_which_log(tmp_path: Path) -> None:
    lines = make.make().lines
    lines[7] = b"garbage\n"
    location = lay(tmp_path, lines)
    with pytest.raises(RecordError, match=r"golden, record 7: the line is not a record") as failure:
        list(Reader(location).records())
    assert failure.value.seq == 7


def test_a_log_that_is_being_made_is_none_yet_and_one_with_records_lacks_its_head_file(
    location: Location,
) -> None:
    location.segments.mkdir(parents=True)
    segment = location.segments / segment_name(0)
    segment.touch()
    with pytest.raises(UsageError, match="there is no log"):
        Reader(location).durable()

    segment.write_bytes(b"{}")
    with pytest.raises(VerificationFailed, match="no head file"):
        Reader(location).durable()
