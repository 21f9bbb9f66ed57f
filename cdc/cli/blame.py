"""`commitlog blame`: who last set each field of a row."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from ...schemas.errors import UsageError
from ...schemas.shape import Shape
from ..log.history import Origin, Row, RowName
from ..log.index import Touch
from .log_view import CommitView, LogView, open_index, provenance_lines, width_of
from .options import Invocation, json_option, log_option, pass_invocation
from .output import Output
from .rendering import (
    Line,
    Span,
    Types,
    build_text,
    cells,
    cut,
    labelled,
    middle,
    pad,
    row_name,
    time_text,
    value_text,
    write,
)

NARROW = 3
"""Steps in which a table gives way to a narrow terminal: build, time, request; then values are cut, then names."""

REQUEST_CHARS = 8
VALUE_CELLS = 28
"""Enough for a time; a longer value is cut before anything else is."""

VALUE_CELLS_MIN = NAME_CELLS_MIN = 16

_ENDS = {
    "deleted": "was deleted in commit",
    "truncated": "was removed by TRUNCATE in commit",
    "rekeyed": "got another key in commit",
    "absent": "was not there any more when its table was read again, by snapshot",
}


@click.command()
@click.argument("row", metavar="ENTITY/KEY")
@log_option
@json_option
@pass_invocation
def command(invocation: Invocation, row: str, *, as_json: bool) -> None:
    """Show each field of a row with its value, and the commit that last set it: user, request, build and time.

    It is named Order/17, Line/17,1, or with fields 'Line/{"order":17,"no":1}'. A user is followed by ? where only a tag claims it;
    `snapshot` stands for a value that was there when the table was first read. Of a row that is gone, what it held last, and
    who ended it.

    With --json each line is a field: entity, key (field to value), field, known (false for a field of which the log has no value yet), value,
    type, set_by {kind (commit, snapshot), seq, hash, id, time, assurance, user, request, app, version, build} or null; and,
    where the row is gone, a first line {"entity","key","ended" (deleted, truncated, rekeyed, absent),"ended_by","newkey"}.
    """
    entity, slash, key = row.partition("/")
    if not slash:
        raise UsageError(f"{row!r} names no row", hint=f"commitlog blame {entity}/KEY")
    with open_index(invocation.load("log").log.location) as index:
        blame = _Blame(LogView(index), entity, key)
        output = Output(as_json=as_json)
        if as_json:
            for document in blame.documents():
                output.document(document)
        else:
            write(output, blame.lines(width_of(output) if output.console else None))


class _Blame:
    """A row and its fields.

    Raises:
        UsageError: The log has no such entity or row.
    """

    def __init__(self, view: LogView, entity: str, key: str) -> None:
        self._view = view
        self._name: RowName = view.history.name(entity, key)
        row = view.history.row(self._name)
        if row is None:
            raise UsageError(
                f"log {view.index.location} has nothing of {entity}/{key}",
                hint=f"commitlog log {entity} lists its rows",
            )
        self._row: Row = row
        self._shape: Shape = view.index.shapes(entity)[0]
        self._entity = entity
        self._commits: dict[int, CommitView] = {}
        types = {column.field: column.type for column in self._shape.columns}
        self._types: Types = types
        self._fields = [*types, *(field for field in row.fields if field not in types)]

    def documents(self) -> Iterator[dict[str, Any]]:
        """The JSON contract."""
        row = {"entity": self._entity, "key": self._row.key}
        if self._row.ended_by is not None:
            touch = self._row.ended_by
            yield {**row, "ended": self._row.end, "ended_by": self._commit(touch), "newkey": self._newkey()}
        for field in self._fields:
            origin = self._row.fields.get(field)
            yield {
                **row,
                "field": field,
                "known": origin is not None,
                "value": origin.value if origin else None,
                "type": self._types.get(field),
                "set_by": self._commit(origin.touch) if origin else None,
            }

    def lines(self, width: int | None) -> list[Line]:
        """What is printed.

        Args:
            width: The terminal's, or None for no terminal.
        """
        tables = (self._table(narrow) for narrow in range(NARROW))
        table = next((table for table in tables if width is None or _width(table) <= width), self._table(NARROW))
        lines = [*self._end(), *_aligned(table, width)]
        if not self._row.whole:
            lines.append([("the row was there before this log; what was never changed since is not in it", "dim")])
        return lines

    def _end(self) -> list[Line]:
        touch = self._row.ended_by
        if touch is None:
            return []
        view, newkey = self._view_of(touch), self._newkey()
        how = _ENDS[str(self._row.end)]
        lines: list[Line] = [
            [(row_name(self._entity, self._row.key, self._types), "bold"), (f" {how} {touch.seq}", "red")],
            *provenance_lines(view.by, view.commit.amended_by, kind=view.commit.kind),
            labelled("Time", [(time_text(view.commit.time), "")]),
        ]
        if newkey:
            lines.append(labelled("Now", [(row_name(self._entity, newkey, self._types), "bold")]))
        return [*lines, [], [("It held:", "dim")]]

    def _newkey(self) -> Mapping[str, Any] | None:
        touch = self._row.ended_by
        if touch is None or self._row.end != "rekeyed":
            return None
        newkey: Mapping[str, Any] = self._view.history.item(touch)["newkey"]
        return newkey

    def _table(self, narrow: int) -> list[list[Span]]:
        return [self._cells(field, self._row.fields.get(field), narrow=narrow) for field in self._fields]

    def _cells(self, field: str, origin: Origin | None, *, narrow: int) -> list[Span]:
        """The cells of one field: name, value, seq, who, request, build, time; from 0 to NARROW ever shorter."""
        if origin is None:
            return [(field, ""), ("not in the log", "dim"), *[("", "")] * 5]
        view = self._view_of(origin.touch)
        by = view.by or {}
        snapshot = view.commit.kind == "snapshot"
        name = "snapshot" if snapshot else "untagged" if view.by is None else _user(by)
        request, time = str(by.get("request") or ""), time_text(view.commit.time, exact=False)
        return [
            (field, ""),
            (value_text(origin.value, self._types.get(field)), "dim" if origin.value is None else ""),
            (str(origin.touch.seq), "yellow"),
            (name, "cyan" if snapshot else "magenta" if view.by is None else "bold"),
            (request[:REQUEST_CHARS] if narrow >= 3 else request, ""),
            (str(by.get("version") or by.get("build") or "") if narrow >= 1 else build_text(view.by), ""),
            (time[5:16] if narrow >= 2 else time, "dim"),
        ]

    def _commit(self, touch: Touch) -> dict[str, Any]:
        view = self._view_of(touch)
        by = view.by or {}
        return {
            "kind": view.commit.kind,
            "seq": view.commit.seq,
            "hash": view.hash,
            "id": view.commit.id,
            "time": view.commit.time,
            "assurance": view.commit.assurance,
            **{name: by.get(name) for name in ("user", "request", "app", "version", "build")},
        }

    def _view_of(self, touch: Touch) -> CommitView:
        if touch.seq not in self._commits:
            commit = self._view.index.commit(touch.seq)
            assert commit is not None
            self._commits[touch.seq] = self._view.commit(commit)
        return self._commits[touch.seq]


def _user(by: Mapping[str, Any]) -> str:
    """The user, `?` after it where only a tag says so; empty where there is only a request."""
    return f"{by['user']}{'?' if by.get('assurance', 0) < 2 else ''}" if by.get("user") else ""


def _width(table: Sequence[Sequence[Span]]) -> int:
    """How wide the table is, its values cut to a good width."""
    widths = _widths(table)
    widths[1] = min(widths[1], VALUE_CELLS)
    return sum(widths) + 2 * (sum(1 for size in widths if size) - 1)


def _widths(table: Sequence[Sequence[Span]]) -> list[int]:
    return [max(cells(text) for text, _ in column) for column in zip(*table, strict=True)]


def _aligned(table: Sequence[Sequence[Span]], width: int | None) -> list[Line]:
    """The table with its columns aligned; where the terminal is narrow, values give way first, then names, then the rest is cut."""
    widths = _widths(table)
    if width is not None:
        for column, least in ((1, VALUE_CELLS_MIN), (0, NAME_CELLS_MIN)):
            too_much = sum(widths) + 2 * (sum(1 for size in widths if size) - 1) - width
            widths[column] = max(min(widths[column], least), widths[column] - max(0, too_much))
    lines: list[Line] = []
    for (name, looks), *others in table:
        row: list[Span] = [(middle(name, widths[0]), looks), *others]
        line: Line = []
        for number, ((text, style), size) in enumerate(zip(row, widths, strict=True)):
            if size:
                right = number == 2  # the seq: numbers stand under each other
                line.append((" " * (size - cells(text)) + text if right else pad(text, size), style))
                line.append(("  ", ""))
        while line and not line[-1][0].strip():
            line.pop()
        lines.append(line if width is None else cut(line, width))
    return lines
