"""What `doctor` finds of app schemas, whatever the source's engine."""

from collections.abc import Iterable, Iterator

from ...transforms.registry import Registry
from ..config import Config
from ..source.step import mapped
from ..tail.table import Table
from .finding import Finding

DRAFT = "commitlog schema draft > schemas/app.yaml, then read and correct it"


def unmapped(config: Config, registry: Registry, tables: Iterable[Table], *, kind: str = "table") -> Iterator[Finding]:
    """That there is no app schema, and each table that is in none.

    Args:
        config: The worker's.
        registry: The app schemas.
        tables: Those of the source.
        kind: What it calls them.
    """
    known = mapped(registry)
    if not known:
        yield Finding("error", f"no app schema in {config.schemas.path}: nothing would be recorded", DRAFT)
    for table in tables:
        if (table.namespace, table.name) not in known:
            yield Finding(
                "warning",
                f"{kind} {table.quoted} is in no app schema and will not be recorded",
                "commitlog schema draft",
            )
