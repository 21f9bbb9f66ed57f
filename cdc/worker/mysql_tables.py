"""What the statements in a binlog say of mapped tables, and whether these are there. The log of rows tells every row that changes, but not
what ALTER TABLE makes of those that do not, nor what comes under a table's name when tables are renamed.
"""

import logging

import orjson

from ...transforms.app_schema import Entity
from ...transforms.table_name import quoted
from ..source.mysql.checks import check_key
from ..tail.binlog.ddl import among, harmless, leaves_rows
from ..tail.mysql_catalog import Catalog, MysqlTable
from ..tail.transaction import Notice, Relation
from .mappings import Mappings
from .source import TableKeeper

log = logging.getLogger("commitlog")


class MysqlTables:
    """See `TablesWatch`.

    Args:
        keeper: Acts on what is found.
        catalog: The tables as they are now.
        mappings: How entities were mapped before.
        visibility: That of the log.
    """

    def __init__(self, keeper: TableKeeper, catalog: Catalog, mappings: Mappings, *, visibility: str) -> None:
        self._keeper, self._catalog, self._mappings, self._visibility = keeper, catalog, mappings, visibility
        self._said: set[str] = set()

    def look(self) -> None:
        """See what app schemas say of tables: the binlog tells of all that happens to these, also of what did while no worker ran."""
        self._mappings.look()
        default = self._keeper.default
        if default is None:
            return
        mapped = [entity for entity in default.entities.values() if entity.published(self._visibility)]
        there = self._catalog.tables_of({entity.table for entity in mapped})
        lacks = {entity.name: self._lacks(entity, there.get(entity.table)) for entity in mapped}
        said = {f"{name}: {what}; nothing of it is recorded" for name, what in lacks.items() if what}
        for text in sorted(said - self._said):
            log.warning("%s", text)
        self._said = said

    def _lacks(self, entity: Entity, table: MysqlTable | None) -> str:
        """What of an entity is not there, so that its snapshot waits, or goes without it."""
        if table is None:
            return f"there is no table {quoted(entity.table)}"
        present = {column.name for column in table.columns}
        missing = [field for field in entity.published(self._visibility) if field not in present]
        return f"table {quoted(entity.table)} has no column {', '.join(missing)}" if missing else ""

    def look_again(self) -> None:
        """Nothing: the binlog tells of it at its place."""

    def met(self, relation: Relation, xid: int) -> None:
        """Nothing: each table is described with its rows."""

    def noticed(self, notices: list[Notice], xid: int) -> None:
        """Have the rows of mapped tables told anew that a statement may have changed without telling.

        Raises:
            SchemaError: Nothing on the server keeps an entity's key any more.
        """
        default = self._keeper.default
        if default is None:
            return
        self._keeper.doubt_chunk()
        # Of one whose snapshot has not begun commits may have told rows.
        told = {*self._keeper.told(), *self._keeper.unread()}
        for notice in notices:
            database, text = orjson.loads(bytes(notice))
            for name in among(default.by_table, text, database):
                entity = default.by_table[name]
                if entity.name not in told:
                    continue
                # An index may be gone, which changes no row.
                check_key(self._catalog, entity)
                if not harmless(text) and not leaves_rows(text, entity.fields):
                    self._keeper.renew(entity.name, f"its table was altered: {' '.join(text.split())[:60]}")
