"""What setting up a source is made of, whatever its engine; and the command that errors point to."""

from dataclasses import dataclass

from ...transforms.app_schema import Entity
from ...transforms.registry import Registry

PRINT = "commitlog setup --sql"
"""Prints what setup would do, for somebody else to do it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    Args:
        text: What it is for, one sentence.
        statement: The SQL that does it; of MongoDB a line of mongosh.
        replication: It is a command of the replication protocol, and not for an ordinary connection.
        waits: The server does it only when every transaction has ended that has written before.
    """

    text: str
    statement: str
    replication: bool = False
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """A privilege that a role lacks.

    Args:
        what: What it may not do, as the end of a sentence.
        grant: The SQL that lets it.
    """

    what: str
    grant: str


def entities_of(registry: Registry) -> list[Entity]:
    """The entities of all app schemas, each name and table once."""
    found = {(e.table, e.name): e for schema in registry.schemas for e in schema.entities.values()}
    return [found[key] for key in sorted(found)]


def mapped(registry: Registry) -> set[tuple[str, str]]:
    """The tables that the app schemas map, each as (schema, name)."""
    return {table for schema in registry.schemas for table in schema.by_table}
