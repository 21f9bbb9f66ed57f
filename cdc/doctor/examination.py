"""What `doctor` finds, whatever the source's engine."""

from collections.abc import Iterator
from contextlib import closing

from ...transforms.registry import Registry
from ..config import Config
from .finding import Finding


def examine(config: Config, registry: Registry) -> Iterator[Finding]:
    """Look at everything, and change nothing.

    Raises:
        Unreachable: The source does not answer.
        Refused: It does not prove who it is, or refuses us.
    """
    # The drivers are loaded here only, so that a source needs none but its own.
    if config.source.engine == "postgresql":
        from ..tail.catalog import Catalog
        from .diagnosis import diagnose

        with closing(Catalog(config.source.conninfo())) as catalog:
            yield from diagnose(config, catalog, registry)
    elif config.source.engine == "mongodb":
        from ..tail.mongodb_catalog import Catalog as MongodbCatalog
        from .mongodb import diagnose as diagnose_mongodb

        with closing(MongodbCatalog(config.source.conninfo())) as mongodb:
            yield from diagnose_mongodb(config, mongodb, registry)
    else:
        from ..tail.mysql_catalog import Catalog as MysqlCatalog
        from .mysql import diagnose as diagnose_mysql

        with closing(MysqlCatalog(config.source.conninfo())) as mysql:
            yield from diagnose_mysql(config, mysql, registry)
