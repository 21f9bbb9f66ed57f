"""QUERY events: what kind of statement one holds, and the statements of XA transactions.

Source: MySQL, libs/mysql/binlog/event/statement_events.h (class Query_event).
"""

import re
from struct import Struct
from typing import Final, Literal

from ....schemas.errors import DecodeError
from .charset import charset_of, to_utf8
from .event import HEADER_BYTES, whole
from .transaction import Statement

_post_header = Struct("<IIBHH").unpack_from

Kind = Literal[
    "begin",
    "commit",
    "rollback",
    "savepoint",
    "rollback to",
    "xa start",
    "xa end",
    "xa commit",
    "xa rollback",
    "dml",
    "other",
    "empty",
]

_CHARSET_VARIABLE: Final = 4
_FIXED_VARIABLES: Final = {0: 4, 1: 8, 3: 4}
"""Status variables that may stand before the character set's, by their number, with their size."""

_COMMENT: Final = re.compile(r"\s+|/\*M?!\d*|/\*.*?\*/|\*/|--(?:\s[^\n]*)?(?:\n|$)|#[^\n]*(?:\n|$)", re.DOTALL)
_QUOTED: Final = re.compile(
    r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|`(?:[^`]|``)*`|/\*(?!M?!).*?\*/", re.DOTALL
)
_WORD: Final = re.compile(r"[a-z]+", re.IGNORECASE)
_DML: Final = frozenset(
    "insert update delete replace load call with do select execute table values handler import".split()
)
_FILLED: Final = re.compile(r"\bselect\b|\bas\s*\(?\s*(?:table|values|with)\b", re.IGNORECASE)
_CREATE_TABLE: Final = re.compile(r"create\s+(?:or\s+replace\s+)?(?:temporary\s+)?table\b", re.IGNORECASE)
_NAME: Final = re.compile(r"\s(?:`((?:[^`]|``)*)`|\"((?:[^\"]|\"\")*)\"|([^\s`\"]+))\s*$")
_XA_ID: Final = re.compile(r"X'([0-9a-f]*)'\s*,\s*X'([0-9a-f]*)'\s*,\s*(\d+)", re.IGNORECASE)


def parse_query(body: bytes) -> Statement:
    """The statement of a QUERY event, and its default database. Raises ValueError, IndexError or struct.error."""
    _, _, database_bytes, _, variables = _post_header(body, HEADER_BYTES)
    start = HEADER_BYTES + 13
    at = start + variables
    database = whole(body, at, at + database_bytes).decode()
    text = body[at + database_bytes + 1 :]
    return Statement(database, _decoded(text, body[start:at]))


def _decoded(text: bytes, variables: bytes) -> str:
    """A statement as text. What is none in the client's charset (a blob's bytes) is of no use to those who look for names."""
    if text.isascii():
        return text.decode()
    try:
        recode = to_utf8(charset_of(_client_collation(variables)))
        return (recode(text) if recode else text).decode(errors="replace")
    except (DecodeError, UnicodeDecodeError):
        return text.decode(errors="replace")


def _client_collation(variables: bytes) -> int:
    at = 0
    while at < len(variables):
        kind = variables[at]
        if kind == _CHARSET_VARIABLE:
            return int.from_bytes(whole(variables, at + 1, at + 3), "little")
        if kind in _FIXED_VARIABLES:
            at += 1 + _FIXED_VARIABLES[kind]
        elif kind == 6:
            at += 2 + variables[at + 1]
        else:
            break
    return 45


def kind_of(text: str) -> Kind:
    """What kind of statement this is; `dml` is one that changes rows, which a log of rows must not hold."""
    at = _skip_comments(text)
    words = [word.lower() for word in _WORD.findall(text[at : at + 60])[:3]]
    match words:
        case []:
            return "empty"
        case ["begin", *_] | ["start", "transaction", *_]:
            return "begin"
        case ["commit", *_] if "alter" not in words:
            return "commit"
        case ["rollback", "to", *_]:
            return "rollback to"
        case ["rollback", *_] if "alter" not in words:
            return "rollback"
        case ["savepoint", *_]:
            return "savepoint"
        case ["xa", "start", *_]:
            return "xa start"
        case ["xa", "end", *_]:
            return "xa end"
        case ["xa", "commit", *_]:
            return "xa commit"
        case ["xa", "rollback", *_]:
            return "xa rollback"
        case [first, *_] if first in _DML:
            return "dml"
        case _:
            filled = _CREATE_TABLE.match(text, at) and _FILLED.search(_QUOTED.sub("''", text[at:]))
            return "dml" if filled else "other"


def _skip_comments(text: str) -> int:
    at = 0
    while (found := _COMMENT.match(text, at)) and found.end() > at:
        at = found.end()
    return at


def savepoint_name(text: str) -> str:
    """The name in a SAVEPOINT or ROLLBACK TO, as the server writes it: in the quotes of the session's sql_mode, or in none where it is
    set to write none. Raises ValueError."""
    found = _NAME.search(text)
    if found is None:
        raise ValueError(f"no name of a savepoint in {text[:80]!r}")
    quoted, in_ansi, plain = found.groups()
    if quoted is not None:
        return quoted.replace("``", "`")
    return plain if in_ansi is None else in_ansi.replace('""', '"')


def xa_id(gtrid: bytes, bqual: bytes, format_id: int) -> str:
    """The id of an XA transaction, as the server writes it in statements."""
    return f"X'{gtrid.hex()}',X'{bqual.hex()}',{format_id}"


def xa_id_of(text: str) -> str:
    """The id that an XA statement names. Raises ValueError."""
    found = _XA_ID.search(text)
    if found is None:
        raise ValueError(f"no id of an XA transaction in {text[:80]!r}")
    return xa_id(bytes.fromhex(found[1]), bytes.fromhex(found[2]), int(found[3]))
