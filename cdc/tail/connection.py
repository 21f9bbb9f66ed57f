"""An ordinary connection to a source: settings that make its texts the same everywhere, and a limit on every wait."""

import re
import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg

from ...schemas.errors import Refused
from .address import AT_THE_SERVER, refusal, secured
from .address import one_line as one_line

SESSION_SETTINGS = (
    "-c DateStyle=ISO -c TimeZone=UTC -c IntervalStyle=iso_8601 -c extra_float_digits=3 -c bytea_output=hex"
    " -c search_path=pg_catalog -c lc_monetary=C -c quote_all_identifiers=off -c array_nulls=on -c xmloption=content"
)
"""Make every type's text the same on every server, and read back as it is: it is what records hold. Applies to walsenders too."""

NO_LIMITS = "-c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0 -c default_transaction_read_only=off"
"""Instead of what the role or the database is set to for an app."""

STATEMENT_TIMEOUT_MS = 60_000

TOO_LARGE = "invalid memory alloc request size"
"""What a server says of a text above 1 GB that it would have to make, besides the errors of class 54."""

TRANSACTIONS_LIMITED_FROM = 170_000
CONNECT_TIMEOUT_S = 10
_READS = {"database": "CREATE", "schema": "USAGE", "table": "SELECT", "function": "EXECUTE"}
_WRITES = {**_READS, "schema": "USAGE, CREATE", "table": "ALL"}
"""What is needed of what. A database that was connected to lacks CREATE, for a publication or a schema."""

PATIENCE_S = 70.0
"""How long to wait for an answer: a little longer than the server lets a statement run."""


_Kind = TypeVar("_Kind", bound="psycopg.Connection[tuple[Any, ...]]")


class _Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is given up when an answer does not come in time: of a network that fell silent nobody is told."""

    patience_s = PATIENCE_S

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Run one exchange with the server; psycopg looks in ten times a second."""
        return super().wait(self._limited(gen), *args, **kwargs)

    def _limited(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + self.patience_s
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer within {self.patience_s:g} s")
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value


def connect(
    url: str, *, patience_s: float = PATIENCE_S, where: str = "[source] url"
) -> "psycopg.Connection[tuple[Any, ...]]":
    """A connection in autocommit with the session settings that records need, on which no answer is waited for longer than
    `patience_s`.

    Raises:
        Unreachable: The server does not answer or refuses the login.
        Refused: It does not prove who it is, or a privilege is missing.
    """
    # Not even what is written here waits for a standby.
    settings = f"{NO_LIMITS} -c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout=0 -c synchronous_commit=local"
    connection = opened(_Connection, url, where=where, settings=settings)
    connection.patience_s = patience_s
    return connection


def opened(kind: type[_Kind], url: str, *, where: str = "[source] url", settings: str = "", **more: Any) -> _Kind:
    """A connection of any kind to a source, in autocommit, with the session settings that records need.

    Args:
        kind: Its class.
        url: A libpq URL.
        where: Where the user wrote it.
        settings: Further ones, as libpq's `options` takes them.
        more: Further parameters of the connection.

    Raises:
        Unreachable: The server does not answer or refuses the login.
        Refused: It does not prove who it is, or a privilege is missing.
    """
    try:
        connection = kind.connect(
            secured(url, where),
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="commitlog",
            client_encoding="UTF8",
            options=f"{SESSION_SETTINGS} {settings}",
            **more,
        )
        take_settings(connection, what="the source", where=where)
    except psycopg.OperationalError as exc:
        raise refusal(exc, what="the source", where=where) from exc
    return connection


def take_settings(connection: "psycopg.Connection[tuple[Any, ...]]", *, what: str, where: str) -> None:
    """Let transactions last as long as their statements may: the limit on them is set where the server knows one. And see that the
    other settings are in force.

    Args:
        connection: With `SESSION_SETTINGS`.
        what: What it reaches.
        where: Where the user wrote its address.

    Raises:
        Refused: They are not: a pooler may be told to keep them back, and texts would be others than records hold.
    """
    query = b"SELECT pg_catalog.current_setting('search_path')"
    if connection.info.server_version >= TRANSACTIONS_LIMITED_FROM:
        query += b", pg_catalog.set_config('transaction_timeout', '0', false)"
    row = connection.execute(query).fetchone()
    if row is None or row[0] != "pg_catalog":
        connection.close()
        raise Refused(
            f"{what} is behind a pooler that keeps back the settings of a connection",
            hint=AT_THE_SERVER.format(where=where),
        )


def grant(exc: psycopg.Error, user: str, *, table: str = "", writes: bool = False) -> str:
    """The statement that lets a role do what a server has just refused it, as far as the server's words say what that is.

    Args:
        exc: As psycopg raised it.
        user: The role.
        table: The table that was read or written, in SQL text, where it is known: the server says its name alone.
        writes: The role is to make and write tables, as a fork's does.

    Returns:
        SQL, or what to do where the server's words do not say it.
    """
    if isinstance(exc, psycopg.errors.ProgramLimitExceeded) or TOO_LARGE in str(exc):
        return "a row that as text is above 1 GB (bytea counts twice) cannot be read: make its values smaller"
    text, role = one_line(exc), '"' + user.replace('"', '""') + '"'
    if "row-level security policy" in text:
        return f"ALTER ROLE {role} BYPASSRLS"
    if "to use replication slots" in text:
        return f"ALTER ROLE {role} REPLICATION"
    found = re.search(r"permission denied for (database|schema|table|function) (.+?)(?: [A-Z]+:| LINE|$)", text)
    if found is None:
        return "let the owner, or a superuser, do it" if "must be owner" in text else "commitlog doctor"
    kind, name = found[1], found[2].strip('"').replace('"', '""')
    return f"GRANT {(_WRITES if writes else _READS)[kind]} ON {kind.upper()} {(kind == 'table' and table) or _named(kind, name)} TO {role}"


def _named(kind: str, name: str) -> str:
    return name if kind == "function" else f'"{name}"'
