"""What the statements in a binlog say of mapped tables. The log of rows tells every row that changes, but not what ALTER TABLE makes of
those that do not, nor what comes under a table's name when tables are renamed.
"""

import logging
import re
from collections.abc import Container

import orjson

from ..tail.transaction import Notice, Relation
from .source import TableKeeper

log = logging.getLogger("commitlog")

_WORDS = re.compile(
    r"`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"|'(?:[^'\\]|\\.|'')*'|/\*(?!M?!).*?\*/|(?:--|\#)[^\n]*|[\w$]+|\.", re.DOTALL
)
"""Names, with or without quotes; texts and comments, to be passed over."""

_PIECES = re.compile(_WORDS.pattern + r"|.", re.DOTALL)

_HARMLESS = re.compile(
    r"\s*(?:CREATE\s+(?:OR\s+REPLACE\s+)?(?:UNIQUE\s+|FULLTEXT\s+|SPATIAL\s+)?INDEX|DROP\s+INDEX|ANALYZE|OPTIMIZE|REPAIR|CHECK|FLUSH|GRANT|REVOKE"
    r"|CREATE\s+(?:DEFINER\s*=\s*\S+\s+)?(?:VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT)|DROP\s+(?:VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT))\b",
    re.IGNORECASE,
)
"""Statements that leave rows as they are."""

_ALTER = re.compile(
    r"\s*ALTER\s+(?:ONLINE\s+)?(?:IGNORE\s+)?TABLE\s+(?:IF\s+EXISTS\s+)?(?:(?:`(?:[^`]|``)*`|[\w$]+)\s*\.\s*)?(?:`(?:[^`]|``)*`|[\w$]+)"
    r"\s*(?:WAIT\s+\d+|NOWAIT)?\s*",
    re.IGNORECASE,
)
_HARMLESS_ACTION = re.compile(
    r"\s*(?:ADD\s+(?:CONSTRAINT\b|PRIMARY\s+KEY\b|PARTITION\b|(?:UNIQUE\b|FULLTEXT\b|SPATIAL\b|FOREIGN\s+KEY\b|CHECK\b|INDEX\b|KEY\b))|DROP\s+(?:CONSTRAINT|FOREIGN\s+KEY|CHECK|INDEX|KEY)\b"
    r"|RENAME\s+(?:INDEX|KEY)\b|ALTER\s+(?:INDEX|CHECK|CONSTRAINT)\b|COMMENT\b|AUTO_INCREMENT\b|ALGORITHM\b|LOCK\b|ENABLE\s+KEYS|DISABLE\s+KEYS|STATS_\w+)",
    re.IGNORECASE,
)
"""Parts of ALTER TABLE that leave rows as they are. A part that is none of these may change them."""

_ADDED = re.compile(
    r"\s*ADD\s+(?:COLUMN\s+)?(?:IF\s+NOT\s+EXISTS\s+)?(?!PERIOD\b|SYSTEM\b)(`(?:[^`]|``)*`|[\w$]+)", re.IGNORECASE
)

_DATABASE = re.compile(r"\s*DROP\s+(?:DATABASE|SCHEMA)\s+(?:IF\s+EXISTS\s+)?(`(?:[^`]|``)*`|[\w$]+)", re.IGNORECASE)


class MysqlTables:
    """See `TablesWatch`.

    Args:
        keeper: Acts on what is found.
    """

    def __init__(self, keeper: TableKeeper) -> None:
        self._keeper = keeper

    def look(self) -> None:
        """Nothing: the binlog tells of everything, also of what happened while no worker ran."""

    def look_again(self) -> None:
        """Nothing, for the same reason."""

    def met(self, relation: Relation, xid: int) -> None:
        """Nothing: each table is described with its rows."""

    def noticed(self, notices: list[Notice], xid: int) -> None:
        """Have the rows of mapped tables told anew that a statement may have changed without telling."""
        default = self._keeper.default
        if default is None:
            return
        self._keeper.doubt_chunk()
        # Of one whose snapshot has not begun commits may have told rows.
        told = {*self._keeper.told(), *self._keeper.unread()}
        for notice in notices:
            database, text = orjson.loads(bytes(notice))
            if _HARMLESS.match(text):
                continue
            dropped = _DATABASE.match(text)
            gone = {name for name in default.by_table if dropped and name[0] == _bare(dropped[1])}
            for name in (concerned(text, database) & default.by_table.keys()) | gone:
                entity = default.by_table[name].name
                if entity in told and not leaves_rows(text, default.by_table[name].fields):
                    self._keeper.renew(entity, f"its table was altered: {' '.join(text.split())[:60]}")


def leaves_rows(text: str, fields: Container[str]) -> bool:
    """Whether ALTER TABLE leaves the recorded fields of the rows that are there as they are.

    Args:
        text: The statement; of another one the answer is no.
        fields: The fields that the app schema names.
    """
    found = _ALTER.match(text)
    if found is None:
        return False
    for action in _actions(text[found.end() :]):
        added = _ADDED.match(action)
        if not _HARMLESS_ACTION.match(action) and (added is None or _bare(added[1]) in fields):
            return False
    return True


def _actions(text: str) -> list[str]:
    """The parts of ALTER TABLE: what stands between commas that are in no parentheses."""
    parts, depth, start = [""], 0, 0
    for found in _PIECES.finditer(text):
        piece = found[0]
        depth += (piece == "(") - (piece == ")")
        if piece == "," and not depth:
            parts.append("")
        else:
            parts[-1] += " " if piece.startswith("/*") and not piece.startswith(("/*!", "/*M!")) else piece
        start = found.end()
    return parts if start == len(text) else [*parts, text[start:]]


def concerned(text: str, database: str) -> set[tuple[str, str]]:
    """The tables that a statement may be about: all names in it, each as (database, table).

    Args:
        text: The statement.
        database: The default database.
    """
    words = [word for word in _WORDS.findall(text) if word[:1] not in "'/#" and word[:2] != "--"]
    out: set[tuple[str, str]] = set()
    for at, word in enumerate(words):
        if word == ".":
            continue
        qualified = at >= 2 and words[at - 1] == "."
        out.add((_bare(words[at - 2]) if qualified else database, _bare(word)))
    return out


def _bare(word: str) -> str:
    quote = word[:1]
    return word[1:-1].replace(quote * 2, quote) if quote in ("`", '"') else word
