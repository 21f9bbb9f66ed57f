"""The tag: the JSON that a driver stamps on a transaction, from a request's own words to bytes.

A tag is ASCII whatever its values hold, so no client or server encoding can change it. It holds claims, not proofs, and
never a raw session id: `session` is hashed before it comes here. Sending it is the driver's work.
"""

import json
from collections.abc import Mapping

PREFIX = "commitlog"
"""Prefix of the logical message (PostgreSQL) that carries the tag."""

VERSION = 1

TAG_BYTES_MAX = 1024
"""A tag is written to the source's log with every transaction, so it stays small."""

VALUE_BYTES_MAX = 200
"""UTF-8 bytes of one value; a trace or request id has 36 to 60."""

KEYS = ("traceparent", "request", "session", "user", "app", "version", "build", "cause")
"""Keys of a tag in the order they are written, after `v` and before `cut`."""

_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))

_GOES_FIRST = ("user", "session", "app", "version", "traceparent", "build", "request")
# What is left out of a tag that is too long, in turn. `cause` never goes: it breaks the loop between two forks.


def encode(values: Mapping[str, str | None]) -> tuple[bytes, bool]:
    """Return the tag of some values and whether something was left out of it.

    Args:
        values: Text by key of `KEYS`; `None` and "" are left out. A value above `VALUE_BYTES_MAX` is left out too.

    Returns:
        JSON of at most `TAG_BYTES_MAX` ASCII bytes, and True where it says `"cut":true`.

    Raises:
        TypeError: A value is not text.
        ValueError: `cause` is longer than `VALUE_BYTES_MAX`.
    """
    fields: dict[str, object] = {"v": VERSION}
    cut = False
    for key in KEYS:
        value = values.get(key)
        if not value:
            continue
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
            raise TypeError(f"{key} of a tag is text, not {type(value).__name__}")
        # A lone surrogate is no character: strict JSON readers refuse it.
        text = value.encode("utf-8", "replace")
        if len(text) <= VALUE_BYTES_MAX:
            fields[key] = text.decode()
        elif key == "cause":
            raise ValueError(f"cause is {len(text)} bytes long, at most {VALUE_BYTES_MAX} are allowed")
        else:
            cut = True
    tag = _dump(fields, cut=cut)
    for key in _GOES_FIRST:
        if len(tag) <= TAG_BYTES_MAX:
            break
        if fields.pop(key, None) is not None:
            cut = True
            tag = _dump(fields, cut=cut)
    return tag, cut


def _dump(fields: dict[str, object], *, cut: bool) -> bytes:
    return _ENCODER.encode({**fields, "cut": True} if cut else fields).encode("ascii")
