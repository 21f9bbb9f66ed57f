"""`psycopg.raw_cursor`, with what tags in its place."""

from typing import Any

import psycopg.raw_cursor

from . import AsyncRawCursor as AsyncRawCursor
from . import AsyncRawServerCursor as AsyncRawServerCursor
from . import RawCursor as RawCursor
from . import RawServerCursor as RawServerCursor


def __getattr__(name: str) -> Any:
    return getattr(psycopg.raw_cursor, name)
