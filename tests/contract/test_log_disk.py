"""A disk without room: an append fails whole, nothing of it is seen, and the writer goes on when there is room (L4)."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commitlog.cdc.log.location import Location
from commitlog.cdc.log.reader import Reader
from commitlog.cdc.log.verify import verify

# Appends until there is no room, says what it has then and what a reader sees, gets room, and goes on.
APPENDER = """
import json, os, resource, sys
from pathlib import Path
from fixtures.logs import append, chain_after, next_record
from commitlog.cdc.log.embedded import Writer
from commitlog.cdc.log.location import Location
from commitlog.cdc.log.reader import Reader
from commitlog.schemas.errors import LogUnwritable

location, memory, room, segment_bytes = Location.parse(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
writer = Writer.open(location, memory=memory, segment_bytes=segment_bytes)
size = lambda: sum(path.stat().st_size for path in location.segments.iterdir())
if room.isdigit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(room), resource.RLIM_INFINITY))
out = {"failures": []}
for _ in range(1000):
    before, bytes_before = writer.durable, size()
    try:
        append(writer, 3, 3000)
    except LogUnwritable as exc:
        out["error"] = [str(exc), exc.hint, exc.exit_code, exc.retry]
        break
for _ in range(3):
    try:
        writer.flush()
    except LogUnwritable:
        out["failures"].append([writer.durable.seq == before.seq, Reader(location).head() == before, size() == bytes_before])
out["durable"] = before.seq
out["read"] = len(list(Reader(location).records()))
if room.isdigit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
else:
    Path(room).unlink()
writer.flush()
append(writer, 3, 10)
out["after"] = writer.durable.seq
writer.close()
print(json.dumps(out))
"""


def appending_without_room(location: Location, memory: Path, room: str, segment_bytes: int) -> dict[str, Any]:
    """Run the appender; `room` is the largest file allowed, or the file that is removed to make room."""
    done = subprocess.run(
        [sys.executable, "-c", APPENDER, str(location), str(memory), room, str(segment_bytes)],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def check(location: Location, out: dict[str, Any], reason: str) -> None:
    message, hint, code, retry = out["error"]
    assert message == f"log {location} cannot be appended to: {reason}"
    assert (hint, code, retry) == (f"make room on the disk of {location.root}", 5, "again")
    assert out["failures"] == [[True, True, True]] * 3
    assert out["read"] == out["durable"] + 1
    # The append that had failed came whole when there was room, and then another.
    assert out["after"] == out["durable"] + 6
    assert verify(Reader(location)).records == out["after"] + 1


def test_L4_a_file_that_must_not_grow_fails_the_append_whole(tmp_path: Path) -> None:
    location = Location(tmp_path / "logs", "shop")
    out = appending_without_room(location, tmp_path / "state" / "head", "100000", 1 << 30)
    check(location, out, "File too large")
    assert out["durable"] > 10


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """A tmpfs of half a megabyte."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", path], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")
@pytest.mark.parametrize("segment_bytes", [1 << 30, 20_000], ids=["one segment", "many segments"])
def test_L4_a_full_disk_fails_the_append_whole(tmp_path: Path, segment_bytes: int) -> None:
    with small_disk(tmp_path / "disk") as disk:
        location = Location(disk / "logs", "shop")
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 100_000)
        out = appending_without_room(location, disk / "state" / "head", str(ballast), segment_bytes)
        check(location, out, "No space left on device")
        assert out["durable"] > 50
