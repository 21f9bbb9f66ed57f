"""`commitlog diff`: what changed, net, between two places of a log."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import click

from ...schemas.errors import UsageError
from ..log.difference import Difference, difference
from .log_view import open_index, width_of
from .options import Invocation, json_option, log_option, pass_invocation
from .output import Output
from .pager import paged
from .rendering import Line, cells, change_lines, cut, pad, write

_SIGNS = (("added", "+", "green"), ("changed", "~", "yellow"), ("removed", "-", "red"))


@click.command()
@click.argument("places", metavar="A B | A..B", nargs=-1, required=True)
@click.option("--stat", is_flag=True, help="Only how many rows of each entity.")
@log_option
@json_option
@pass_invocation
def command(invocation: Invocation, places: tuple[str, ...], *, stat: bool, as_json: bool) -> None:
    """Show the net change of each row between two places of a log: + added, ~ changed fields, - removed.

    A and B are seqs, ids, hashes or HEAD, as `show` takes them; A.. means A..HEAD. What record A did is not part of the
    difference, what record B did is. A row that is in the end as it was is left out.

    With --json each line is a row: entity, key, newkey (or null), what (added, changed, removed), before and after (the
    fields that changed; of a removed or added row the whole, as far as the log says). With --stat: entity, added, changed,
    removed.
    """
    first, last = _places(places)
    with open_index(invocation.load("log").log.location) as index:
        start, end = index.find(first), index.find(last)
        if start > end:
            raise UsageError(f"{first} comes after {last}", hint=f"commitlog diff {last} {first}")
        # The end of a commit in parts is its last record.
        start, end = (commit.last if (commit := index.commit(seq)) else seq for seq in (start, end))
        rows = difference(index, start, end)
    if as_json:
        output = Output(as_json=True)
        for document in _stat_documents(rows) if stat else map(_document, rows):
            output.document(document)
        return
    with paged() as output:
        write(output, _stat(rows, width_of(output)) if stat else _lines(rows))


def _places(places: tuple[str, ...]) -> tuple[str, str]:
    first, dots, last = places[0].partition("..")
    if len(places) == 2 and not dots:
        return places[0], places[1]
    if len(places) == 1 and dots and first:
        return first, last or "HEAD"
    raise UsageError(f"{' '.join(places)} does not name two places", hint="commitlog diff A B, or commitlog diff A..B")


def _lines(rows: Sequence[Difference]) -> Iterator[Line]:
    for number, row in enumerate(rows):
        if number:
            yield []
        op = {"added": "insert", "removed": "delete", "changed": "rekey" if row.newkey else "update"}[row.what]
        change: dict[str, Any] = {
            "op": op,
            "entity": row.entity,
            "key": row.key,
            "before": row.before,
            "after": row.after,
        }
        if row.what == "changed":
            change |= {"newkey": row.newkey, "image": "full"}
        yield from change_lines(change, row.types)


def _document(row: Difference) -> dict[str, Any]:
    return {
        "entity": row.entity,
        "key": row.key,
        "newkey": row.newkey,
        "what": row.what,
        "before": row.before,
        "after": row.after,
    }


def _counts(rows: Sequence[Difference]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row.entity, Counter())[row.what] += 1
    return counts


def _stat_documents(rows: Sequence[Difference]) -> Iterator[dict[str, Any]]:
    for entity, count in _counts(rows).items():
        yield {"entity": entity, **{what: count[what] for what, _, _ in _SIGNS}}


def _stat(rows: Sequence[Difference], width: int) -> Iterator[Line]:
    counts = _counts(rows)
    total = sum(counts.values(), Counter[str]())
    columns = [max((len(str(count[what])) for count in counts.values()), default=1) for what, _, _ in _SIGNS]
    names = max(map(cells, counts), default=0)
    for entity, count in counts.items():
        line: Line = [(f" {pad(entity, names)} ", "")]
        for (what, sign, style), size in zip(_SIGNS, columns, strict=True):
            line.append((f"  {sign}{count[what]:<{size}}", style if count[what] else "dim"))
        yield cut(line, width)
    said = ", ".join(
        f"{total[what]} {'rows ' if not number else ''}{what}({sign})" for number, (what, sign, _) in enumerate(_SIGNS)
    )
    yield [(f" {len(counts)} {'entity' if len(counts) == 1 else 'entities'}, {said}", "")]
