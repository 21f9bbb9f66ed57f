"""How commits, changes and values look: lines of styled text, made without a terminal.

The same lines go to a terminal with colour and to a pipe without; `write` is the only thing here that prints. What is not
printable in data is escaped by `Output`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..log.index import Counts
from ..log.row_key import format_key
from ..printable import clean
from .output import Output

Span = tuple[str, str]
"""A text and rich's words for its looks."""

Line = list[Span]
Types = Mapping[str, str]
"""Field to canonical type (schemas/README.md §3)."""

HASH_CHARS = 12
VALUE_CHARS = 40
"""Of a value on a line that shows several."""

INDENT = "    "
ARROW = " → "
ASSURANCE = ("untagged", "claimed", "corroborated", "proven")

_QUOTED = frozenset({"text", "enum", "exact"})
_SIGNS = {
    "insert": ("+", "green"), "row": ("=", "cyan"), "update": ("~", "yellow"), "rekey": ("~", "yellow"),
    "delete": ("-", "red"), "truncate": ("-", "red"),
}  # fmt: skip


def write(output: Output, lines: Iterable[Line]) -> None:
    """Print lines; on a terminal with their looks, and none of them cut."""
    console = output.console
    if console is None:
        for line in lines:
            output.line("".join(text for text, _ in line))
        return
    from rich.text import Text

    for line in lines:
        console.print(Text.assemble(*((clean(text), style) for text, style in line)), soft_wrap=True)


def cut(line: Line, width: int) -> Line:
    """A line that fits into so many cells of a terminal, `…` where something is left out."""
    from rich.cells import set_cell_size

    spans = [(clean(text), style) for text, style in line]
    if sum(cells(text) for text, _ in spans) <= width:
        return spans
    out: Line = []
    room = width - 1
    for text, style in spans:
        out.append((set_cell_size(text, room).rstrip() if cells(text) > room else text, style))
        room -= cells(text)
        if room <= 0:
            break
    return [*out, ("…", "dim")]


def cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    from rich.cells import cell_len

    return cell_len(clean(text))


def pad(text: str, width: int) -> str:
    """A text as wide as `width` cells, cut with `…` where it is longer."""
    size = cells(text)
    if size <= width:
        return clean(text) + " " * (width - size)
    from rich.cells import set_cell_size

    return set_cell_size(clean(text), width - 1) + "…"


def middle(text: str, width: int) -> str:
    """A text of at most `width` cells, `…` for what is left out of its middle: names are told apart by their ends."""
    if cells(text) <= width:
        return text
    from rich.cells import set_cell_size

    first = width // 2
    last = set_cell_size(clean(text)[::-1], width - first - 1)[::-1]
    return f"{set_cell_size(clean(text), first)}…{last}"


