"""`commitlog log`: the commits of a log, of an entity or of one row."""

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import click

from ...schemas.errors import UsageError
from ...transforms.request_key import mask_request
from ..log.history import RowName
from ..log.index import Commit, Filter, Index, Touch
from .log_view import ROWS_SHOWN, Change, CommitView, LogView, head_lines, one_line, open_index, row_lines, width_of
from .options import Invocation, json_option, log_option, pass_invocation
from .output import Output, note
from .pager import paged
from .rendering import Line, assurance_word, who, write

FOLLOW_SHOWN = 10
"""Commits that `--follow` begins with, as tail does."""

JSON_CHANGES_MAX = 1000
"""Changes of one commit in one JSON document; `show --json` has all."""

_AGO = re.compile(r"(\d{1,9}) ?(s|m|h|d|w)(?:ec|in|our|ay|eek)?s?(?: ago)?")
_DAY = re.compile(r"\d{4}-?\d\d-?\d\d")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@click.command()
@click.argument("name", metavar="[ENTITY[/KEY]]", required=False)
@click.option("--follow", is_flag=True, help="Go on with new commits as they come, until Ctrl-C; oldest first.")
@click.option("-n", "--limit", type=click.IntRange(0), metavar="N", help="At most N commits, the newest.")
@click.option("--since", metavar="TIME", help="Not before TIME: 2026-11-22, 2026-11-22T10:11 (UTC), 90s, 2h, 3d.")
@click.option("--until", metavar="TIME", help="Not after TIME.")
@click.option("--user", help="Of this user.")
@click.option("--build", metavar="PATTERN", help="Of this build id, version or app; * stands for anything.")
@click.option("--request", metavar="ID", help="Of this request.")
@click.option("--reverse", is_flag=True, help="Oldest first.")
@click.option("--oneline", is_flag=True, help="A line a commit: seq, hash, time, who (? where only claimed), rows.")
@log_option
@json_option
@pass_invocation
def command(invocation: Invocation, /, *, name: str | None, follow: bool, as_json: bool, **options: Any) -> None:
    """List commits, the newest first: of all, of an ENTITY, or of one row.

    A row is ENTITY/KEY: Order/17, Line/17,1, or with fields 'Line/{"order":17,"no":1}'. Its list includes what happened
    under keys it had before. Who made a commit is what its last amend record says.

    With --json each line is a commit: kind (commit, snapshot), seq, last (seq of its last part), hash, id, time,
    assurance (0 to 3), by, amended_by (seq of the amend record, or null), schema, position, counts (entity to inserts,
    updates, deletes, truncates), changes (as recorded; of the ENTITY or row where one is named), omitted (how many
    changes are left out: those after the first 1000). --follow also gives {"kind":"amend","seq","amends","by"}.
    """
    with open_index(invocation.load("log").log.location) as index:
        listing = _Listing(index, name, options)
        with paged(as_json=as_json, wanted=not follow) as output:
            printer = _Printer(listing, output, oneline=options["oneline"])
            if follow:
                printer.follow(options["limit"])
            elif not printer.show(listing.commits(newest_first=not options["reverse"], limit=options["limit"])):
                note("there are no such commits" if any(index.assurances().values()) else "there are no commits yet")


class _Listing:
    """What one run of the command asks for.

    Raises:
        UsageError: It names no entity of the log, or what is not a key or a time.
    """

    def __init__(self, index: Index, name: str | None, options: dict[str, Any]) -> None:
        self.index = index
        self.view = LogView(index)
        entity, slash, key = (name or "").partition("/")
        self._entity = self.view.history.entity(entity) if name else None
        self._row: RowName | None = self.view.history.name(entity, key) if slash else None
        self._touches: dict[int, list[Touch]] = {}
        request = options["request"]
        self._filter = Filter(
            entity=None if self._row else self._entity,
            kinds=("commit", "snapshot") if self._row else ("commit",),
            since=_time(options["since"], "--since"),
            until=_time(options["until"], "--until", end_of_day=True),
            user=options["user"],
            build=options["build"],
            request_key=mask_request(request) if request else None,
        )

    def commits(self, *, newest_first: bool, limit: int | None = None, after: int = -1) -> Iterator[Commit]:
        """The commits; with `limit` the newest, in whatever order."""
        which = self._filter
        if self._row:
            self._touches = {}
            for touch in self.view.history.touches(self._row):
                self._touches.setdefault(touch.seq, []).append(touch)
            which = replace(which, seqs=tuple(self._touches))
        if limit is None or newest_first:
            return self.index.commits(
                which, newest_first=newest_first, after=after, limit=-1 if limit is None else limit
            )
        return reversed(list(self.index.commits(which, after=after, limit=limit)))

    def amends(self, after: int) -> Iterator[tuple[int, int]]:
        """(seq, seq of the commit) of the amend records after a seq whose commit is among those asked for, and older."""
        for seq, ref in self.index.amends(after=after):
            if self._row and ref not in self._touches:
                continue
            if any(self.index.commits(replace(self._filter, seqs=(ref,)), until=after)):
                yield seq, ref

    def changes(self, commit: Commit) -> Iterator[Change]:
        """The changes of a commit that are asked for."""
        if not self._row:
            yield from self.view.changes(commit, self._entity)
            return
        for seq, item in sorted({(touch.seq + touch.part, touch.item) for touch in self._touches[commit.seq]}):
            yield self.view.change(seq, item)

    def more(self, view: CommitView, shown: Sequence[Change]) -> int:
        """How many rows of a commit are asked for and not among its changes `shown`."""
        if self._row:
            return len(list(self.changes(view.commit))) - len(shown)
        rows = sum(n.inserts + n.updates + n.deletes for e, n in view.counts.items() if self._entity in (None, e))
        return rows - len([change for change in shown if change.item["op"] != "truncate"])


