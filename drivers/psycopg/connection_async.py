"""`psycopg.connection_async`, with what tags in its place."""

from typing import Any

import psycopg.connection_async

from . import AsyncConnection as AsyncConnection


def __getattr__(name: str) -> Any:
    return getattr(psycopg.connection_async, name)
