"""Which database a fork lives in: the one that a URL names."""

from ...schemas.errors import UsageError
from ..database_url import shown
from .store import Store

POSTGRESQL = ("postgresql://", "postgres://")


def open_target(url: str) -> Store:
    """Connect to a fork's database.

    Raises:
        UsageError: The URL is of no engine that a fork can live in.
        Unreachable: The server does not answer.
        Refused: It is not one a fork can live in, or does not prove who it is.
    """
    check_url(url)
    # Loaded here only: an engine's driver is needed for forks into it, and for no other.
    from .postgres import Target

    return Target(url)


def check_url(url: str) -> None:
    """Refuse a URL of no engine that a fork can live in.

    Raises:
        UsageError: It is one.
    """
    if not url.startswith(POSTGRESQL):
        raise UsageError(f"{shown(url)} is not a database a fork can live in", hint="--into postgresql://HOST/DATABASE")