def value_text(value: Any, kind: str | None = None, *, chars: int | None = None) -> str:
    """A value: text in quotes as SQL writes it, everything else bare.

    Args:
        value: As records have it.
        kind: Its canonical type; without one a string counts as text.
        chars: How long it may be; the rest becomes `…`.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return str(value)
    text = value if chars is None or len(value) <= chars else value[: chars - 1] + "…"
    return "'" + text.replace("'", "''") + "'" if kind is None or kind in _QUOTED else text


def row_name(entity: str, key: Mapping[str, Any], types: Types | None = None) -> str:
    """`Order/17`."""
    return f"{entity}/{format_key(key, types)}"


def change_line(change: Mapping[str, Any], types: Types) -> Line:
    """A change on one line, its values cut."""
    line = _change_head(change, types)
    if change["op"] == "delete":
        return line
    for number, pair in enumerate(_pairs(change, types, VALUE_CHARS)):
        line.append((", " if number else "  ", ""))
        line += pair
    return line


def change_lines(change: Mapping[str, Any], types: Types) -> list[Line]:
    """A change with each field on a line of its own, in full."""
    lines = [_change_head(change, types)]
    pairs = list(_pairs(change, types, None))
    width = max((cells(pair[0][0]) for pair in pairs), default=0)
    for (name, style), *values in pairs:
        lines.append([(INDENT, ""), (pad(name, width), style), *values])
    if change.get("unsent"):
        lines.append([(f"{INDENT}not sent by the source: {', '.join(change['unsent'])}", "dim")])
    return lines


def _change_head(change: Mapping[str, Any], types: Types) -> Line:
    op = change["op"]
    sign, style = _SIGNS.get(op, ("?", ""))
    head: Line = [(sign, style), (" ", "")]
    if op == "truncate":
        how = [word for word in ("cascade", "restart_identity") if change.get(word)]
        head.append((", ".join(f"{entity}/*" for entity in change["entities"]), "bold"))
        head.append(("  " + " ".join(["truncated", *how]).replace("_", " "), ""))
        return head
    head.append((row_name(change["entity"], change["key"], types), "bold"))
    if op == "rekey":
        head += [(ARROW, "dim"), (row_name(change["entity"], change["newkey"], types), "bold")]
    return head


def _pairs(change: Mapping[str, Any], types: Types, chars: int | None) -> Iterable[Line]:
    """Each field of a change: its name with a colon, then its value or its two values."""
    before: Mapping[str, Any] = change.get("before", {})
    after: Mapping[str, Any] = change.get("after", {})
    both = change.get("image") == "full"
    known: Mapping[str, Any] = change.get("newkey") or change.get("key", {})
    for field in after if after else before:
        # The key of a row is in its name; it changes in a rekey only, and the head of the line says so.
        if field in known and known[field] == (after or before)[field]:
            continue
        pair: Line = [(f"{field}: ", "")]
        kind = types.get(field)
        if both:
            was = _value(before[field], kind, chars) if field in before else [("?", "dim")]
            pair += [*was, (ARROW, "dim")]
        pair += _value((after or before)[field], kind, chars)
        yield pair


def _value(value: Any, kind: str | None, chars: int | None) -> Line:
    return [(value_text(value, kind, chars=chars), "dim" if value is None else "")]


def counts_line(counts: Mapping[str, Counts], *, zeros: bool) -> Line:
    """`Order +0 ~1 -0   OrderLine +2 ~0 -0`; without `zeros` only what there is."""
    line: Line = []
    for entity, count in counts.items():
        line.append((f"{'   ' if line else ''}{entity}", ""))
        for sign, number, style in (
            ("+", count.inserts, "green"),
            ("~", count.updates, "yellow"),
            ("-", count.deletes, "red"),
        ):
            if number or zeros:
                line.append((f" {sign}{number}", style if number else "dim"))
        if count.truncates:
            line.append((" truncated", "red"))
    return line


def who(by: Mapping[str, Any] | None) -> str:
    """The user of a commit, or its request, or `untagged`."""
    if by is None:
        return ASSURANCE[0]
    return str(by.get("user") or by.get("request") or by.get("session") or by.get("app") or "no name")


def assurance_word(by: Mapping[str, Any] | None) -> str:
    """What a commit's provenance is worth, as a word."""
    level = by.get("assurance", 0) if by else 0
    return ASSURANCE[level] if level in range(len(ASSURANCE)) else f"assurance {level}"


def build_text(by: Mapping[str, Any] | None) -> str:
    """`shop 1.4.2 sha256:9f2b…`, what there is of it."""
    return " ".join(str(by[name]) for name in ("app", "version", "build") if by and by.get(name))


def time_text(time: str, *, exact: bool = True) -> str:
    """A record's time to read: `2026-11-22 10:11:12.345678 UTC`, without `exact` to the second and without zone."""
    text = time.replace("T", " ", 1).removesuffix("Z")
    return f"{text} UTC" if exact else text[:19]


def labelled(label: str, spans: Sequence[Span]) -> Line:
    """A line of a record's head."""
    return [(f"{label + ':':10}", "dim"), *spans]
