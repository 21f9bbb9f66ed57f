"""`psycopg.client_cursor`, with what tags in its place."""

from typing import Any

import psycopg.client_cursor

from . import AsyncClientCursor as AsyncClientCursor
from . import ClientCursor as ClientCursor


def __getattr__(name: str) -> Any:
    return getattr(psycopg.client_cursor, name)
