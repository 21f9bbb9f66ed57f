"""What the statements in a binlog say of mapped tables. The log of rows tells every row that changes, but not what ALTER TABLE makes of
those that do not, nor what comes under a table's name when tables are renamed.
"""

import logging
import re

import orjson

from ..tail.transaction import Notice, Relation
from .source import TableKeeper

log = logging.getLogger("commitlog")

_WORDS = re.compile(
    r"`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"|'(?:[^'\\]|\\.|'')*'|/\*(?!M?!).*?\*/|(?:--|\#)[^\n]*|[\w$]+|\.", re.DOTALL
)
"""Names, with or without quotes; texts and comments, to be passed over."""

_HARMLESS = re.compile(
    r"\s*(?:CREATE\s+(?:OR\s+REPLACE\s+)?(?:UNIQUE\s+|FULLTEXT\s+|SPATIAL\s+)?INDEX|DROP\s+INDEX|ANALYZE|OPTIMIZE|REPAIR|CHECK|FLUSH|GRANT|REVOKE"
    r"|CREATE\s+(?:DEFINER\s*=\s*\S+\s+)?(?:VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT)|DROP\s+(?:VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT))\b",
    re.IGNORECASE,
)
"""Statements that leave rows as they are."""

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
        told = self._keeper.told()
        for notice in notices:
            database, text = orjson.loads(bytes(notice))
            if _HARMLESS.match(text):
                continue
            dropped = _DATABASE.match(text)
            gone = {name for name in default.by_table if dropped and name[0] == _bare(dropped[1])}
            for name in (concerned(text, database) & default.by_table.keys()) | gone:
                entity = default.by_table[name].name
                if entity in told:
                    self._keeper.renew(entity, f"its table was altered: {' '.join(text.split())[:60]}")


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
