"""App schemas: what of a database appears in its log, for which builds of the app, and how it merges.

An app schema comes from a file or from a `schema` record, is checked here, and is the same thing wherever it has the same
id. Files and databases are read elsewhere; what is handed in is a parsed document and a description of tables.
"""

import difflib
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..schemas.errors import SchemaError
from .document_path import Keys, document_path, written
from .table_name import TableName, quoted

FORMAT = "commitlog.app/v1"
"""What `schema:` says."""

Visibility = Literal["own", "shared"]

CLASSES = ("public", "personal", "private", "internal")
MERGES = ("theirs", "ours", "union", "counter", "max", "min", "lww", "manual")

RECORDED: Mapping[str, frozenset[str]] = {
    "own": frozenset({"public", "personal", "private"}),
    "shared": frozenset({"public"}),
}
"""Visibility of a log to the classes it records. A field without a class is not in a schema, hence not in a log."""

ADDITIONS = ("drop", "internal", "public")
ADDITIONAL = "additional"
"""The field that `additional: public` makes."""

Path = tuple[str | int, ...]
"""A place in a document: keys and list indexes."""


class MalformedSchema(SchemaError):
    """A document is not an app schema.

    Args:
        message: What is wrong, without the place.
        path: Where in the document.
        hint: The next step.
    """

    def __init__(self, message: str, path: Path = (), *, hint: str = "") -> None:
        super().__init__(f"{place(path)}: {message}" if path else message, hint=hint)
        self.path = path
        self.message = message


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps a well-formed schema from being used: against a table, or in a log of some visibility."""

    path: Path
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its column has its name. The last three are of fields of collections only.

    Args:
        name: The name.
        cls: The class.
        merge: How a fork merges it; empty where the schema does not say.
        path: Where in a document it stands, as written; empty for the key at its top that has the field's name.
        bson: The BSON type that the app gives it, or empty.
        omit: Paths within its value that are left out of it, as written. They go through arrays.
    """

    name: str
    cls: str
    merge: str = ""
    path: str = ""
    bson: str = ""
    omit: tuple[str, ...] = ()

    @property
    def keys(self) -> Keys:
        """`path` in a document."""
        return document_path(self.path) if self.path else (self.name,)

    @property
    def omitted(self) -> tuple[Keys, ...]:
        """`omit`, each from the field's own value down."""
        return tuple(map(document_path, self.omit))

    def to_json(self) -> dict[str, Any]:
        """The field as schema records hold it: what is not said left out."""
        said = {"class": self.cls, "merge": self.merge, "path": self.path, "bson": self.bson, "omit": list(self.omit)}
        return {key: value for key, value in said.items() if value}


@dataclass(frozen=True, slots=True)
class Entity:
    """One table or collection as an app sees it.

    Args:
        name: The entity's name.
        table: The table; of a collection its database and its name.
        key: The fields that tell rows apart, in order.
        subject: The field that says whose personal data a row holds, or empty.
        fields: All fields that have a class, by name.
        additional: What becomes of a document's top-level keys with which no field's path begins: `drop` and `internal` leave them out,
            `public` makes them the field `additional`.
    """

    name: str
    table: TableName
    key: tuple[str, ...]
    subject: str
    fields: Mapping[str, Field]
    additional: str = "drop"

    @property
    def of_documents(self) -> bool:
        """Whether it says anything that can be said of a collection only."""
        return self.additional != "drop" or any(f.path or f.bson or f.omit for f in self.fields.values())

    def published(self, visibility: str) -> dict[str, str]:
        """Field to class, of the fields that a log of this visibility records, `additional` last."""
        recorded = RECORDED[visibility]
        fields = {f.name: f.cls for f in self.fields.values() if f.cls in recorded}
        return {**fields, ADDITIONAL: "public"} if self.additional == "public" else fields

    def to_json(self) -> dict[str, Any]:
        """The entity as schema records hold it: fields by name, what is not said left out."""
        out: dict[str, Any] = {"from": quoted(self.table), "key": list(self.key)}
        if self.subject:
            out["subject"] = self.subject
        if self.additional != "drop":
            out["additional"] = self.additional
        out["fields"] = {name: f.to_json() for name, f in sorted(self.fields.items())}
        return out


