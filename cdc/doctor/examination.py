"""What `doctor` finds, whatever the source's engine."""

from collections.abc import Iterator

from ...transforms.registry import Registry
from ..config import Config
from ..database_url import engine_of
from .finding import Finding


def examine(config: Config, registry: Registry) -> Iterator[Finding]:
    """Look at everything, and change nothing.

    Raises:
        Unreachable: The source does not answer.
        Refused: It does not prove who it is, or refuses us.
    """
    # The drivers are loaded here only, so that a source needs none but its own.
    if engine_of(config.source.url) == "postgresql":
        from ..tail.catalog import Catalog
        from .diagnosis import diagnose

        catalog = Catalog(config.source.conninfo())
        try:
            yield from diagnose(config, catalog, registry)
        finally:
            catalog.close()
    else:
        from ..tail.mysql_catalog import Catalog as MysqlCatalog
        from .mysql import diagnose as diagnose_mysql

        mysql = MysqlCatalog(config.source.conninfo())
        try:
            yield from diagnose_mysql(config, mysql, registry)
        finally:
            mysql.close()
