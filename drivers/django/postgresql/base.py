"""Django's own PostgreSQL backend, whose connections, cursors and pool are the wrapped psycopg's.

Everything else is Django's: options, features, schema editor, introspection. `OPTIONS["pool"]` may name a
`connection_class`, as in `psycopg_pool`; one of plain psycopg is made to tag.
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base as plain

from ... import psycopg
from ...psycopg_cursors import StampedServerCursor
from ...psycopg_pool import stamped_class


class ServerSideCursor(StampedServerCursor[Any], plain.ServerSideCursor):  # type: ignore[misc] # Django is untyped
    """Django's cursor for `iterator()`, which makes it without asking the connection for one."""


class DatabaseWrapper(plain.DatabaseWrapper):  # type: ignore[misc] # Django is untyped
    """See `django.db.backends.postgresql.base.DatabaseWrapper`."""

    Database = psycopg

    @property
    def pool(self) -> Any:
        pool = super().pool
        if pool is not None:
            # Django makes the pool closed, and opens what this returns.
            pool.connection_class = stamped_class(pool.connection_class)
        return pool

    def create_cursor(self, name: str | None = None) -> Any:
        cursor = super().create_cursor(name)
        if type(cursor) is plain.ServerSideCursor:
            # The classes differ in methods only, and nothing has been sent yet.
            cursor.__class__ = ServerSideCursor
        return cursor
