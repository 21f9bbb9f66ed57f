"""What binlog_row_value_options=PARTIAL_JSON logs of an updated document: the differences from the old one.

Source: MySQL, sql-common/json_diff.h, sql/json_diff.cc (Json_diff_vector::read_binary, apply_json_diffs).
"""

import json
import re
from typing import Final

from .event import packed_bytes
from .json_text import Node, parse

_REPLACE: Final = 0
_INSERT: Final = 1
_REMOVE: Final = 2

_LEG: Final = re.compile(rb'\.(?:("(?:[^"\\]|\\.)*")|([^.\[\s"]+))|\[(?:(\d+)|last(?:-(\d+))?)\]')

Leg = bytes | int
"""A key, or a position in an array: from its end where it is negative, -1 for the last."""


def apply_diffs(document: bytes, diffs: bytes) -> Node:
    """The new document.

    Args:
        document: The old one, in its binary form.
        diffs: The differences, in the form of the binlog.

    Raises:
        ValueError, IndexError, struct.error: They are malformed, or not of this document.
    """
    root = parse(document)
    at = 0
    while at < len(diffs):
        operation = diffs[at]
        path, at = packed_bytes(diffs, at + 1)
        value: Node = b""
        if operation in (_REPLACE, _INSERT):
            binary, at = packed_bytes(diffs, at)
            value = parse(binary)
        elif operation != _REMOVE:
            raise ValueError(f"a difference of kind {operation}")
        root = _apply(root, operation, _legs(path), value)
    return root


def _apply(root: Node, operation: int, legs: list[Leg], value: Node) -> Node:
    if not legs:
        if operation != _REPLACE:
            raise ValueError("a difference that is of no part of the document")
        return value
    parent = root
    for leg in legs[:-1]:
        parent = _child(parent, leg)
    last = legs[-1]
    if operation == _INSERT:
        _insert(parent, last, value)
        return root
    _child(parent, last)
    if isinstance(parent, list) and isinstance(last, int):
        place = _place(parent, last)
        parent[place : place + 1] = [value] if operation == _REPLACE else []
    elif isinstance(parent, dict) and isinstance(last, bytes):
        if operation == _REPLACE:
            parent[last] = value
        else:
            del parent[last]
    return root


def _insert(parent: Node, leg: Leg, value: Node) -> None:
    if isinstance(parent, list) and isinstance(leg, int):
        # Behind the end is at the end, and before the beginning is there.
        parent.insert(max(0, _place(parent, leg)), value)
    elif isinstance(parent, dict) and isinstance(leg, bytes) and leg not in parent:
        parent[leg] = value
        # The server keeps keys in this order.
        ordered = sorted(parent.items(), key=lambda item: (len(item[0]), item[0]))
        parent.clear()
        parent.update(ordered)
    else:
        raise ValueError("a difference that cannot be put in")


def _place(array: list[Node], leg: int) -> int:
    return leg if leg >= 0 else len(array) + leg


def _child(parent: Node, leg: Leg) -> Node:
    if isinstance(parent, list) and isinstance(leg, int) and 0 <= (place := _place(parent, leg)) < len(parent):
        return parent[place]
    if isinstance(parent, dict) and isinstance(leg, bytes) and leg in parent:
        return parent[leg]
    raise ValueError("a difference at a path that the document does not have")


def _legs(path: bytes) -> list[Leg]:
    """The legs of a path such as `$.a."a key"[0][last-1]`; the server leaves its `$` out."""
    legs: list[Leg] = []
    at = 1 if path[:1] == b"$" else 0
    while at < len(path):
        found = _LEG.match(path, at)
        if found is None:
            raise ValueError(f"a path that is none, at its byte {at}")
        quoted, name, position, before_last = found.groups()
        if position is not None:
            legs.append(int(position))
        elif found[0].startswith(b"["):
            legs.append(-1 - int(before_last or 0))
        else:
            legs.append(str(json.loads(quoted)).encode() if quoted else name)
        at = found.end()
    return legs
