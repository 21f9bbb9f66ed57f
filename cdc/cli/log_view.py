"""What the commands that read a log share: its index, brought up to date, and commits as they are shown.

Shown is the amended truth: who made a commit is what its last amend record says.
"""

import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...transforms.request_key import mask_request
from ..log.history import History
from ..log.home import LogLocation
from ..log.index import Commit, Counts, Index
from .output import Output, is_terminal
from .rendering import (
    HASH_CHARS,
    INDENT,
    Line,
    Types,
    assurance_word,
    build_text,
    change_line,
    counts_line,
    cut,
    labelled,
    pad,
    time_text,
    who,
)

ROWS_SHOWN = 8
"""Rows of a commit in a list of commits; `show` has all."""

PLAIN_WIDTH = 120
"""Of the lines of a list that goes to no terminal: the same everywhere, and short; `show` and --json have all."""

WHO_CELLS = 12
PROGRESS_FROM_RECORDS = 50_000
"""Below this many records the index is filled before a progress bar could be read."""


@contextmanager
def open_index(location: LogLocation) -> Generator[Index]:
    """The index of a log, filled up to the log's head.

    Raises:
        UsageError: There is no such log.
        VerificationFailed: The log is damaged.
    """
    with Index(location, request_key=mask_request) as index:
        with _progress(index) as progress:
            index.refresh(progress)
        yield index


@contextmanager
def _progress(index: Index) -> Generator[Callable[[int, int], None] | None]:
    """A progress bar on stderr, where a terminal is there and enough to do."""
    if not is_terminal(sys.stderr) or index.reader.head().seq < PROGRESS_FROM_RECORDS:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("indexing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a commit, with the types of its fields."""

    item: Mapping[str, Any]
    types: Types


@dataclass(frozen=True, slots=True)
class CommitView:
    """A commit as it is shown.

    Args:
        commit: What the index says of it.
        hash: That of its (first) record.
        header: The header of that record.
        by: Its provenance, as amended; None for untagged.
        meta: Item 1.
        counts: Entity to the number of changes.
        withheld: Whether its body is withheld or redacted, so that nobody can say who made it.
    """

    commit: Commit
    hash: str
    header: Mapping[str, Any]
    by: Mapping[str, Any] | None
    meta: Mapping[str, Any]
    counts: Mapping[str, Counts]
    withheld: bool


class LogView:
    """Reads commits of a log to show them.

    Args:
        index: The log's index.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.history = History(index)

    def commit(self, commit: Commit) -> CommitView:
        """A commit with what its record says."""
        read = self.history.read(commit.seq)
        by = read.by if commit.amended_by is None else self.amend(commit.amended_by)
        counts = self.index.counts(commit.seq)
        withheld = not read.items and by is None
        return CommitView(commit, read.hash, read.header, by, read.meta, counts, withheld)

    def amend(self, seq: int) -> Mapping[str, Any] | None:
        """What an amend record says of who made its commit."""
        return self.history.read(seq).by

    def changes(self, commit: Commit, entity: str | None = None) -> Iterator[Change]:
        """The changes of a commit, all its parts through, or those of one entity."""
        for seq in range(commit.seq, commit.last + 1):
            read = self.history.read(seq)
            for item in read.items[2:]:
                if entity is None or entity == item.get("entity") or entity in item.get("entities", ()):
                    yield Change(item, self.history.types(read.header, item))

    def change(self, seq: int, item: int) -> Change:
        """One change of a record."""
        read = self.history.read(seq)
        return Change(read.items[item], self.history.types(read.header, read.items[item]))


def head_lines(view: CommitView, *, full: bool = False) -> list[Line]:
    """The head of a commit: what it is, who made it, in which request, with which build, when.

    Args:
        view: The commit.
        full: With its whole hash.
    """
    commit = view.commit
    seqs = str(commit.seq) if commit.last == commit.seq else f"{commit.seq}..{commit.last}"
    lines: list[Line] = [
        [
            (f"{commit.kind} {seqs}", "yellow"),
            (f" {view.hash if full else view.hash[:HASH_CHARS]}", "dim yellow"),
        ]
    ]
    if view.withheld:
        lines.append(labelled("User", [("withheld", "dim")]))
    else:
        lines += provenance_lines(view.by, commit.amended_by, kind=commit.kind)
    lines.append(labelled("Time", [(time_text(commit.time), "")]))
    return lines


def provenance_lines(by: Mapping[str, Any] | None, amended_by: int | None, *, kind: str = "commit") -> list[Line]:
    """Who, in which request, with which build. Snapshots are nobody's, and have no such lines."""
    if by is None:
        word = "untagged" if amended_by is None else f"untagged, amended by {amended_by}"
        return [labelled("User", [(word, "magenta")])] if kind == "commit" else []
    worth = assurance_word(by)
    claims: Mapping[str, Any] = by.get("claims", {})
    claimed = claims.get("user")
    notes = [worth, *([f"the tag claimed {claimed}"] if claimed else [])]
    notes += [f"amended by {amended_by}"] if amended_by is not None else []
    note = (f" ({', '.join(notes)})", "green" if by.get("assurance", 0) >= 2 else "dim")
    lines: list[Line] = []
    named = [(label, str(by[name])) for label, name in (("User", "user"), ("Request", "request")) if by.get(name)]
    for number, (label, text) in enumerate(named or [("User", who(by))]):
        lines.append(labelled(label, [(text, "bold"), note] if number == 0 else [(text, "")]))
    if build_text(by):
        lines.append(labelled("Build", [(build_text(by), "")]))
    if by.get("cause"):
        lines.append(labelled("Cause", [(str(by["cause"]), "")]))
    return lines


def row_lines(view: CommitView, changes: list[Change], *, more: int, width: int) -> list[Line]:
    """The counts and the changed rows of a commit in a list of commits."""
    lines = [[(INDENT, ""), *counts_line(view.counts, zeros=True)]]
    lines += [[(INDENT, ""), *change_line(change.item, change.types)] for change in changes]
    if more:
        rows = "row" if more == 1 else "rows"
        lines.append([(f"{INDENT}… {more} more {rows}: commitlog show {view.commit.seq}", "dim")])
    return [cut(line, width) for line in lines]


def one_line(view: CommitView, *, seq_chars: int, width: int) -> Line:
    """A commit on one line: seq, hash, time, who (`?` where only claimed), counts."""
    name = "withheld" if view.withheld else who(view.by)
    if view.by is not None and not view.by.get("user"):
        name = name[:8]
    if view.by is not None and view.by.get("assurance", 0) < 2:
        name += "?"
    return cut(
        [
            (f"{view.commit.seq:>{seq_chars}}", "yellow"),
            (f" {view.hash[:8]}", "dim yellow"),
            (f" {time_text(view.commit.time, exact=False)}", "dim"),
            (f" {pad(name, WHO_CELLS)} ", "magenta" if view.by is None else "bold"),
            *counts_line(view.counts, zeros=False),
        ],
        width,
    )


def width_of(output: Output) -> int:
    """How wide the lines of a list may be: as wide as the terminal, and PLAIN_WIDTH elsewhere."""
    return output.console.width if output.console is not None else PLAIN_WIDTH
