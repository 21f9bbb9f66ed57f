"""The connection to a fork's PostgreSQL, and what its errors mean for the fork."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import errors, sql

from ....schemas.errors import CommitLogError, Locked, Refused
from ...tail.address import refusal, secured
from ...tail.connection import NO_LIMITS, SESSION_SETTINGS, grant, one_line, take_settings
from ..sql_connection import SqlConnection
from ..sql_memory import Row
from ..store import Again, Refusal, Rejected, altered, unreachable

CONNECT_TIMEOUT_S: Final = 10
STATEMENT_TIMEOUT_MS: Final = 600_000
"""A statement applies a bounded batch; one that takes ten minutes is stuck."""

LOCK_TIMEOUT_MS: Final = 15_000
"""The fork waits so long for a local transaction that holds a row, then tries its own again from the start."""

_PLANNING = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
"""Every statement of the fork finds rows by key. A plan made while a table was small must not scan it when it is large."""

_SETTINGS = f"{SESSION_SETTINGS} {NO_LIMITS} {_PLANNING} -c row_security=off -c statement_timeout={STATEMENT_TIMEOUT_MS} -c jit=off"

# The advisory lock of the one process that applies to a database: "commitlo" as a number.
_LOCK: Final = 0x636F6D6D69746C6F

_REJECTED: Final = (
    errors.IntegrityError,
    errors.DataError,
    errors.RaiseException,
    errors.WithCheckOptionViolation,
    errors.GeneratedAlways,
    errors.FeatureNotSupported,
    errors.ProgramLimitExceeded,
)
_AGAIN: Final = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)

Connection = psycopg.Connection[Row]


class Connected(SqlConnection):
    """A connection to a fork's database.

    Args:
        url: A libpq URL.

    Raises:
        Unreachable: It does not answer.
        Refused: It is not one a fork can live in, or does not prove who it is.
    """

    def __init__(self, url: str) -> None:
        try:
            self.connection: Connection = psycopg.Connection.connect(
                secured(url, "--into"),
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="commitlog fork",
                client_encoding="UTF8",
                options=f"{_SETTINGS} -c lock_timeout={LOCK_TIMEOUT_MS}",
                keepalives_idle=30,
                prepare_threshold=2,
            )
            take_settings(self.connection, what="the fork's database", where="--into")
        except psycopg.OperationalError as exc:
            raise refusal(exc, what="the fork's database", where="--into") from exc
        # Statements differ by the fields they change; the more stay prepared, the less is planned again.
        self.connection.prepared_max = 500

    def close(self) -> None:
        """End the connection."""
        self.connection.close()

    @property
    def broken(self) -> bool:
        """Whether it is lost."""
        return self.connection.broken

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """A transaction: committed at its end, rolled back by an exception."""
        with translated(), self.connection.transaction():
            yield

    def rows(self, query: "str | sql.Composable", parameters: Sequence[object] = ()) -> list[Row]:
        """Run one statement and give its rows.

        Raises:
            CommitLogError: As `translated`.
        """
        with translated(self.connection.info.user):
            return self.connection.execute(query, parameters or None).fetchall()  # type: ignore[arg-type] # constant text

    def execute(self, query: "str | sql.Composable", parameters: Sequence[object] = ()) -> int:
        """Run one statement and give the number of rows it changed.

        Raises:
            CommitLogError: As `translated`.
        """
        with translated(self.connection.info.user):
            return self.connection.execute(query, parameters or None).rowcount  # type: ignore[arg-type] # constant text

    def prepared(self, query: "bytes | sql.Composed", parameter: str) -> "psycopg.RawCursor[Row]":
        """Run a statement of `statements`; in a pipeline the cursor is filled when that ends.

        Raises:
            CommitLogError: As `translated`.
        """
        with translated():
            # A raw cursor leaves a % in a name alone.
            return psycopg.RawCursor(self.connection).execute(query, (parameter,), prepare=True)

    def lock(self) -> None:
        """Keep every other fork process off this database until the connection ends.

        Raises:
            Locked: There is one.
        """
        if not self.rows("SELECT pg_try_advisory_lock(%s)", (_LOCK,))[0][0]:
            raise Locked("another process works on this fork", hint="stop it, or let it do the work")

    def database(self) -> tuple[str, str]:
        """(system identifier, empty where this user may not see it; name of the database).

        Raises:
            Refused: The database does not hold UTF-8, or is read-only.
        """
        encoding, read_only, name, may_see = self.rows(
            "SELECT current_setting('server_encoding'), current_setting('transaction_read_only'), current_database()::text,"
            " has_function_privilege('pg_control_system()', 'execute')"
        )[0]
        if encoding != "UTF8":
            raise Refused(
                f"database {name} holds {encoding}, and records are UTF-8",
                hint=f"createdb --encoding=UTF8 --template=template0 {name}_fork",
            )
        if read_only == "on":
            raise Refused(f"database {name} is read-only", hint="give the fork a primary server")
        system = self.rows("SELECT system_identifier::text FROM pg_control_system()")[0][0] if may_see else ""
        return system, name

    def place(self) -> str:
        """The system identifier."""
        return self.database()[0]

    def column_types(self, schema: str, table: str, *, modified: bool = True) -> dict[str, str]:
        """Column to the server's name of its type; empty where there is no such table.

        Args:
            schema: The table's schema.
            table: The table.
            modified: With the column's modifier, such as a length.
        """
        modifier = "a.atttypmod" if modified else "-1"
        return dict(
            self.rows(
                f"SELECT a.attname::text, format_type(a.atttypid, {modifier}) FROM pg_attribute a"  # noqa: S608 - constant
                " JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p') AND a.attnum > 0"
                " AND NOT a.attisdropped",
                (schema, table),
            )
        )


@contextmanager
def translated(user: str = "") -> Generator[None, None, None]:
    """Turn psycopg's errors into ours.

    Args:
        user: The fork's role, for what it lacks.

    Raises:
        Rejected: The target will not have a row.
        Again: Another transaction is in the way.
        Unreachable: The server does not answer, or cut the connection.
        Refused: A privilege, a table or a setting is not what the fork needs.
    """
    try:
        yield
    except _REJECTED as exc:
        raise Rejected(_refusal(exc), one_line(exc)) from exc
    except _AGAIN as exc:
        raise Again(one_line(exc)) from exc
    except psycopg.Error as exc:
        raise _error(exc, user) from exc


def _error(exc: psycopg.Error, user: str) -> CommitLogError:
    text = one_line(exc)
    if isinstance(exc, errors.InsufficientPrivilege):
        return Refused(
            f"the fork's user may not do what it must: {text}",
            hint=grant(exc, user, writes=True) if user else "grant it, then run the same command again",
        )
    if isinstance(exc, errors.UndefinedTable | errors.UndefinedColumn | errors.InvalidSchemaName):
        return altered(text)
    if isinstance(exc, errors.ReadOnlySqlTransaction):
        return Refused("the fork's database is read-only", hint="give the fork a primary server")
    if isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError):
        return unreachable(text)
    return Refused(f"the fork's database refused a statement: {text}")


def _refusal(exc: psycopg.Error) -> Refusal:
    match exc:
        case errors.UniqueViolation():
            return "unique"
        case errors.ForeignKeyViolation() | errors.RestrictViolation():
            return "foreign key"
        case errors.CheckViolation():
            return "check"
        case errors.NotNullViolation():
            return "not null"
        case errors.ExclusionViolation():
            return "exclusion"
        case errors.DataError():
            return "value"
        case _:
            return "refused"
