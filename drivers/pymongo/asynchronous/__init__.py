"""`pymongo.asynchronous`, with what tags in its place."""

from __future__ import annotations

from typing import Any

import pymongo.asynchronous


def __getattr__(name: str) -> Any:
    return getattr(pymongo.asynchronous, name)
