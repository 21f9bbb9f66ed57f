"""Two ways to change a copy of a log: one clumsy, one as well as anybody can who does not have its head."""

import re
from base64 import b64decode
from pathlib import Path

import orjson

from ...schemas.record import Record, split
from ...schemas.tree import tree_root
from ..log.canonical import dump
from ..log.headfile import DurableHead, read_headfile
from ..log.location import Location

_DIGEST = re.compile(rb"[0-9a-f]{64}")


def change_byte(location: Location, seq: int, old: bytes, new: bytes) -> None:
    """Put other bytes of the same length into the body of a record, and leave all else as it is."""
    segment = _segment(location)
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[seq] = _replaced(lines[seq], old, new)
    segment.write_bytes(b"".join(lines))


def rewrite(location: Location, seq: int, old: bytes, new: bytes) -> None:
    """Change a record's body, and every hash from there to the head so that the copy holds together again."""
    segment = _segment(location)
    lines = segment.read_bytes().splitlines(keepends=True)
    renewed: dict[bytes, bytes] = {}
    for number in range(seq, len(lines)):
        was = Record.parse(lines[number])
        if number == seq:
            line = _with_root(_replaced(lines[number], old, new), str(was.header["tree"]["root"]))
        else:
            line = _DIGEST.sub(lambda digest: renewed.get(digest[0], digest[0]), lines[number])
        lines[number] = line
        renewed[was.hash.encode()] = Record.parse(line).hash.encode()
    segment.write_bytes(b"".join(lines))
    durable = read_headfile(location.head)
    head = Record.parse(lines[durable.head.seq]).head
    location.head.write_bytes(DurableHead(head, durable.segment, durable.end).encode())


def _segment(location: Location) -> Path:
    """The log's one segment file: a demo's log is far below the size at which the next is begun."""
    (segment,) = location.segments.iterdir()
    return segment


def _with_root(line: bytes, root: str) -> bytes:
    """The line with the root that its body has now."""
    _, body, _ = split(line)
    document = orjson.loads(body)
    new = tree_root(b64decode(document["salt"]), [dump(item) for item in document["items"]])
    return _replaced(line, root.encode(), new.encode())


def _replaced(line: bytes, old: bytes, new: bytes) -> bytes:
    """The line with the first `old` replaced; both of one length, for sizes stand in headers."""
    if len(old) != len(new) or old not in line:
        raise ValueError(f"{old!r} cannot be replaced by {new!r}")
    return line.replace(old, new, 1)
