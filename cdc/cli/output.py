"""What commands print: the one place that knows terminals, rich, JSON and the form of errors.

Data of others goes through `clean`: nothing that a row, a tag or a file name holds may move the cursor or turn the text
around. Results go to stdout, errors and notes to stderr.
"""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from ..printable import clean

if TYPE_CHECKING:
    from rich.console import Console

_ODD = re.compile(r"[^ -~]")


def to_json(document: object) -> str:
    """One line of JSON in which everything that is not printable is escaped."""
    return _ODD.sub(_json_escaped, json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def _json_escaped(match: re.Match[str]) -> str:
    char = match[0]
    return char if char.isprintable() else json.dumps(char)[1:-1]


class ReaderGone(Exception):
    """Who read our output has closed it."""


class Output:
    """What a command prints on stdout: for eyes on a terminal, plain text elsewhere, JSON lines where asked.

    Args:
        as_json: Print documents as JSON, one a line, and nothing else.
        stream: Where to; stdout by default.
    """

    def __init__(self, *, as_json: bool = False, stream: TextIO | None = None) -> None:
        self.as_json = as_json
        self._stream = stream or sys.stdout
        self._console = _console(self._stream) if not as_json and is_terminal(self._stream) else None

    @property
    def console(self) -> "Console | None":
        """Rich's console on a terminal that wants colour, else None."""
        return self._console

    def line(self, text: str = "", style: str = "") -> None:
        """Print one line.

        Args:
            text: The line; what is not printable in it is escaped.
            style: Rich's words for its looks (`bold`, `red`), where there is a terminal.
        """
        if self._console is not None:
            self._console.print(clean(text), style=style or None, soft_wrap=True)
        else:
            print(clean(text), file=self._stream)

    def document(self, document: object) -> None:
        """Print one document as a line of JSON."""
        text = to_json(document)
        if (self._stream.encoding or "utf-8").lower() != "utf-8" and not text.isascii():
            text = json.dumps(json.loads(text), separators=(",", ":"))
        print(text, file=self._stream)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print rows below their head, the columns aligned."""
        texts = [[clean("" if cell is None else str(cell)) for cell in row] for row in rows]
        widths = [max(map(_columns, column)) for column in zip(head, *texts, strict=True)]
        for number, row in enumerate([list(head), *texts]):
            cells = (cell + " " * (width - _columns(cell)) for cell, width in zip(row, widths, strict=True))
            self.line("  ".join(cells).rstrip(), "bold" if number == 0 else "")

    def flush(self) -> None:
        """Hand what was printed to the reader."""
        self._stream.flush()

    def records(self, head: Sequence[str], documents: Sequence[Mapping[str, object]]) -> None:
        """Print documents: as JSON lines where asked, else as a table of the keys in `head`."""
        if self.as_json:
            for document in documents:
                self.document(document)
        else:
            self.table(head, [[document.get(name) for name in head] for document in documents])


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes: signs of East Asia have two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _console(stream: TextIO) -> "Console":
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def is_terminal(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that wants colour: NO_COLOR and TERM=dumb say no."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def report(message: str, hint: str = "") -> None:
    """Print an error on stderr: `error: …`, and `try: …` where there is a next step."""
    print_labelled("error", message)
    if hint:
        print_labelled("try", hint)


def note(message: str) -> None:
    """Print on stderr what a reader of stdout is not to see."""
    print_labelled("note", message)


def print_labelled(label: str, text: str) -> None:
    """Print `label: text` on stderr, further lines of the text below its first."""
    lines = [clean(line) for line in text.splitlines()] or [""]
    body = f"\n{' ' * (len(label) + 2)}".join(lines)
    if is_terminal(sys.stderr):
        colour = {"error": "31;1", "try": "32"}.get(label, "33")
        label = f"\x1b[{colour}m{label}\x1b[0m"
    print(f"{label}: {body}", file=sys.stderr)
