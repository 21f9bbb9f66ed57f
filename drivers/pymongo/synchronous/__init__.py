"""`pymongo.synchronous`, with what tags in its place."""

from __future__ import annotations

from typing import Any

import pymongo.synchronous


def __getattr__(name: str) -> Any:
    return getattr(pymongo.synchronous, name)
