"""`commitlog blame`: who last set each field of a row."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from ...schemas.errors import UsageError
from ...schemas.shape import Shape
from ..log.history import Origin, Row, RowName
from ..log.index import Touch
from .log_view import CommitView, LogView, open_index, width_of
from .options import Invocation, json_option, log_option, pass_invocation
from .output import Output
from .rendering import Line, Span, Types, build_text, cells, cut, pad, row_name, time_text, value_text, who, write

NARROW_REQUEST = 8
NARROW_CELLS = 16
"""What is left of a request id, and at least of a value, where the terminal is narrow."""


@click.command()
@click.argument("row", metavar="ENTITY/KEY")
@log_option
@json_option
@pass_invocation
def command(invocation: Invocation, row: str, *, as_json: bool) -> None:
    """Show each field of a row with its value, and the commit that last set it: user, request, build and time.

    ROW is Order/17, Line/17,1, or with fields 'Line/{"order":17,"no":1}'. A user is followed by ? where only a tag claims it;
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
        table = [self._cells(field, self._row.fields.get(field), narrow=False) for field in self._fields]
        if width is not None and _width(table) > width:
            table = [self._cells(field, self._row.fields.get(field), narrow=True) for field in self._fields]
        lines = [*self._end(), *_aligned(table, width)]
        if not self._row.whole:
            lines.append([("the row was there before this log; what was never changed since is not in it", "dim")])
        return lines

    def _end(self) -> list[Line]:
        touch = self._row.ended_by
        if touch is None:
            return []
        view = self._view_of(touch)
        how = {"deleted": "deleted", "truncated": "removed by TRUNCATE", "rekeyed": "given another key"}[
            str(self._row.end)
        ]
        if self._row.end == "absent":
            gone = f" was not there any more when the table was read again, in snapshot record {touch.seq}"
            return [[(row_name(self._entity, self._row.key), "bold"), (gone, "red")], [("it held", "dim")]]
        line: Line = [
            (row_name(self._entity, self._row.key), "bold"),
            (f" was {how} in commit {touch.seq} by ", "red"),
            *_who(view),
        ]
        if view.by and view.by.get("request") and view.by.get("user"):
            line.append((f", request {view.by['request']}", ""))
        line.append((f", {time_text(view.commit.time, exact=False)}", "dim"))
        newkey = self._newkey()
        moved: list[Line] = [[(f"it is {row_name(self._entity, newkey)} now", "")]] if newkey else []
        return [line, *moved, [("it held", "dim")]]

    def _newkey(self) -> Mapping[str, Any] | None:
        touch = self._row.ended_by
        if touch is None or self._row.end != "rekeyed":
            return None
        newkey: Mapping[str, Any] = self._view.history.item(touch)["newkey"]
        return newkey

    def _cells(self, field: str, origin: Origin | None, *, narrow: bool) -> list[Span]:
        """The cells of one field: name, value, seq, who, request, build, time."""
        if origin is None:
            return [(field, ""), ("not in the log", "dim"), *[("", "")] * 5]
        value = value_text(origin.value, self._types.get(field))
        cells_ = [(field, ""), (value, "dim" if origin.value is None else ""), (str(origin.touch.seq), "yellow")]
        view = self._view_of(origin.touch)
        if view.commit.kind == "snapshot":
            return [
                *cells_,
                ("snapshot", "cyan"),
                ("", ""),
                ("", ""),
                (time_text(view.commit.time, exact=False), "dim"),
            ]
        by = view.by or {}
        request = str(by.get("request") or "")
        if narrow:
            request = request[:NARROW_REQUEST]
            build = str(by.get("version") or by.get("build") or "")
        else:
            build = build_text(view.by)
        name = "".join(text for text, _ in _who(view)) if by.get("user") or view.by is None else ""
        style = "magenta" if view.by is None else "bold"
        time = time_text(view.commit.time, exact=False)
        return [*cells_, (name, style), (request, ""), (build, ""), (time[5:16] if narrow else time, "dim")]

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


def _who(view: CommitView) -> list[Span]:
    """The name behind a commit; `?` where nobody but its tag says so."""
    if view.by is None:
        return [("untagged", "magenta")]
    return [(f"{who(view.by)}{'?' if view.by.get('assurance', 0) < 2 else ''}", "bold")]


def _width(table: Sequence[Sequence[Span]]) -> int:
    return sum(_widths(table)) + 2 * (len(table[0]) - 1)


def _widths(table: Sequence[Sequence[Span]]) -> list[int]:
    return [max(cells(text) for text, _ in column) for column in zip(*table, strict=True)]


def _aligned(table: Sequence[Sequence[Span]], width: int | None) -> list[Line]:
    """The table with its columns aligned; where the terminal is narrow, values give way first, then the rest is cut."""
    widths = _widths(table)
    if width is not None:
        too_much = sum(widths) + 2 * (sum(1 for size in widths if size) - 1) - width
        widths[1] = max(min(widths[1], NARROW_CELLS), widths[1] - max(0, too_much))
    lines: list[Line] = []
    for row in table:
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
