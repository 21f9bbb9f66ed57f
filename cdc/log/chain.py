"""The writer's end of the chain: items in, the line of the next record out (schemas/README.md §1–§4). No I/O.

Whoever holds a log's writer lock has one ChainWriter for it. Lines must reach the log in the order they were made; when an
append fails the ChainWriter is thrown away with what it made, and a new one goes on from what the log holds.
"""

import base64
import os
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from ...schemas.errors import Refused
from ...schemas.record import EMPTY, FORMAT, LINE_BYTES_MAX, Head
from ...schemas.tree import SALT_BYTES, tree_root
from .. import native
from .pieces import largest_field

_SALT_POOL_RECORDS = 512
_b64 = base64.b64encode


class Clock:
    """Microseconds since 1970 UTC to `2026-11-22T10:11:12.345678Z`, remembering the second it wrote last."""

    def __init__(self) -> None:
        self._second: int | None = None
        self._text = ""

    def text(self, time_us: int) -> str:
        """Write one time."""
        second, rest = divmod(time_us, 1_000_000)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{rest:06d}Z"

    def now(self) -> str:
        """The present."""
        return self.text(time.time_ns() // 1000)


class Extras(NamedTuple):
    """The header's keys that only some records have, as JSON values.

    Args:
        schema: Hash of the app schema in force.
        shapes: Hashes of the shapes that the items use.
        part: (number from 0, whether it is the last) of a record in parts.
        ref: The record this one amends.
        void: (first, last) seq of the parts that do not count.
    """

    schema: str = ""
    shapes: tuple[str, ...] = ()
    part: tuple[int, bool] | None = None
    ref: Head | None = None
    void: tuple[int, int] | None = None

    def text(self) -> str:
        """The keys in the header's order, each with its comma behind it."""
        out = f'"schema":"{self.schema}",' if self.schema else ""
        if self.shapes:
            out += '"shapes":["' + '","'.join(self.shapes) + '"],'
        if self.part is not None:
            out += f'"part":{{"n":{self.part[0]},"last":{"true" if self.part[1] else "false"}}},'
        if self.ref is not None:
            out += f'"ref":{{"seq":{self.ref.seq},"hash":"{self.ref.hash}"}},'
        if self.void is not None:
            out += f'"void":{{"from":{self.void[0]},"to":{self.void[1]}}},'
        return out


NO_EXTRAS = Extras()


class Rule(NamedTuple):
    """What holds for all commits of a run.

    Args:
        id_prefix: What stands before the end of a transaction in its commit's id, or before its GTID.
        binlog: The name of the binlog, what stands before a file's number; empty where positions are LSNs, or in an oplog.
        oplog: Positions are places in an oplog, and ids end with them.
        schema: Hash of the app schema.
        schema_by: What it was found by.
        build: What their tags name, or empty; so with the next two.
        tagged: Whether each has a tag, or none has.
        plans: worker/plans.py's, by relation.
        lookup: transforms/join.py's.
        room: The bytes of all rows together in one record.
        tag_bytes_max: A longer tag is not plain.
    """

    id_prefix: str
    binlog: str
    oplog: bool
    schema: str
    schema_by: str
    build: str
    version: str
    app: str
    tagged: bool
    plans: dict[Any, Any]
    lookup: Callable[[str, int], object]
    room: int
    tag_bytes_max: int


class Run(NamedTuple):
    """What became of a run: how many transactions were taken, the lines of those that publish something, how many rows
    they hold, and which transaction the last of them is of, -1 without one."""

    taken: int
    lines: bytes
    rows: int
    last: int


_clock = Clock()


def seal(
    open_: str,
    seq: int,
    prev: str,
    kind: str,
    id_: str,
    time_us: int,
    engine: str,
    position: str,
    after: str,
    tail: str,
    items: list[bytes],
    salt: bytes,
    recorded: bytes,
) -> tuple[bytes, str]:
    """The line of a record and its hash. So many values because every record passes here: each is written where it stands.

    Args:
        open_: The header before the seq.
        engine: What stands between the time and the position.
        tail: The optional keys, as `Extras.text` writes them.
        salt: 32 random bytes.
    """
    root = tree_root(salt, items)
    header = (
        f'{open_}{seq},"prev":"{prev}","kind":"{kind}","id":"{id_}","time":"{_clock.text(time_us)}'
        f'{engine}{position}","after":"{after}"}},{tail}"tree":{{"count":{len(items)},'
        f'"bytes":{sum(map(len, items))},"root":"{root}"}}}}'
    ).encode()
    line = b'{"header":%b,"body":{"salt":"%b","items":[%b]},"recorded":"%b"}\n' % (
        header,
        _b64(salt),
        b",".join(items),
        recorded,
    )
    return line, sha256(header).hexdigest()


_seal = native.seal if native.COMPILED else seal


class ChainWriter:
    """Makes the records that follow a head.

    Args:
        log: The log's id, 32 hex digits.
        epoch: The log's epoch.
        engine: What the source is, as `source.engine` says.
        head: The last record; EMPTY before genesis.
        position: The source's position of the last record.
    """

    def __init__(self, log: str, *, epoch: int, engine: str, head: Head = EMPTY, position: str = "") -> None:
        self.log, self.epoch, self.head, self.position = log, epoch, head, position
        self._open = f'{{"v":{FORMAT},"log":"{log}","epoch":{epoch},"seq":'
        self._engine = f'","source":{{"engine":"{engine}","position":"'
        self._clock = Clock()
        self._recorded = self._clock.now().encode()
        self._salts = b""
        self._salt_at = 0

    def tick(self) -> None:
        """Let the present be what the next records say under `recorded`: once per batch, not per record."""
        self._recorded = self._clock.now().encode()

    def commit(self, id_: str, time_us: int, *, position: str, items: list[bytes], tail: str = "") -> bytes:
        """The line of a record with an id and a time of its own.

        Args:
            id_: README §6. Must need no escaping.
            time_us: The source's commit time, microseconds since 1970 UTC.
            position: The source's position with this record; the present one where it does not move.
            items: The body's items, `by` and `meta` first.
            tail: The optional keys of the header, as `Extras.text` writes them.

        Raises:
            Refused: The line is above the format's limit, as every method may find.
        """
        return self._line("commit", id_, time_us, position, items, tail)

    def run(self, transactions: list[Any], start: int, rule: "Rule") -> "Run":
        """The lines of the commits of plain transactions (native/run.c), compiled; as many as come without another between.

        Args:
            transactions: tail/transaction.py's.
            start: The place of the first of them.
            rule: What holds for all.
        """
        if self._salt_at == len(self._salts):
            self._draw_salts()
        taken, lines, seq, digest, position, rows, last = native.run(
            (self._open, self._engine, *rule[:3], self._recorded, *rule[3:]),
            *self.head,
            self.position,
            transactions,
            start,
            self._salts[self._salt_at :],
        )
        self._salt_at += taken * SALT_BYTES
        self.head, self.position = Head(seq, digest), position
        return Run(taken, lines, rows, last)

    def record(
        self,
        kind: str,
        items: Iterable[bytes] = (),
        *,
        position: str = "",
        extras: Extras = NO_EXTRAS,
        meta: object = None,
    ) -> bytes:
        """The line of a record of another kind: by is null, its id and time are the log's own."""
        whole = [b"null", orjson.dumps(meta if meta is not None else {}), *items]
        return self.raw(kind, whole, position=position, extras=extras)

    def raw(self, kind: str, items: list[bytes], *, position: str = "", extras: Extras = NO_EXTRAS) -> bytes:
        """As `record`, with items 0 and 1 given."""
        self.tick()
        id_ = f"{self.log}:{self.epoch}:{self.head.seq + 1}"
        return self._line(kind, id_, time.time_ns() // 1000, position or self.position, items, extras.text())

    def _line(self, kind: str, id_: str, time_us: int, position: str, items: list[bytes], tail: str) -> bytes:
        seq, prev = self.head
        seq += 1
        line, digest = _seal(
            self._open, seq, prev, kind, id_, time_us, self._engine, position, self.position, tail, items,
            self._salt(), self._recorded,
        )  # fmt: skip
        if len(line) > LINE_BYTES_MAX:
            raise Refused(
                f"record {seq}, at {position}, has {len(line)} bytes, and is above the limit of {LINE_BYTES_MAX} bytes",
                hint=f"leave {largest_field(max(items, key=len))} out of the app schema",
            )
        self.head, self.position = Head(seq, digest), position
        return line

    def _salt(self) -> bytes:
        """32 bytes from the system's generator."""
        if self._salt_at == len(self._salts):
            self._draw_salts()
        self._salt_at += SALT_BYTES
        return self._salts[self._salt_at - SALT_BYTES : self._salt_at]

    def _draw_salts(self) -> None:
        """Many at a time, because each draw is a system call."""
        self._salts = os.urandom(SALT_BYTES * _SALT_POOL_RECORDS)
        self._salt_at = 0


def new_log_id() -> str:
    """128 random bits as 32 hex digits."""
    return os.urandom(16).hex()
