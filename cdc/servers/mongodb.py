"""A MongoDB on which databases are made and dropped, whoever started it.

It makes no promise about who else uses the server: databases and users are told apart by name. A database is made by the first
write to it.
"""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from ...schemas.errors import Refused, Unreachable
from .failure import MONGODB_URL_VARIABLE
from .process import DatabaseService

Client = MongoClient[dict[str, Any]]

_TIMEOUT_S = 10
_FIRST_IMAGES = 17
"""The wire version of 6.0, the first with images of documents as they were."""


class MongoServer(DatabaseService):
    """A running replica set.

    Attributes:
        url: `mongodb://…`, of a user who may do everything, without a database.
    """

    @property
    def version(self) -> str:
        """As the server says it, such as "6.0.5"."""
        return str(self.command("buildInfo")["version"])

    def client(self, **options: Any) -> Client:
        """A client of that user, to be used in a `with` block; it gives up after ten seconds without a server."""
        return connect(self.url, **options)

    def command(self, name: str, value: object = 1, *, database: str = "admin", **arguments: object) -> dict[str, Any]:
        """What a command answers.

        Raises:
            pymongo.errors.PyMongoError: The server refuses it, or there is none.
        """
        with self.client() as client:
            return client[database].command({name: value, **arguments})

    def user_url(self, user: str, password: str, database: str = "") -> str:
        """The URL of a user of this server, whom the database `admin` knows."""
        parts = urlsplit(super().user_url(user, password, database))
        query = urlencode({**dict(parse_qsl(parts.query)), "authSource": "admin"}, safe="/")
        return parts._replace(query=query).geturl()

    def create_database(self, name: str) -> str:
        """The URL of a database, which is made by what is first written to it."""
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database; one that is not there is no error."""
        self.command("dropDatabase", database=name)


class GivenMongoServer(MongoServer):
    """A server that somebody else runs, named by a URL.

    Raises:
        Unreachable: Nothing answers there, or not to this user.
        Refused: It keeps no oplog, or no images of documents as they were.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        place = urlsplit(url).netloc.rpartition("@")[2]
        try:
            hello = self.command("hello")
        except PyMongoError as error:
            raise Unreachable(
                f"no MongoDB answers at {place}: {error}", hint=f"correct or unset {MONGODB_URL_VARIABLE}"
            ) from error
        if "setName" not in hello:
            raise Refused(
                f"the MongoDB at {place} is not a member of a replica set",
                hint="start it with --replSet rs0, then rs.initiate()",
            )
        if hello["maxWireVersion"] < _FIRST_IMAGES:
            raise Refused(f"the MongoDB at {place} is older than 6.0", hint="take 6.0 or later")


def connect(url: str, **options: Any) -> Client:
    """A client that gives up after ten seconds without a server, with more of pymongo's options."""
    every: dict[str, Any] = {"serverSelectionTimeoutMS": _TIMEOUT_S * 1000, **options}
    return MongoClient(url, **every)
