"""Tables as a source's catalogs describe them now, whatever its engine. Knows no driver."""

from dataclasses import dataclass

from ...transforms.table_name import quoted


@dataclass(frozen=True, slots=True)
class CatalogColumn:
    """A column as it is now. `virtual`: generated, and computed when it is read. `altered_by`: the transaction that altered it last, 0
    where nobody knows."""

    name: str
    type_oid: int
    modifier: int
    engine_type: str
    canonical: str
    nullable: bool
    generated: bool
    identity: bool
    labels: tuple[str, ...]
    collation: str
    virtual: bool = False
    altered_by: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is now. `identity` is d (default), f (full), i (index) or n (nothing)."""

    namespace: str
    name: str
    identity: str
    key: tuple[str, ...]
    columns: tuple[CatalogColumn, ...]
    partitioned: bool = False

    @property
    def virtual(self) -> bool:
        """Whether it has a virtual generated column, beside which the server refuses to log whole old rows."""
        return any(column.virtual for column in self.columns)

    @property
    def sql(self) -> str:
        """The table's name in SQL text."""
        return sql_name(self.namespace, self.name)

    @property
    def only(self) -> str:
        """The table in SQL text without those that inherit from it: their changes come under their own names."""
        return self.sql if self.partitioned else f"ONLY {self.sql}"

    @property
    def quoted(self) -> str:
        """`schema.table` as app schemas and messages write it."""
        return quoted((self.namespace, self.name))


def sql_name(*parts: str) -> str:
    """An identifier in SQL text, every part in quotes: a table may be called `order`."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)
