"""`psycopg.cursor`, with what tags in its place."""

from typing import Any

import psycopg.cursor

from . import Cursor as Cursor


def __getattr__(name: str) -> Any:
    return getattr(psycopg.cursor, name)
