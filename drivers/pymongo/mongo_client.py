"""`pymongo.mongo_client`, with what tags in its place."""

from __future__ import annotations

from typing import Any

import pymongo.mongo_client

from .synchronous.mongo_client import MongoClient as MongoClient

__all__ = ["MongoClient"]


def __getattr__(name: str) -> Any:
    return getattr(pymongo.mongo_client, name)
