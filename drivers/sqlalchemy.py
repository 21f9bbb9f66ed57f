"""SQLAlchemy 2 over the wrapped psycopg: what its engines take as `module`.

    create_engine("postgresql+psycopg://…", module=commitlog.drivers.sqlalchemy.psycopg)
    create_async_engine("postgresql+psycopg://…", module=commitlog.drivers.sqlalchemy.psycopg_async)

The first is `commitlog.drivers.psycopg` itself. An async engine drives its module through an adapter of SQLAlchemy's,
so it takes the second and refuses the first.
"""

from typing import Any

from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg

from . import psycopg


def _adapted() -> Any:
    dialect: Any = PGDialectAsync_psycopg  # SQLAlchemy does not type its dialects
    adapter = dialect.import_dbapi()
    # The adapter connects by `psycopg.AsyncConnection` of what stands here; its errors and types are psycopg's own.
    adapter.psycopg = psycopg
    return adapter


psycopg_async = _adapted()
"""The wrapped psycopg as an async engine takes it."""
