"""`psycopg.connection`, with what tags in its place."""

from typing import Any

import psycopg.connection

from . import Connection as Connection


def __getattr__(name: str) -> Any:
    return getattr(psycopg.connection, name)
