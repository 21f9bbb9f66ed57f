"""Tables of MySQL and MariaDB as their catalogs describe them now."""

import re
from dataclasses import dataclass
from typing import Any

from .mysql_types import canonical, engine_type, labels
from .table import CatalogColumn, Table

_NAME = r"`((?:[^`]|``)*)`"
_RULE = r"(CASCADE|SET NULL|SET DEFAULT|RESTRICT|NO ACTION)"
_CASCADING = {"CASCADE", "SET NULL", "SET DEFAULT"}
_FOREIGN_KEY = re.compile(
    rf"^\s*CONSTRAINT {_NAME} FOREIGN KEY \([^\n]*?\) REFERENCES (?:{_NAME}\.)?{_NAME} \([^\n]*?\)(?: ON DELETE {_RULE})?(?: ON UPDATE {_RULE})?,?$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class MysqlColumn(CatalogColumn):
    """A column as it is now.

    Args:
        charset: Its character set, empty where it has none.
    """

    charset: str = ""


@dataclass(frozen=True, slots=True)
class MysqlTable(Table):
    """A table as it is now; `namespace` is its database.

    Args:
        engine: Its storage engine, such as InnoDB.
        transactional: Whether that knows transactions.
        versioned: The server keeps its old rows (MariaDB's system versioning).
    """

    engine: str = "InnoDB"
    transactional: bool = True
    versioned: bool = False

    @property
    def virtual(self) -> bool:
        """No: the server logs whole old rows beside such a column, too."""
        return False

    @property
    def sql(self) -> str:
        """The table's name in SQL text."""
        return sql_name(self.namespace, self.name)

    @property
    def only(self) -> str:
        """The same: no table inherits from another."""
        return self.sql


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key whose server changes rows of `table` itself when a row of `parent` changes. Rules are as SQL writes them."""

    name: str
    table: tuple[str, str]
    parent: tuple[str, str]
    on_update: str
    on_delete: str


def sql_name(*parts: str) -> str:
    """An identifier in SQL text, every part in backticks: a table may be called `order`."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def described_column(row: "list[Any]") -> MysqlColumn:
    """A column as a row of information_schema.COLUMNS has it: name, COLUMN_TYPE, IS_NULLABLE, EXTRA, character set, collation."""
    name, column_type, nullable, extra, charset, collation = (str(value or "") for value in row)
    shown, words = engine_type(column_type), extra.upper()
    return MysqlColumn(
        name=name,
        type_oid=0,
        modifier=-1,
        engine_type=shown,
        canonical=canonical(shown),
        nullable=nullable == "YES",
        # MySQL says DEFAULT_GENERATED of a default that is an expression.
        generated="VIRTUAL GENERATED" in words or "STORED GENERATED" in words,
        identity="AUTO_INCREMENT" in words,
        labels=labels(column_type),
        collation=collation,
        virtual="VIRTUAL GENERATED" in words,
        charset=charset,
    )


def _foreign_key(found: "re.Match[str]", table: MysqlTable) -> ForeignKey:
    name, database, parent = ((part or "").replace("``", "`") for part in found.group(1, 2, 3))
    return ForeignKey(
        name=name,
        table=(table.namespace, table.name),
        parent=(database or table.namespace, parent),
        on_update=found[5] or "NO ACTION",
        on_delete=found[4] or "NO ACTION",
    )


def foreign_keys(statement: str, table: MysqlTable) -> list[ForeignKey]:
    """Those of a CREATE TABLE, as the server prints it, by which rows of the table change when another's do."""
    keys = [_foreign_key(found, table) for found in _FOREIGN_KEY.finditer(statement)]
    return [key for key in keys if {key.on_update, key.on_delete} & _CASCADING]
