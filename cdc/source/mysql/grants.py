"""What a user of MySQL or MariaDB must be allowed, no more, and the statement that allows what is missing.

The worker's: to follow the binary log, to ask where it is, and to read the mapped tables for their snapshots. The app's: to write the
stamp that carries its tags.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ....schemas.errors import Refused
from ....transforms.table_name import TableName
from ...tail.binlog.table_map import STAMP
from ...tail.mysql_catalog import Catalog, sql_name
from ...tail.mysql_connection import ERRORS, code
from ..step import Missing

_NO_SUCH_USER = frozenset({1141, 1133, 1396})
_GRANT = re.compile(
    r"(GRANT|REVOKE) (.+?) ON (?:TABLE )?(\*|`(?:[^`]|``)*`)\.(\*|`(?:[^`]|``)*`) (?:TO|FROM) .*", re.DOTALL
)
_ALL = "ALL PRIVILEGES"
_FOLLOWS = {"mysql": ("REPLICATION SLAVE", "REPLICATION CLIENT"), "mariadb": ("REPLICATION SLAVE", "BINLOG MONITOR")}
"""Privileges on the whole server: to be sent the binary log, and to ask for its files and end."""

_SYNONYMS = {"REPLICATION REPLICA": "REPLICATION SLAVE", "REPLICA MONITOR": "SLAVE MONITOR"}


@dataclass(slots=True)
class Privileges:
    """What a user holds itself, without what roles bring.

    Args:
        everywhere: On the whole server.
        databases: Pattern of a database's name, as LIKE has it, to what is granted there.
        tables: Table to what is granted there on all columns.
        revoked: Database to what is taken out of `everywhere` (MySQL's partial revokes).
    """

    everywhere: set[str] = field(default_factory=set[str])
    databases: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    tables: dict[TableName, set[str]] = field(default_factory=dict[TableName, set[str]])
    revoked: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    @classmethod
    def parse(cls, statements: Iterable[str]) -> "Privileges":
        """Read what SHOW GRANTS prints."""
        held = cls()
        for statement in statements:
            found = _GRANT.match(statement)
            if found is None:
                continue
            verb, words, database, table = found.groups()
            # Of privileges on some columns only, no name stands alone.
            names = {
                _SYNONYMS.get(word.strip(), word.strip()) for word in re.sub(r"\w[\w ]*\([^)]*\)", "", words).split(",")
            }
            if database == "*":
                held.everywhere |= names
            elif table != "*":
                held.tables.setdefault((_bare(database), _bare(table)), set()).update(names)
            elif verb == "REVOKE":
                held.revoked.setdefault(_bare(database), set()).update(names)
            else:
                held.databases.setdefault(_bare(database), set()).update(names)
        return held

    def everywhere_has(self, privilege: str) -> bool:
        """Whether a privilege is held on the whole server."""
        return not self.everywhere.isdisjoint((privilege, _ALL))

    def has(self, privilege: str, table: TableName) -> bool:
        """Whether a privilege is held on a table."""
        wanted = {privilege, _ALL}
        if not self.everywhere.isdisjoint(wanted) and self.revoked.get(table[0], set()).isdisjoint(wanted):
            return True
        by_database = (names for pattern, names in self.databases.items() if _like(pattern, table[0]))
        return any(not names.isdisjoint(wanted) for names in (*by_database, self.tables.get(table, set())))


def account(role: str) -> str:
    """A user as SQL has it: `name`, or `name@host`; without a host of any."""
    name, at, host = role.rpartition("@")
    return f"{_text(name if at else host)}@{_text(host if at else '%')}"


def missing(catalog: Catalog, role: str, tables: Iterable[TableName]) -> Iterator[Missing]:
    """What a user lacks to be the worker's.

    Args:
        catalog: The source's catalogs, of a user who may see others' grants.
        role: The user, `name` or `name@host`, who need not be there yet; empty for the catalogs' own.
        tables: The mapped tables, which exist.

    Raises:
        Refused: The catalogs' user may not see others' grants.
        Unreachable: The source does not answer.
    """
    user = account(role) if role else own_account(catalog)
    held = Privileges.parse(catalog.grants()) if not role else _held(catalog, user)
    if held is None:
        yield Missing(
            "is not there yet; until you set its password it is locked (ALTER USER … IDENTIFIED BY '…' ACCOUNT UNLOCK)",
            f"CREATE USER {user} ACCOUNT LOCK",
        )
        held = Privileges()
    lacks = [name for name in _FOLLOWS[catalog.engine] if not held.everywhere_has(name)]
    if lacks:
        yield Missing("may not follow the binary log", f"GRANT {', '.join(lacks)} ON *.* TO {user}")
    for table in sorted(set(tables)):
        if not held.has("SELECT", table):
            yield Missing(f"may not read table {'.'.join(table)}", f"GRANT SELECT ON {sql_name(*table)} TO {user}")


def stamping(catalog: Catalog, user: str, *, logged: bool) -> str:
    """The statement that lets an app's user stamp its transactions.

    Args:
        catalog: The source's catalogs.
        user: `name` or `name@host`.
        logged: The stamp is only logged; otherwise it is one row for each connection, which is written anew.
    """
    if logged:
        what = "INSERT (ctx)"
    elif catalog.engine == "mysql":
        what = "SELECT (n), INSERT (conn, n, ctx), UPDATE (n, ctx)"
    else:
        # MariaDB wants all of it for INSERT … ON DUPLICATE KEY UPDATE where whole rows are logged.
        what = "SELECT, INSERT, UPDATE"
    return f"GRANT {what} ON {sql_name(*STAMP)} TO {account(user)}"


def own_account(catalog: Catalog) -> str:
    """The catalogs' own user, as SQL has it."""
    ((name,),) = catalog.rows("SELECT CURRENT_USER()")
    return account(str(name))


def _held(catalog: Catalog, user: str) -> Privileges | None:
    try:
        rows = catalog.connection.rows(f"SHOW GRANTS FOR {user}")
    except ERRORS as exc:
        if code(exc) in _NO_SUCH_USER:
            return None
        if code(exc) in (1044, 1142):
            raise Refused(
                f"what {user} may do cannot be seen", hint="run it as a user who may SELECT ON mysql.*, such as root"
            ) from exc
        raise catalog.failed(exc) from exc
    return Privileges.parse(str(row[0]) for row in rows)


def _bare(name: str) -> str:
    return name[1:-1].replace("``", "`")


def _like(pattern: str, name: str) -> bool:
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return re.fullmatch("".join(wild.get(p) or re.escape(p[-1]) for p in pieces), name, re.DOTALL) is not None


def _text(text: str) -> str:
    """A literal, whatever a backslash means to the server."""
    if "\\" in text:
        raise Refused(f"{text!r} is no name of a user", hint="write NAME or NAME@HOST")
    return "'" + text.replace("'", "''") + "'"
