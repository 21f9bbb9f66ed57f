"""The demo on MongoDB."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

from bson import json_util
from bson.decimal128 import Decimal128

from ..database_url import split_password
from ..servers.container import docker_answers
from ..servers.failure import MONGODB_URL_VARIABLE
from ..servers.mongod_programs import find_mongod
from ..servers.mongodb import GivenMongoServer, MongoServer, connect
from ..servers.mongodb_provision import provide_mongodb
from .engine import Engine, Server

_STAMPS = "commitlog"
"""The database in which `commitlog setup` makes the collection of the stamps."""
_COLLECTIONS = ("customers", "products", "orders")


class MongoEngine(Engine):
    """MongoDB. A statement is a command of the database, as its client takes it."""

    title, driver, extra = "MongoDB", "pymongo", "mongodb"
    example, variable = "mongodb://USER@HOST:27017/DATABASE", MONGODB_URL_VARIABLE
    schema, column = "documents", "field"
    order = ("_id", "customer_id", "status", "total", "note", "placed_at", "lines")
    stock_statement = (
        'db.runCommand({"update": "products", "updates": [{"q": {"_id": 4}, "u": {"$set": {"stock": 50}}}]})'
    )
    delivery_statement = ""

    def fetch(self) -> None:
        """See the base. A server that is given, or runs in a container, needs none."""
        if not os.environ.get(self.variable) and not docker_answers():
            find_mongod()

    def provide(self) -> AbstractContextManager[Server]:
        return provide_mongodb()

    def is_given(self, server: Server) -> bool:
        return isinstance(server, GivenMongoServer)

    def made_by_setup(self, server: Server) -> list[str]:
        assert isinstance(server, MongoServer)
        with server.client() as client:
            return [] if _STAMPS in client.list_database_names() else [_STAMPS]

    def namespace(self, database: str) -> str:
        return database

    def make_shop(self, url: str) -> None:
        text = Path(__file__).with_name("shop.json").read_text(encoding="utf-8")
        with connect(url) as client:
            for name, documents in json_util.loads(text).items():
                collection = client.get_default_database().create_collection(name)
                if documents:
                    collection.insert_many(documents)

    def execute(self, url: str, *statements: str) -> None:
        with connect(url) as client:
            for statement in statements:
                command = statement.removeprefix("db.runCommand(").removesuffix(")")
                client.get_default_database().command(json_util.loads(command))

    def published(self, url: str) -> Mapping[str, Sequence[object]]:
        with connect(url) as client:
            database = client.get_default_database()
            return {name: list(database[name].find(sort=[("_id", 1)])) for name in _COLLECTIONS}

    def ids(self, url: str, table: str, above: int = 0) -> list[int]:
        with connect(url) as client:
            found = client.get_default_database()[table].find({"_id": {"$gt": above}}, sort=[("_id", 1)])
            return [document["_id"] for document in found]

    def recorded(self, value: Any) -> Any:
        value = Decimal128(value) if isinstance(value, Decimal) else value
        return json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS, separators=(",", ":"))

    def client(self, url: str) -> str:
        return f"mongosh '{split_password(url)[0]}'"
