"""The engines that a worker reads, each loaded only where it is read: only its driver is needed."""

from ..config import Config
from .source import Source


def open_source(config: Config, before: Source | None = None) -> Source:
    """The source of a configuration, for one attempt.

    Args:
        config: With the limits that hold for its log.
        before: That of the attempt before, closed.

    Raises:
        Unreachable: It does not answer.
        Refused: It does not prove who it is, or refuses us.
    """
    if config.source.engine == "postgresql":
        from .postgres import PostgresSource

        return PostgresSource(config, before if isinstance(before, PostgresSource) else None)
    if config.source.engine == "mongodb":
        from .mongodb import MongodbSource

        return MongodbSource(config)
    from .mysql import MysqlSource

    return MysqlSource(config)
