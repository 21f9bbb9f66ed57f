"""Paths into documents as app schemas write them: `customer.name`; `\\.` for a dot within a key, `$` for the whole document."""

import re

Keys = tuple[str, ...]
"""The keys from a document's top level down to a value; none for the document itself."""

WHOLE = "$"

BSON_TYPES = (
    "double string object array binData undefined objectId bool date null regex dbPointer javascript symbol"
    " javascriptWithScope int timestamp long decimal minKey maxKey"
).split()
"""The types of BSON by the names that the server's $type knows."""

_KEY = re.compile(r"(?:[^.\\\0]|\\[.$\\])+")
_ODD = "a \\ or NUL in it stands for nothing: \\. \\$ and \\\\ do"
_ESCAPE = re.compile(r"\\([.$\\])")


def document_path(text: str) -> Keys:
    """Read a path.

    Raises:
        ValueError: It is none; the message says why.
    """
    if text == WHOLE:
        return ()
    keys: list[str] = []
    at = 0
    while True:
        found = _KEY.match(text, at)
        if found is None:
            raise ValueError("a key in it is empty" if text[at : at + 1] in ("", ".") else _ODD)
        if found[0].startswith("$"):
            raise ValueError(r"a key in it begins with $, which is written \$")
        keys.append(_ESCAPE.sub(r"\1", found[0]))
        at = found.end() + 1
        if at > len(text):
            return tuple(keys)
        if text[at - 1] != ".":
            raise ValueError(_ODD)


def written(keys: Keys) -> str:
    """The path that `document_path` reads as these keys."""
    return ".".join(_written(key) for key in keys) or WHOLE


def _written(key: str) -> str:
    text = key.replace("\\", "\\\\").replace(".", "\\.")
    return f"\\{text}" if text.startswith("$") else text


def is_within(inner: Keys, outer: Keys) -> bool:
    """Whether what stands at one path is part of what stands at the other, or the same."""
    return inner[: len(outer)] == outer
