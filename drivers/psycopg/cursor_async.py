"""`psycopg.cursor_async`, with what tags in its place."""

from typing import Any

import psycopg.cursor_async

from . import AsyncCursor as AsyncCursor


def __getattr__(name: str) -> Any:
    return getattr(psycopg.cursor_async, name)
