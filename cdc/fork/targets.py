"""Which database a fork lives in: the one that a URL names."""

from ...schemas.errors import MissingExtra, UsageError
from ..database_url import MYSQL_FAMILY, engine_of, shown
from .store import Store


def open_target(url: str) -> Store:
    """Connect to a fork's database.

    Raises:
        UsageError: The URL is of no engine that a fork can live in.
        MissingExtra: The driver of its engine is not installed.
        Unreachable: The server does not answer.
        Refused: It is not one a fork can live in, or does not prove who it is.
    """
    # Loaded here only: an engine's driver is needed for forks into it, and for no other.
    engine = engine_of(url)
    if engine == "postgresql":
        return _postgres(url)
    if engine in MYSQL_FAMILY:
        return _mysql(url)
    if engine == "mongodb":
        return _mongodb(url)
    raise UsageError(
        f"{shown(url)} is not a database a fork can live in",
        hint="--into postgresql://HOST/DATABASE, or mysql://…, mariadb://… or mongodb://…",
    )


def _postgres(url: str) -> Store:
    from .postgres.target import Target

    return Target(url)


def _mysql(url: str) -> Store:
    try:
        from .mysql.target import Target
    except ModuleNotFoundError as exc:
        if exc.name != "pymysql":
            raise
        raise MissingExtra("PyMySQL", "worker,mysql") from exc
    return Target(url)


def _mongodb(url: str) -> Store:
    try:
        from .mongodb.target import Target
    except ModuleNotFoundError as exc:
        if exc.name not in ("pymongo", "bson"):
            raise
        raise MissingExtra("pymongo", "worker,mongodb") from exc
    return Target(url)
