"""How entities were mapped when their rows were last told, for engines whose logs tell all of tables but not what app schemas say of them.

A field that a schema records from now on, or another table, has the rows told anew: those that are there changed nothing, and no log has
them. It is remembered in a file of the worker's, which is disposable: without it entities are taken as they are mapped.
"""

from pathlib import Path
from typing import Any

from ...transforms.app_schema import ADDITIONAL, Entity
from ...transforms.table_name import quoted
from ..source import memory
from .source import TableKeeper

_READ = frozenset({"path", "bson", "omit"})
"""What of a field's definition says which values it has."""

Mapping = dict[str, Any]
"""`{"from": the table's name, "fields": {field: where it comes from}}`; empty of an entity that is not mapped any more."""


class Mappings:
    """Remembers them, and compares them with what the default app schema says.

    Args:
        path: The file.
        epoch: The log's epoch: what was remembered in an earlier one does not count.
        visibility: That of the log.
        keeper: Acts on what is found.
    """

    def __init__(self, path: Path, *, epoch: int, visibility: str, keeper: TableKeeper) -> None:
        self._path, self._epoch, self._visibility, self._keeper = path, epoch, visibility, keeper
        self._known: dict[str, Mapping] = memory.kept(path, epoch=epoch)

    def look(self) -> None:
        """Have the rows of entities told anew that are mapped in another way than when they were told."""
        keeper = self._keeper
        if keeper.default is None:
            return
        now: dict[str, Mapping] = {name: {} for name in self._known}
        for entity in keeper.default.entities.values():
            if entity.published(self._visibility):
                now[entity.name] = self._mapping(entity)
        if now == self._known:
            return
        told = {*keeper.told(), *keeper.unread()}
        for name in sorted(told & self._known.keys()):
            why = _difference(self._known[name], now[name])
            if why:
                keeper.renew(name, why)
        self._known = now
        # The log must hold the renewals before they are forgotten here.
        keeper.flush()
        memory.keep(self._path, self._known, epoch=self._epoch)

    def _mapping(self, entity: Entity) -> Mapping:
        fields: dict[str, Any] = {}
        for name in entity.published(self._visibility):
            if name == ADDITIONAL and name not in entity.fields:
                # What is left of a document is another thing when a field has taken something of it.
                fields[name] = sorted(field.path or field.name for field in entity.fields.values())
            else:
                fields[name] = {what: how for what, how in entity.fields[name].to_json().items() if what in _READ}
        return {"from": quoted(entity.table), "fields": fields}


def _difference(was: Mapping, now: Mapping) -> str:
    """Why rows told as `was` are not those that `now` says; empty where they are, or where nobody asks any more."""
    if not now:
        return ""
    if not was:
        return "for a while it was in no app schema"
    if was["from"] != now["from"]:
        return f"it comes from {now['from']} instead of {was['from']}"
    fields = [name for name, how in now["fields"].items() if was["fields"].get(name) != how]
    return f"its app schema records {', '.join(fields)} anew" if fields else ""
