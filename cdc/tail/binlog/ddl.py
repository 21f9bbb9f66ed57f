"""What a statement of definition in a binlog says, as far as its rows' meaning hangs on it: which tables it is about, whether it empties
one, whether it leaves the rows that are there as they are. Only what is certain is taken for harmless.
"""

import re
from collections.abc import Collection, Container

_WORD = r"[\w$\u0080-\uffff]+"
"""The server takes for part of a name whatever is not ASCII: vowel signs of Hindi, and €, too."""

_NAME = rf"`(?:[^`]|``)*`|{_WORD}"

_WORDS = re.compile(
    rf"`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"|'(?:[^'\\]|\\.|'')*'|/\*(?!M?!).*?\*/|(?:--|\#)[^\n]*|{_WORD}|\.", re.DOTALL
)
"""Names, with or without quotes; texts and comments, to be passed over."""

_PIECES = re.compile(_WORDS.pattern + r"|.", re.DOTALL)

_HARMLESS = re.compile(
    r"\s*(?:CREATE\s+(?:OR\s+REPLACE\s+)?(?:UNIQUE\s+|FULLTEXT\s+|SPATIAL\s+)?INDEX|DROP\s+INDEX|ANALYZE|OPTIMIZE|REPAIR|CHECK|FLUSH|GRANT|REVOKE"
    r"|(?:CREATE|ALTER)\s+(?:OR\s+REPLACE\s+)?(?:ALGORITHM\s*=\s*\w+\s+)?(?:DEFINER\s*=\s*\S+\s+)?(?:SQL\s+SECURITY\s+\w+\s+)?"
    r"(?:VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT)|DROP\s+(?:VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT))\b",
    re.IGNORECASE,
)
"""Statements that leave rows as they are."""

_ALTER = re.compile(
    rf"\s*ALTER\s+(?:ONLINE\s+)?TABLE\s+(?:IF\s+EXISTS\s+)?(?:(?:{_NAME})\s*\.\s*)?(?:{_NAME})"
    r"\s*(?:WAIT\s+\d+|NOWAIT)?\s*",
    re.IGNORECASE,
)
_HARMLESS_ACTION = re.compile(
    r"\s*(?:ADD\s+(?:CONSTRAINT\b|PRIMARY\s+KEY\b|PARTITION\b|(?:UNIQUE\b|FULLTEXT\b|SPATIAL\b|FOREIGN\s+KEY\b|CHECK\b|INDEX\b|KEY\b))|DROP\s+(?:CONSTRAINT|FOREIGN\s+KEY|CHECK|INDEX|KEY)\b"
    r"|RENAME\s+(?:INDEX|KEY)\b|ALTER\s+(?:INDEX|CHECK|CONSTRAINT)\b|COMMENT\b|AUTO_INCREMENT\b|ALGORITHM\b|LOCK\b|ENABLE\s+KEYS|DISABLE\s+KEYS|STATS_\w+)",
    re.IGNORECASE,
)
"""Parts of ALTER TABLE that leave rows as they are. A part that is none of these may change them."""

_ADDED = re.compile(rf"\s*ADD\s+(?:COLUMN\s+)?(?:IF\s+NOT\s+EXISTS\s+)?(?!PERIOD\b|SYSTEM\b)({_NAME})", re.IGNORECASE)

_CREATED = re.compile(rf"\s*CREATE\s+TABLE\s+(IF\s+NOT\s+EXISTS\s+)?(?:({_NAME})\s*\.\s*)?({_NAME})", re.IGNORECASE)
"""Not OR REPLACE: that one drops what was there."""

_TRUNCATE = re.compile(
    rf"\s*(?:/\*.*?\*/\s*)*TRUNCATE\s+(?:TABLE\s+)?(?:({_NAME})\s*\.\s*)?({_NAME})", re.IGNORECASE | re.DOTALL
)


def truncated(text: str, database: str) -> tuple[str, str] | None:
    """Database and name of the table that a statement truncates; None where it is another statement."""
    found = _TRUNCATE.match(text)
    if found is None:
        return None
    return (_bare(found[1]) if found[1] else database), _bare(found[2])


def dropped_database(text: str) -> str | None:
    """The database that a statement drops; None where it is another statement."""
    # Of a version in an executable comment the number is left, and no name is one.
    words = [word for word in _spoken(text) if not word.isdigit()]
    match [word.lower() for word in words[:4]]:
        case ["drop", "database" | "schema", "if", "exists"]:
            return _bare(words[4])
        case ["drop", "database" | "schema", _, *_]:
            return _bare(words[2])
        case _:
            return None


def harmless(text: str) -> bool:
    """Whether a statement of another kind than ALTER TABLE leaves all rows as they are."""
    return _HARMLESS.match(text) is not None


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


def among(tables: Collection[tuple[str, str]], text: str, database: str) -> list[tuple[str, str]]:
    """Those of some tables that a statement may be about, or is about with all of their database. Case makes no difference: the server
    may be set to tell names apart without it, and then the statement has them as they were typed.

    Args:
        tables: Database and name of each.
        text: The statement.
        database: The default database.
    """
    named = {(of.casefold(), name.casefold()) for of, name in concerned(text, database)}
    dropped = (dropped_database(text) or "").casefold()
    folded = {(of, name): (of.casefold(), name.casefold()) for of, name in tables}
    return [table for table, (of, name) in folded.items() if of == dropped or (of, name) in named]


def concerned(text: str, database: str) -> set[tuple[str, str]]:
    """The tables that a statement may be about: all names in it, each as (database, table).

    A table that is made leaves those that it refers to as they are, and one of its own name that was there, too.

    Args:
        text: The statement.
        database: The default database.
    """
    made = _CREATED.match(text)
    if made is not None:
        return set() if made[1] else {(_bare(made[2]) if made[2] else database, _bare(made[3]))}
    words = _spoken(text)
    out: set[tuple[str, str]] = set()
    for at, word in enumerate(words):
        if word == ".":
            continue
        qualified = at >= 2 and words[at - 1] == "."
        out.add((_bare(words[at - 2]) if qualified else database, _bare(word)))
    return out


def _spoken(text: str) -> list[str]:
    """The words of a statement that are neither texts nor comments."""
    return [word for word in _WORDS.findall(text) if word[:1] not in "'/#" and word[:2] != "--"]


def _bare(word: str) -> str:
    quote = word[:1]
    return word[1:-1].replace(quote * 2, quote) if quote in ("`", '"') else word
