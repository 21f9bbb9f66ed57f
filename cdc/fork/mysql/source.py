"""The tables of a MySQL or MariaDB that a fork is compared with."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pymysql.cursors import SSCursor

from ....schemas.shape import Shape
from ....transforms.table_name import table_name
from ...tail.mysql_catalog import Catalog
from ...tail.mysql_connection import ERRORS, connect, failure
from ...tail.mysql_rows import relation_of, rows_after, text_of
from ...tail.pgtypes import converter

_PATIENCE_S = 600.0


class MysqlTables:
    """All tables as they are at one moment, which is when the connection is made.

    Args:
        url: `mysql://…` or `mariadb://…`.

    Raises:
        CommitLogError: It cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._catalog = Catalog(url)
        self._connection = connect(url, patience_s=_PATIENCE_S, where="--check", raw=True)
        self._connection.rows("START TRANSACTION WITH CONSISTENT SNAPSHOT")

    def close(self) -> None:
        """End the connections."""
        self._catalog.close()
        self._connection.close()

    def columns(self, shape: Shape) -> frozenset[str]:
        """The columns of a shape's table."""
        table = self._catalog.table(*table_name(shape.table))
        return frozenset(column.name for column in table.columns) if table else frozenset()

    def rows(self, shape: Shape, fields: Sequence[str]) -> Iterator[dict[str, object]]:
        """The table's rows as records would hold them."""
        table = self._catalog.table(*table_name(shape.table))
        if table is None:
            return
        relation = relation_of(table)
        types = {column.field: column.type for column in shape.columns}
        columns = tuple(column for column in relation.columns if column.name in fields)
        query = rows_after(replace(relation, columns=columns), shape.key, None)
        forms = [(column.name, text_of(column), converter(types[column.name])) for column in columns]
        try:
            with self._connection.cursor(SSCursor) as cursor:
                cursor.execute(query)
                for row in cursor:
                    yield {
                        name: None if text is None else convert(as_text(text) if as_text else text)
                        for (name, as_text, convert), text in zip(forms, row, strict=True)
                    }
        except ERRORS as exc:
            raise failure(exc, doing=f"{shape.table} cannot be read", user="") from exc