@dataclass(frozen=True, slots=True)
class AppSchema:
    """One app schema.

    Args:
        app: The app's name.
        database: The app's own name of the database.
        builds: Build ids, and globs of versions.
        default: Whether it holds for untagged writes and for builds that no schema names.
        strict: Whether a build that no schema names waits for one, rather than to take the default.
        license: SPDX expression for what is public, or empty.
        entities: By name.
        origin: The file it came from, for messages.
    """

    app: str
    database: str
    builds: tuple[str, ...]
    default: bool
    strict: bool
    license: str
    entities: Mapping[str, Entity]
    origin: str = field(default="", compare=False)
    data: bytes = field(default=b"", compare=False, repr=False)
    id: str = field(default="", compare=False)
    by_table: Mapping[TableName, Entity] = field(default_factory=dict[TableName, Entity], compare=False, repr=False)

    @classmethod
    def make(cls, *, entities: Mapping[str, Entity], origin: str = "", **values: Any) -> "AppSchema":
        """Build a schema with its bytes and its id.

        Raises:
            MalformedSchema: Two entities claim one table.
        """
        by_table: dict[TableName, Entity] = {}
        for entity in entities.values():
            other = by_table.setdefault(entity.table, entity)
            if other is not entity:
                message = f"{quoted(entity.table)} is claimed by {other.name}, too"
                raise MalformedSchema(message, ("entities", entity.name, "from"), hint="leave it to one of the two")
        bare = cls(entities=dict(entities), **values)
        try:
            data = json.dumps(bare.to_json(), ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:
            raise MalformedSchema("a name holds half a surrogate pair, which is no character") from None
        digest = hashlib.sha256(data).hexdigest()
        return cls(entities=dict(entities), origin=origin, data=data, id=digest, by_table=by_table, **values)

    def to_json(self) -> dict[str, Any]:
        """The schema as schema records hold it (`data` is these bytes): keys in order, entities and fields by name."""
        out: dict[str, Any] = {
            "schema": FORMAT,
            "app": self.app,
            "database": self.database,
            "builds": list(self.builds),
        }
        if self.default:
            out["default"] = True
        if self.strict:
            out["strict"] = True
        if self.license:
            out["license"] = self.license
        out["entities"] = {name: entity.to_json() for name, entity in sorted(self.entities.items())}
        return out

    @property
    def title(self) -> str:
        """How messages call it."""
        return self.origin or f"schema {self.id[:12]} of {self.app}"

    def projected(self, visibility: str) -> "AppSchema":
        """What a log of this visibility may hold of the schema: all of it in an own log, what is published in a shared.

        Of a collection also the names of what is left out of that, by `omit` or for having a field that is not published beside
        `additional: public`: rows are made by what is returned here.
        """
        if visibility == "own":
            return self
        entities: dict[str, Entity] = {}
        for name, entity in self.entities.items():
            published = entity.published(visibility)
            if published:
                subject = entity.subject if entity.subject in published else ""
                kept = entity.fields if entity.additional == "public" else published
                fields = {field: entity.fields[field] for field in kept}
                entities[name] = Entity(name, entity.table, entity.key, subject, fields, entity.additional)
        return AppSchema.make(
            app=self.app,
            database=self.database,
            builds=self.builds,
            default=self.default,
            strict=self.strict,
            license=self.license,
            entities=entities,
            origin=self.origin,
        )

    def problems(
        self, visibility: str, catalog: Mapping[str, Collection[str]] | None = None, *, engine: str = ""
    ) -> Iterator[Problem]:
        """What keeps the schema from being used.

        Args:
            visibility: That of the log.
            catalog: Quoted table name to its columns, for all tables there are, of collections to none; None to look at the schema alone.
            engine: The source's, or empty where that is not known.
        """
        for entity in self.entities.values():
            here: Path = ("entities", entity.name)
            published = entity.published(visibility)
            for name in entity.key if published else ():
                if name not in published:
                    message = (
                        f"the key field {name} is {entity.fields[name].cls}, and a {visibility} log does not record it"
                    )
                    yield Problem(
                        (*here, "fields", name), message, "choose a key of recorded fields, or no recorded fields"
                    )
            if visibility == "shared" and published and not self.license:
                yield Problem(here, "public fields in a shared log need a license", "add license: with an SPDX id")
            if engine:
                yield from _on_engine(entity, here, documents=engine == "mongodb")
            if catalog is not None:
                yield from _against(entity, here, catalog, documents=engine == "mongodb")

    def check(self, visibility: str, catalog: Mapping[str, Collection[str]] | None = None, *, engine: str = "") -> None:
        """Refuse the schema for its first problem.

        Raises:
            SchemaError: `problems` found one.
        """
        for problem in self.problems(visibility, catalog, engine=engine):
            raise SchemaError(f"{self.title}: {place(problem.path)}: {problem.message}", hint=problem.hint)


def place(path: Path) -> str:
    """A path as people write it: `entities.Order.key[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _on_engine(entity: Entity, here: Path, *, documents: bool) -> Iterator[Problem]:
    if not documents:
        if entity.of_documents:
            message = f"{quoted(entity.table)} is a table, and path, bson, omit and additional are of collections"
            yield Problem(here, message, "take them out, or name a MongoDB as the source")
        return
    if entity.key != ("_id",):
        yield Problem((*here, "key"), "the key of a collection is _id", "key: [_id]")
    for name, found in entity.fields.items():
        if not found.path and ("." in name or name.startswith("$")):
            yield Problem((*here, "fields", name), f"whether {name} is a path or one key is not said", _which(name))


def _which(name: str) -> str:
    return (
        f"path: '{name}', or path: '{written((name,))}' for one key" if "." in name else f"path: '{written((name,))}'"
    )


def _against(
    entity: Entity, here: Path, catalog: Mapping[str, Collection[str]], *, documents: bool
) -> Iterator[Problem]:
    table = quoted(entity.table)
    columns = catalog.get(table)
    if columns is None:
        kind = "collection" if documents else "table"
        yield Problem((*here, "from"), f"the database has no {kind} {table}", nearest(table, catalog))
        return
    for name in () if documents else entity.fields:
        if name not in columns:
            yield Problem((*here, "fields", name), f"{table} has no column {name}", nearest(name, columns))


def nearest(name: str, known: Collection[str]) -> str:
    """The hint for a mistyped name, or nothing where none is near."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"write {near[0]}" if near else ""
