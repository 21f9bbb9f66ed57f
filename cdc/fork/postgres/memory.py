"""The tables in which a fork in PostgreSQL remembers."""

from typing import Final

from ....schemas.errors import Refused
from ..sql_memory import SqlMemory

_TABLES: Final = (
    "CREATE SCHEMA _commitlog",
    "CREATE TABLE _commitlog.applied (one boolean PRIMARY KEY DEFAULT true CHECK (one), format integer NOT NULL,"
    " log text NOT NULL, name text NOT NULL, url text NOT NULL, only_entities text[] NOT NULL, epoch integer NOT NULL,"
    " seq bigint NOT NULL, hash text NOT NULL, token bigint NOT NULL, at timestamptz NOT NULL)",
    "CREATE TABLE _commitlog.shapes (n bigint GENERATED ALWAYS AS IDENTITY, hash text PRIMARY KEY, data text NOT NULL)",
    "CREATE TABLE _commitlog.entities (entity text PRIMARY KEY, snapshot text,"
    " snapshot_seq bigint NOT NULL, again boolean NOT NULL, complete boolean NOT NULL)",
    "CREATE TABLE _commitlog.made (n bigint GENERATED ALWAYS AS IDENTITY, kind text NOT NULL, namespace text NOT NULL,"
    " name text NOT NULL, object oid PRIMARY KEY)",
    "CREATE TABLE _commitlog.conflicts (id text PRIMARY KEY, status text NOT NULL DEFAULT 'open', kind text NOT NULL,"
    " entity text NOT NULL, key text NOT NULL, field text NOT NULL, base json, ours json, theirs json, ours_by json,"
    " theirs_by json, commit text NOT NULL, epoch integer NOT NULL, seq bigint NOT NULL, error text NOT NULL DEFAULT '',"
    " at timestamptz NOT NULL DEFAULT now(), closed_at timestamptz)",
    "CREATE UNIQUE INDEX conflicts_open ON _commitlog.conflicts (entity, key, field) WHERE status = 'open'",
    "CREATE INDEX conflicts_commit ON _commitlog.conflicts (commit)",
)

_NAMES: Final = ("applied", "shapes", "entities", "made", "conflicts")


class PostgresMemory(SqlMemory):
    """Schema `_commitlog`. `made` is what the fork made, for `tables`."""

    shown = "schema _commitlog"
    moment = document = "{}::text"

    def is_there(self) -> bool:
        """Whether the tables are there.

        Raises:
            Refused: A schema of that name is there, and no fork in it.
        """
        schema, applied = self._database.rows(
            "SELECT to_regnamespace('_commitlog') IS NOT NULL, to_regclass('_commitlog.applied') IS NOT NULL"
        )[0]
        if schema and not applied:
            raise Refused(
                "the database has a schema _commitlog that no fork made", hint="give the fork a database of its own"
            )
        return bool(applied)

    def make(self) -> None:
        """Make the schema and its tables."""
        for statement in _TABLES:
            self._database.execute(statement)

    def drop(self) -> None:
        """Drop them."""
        for table in _NAMES:
            self._database.execute(f"DROP TABLE _commitlog.{table}")
        self._database.execute("DROP SCHEMA _commitlog")