class _Printer:
    """Prints a listing."""

    def __init__(self, listing: _Listing, output: Output, *, oneline: bool) -> None:
        self._listing, self._output, self._oneline = listing, output, oneline
        self._width = width_of(output)
        self._begun = False

    def show(self, commits: Iterable[Commit]) -> bool:
        """Print commits; whether there were any."""
        found = False
        for commit in commits:
            found = True
            view = self._listing.view.commit(commit)
            if self._output.as_json:
                self._output.document(self._document(view))
            elif self._oneline:
                seq_chars = len(str(self._listing.index.head.seq))
                write(self._output, [one_line(view, seq_chars=seq_chars, width=self._width)])
            else:
                changes = list(islice(self._listing.changes(commit), ROWS_SHOWN))
                rows = row_lines(view, changes, more=self._listing.more(view, changes), width=self._width)
                self._apart([*head_lines(view), [], *rows])
        return found

    def follow(self, limit: int | None) -> None:
        """Print the newest commits, then each that comes."""
        listing, stop = self._listing, threading.Event()
        index = listing.index
        seen = index.head.seq
        self.show(listing.commits(newest_first=False, limit=FOLLOW_SHOWN if limit is None else limit))
        self._output.flush()
        while index.reader.wait(seen, stop=stop):
            head = index.refresh()
            self.show(listing.commits(newest_first=False, after=seen))
            for seq, ref in listing.amends(seen):
                self._show_amend(seq, ref)
            self._output.flush()
            seen = head.seq

    def _show_amend(self, seq: int, ref: int) -> None:
        by = self._listing.view.amend(seq)
        if self._output.as_json:
            self._output.document({"kind": "amend", "seq": seq, "amends": ref, "by": by})
            return
        text = f"{who(by)} ({assurance_word(by)})"
        line: Line = [(f"amend {seq}", "yellow"), (f" of commit {ref}: ", ""), (text, "green")]
        if self._oneline:
            write(self._output, [line])
        else:
            self._apart([line])

    def _apart(self, lines: list[Line]) -> None:
        """Print lines with an empty one between them and what came before."""
        write(self._output, [[], *lines] if self._begun else lines)
        self._begun = True

    def _document(self, view: CommitView) -> dict[str, Any]:
        commit = view.commit
        changes = list(islice(self._listing.changes(commit), JSON_CHANGES_MAX))
        return {
            "kind": commit.kind,
            "seq": commit.seq,
            "last": commit.last,
            "hash": view.hash,
            "id": commit.id,
            "time": commit.time,
            "assurance": commit.assurance,
            "by": view.by,
            "amended_by": commit.amended_by,
            "schema": view.header.get("schema"),
            "position": view.header["source"]["position"],
            "counts": {entity: asdict(count) for entity, count in view.counts.items()},
            "changes": [change.item for change in changes],
            "omitted": self._listing.more(view, changes),
        }


def _time(text: str | None, option: str, *, end_of_day: bool = False) -> str | None:
    """A time as records write it.

    Raises:
        UsageError: It is none.
    """
    if text is None:
        return None
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago:
            time = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            time = datetime.fromisoformat(text.strip())
            if end_of_day and _DAY.fullmatch(text.strip()):
                time += timedelta(days=1, microseconds=-1)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise UsageError(
            f"{option} {text!r} is not a time", hint="write 2026-11-22, 2026-11-22T10:11:12, 90s, 2h or 3d"
        ) from exc
    return time.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
