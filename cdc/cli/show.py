"""`commitlog show`: one record in full."""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ..log.index import Commit
from .log_view import LogView, head_lines, open_index
from .options import Invocation, json_option, log_option, pass_invocation
from .output import Output, note
from .pager import paged
from .rendering import INDENT, Line, cells, change_lines, labelled, pad, time_text, value_text, write

_KNOWN_META = frozenset({"xid", "skipped", "schema_by", "tag", "tags"})


@click.command()
@click.argument("record", metavar="SEQ|ID|HASH")
@click.option("--raw", is_flag=True, help="Print the record's line exactly as it stands in the log.")
@log_option
@json_option
@pass_invocation
def command(invocation: Invocation, record: str, *, raw: bool, as_json: bool) -> None:
    """Show a record: who made it, and every change field by field, before → after.

    It is named by its seq, its id, at least 4 digits of its hash, or HEAD. Of a commit in parts, all parts are shown, whichever is
    named; --raw prints only the record named. The record is checked against its hash before it is shown.

    With --json each line is a record: hash, header, by (as amended), amended_by (seq of the amend record, or null), items
    (as recorded, from item 0 on; null where the body is withheld or redacted), recorded. A commit in parts gives a line for
    each part.
    """
    with open_index(invocation.load("log").log.location) as index:
        seq = index.find(record)
        if raw:
            # Checked first: what is printed is a record of this log, and not merely bytes at its place.
            index.record(seq)
            sys.stdout.buffer.write(index.line(seq))
            return
        shown = _Show(LogView(index), seq)
        with paged(as_json=as_json) as output:
            if as_json:
                for document in shown.documents():
                    output.document(document)
            else:
                for lines in shown.pages():
                    write(output, lines)
        shown.tell(output)


class _Show:
    """One record, or all parts of one commit, to be shown.

    Args:
        view: The log.
        seq: The record named.
    """

    def __init__(self, view: LogView, seq: int) -> None:
        self._view, self._named = view, seq
        self._commit: Commit | None = view.index.commit(seq)
        self._seqs = range(self._commit.seq, self._commit.last + 1) if self._commit else range(seq, seq + 1)

    def documents(self) -> Iterator[dict[str, Any]]:
        """The JSON contract."""
        amended_by = self._commit.amended_by if self._commit else None
        for seq in self._seqs:
            record = self._view.index.record(seq)
            read = self._view.history.read(seq)
            by = read.by if amended_by is None else self._view.amend(amended_by)
            yield {
                "hash": record.hash,
                "header": record.header,
                "by": by,
                "amended_by": amended_by,
                "items": read.items or None,
                "recorded": record.recorded,
            }

    def pages(self) -> Iterator[list[Line]]:
        """The lines to read, a few at a time."""
        if self._commit is None:
            yield from self._other()
            return
        view = self._view.commit(self._commit)
        yield [*head_lines(view, full=True), *_details(view.header, view.meta, view.by)]
        if view.header["tree"]["count"] > 2 and not self._view.history.read(self._commit.seq).items:
            yield [[], [(f"{INDENT}the body is withheld or redacted", "dim")]]
        for change in self._view.changes(self._commit):
            yield [[], *([(INDENT, ""), *line] for line in change_lines(change.item, change.types))]

    def tell(self, output: Output) -> None:
        """Say on stderr what the record named has to do with what was shown."""
        if self._commit and self._named != self._commit.seq and not output.as_json:
            note(f"record {self._named} is a part of this commit")

    def _other(self) -> Iterator[list[Line]]:
        """A record that is no commit."""
        read = self._view.history.read(self._named)
        header = read.header
        lines: list[Line] = [[(f"{header['kind']} {self._named}", "yellow"), (f" {read.hash}", "dim yellow")]]
        if "ref" in header:
            lines.append(labelled("Of", [(f"commit {header['ref']['seq']} {header['ref']['hash']}", "")]))
        if "void" in header:
            lines.append(labelled("Voids", [(f"records {header['void']['from']} to {header['void']['to']}", "")]))
        if header.get("part"):
            lines.append(labelled("Part", [(f"{header['part']['n']} of a {header['kind']} that is not whole", "")]))
        lines.append(labelled("Time", [(time_text(header["time"]), "")]))
        yield [*lines, *_details(header, read.meta, read.by)]
        if header["kind"] == "shape":
            yield from map(_shape, read.items[2:])
            return
        for item in [read.by] if header["kind"] == "amend" else read.items[2:]:
            text = json.dumps(item, ensure_ascii=False, indent=2)
            yield [[], *([(f"{INDENT}{line}", "")] for line in text.splitlines())]


def _shape(shape: Mapping[str, Any]) -> list[Line]:
    """A shape as a table of its columns."""
    head: Line = [
        (f"{INDENT}{shape['entity']}", "bold"),
        (f" from {shape['table']}, key {', '.join(shape['key'])}", ""),
    ]
    columns = [
        (column["field"], column["engine_type"], "not null" if column.get("nullable") is False else "", column["class"])
        for column in shape["columns"]
    ]
    widths = [max(map(cells, column), default=0) for column in zip(*columns, strict=True)]
    rows = ["  ".join(pad(text, width) for text, width in zip(row, widths, strict=True)).rstrip() for row in columns]
    return [[], head, *([(f"{INDENT * 2}{row}", "")] for row in rows)]


def _details(header: Mapping[str, Any], meta: Mapping[str, Any], by: Mapping[str, Any] | None) -> list[Line]:
    """What a list of commits leaves out: session, trace, id, position, schema, and what meta says."""
    source = header["source"]
    lines: list[Line] = []
    for label, name in (("Session", "session"), ("Trace", "traceparent")):
        if by and by.get(name) and header["kind"] != "amend":
            lines.append(labelled(label, [(str(by[name]), "")]))
    lines.append(labelled("Id", [(header["id"], "")]))
    moved = (
        f"{source['after']} to {source['position']}" if source["after"] != source["position"] else source["position"]
    )
    lines.append(labelled("Position", [(f"{source['engine']} {moved}", "")]))
    if header.get("schema"):
        how = f" by {meta['schema_by']}" if meta.get("schema_by") else ""
        lines.append(labelled("Schema", [(f"{header['schema'][:12]}{how}", "")]))
    words = [f"transaction {meta['xid']}"] if "xid" in meta else []
    skipped = meta.get("skipped")
    words += [f"{skipped} {'change' if skipped == 1 else 'changes'} not published"] if skipped else []
    words += [f"tag {meta['tag']}".replace("_", " ")] if meta.get("tag") else []
    words += [f"{meta['tags']} tags, the last counts"] if meta.get("tags") else []
    words += [
        f"{name} {value_text(value) if not isinstance(value, dict | list) else json.dumps(value)}"
        for name, value in meta.items()
        if name not in _KNOWN_META
    ]
    if words:
        lines.append(labelled("Source", [(", ".join(words), "")]))
    return lines
