"""The log as the demo's proofs read it: whole commits with what later records say of who made them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..log.home import LogReader
from ..log.reader import items_of
from .processes import DemoFailed

By = Mapping[str, Any]
Change = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit.

    Args:
        seq: Its seq.
        schema: Hash of its app schema.
        claimed: `by` as the worker wrote it; empty for an untagged commit.
        by: The same after all amendments.
        schema_by: How its app schema was found.
        changes: Its changes.
    """

    seq: int
    schema: str
    claimed: By
    by: By
    schema_by: str
    changes: tuple[Change, ...]

    @property
    def request(self) -> str:
        """Its request id, or empty."""
        return str(self.by.get("request", ""))


def read_commits(reader: LogReader) -> list[Commit]:
    """The commits of a log, in their order.

    Raises:
        CommitLogError: The log does not follow its chain.
    """
    commits: dict[int, Commit] = {}
    for record in reader.records():
        if record.kind not in ("commit", "amend"):
            continue
        by, meta, *changes = items_of(record)
        if record.kind == "amend":
            amended = int(record.header["ref"]["seq"])
            if amended in commits:
                commits[amended] = replace(commits[amended], by=by or {})
        else:
            commits[record.seq] = Commit(
                record.seq, record.header["schema"], by or {}, by or {}, meta.get("schema_by", ""), tuple(changes)
            )
    return list(commits.values())


def commit_of(reader: LogReader, request: str) -> Commit:
    """The one commit of a request.

    Raises:
        DemoFailed: There is none, or more than one.
    """
    found = [commit for commit in read_commits(reader) if commit.request == request]
    if len(found) != 1:
        raise DemoFailed(f"request {request} has {len(found)} commits in the log instead of one")
    return found[0]


def prove(holds: bool, what: str) -> None:
    """Hold a proof to be true.

    Raises:
        DemoFailed: It does not hold.
    """
    if not holds:
        raise DemoFailed(f"the proof does not hold: {what}")
