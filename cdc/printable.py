"""Text that cannot break a line, move a terminal's cursor or turn what stands around it: for all that others may have written."""

import re

_ODD = re.compile(r"[^ -~]")


def clean(text: str) -> str:
    """`text` on one line, with control characters, ANSI sequences, bidirectional marks and lone surrogates escaped."""
    return text if text.isprintable() else _ODD.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
