"""The whole check of a log (schemas/README.md §8): every byte of every record, and the head.

What passes is consistent. Whether it is the log that its writer wrote, only a head learned elsewhere can say.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...schemas.errors import CommitLogError, VerificationFailed
from ...schemas.record import Head, Record
from ...schemas.tree import SALT_BYTES, tree_root
from . import canonical
from .headfile import DurableHead
from .home import LogReader
from .rules import Rules

_PROGRESS_BYTES, _PROGRESS_RECORDS = 1 << 20, 1024
"""Progress is told of the first record, and after so many bytes of items or so many records, whichever comes first."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A log that holds together.

    Args:
        head: Its durable head.
        log: Its id, empty where it has no records.
        commits: How many whole commits it holds, void ones aside.
        hidden: How many records do not show their body whole.
        unfinished: (from, to) of parts at the end whose last is not there yet; None without such.
        against: The head learned elsewhere that it was checked against, None for consistency only.
    """

    head: Head
    log: str
    commits: int
    hidden: int
    unfinished: tuple[int, int] | None
    against: Head | None

    @property
    def records(self) -> int:
        """How many records it holds."""
        return self.head.seq + 1


def verify(
    reader: LogReader, *, head: Head | None = None, progress: Callable[[int, int], None] | None = None
) -> Verified:
    """Check a log from its first record to its durable head as it is now.

    Args:
        reader: The log.
        head: A head learned elsewhere, which the log must hold.
        progress: Told (records done, all records) now and then.

    Raises:
        VerificationFailed: The first record that fails, by its seq, or the head.
        UnknownFormat: A record is newer than this code.
        UsageError: There is no such log.
    """
    durable = reader.durable()
    if head is not None and head.seq > durable.head.seq:
        raise VerificationFailed(
            f"log {reader.location} ends at record {durable.head.seq}: the head {head} is not in it", seq=head.seq
        )
    rules = Rules(lambda seq: reader.record(seq).hash)
    hidden, unsaid = 0, _PROGRESS_BYTES
    try:
        for record in reader.records(until=durable.head.seq):
            items = check_body(record)
            hidden += items is None
            rules.take(record, items)
            if head is not None and record.seq == head.seq and record.hash != head.hash:
                raise VerificationFailed(
                    f"record {head.seq} has hash {record.hash}, not the {head.hash} of the head learned elsewhere: "
                    "it, or a record before it, was written anew",
                    seq=head.seq,
                )
            unsaid += record.header["tree"]["bytes"] + _PROGRESS_BYTES // _PROGRESS_RECORDS
            if progress and unsaid >= _PROGRESS_BYTES:
                progress(record.seq + 1, durable.head.seq + 1)
                unsaid = 0
    except VerificationFailed as exc:
        raise _first_failure(exc, reader, durable) from exc
    return Verified(durable.head, rules.log, rules.commits, hidden, rules.unfinished, head)


def check_body(record: Record) -> list[Any] | None:
    """Check a record's tree; its items where the body is shown whole.

    Raises:
        RecordError: The body is not what the header's tree says.
    """
    tree = record.header["tree"]
    try:
        body = canonical.parse(record.body_bytes)
        items: list[Any] = body["items"]
        salt = body["salt"]
        raw = base64.b64decode(salt, validate=True)
        data = [canonical.dump(item) for item in items]
        exact = list(body) == ["salt", "items"] and len(raw) == SALT_BYTES and base64.b64encode(raw) == salt.encode()
        counted = len(data) >= 2 and len(data) == tree["count"] and sum(map(len, data)) == tree["bytes"]
        if exact and counted and type(items) is list and tree_root(raw, data) == tree["root"]:
            return items
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    # Not a whole body that is right: the reference reader says what it is.
    record.check_tree()
    return record.items() or None


def _first_failure(exc: VerificationFailed, reader: LogReader, durable: DurableHead) -> VerificationFailed:
    """Name the record that was changed, where a link is broken between two.

    A broken link does not say on which side it broke. Where what comes after confirms the later record, the earlier one
    is not what it was.
    """
    seq = exc.seq
    try:
        after, before = reader.record(seq), reader.record(seq - 1)
        confirmed = durable.head.hash if seq == durable.head.seq else reader.record(seq + 1).header["prev"]
    except CommitLogError:
        return exc
    if after.header["prev"] == before.hash or after.hash != confirmed:
        return exc
    return VerificationFailed(
        f"record {seq - 1} was changed: record {seq} says its hash was {after.header['prev']}, it is {before.hash}",
        seq=seq - 1,
    )
