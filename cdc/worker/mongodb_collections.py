"""What the oplog says of mapped collections beside their documents: which of them what has their name now is another one."""

from ..tail.oplog.definition import RENAME, Definition
from ..tail.transaction import Notice, Relation
from .mappings import Mappings
from .source import TableKeeper


class MongodbCollections:
    """See `TablesWatch`.

    Args:
        keeper: Acts on what is found.
        mappings: How entities were mapped before.
    """

    def __init__(self, keeper: TableKeeper, mappings: Mappings) -> None:
        self._keeper, self._mappings = keeper, mappings

    def look(self) -> None:
        """See what app schemas say: the oplog tells of all else, also of what happened while no worker ran."""
        self._mappings.look()

    def look_again(self) -> None:
        """Nothing, for the same reason."""

    def met(self, relation: Relation, xid: int) -> None:
        """Nothing: documents describe themselves."""

    def noticed(self, notices: list[Notice], xid: int) -> None:
        """Have the documents of mapped collections told anew that come under a name, or go from it, without being written.

        A collection that is dropped is emptied by the same transaction, and what is made anew under its name comes by its own writes.
        """
        default = self._keeper.default
        if default is None:
            return
        # Of one whose snapshot has not begun commits may have told documents.
        told = {*self._keeper.told(), *self._keeper.unread()}
        for notice in notices:
            definition = Definition.read(notice)
            for name in default.by_table.keys() & {*definition.names}:
                self._keeper.doubt_chunk()
                entity = default.by_table[name].name
                if definition.command == RENAME and entity in told:
                    was = f"{definition.database}.{definition.collection}"
                    self._keeper.renew(entity, f"collection {was} was renamed to {definition.to}")
