"""Shapes: the recorded columns and types of a table at a time (README §7)."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from .errors import RecordError


@dataclass(frozen=True, slots=True)
class Column:
    """One recorded column.

    Args:
        field: The recorded name.
        type: The canonical type, README §3.
        engine_type: The source's own name of the type, modifier included (`numeric(10,2)`).
        modifier: The source's typmod, -1 for none.
        nullable: Whether the source lets it be null, as far as known.
        generated: Whether the source computes it.
        identity: Whether the source numbers it (identity or serial).
        labels: An enum's labels in their order.
        collation: A collation other than the database's, else empty.
        cls: The field's class: public, personal, private.
    """

    field: str
    type: str
    engine_type: str
    modifier: int = -1
    nullable: bool = True
    generated: bool = False
    identity: bool = False
    labels: tuple[str, ...] = ()
    collation: str = ""
    cls: str = "public"

    def to_json(self) -> dict[str, Any]:
        """The column as README §7 orders its keys; defaults are left out."""
        out: dict[str, Any] = {"field": self.field, "type": self.type, "engine_type": self.engine_type}
        if self.modifier != -1:
            out["modifier"] = self.modifier
        if not self.nullable:
            out["nullable"] = False
        if self.generated:
            out["generated"] = True
        if self.identity:
            out["identity"] = True
        if self.labels:
            out["labels"] = list(self.labels)
        if self.collation:
            out["collation"] = self.collation
        out["class"] = self.cls
        out["form"] = "clear"
        return out


@dataclass(frozen=True, slots=True)
class Shape:
    """The recorded columns of one entity's table.

    Args:
        entity: The entity's name in the app schema.
        table: The source's table, `schema.name` with each part quoted where SQL needs it.
        key: The fields of the key, in order.
        columns: The recorded columns, in the table's order.
    """

    entity: str
    table: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    data: bytes = field(default=b"", compare=False)

    @classmethod
    def make(cls, entity: str, table: str, *, key: tuple[str, ...], columns: tuple[Column, ...]) -> "Shape":
        """Build a shape and its bytes."""
        document = {"entity": entity, "table": table, "key": list(key), "columns": [c.to_json() for c in columns]}
        return cls(
            entity, table, key, columns, json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        )

    @classmethod
    def parse(cls, data: bytes) -> "Shape":
        """Read a shape item.

        Raises:
            RecordError: The bytes are not a shape.
        """
        try:
            document = json.loads(data)
            columns = tuple(
                Column(
                    field=c["field"],
                    type=c["type"],
                    engine_type=c["engine_type"],
                    modifier=c.get("modifier", -1),
                    nullable=c.get("nullable", True),
                    generated=c.get("generated", False),
                    identity=c.get("identity", False),
                    labels=tuple(c.get("labels", ())),
                    collation=c.get("collation", ""),
                    cls=c["class"],
                )
                for c in document["columns"]
            )
            return cls(document["entity"], document["table"], tuple(document["key"]), columns, data)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise RecordError(f"not a shape: {exc}") from exc

    @property
    def id(self) -> str:
        """SHA-256 of the shape's bytes, 64 hex digits."""
        return hashlib.sha256(self.data).hexdigest()
