"""Names of tables as app schemas and shapes write them: `schema.table`, in quotes what is not plain lower case."""

import re

TableName = tuple[str, str]
"""Database schema and table, each as the database has it."""

_PART = re.compile(r'"((?:[^"\0]|"")+)"|([a-z_][a-z0-9_]*)')


def quoted(table: TableName) -> str:
    """`schema.table`, each part in quotes unless it is plain lower case."""
    return ".".join(quote(part) for part in table)


def quote(name: str) -> str:
    """An identifier as schemas and shapes write it."""
    return name if _PART.fullmatch(name) and not name.startswith('"') else '"' + name.replace('"', '""') + '"'


def table_name(text: str) -> TableName:
    """Read what `quoted` writes.

    Raises:
        ValueError: `text` is something else.
    """
    first = _PART.match(text)
    second = _PART.fullmatch(text, first.end() + 1) if first and text[first.end() : first.end() + 1] == "." else None
    if first is None or second is None:
        raise ValueError(f"{text!r} is not SCHEMA.TABLE")
    return _part(first), _part(second)


def _part(match: re.Match[str]) -> str:
    return match[2] or match[1].replace('""', '"')
