"""The head file of an embedded log: 256 bytes that say how far the log is durable (schemas/README.md §9).

It is overwritten in place, so that moving it costs one small write and no sync: after a loss of power it may be behind
the log, never ahead of it, and the writer moves it forward again from what the segments hold.
"""

import json
import os
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ...schemas.errors import Refused, VerificationFailed
from ...schemas.record import EMPTY, Head, is_digest
from .location import make_folder, sync_folder
from .segment import first_seq_of, segment_name

HEAD_BYTES = 256
_TORN_READS_MAX = 50
_TORN_READ_WAIT_S = 0.002


@dataclass(frozen=True, slots=True)
class DurableHead:
    """How far a log is durable.

    Args:
        head: The last durable record.
        segment: The name of the segment file it stands in.
        end: The byte in that segment where its line ends.
    """

    head: Head
    segment: str
    end: int

    def encode(self) -> bytes:
        """The 256 bytes of the head file."""
        start = f'{{"seq":{self.head.seq},"hash":"{self.head.hash}","segment":"{self.segment}","end":{self.end}'
        check = sha256(start.encode()).hexdigest()[:16]
        return f'{start},"check":"{check}"}}'.ljust(HEAD_BYTES - 1).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> "DurableHead | None":
        """What `data` says, or None where it is not exactly what `encode` writes."""
        try:
            fields = json.loads(data)
            found = cls(Head(fields["seq"], fields["hash"]), fields["segment"], fields["end"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        seq, end = found.head.seq, found.end
        if type(seq) is not int or type(end) is not int or seq < -1 or end < 0 or not is_digest(found.head.hash):
            return None
        return found if first_seq_of(found.segment) is not None and found.encode() == data else None


BEGINNING = DurableHead(EMPTY, segment_name(0), 0)
"""The durable head of a log that holds nothing yet."""


def read_headfile(path: Path) -> DurableHead:
    """The durable head.

    A writer overwrites the file while others read it, so what does not hold together is read again for 100 ms.

    Raises:
        VerificationFailed: The file is damaged.
        FileNotFoundError: There is none.
    """
    for attempt in range(_TORN_READS_MAX):
        if attempt:
            time.sleep(_TORN_READ_WAIT_S)
        with path.open("rb") as file:
            found = DurableHead.decode(file.read(HEAD_BYTES + 1))
        if found:
            return found
    raise VerificationFailed(
        f"the head file {path} is damaged", hint="start the worker: it finds the head again from the log's records"
    )


class Memory:
    """A second copy of the head file, kept outside the log: what this writer has made durable.

    A log that was cut or put back from an older copy looks whole in itself; only its writer, or a reader, can know
    better. It is written after the head file, so it is never ahead of the log.

    Args:
        path: The file; its folder is made where missing.
    """

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        if not path.exists():
            create_file(path, BEGINNING.encode())
            sync_folder(path.parent)
        self.path = path
        self._fd = os.open(path, os.O_RDWR)

    def read(self) -> DurableHead:
        """What was written last, `BEGINNING` where nothing was.

        Raises:
            Refused: The file is damaged.
        """
        found = DurableHead.decode(os.pread(self._fd, HEAD_BYTES + 1, 0))
        if not found:
            raise Refused(
                f"{self.path}, the writer's memory of the log's head, is damaged",
                hint=f"compare the log with a head learned elsewhere (commitlog verify --head), then remove {self.path}",
            )
        return found

    def write(self, data: bytes) -> None:
        """Remember `data`, an encoded head. No sync: after a loss of power the memory may be behind."""
        os.pwrite(self._fd, data, 0)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def create_file(path: Path, data: bytes) -> None:
    """Create a file for its owner only, whole and on disk or not at all. Its folder is not synced."""
    part = path.with_name(path.name + ".new")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    part.rename(path)
