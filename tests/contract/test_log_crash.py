"""A writer of the embedded log that dies: by SIGKILL at any moment, and at every single system call, with and without the page cache.

After each death: every head that was acknowledged is there, the chain is whole, and the next writer goes on.
"""

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from commitlog.cdc.log.embedded import Writer
from commitlog.cdc.log.headfile import HEAD_BYTES
from commitlog.cdc.log.location import Location
from commitlog.cdc.log.reader import Reader
from commitlog.cdc.log.verify import verify
from commitlog.schemas.record import Head
from fixtures.logs import append
from fixtures.patience import until

APPENDER = """
import random, sys
from pathlib import Path
from fixtures.logs import append
from fixtures.patience import until
from commitlog.cdc.log.embedded import Writer
from commitlog.cdc.log.headfile import HEAD_BYTES
from commitlog.cdc.log.location import Location

rng = random.Random(int(sys.argv[3]))
with Writer.open(Location.parse(sys.argv[1]), memory=Path(sys.argv[2]), segment_bytes=20_000) as writer:
    print("open", writer.head, flush=True)
    while True:
        print("durable", append(writer, rng.randint(1, 20), rng.choice((10, 500, 9000)))[-1], flush=True)
"""


def appending_until_killed(location: Location, memory: Path, seed: int, seconds: float) -> list[Head]:
    """Run a writer in a process of its own, kill it, and return every head it said was durable."""
    process = subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(location), str(memory), str(seed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    timer = threading.Timer(seconds, process.send_signal, [signal.SIGKILL])
    timer.start()
    out, errors = process.communicate(timeout=30)
    timer.join()
    assert process.returncode == -signal.SIGKILL, errors
    lines = [line.split() for line in [first, *out.splitlines()]]
    return [Head.parse(line[1]) for line in lines if len(line) == 2 and line[0] == "durable" and len(line[1]) > 64]


def test_F3_a_writer_killed_while_it_appends_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    location, memory = Location(tmp_path / "logs", "shop"), tmp_path / "state" / "head"
    rng = random.Random(20261122)
    for seed in range(12):
        heads = appending_until_killed(location, memory, seed, rng.uniform(0.01, 0.2))
        hashes = {record.seq: record.hash for record in Reader(location).records()}
        assert [head for head in heads if hashes.get(head.seq) != head.hash] == []
        with Writer.open(location, memory=memory) as writer:
            assert writer.head.seq >= max((head.seq for head in heads), default=-1)
    assert verify(Reader(location)).records > 100


class Died(BaseException):
    """The process ends here; nothing of ours may catch it."""


class Disk:
    """Watches the system calls of a writer, ends it at one of them, and says what a loss of power may leave.

    A write of many bytes may be half done, one of a head's 256 not: they are in one sector. What a file held at its last sync, and the names a folder had at its own, are sure. Of the rest any block of 512 bytes and any
    name may be there or not.
    """

    CALLS = ("open", "write", "pwrite", "ftruncate", "fsync", "fdatasync", "rename", "unlink", "mkdir")

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.calls = 0
        self.fatal = -1
        self._real = {name: getattr(os, name) for name in self.CALLS}
        self._synced: dict[str, bytes] = {}
        self._sure: dict[str, bytes] = {}
        for name in self.CALLS:
            patch.setattr(os, name, lambda *args, _name=name, **more: self._call(_name, args, more))

    def _call(self, name: str, args: tuple[Any, ...], more: dict[str, Any]) -> Any:
        path = str(Path(f"/proc/self/fd/{args[0]}").readlink()) if isinstance(args[0], int) else str(args[0])
        changes = name != "open" or (len(args) > 1 and args[1] & (os.O_CREAT | os.O_TRUNC))
        if path.startswith(str(self.root)) and changes:
            self.calls += 1
            if self.calls == self.fatal:
                if name == "pwrite" and len(args[1]) > HEAD_BYTES:
                    self._real["pwrite"](args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
                raise Died
        result = self._real[name](*args, **more)
        self._note(name, path, args)
        return result

    def _note(self, name: str, path: str, args: tuple[Any, ...]) -> None:
        if name == "rename":
            self._synced[str(args[1])] = self._synced.pop(path, b"")
        elif name == "unlink":
            self._synced.pop(path, None)
        elif name in ("fsync", "fdatasync") and Path(path).is_file():
            self._synced[path] = Path(path).read_bytes()
            if path in self._sure:
                self._sure[path] = self._synced[path]
        elif name == "fsync":
            here = {str(each) for each in Path(path).iterdir() if each.is_file()}
            gone = [each for each in self._sure if str(Path(each).parent) == path and each not in here]
            for each in gone:
                del self._sure[each]
            self._sure.update({each: self._synced.get(each, b"") for each in here})

    def lose_power(self, rng: random.Random) -> None:
        """Leave on the real disk one of the states that a loss of power may leave."""
        now = {str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}
        for path in sorted(now.keys() | self._sure.keys()):
            states = [self._sure.get(path)]
            states.append(mixed(self._synced.get(path, b""), now[path], rng) if path in now else None)
            if path in now and path in self._sure and self._sure[path] == self._synced.get(path, b""):
                states.pop(0)
            state = rng.choice(states)
            if state is None:
                Path(path).unlink(missing_ok=True)
            else:
                Path(path).write_bytes(state)


def mixed(before: bytes, after: bytes, rng: random.Random) -> bytes:
    """A file of which some blocks reached the disk and some did not."""
    if before == after:
        return after
    size = rng.choice([len(before), len(after), rng.randint(*sorted((len(before), len(after))))])
    before, after = before.ljust(size, b"\0"), after.ljust(size, b"\0")
    favour = rng.choice([0.0, 0.5, 1.0])
    blocks = range(0, size, 512)
    return b"".join((after if rng.random() < favour else before)[at : min(at + 512, size)] for at in blocks)


def session(location: Location, memory: Path, acknowledged: list[Head]) -> None:
    """What a writer does in its life: opens, appends over several segments, ends."""
    with Writer.open(location, memory=memory, segment_bytes=2500) as writer:
        for size in (10, 700, 2000, 10, 3000, 100):
            acknowledged += append(writer, 2, size)


def deaths(
    folder: Path, patch: pytest.MonkeyPatch, prepare: Callable[[Location, Path], None]
) -> Iterator[tuple[Location, Path, Disk, list[Head]]]:
    """A writer's life, ended at its first system call that changes anything, at its second, and so on until it ends by itself."""
    for fatal in itertools.count(1):
        root = folder / str(fatal)
        location, memory = Location(root / "logs", "shop"), root / "state" / "head"
        root.mkdir()
        prepare(location, memory)
        acknowledged: list[Head] = []
        with patch.context() as during:
            disk = Disk(root, during)
            settle(disk)
            disk.fatal = fatal
            try:
                session(location, memory, acknowledged)
            except Died:
                close_all_under(root)
            else:
                assert fatal > 40
                return
        yield location, memory, disk, acknowledged


def close_all_under(root: Path) -> None:
    """What the kernel does for a process that died."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        if entry.exists() and str(entry.readlink()).startswith(str(root)):
            os.close(int(entry.name))


def settle(disk: Disk) -> None:
    """Everything there is now is on the disk for sure."""
    for path in disk.root.rglob("*"):
        if path.is_file():
            disk._synced[str(path)] = disk._sure[str(path)] = path.read_bytes()


def nothing(location: Location, memory: Path) -> None:
    """A log yet to be made."""


def torn(location: Location, memory: Path) -> None:
    """A log whose writer died: whole records and half a one behind its head."""
    with Writer.open(location, memory=memory, segment_bytes=2500) as writer:
        append(writer, 3, 100)
        old = location.head.read_bytes()
        append(writer, 2, 100)
    location.head.write_bytes(old)
    memory.write_bytes(old)
    segment = max(location.segments.iterdir())
    os.truncate(segment, segment.stat().st_size - 30)


def came_back(location: Location, memory: Path, acknowledged: list[Head]) -> None:
    """The next writer finds everything that was acknowledged, goes on, and the log is whole."""
    with Writer.open(location, memory=memory, segment_bytes=2500) as writer:
        assert writer.head.seq >= max((head.seq for head in acknowledged), default=-1)
        append(writer, 2)
    hashes = {record.seq: record.hash for record in Reader(location).records()}
    assert [head for head in acknowledged if hashes.get(head.seq) != head.hash] == []
    assert verify(Reader(location)).records == len(hashes)


@pytest.mark.parametrize("prepare", [nothing, torn])
def test_F_a_writer_may_die_at_any_system_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Location, Path], None]
) -> None:
    for location, memory, _, acknowledged in deaths(tmp_path, monkeypatch, prepare):
        came_back(location, memory, acknowledged)


@pytest.mark.parametrize("prepare", [nothing, torn])
@pytest.mark.parametrize("seed", range(3))
def test_F_the_power_may_fail_at_any_system_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Location, Path], None], seed: int
) -> None:
    rng = random.Random(seed)
    for location, memory, disk, acknowledged in deaths(tmp_path, monkeypatch, prepare):
        disk.lose_power(rng)
        came_back(location, memory, acknowledged)


def test_a_reader_follows_over_the_death_of_a_writer(tmp_path: Path) -> None:
    location, memory = Location(tmp_path / "logs", "shop"), tmp_path / "state" / "head"
    with Writer.open(location, memory=memory) as writer:
        append(writer)
    stop = threading.Event()
    seen: list[int] = []
    thread = threading.Thread(
        target=lambda: seen.extend(record.seq for record in Reader(location).follow(0, stop=stop))
    )
    thread.start()
    for seed in range(3):
        appending_until_killed(location, memory, seed, 0.05)
    with Writer.open(location, memory=memory) as writer:
        end = writer.head.seq
    until(lambda: len(seen) > end, "the last record")
    stop.set()
    thread.join(timeout=10)
    assert seen == list(range(end + 1))
