"""An ordinary connection to a MongoDB replica set, with a limit on every wait."""

from typing import Any

from bson.errors import BSONError
from pymongo import MongoClient, errors

from ...schemas.errors import CommitLogError, Refused, Unreachable
from .mongodb_address import UNAUTHORIZED, Address, parse, refusal
from .mongodb_address import code as code
from .mongodb_address import one_line as one_line

Client = MongoClient[dict[str, Any]]

CONNECT_TIMEOUT_S = 10
PATIENCE_S = 70.0
"""How long to wait for an answer."""

ERRORS = (errors.PyMongoError, BSONError, OSError)
"""What a connection raises."""

VERSION_MIN = (6, 0)
"""The first version that keeps what a document was before a change."""

_MESH = "isdbgrid"
_NO_COMMAND = (59, 115)
"""The server does not know a command, or not in the way it was started."""


def connect(
    url: str,
    *,
    patience_s: float = PATIENCE_S,
    where: str = "[source] url",
    what: str = "the source",
) -> Client:
    """A connected client, on which no answer is waited for longer than `patience_s`.

    Args:
        url: `mongodb://…` or `mongodb+srv://…`.
        patience_s: How long a server may be silent while an answer is due.
        where: Where the user wrote the URL.
        what: What is reached, for messages.

    Raises:
        UsageError: It is no such URL.
        Unreachable: No server answers, or it refuses the login.
        Refused: It does not prove who it is, or is no replica set.
    """
    address = parse(url, where)
    try:
        client = client_of(address, patience_s=patience_s)
    except ERRORS as exc:
        raise refusal(exc, what=what, where=where, user=address.user) from exc
    try:
        _introduce(client, what=what, where=where)
    except ERRORS as exc:
        client.close()
        raise refusal(exc, what=what, where=where, user=address.user) from exc
    except BaseException:
        client.close()
        raise
    return client


def client_of(address: Address, *, patience_s: float = PATIENCE_S) -> Client:
    """A client that has not connected yet. Raises one of ERRORS."""
    return MongoClient(
        address.url,
        appname="commitlog",
        tls=address.tls,
        connectTimeoutMS=CONNECT_TIMEOUT_S * 1000,
        serverSelectionTimeoutMS=CONNECT_TIMEOUT_S * 1000,
        socketTimeoutMS=int(patience_s * 1000),
        tz_aware=True,
        uuidRepresentation="standard",
        datetime_conversion="DATETIME_AUTO",
    )


def _introduce(client: Client, *, what: str, where: str) -> None:
    """Learn who answers."""
    hello = client.admin.command("hello", read_preference=client.read_preference)
    if hello.get("msg") == _MESH:
        raise Refused(
            f"{what} is a sharded cluster (mongos), whose oplogs nobody can read as one",
            hint=f"name the members of one replica set in {where}",
        )
    if "setName" not in hello:
        raise Refused(
            f"{what} is a MongoDB that is no replica set, and so has no log to read",
            hint="start mongod with --replSet NAME, and run rs.initiate() there once",
        )


def failure(exc: Exception, *, doing: str, user: str) -> CommitLogError:
    """The error of a command that failed.

    Args:
        exc: One of ERRORS.
        doing: What could not be done, the beginning of a sentence.
        user: Whose connection it was.

    Returns:
        Refused where a privilege is missing or the server refuses the command, else Unreachable.
    """
    number = code(exc)
    if number == UNAUTHORIZED:
        return Refused(f"{doing}: {one_line(exc)}", hint=f"commitlog setup --role {user or 'ROLE'}")
    if number in _NO_COMMAND:
        return Refused(f"{doing}: {one_line(exc)}", hint="upgrade the server")
    return Unreachable(f"{doing}: {one_line(exc)}", hint="check that the server runs")
