"""Which app schema holds for a commit: exact build id, then version glob, then the database's one default."""

import re
from collections.abc import Iterable
from fnmatch import translate
from typing import Literal

from ..schemas.errors import SchemaError
from .app_schema import AppSchema
from .table_name import TableName, quoted

SchemaBy = Literal["build", "version", "default"]

Resolution = tuple[AppSchema, SchemaBy]

_CACHED_MAX = 4096
"""Builds come from tags, which are strangers' words: above this many the answers are thought out anew."""


class Registry:
    """The app schemas in force for one database.

    Args:
        schemas: All of them. The same schema twice is one.

    Raises:
        SchemaError: Two of them are the default, name the same build, claim one table for two apps, or are of two
            databases.

    Where the schemas are of several apps, a version glob counts only for the app that the tag names.
    """

    def __init__(self, schemas: Iterable[AppSchema] = ()) -> None:
        self._claims: dict[str, dict[str, AppSchema]] = {}
        self._default: AppSchema | None = None
        for schema in {schema.id: schema for schema in schemas}.values():
            self._take(schema)
        self._finish()

    @property
    def schemas(self) -> tuple[AppSchema, ...]:
        """The schemas that hold for something."""
        return self._schemas

    @property
    def default(self) -> AppSchema | None:
        """The schema for untagged writes, snapshots, and builds that no schema names."""
        return self._default

    @property
    def strict(self) -> bool:
        """Whether a build that no schema names waits, by a schema's own word."""
        return self._strict

    @property
    def unknown(self) -> int:
        """How many builds and versions were asked for that no schema names, of those remembered. From any thread."""
        asked = self._cache.copy().items()
        return len([key for key, found in asked if (key[0] or key[1]) and (found is None or found[1] == "default")])

    def resolve(self, build: str = "", version: str = "", app: str = "") -> Resolution | None:
        """Find the schema of a commit.

        Args:
            build: The build id that the tag names, or empty.
            version: The version that the tag names, or empty.
            app: The app that the tag names, or empty.

        Returns:
            The schema, and what it was found by; None where none is for this commit.
        """
        key = (build, version, app)
        if key in self._cache:
            return self._cache[key]
        if len(self._cache) >= _CACHED_MAX:
            self._cache.clear()
        found = self._cache[key] = self._find(build, version, app)
        return found

    def _find(self, build: str, version: str, app: str) -> Resolution | None:
        if build:
            by_app = self._claims.get(build, {})
            schema = next(iter(by_app.values())) if len(by_app) == 1 else by_app.get(app)
            if schema is not None:
                return schema, "build"
        if version:
            for glob, by_app in self._globs:
                schema = by_app.get(self._one_app or app) if glob.match(version) else None
                if schema is not None:
                    return schema, "version"
        if self._default is None or (self._strict and (build or version)):
            return None
        return self._default, "default"

    def _take(self, schema: AppSchema) -> None:
        for build in schema.builds:
            other = self._claims.setdefault(build, {}).setdefault(schema.app, schema)
            if other is not schema:
                raise SchemaError(
                    f"{other.title} and {schema.title} both name the build {build}", hint="leave it to one of the two"
                )
        if schema.default and self._default is not None:
            raise SchemaError(
                f"{self._default.title} and {schema.title} are both the default",
                hint="leave default: true to one of the two",
            )
        if schema.default:
            self._default = schema

    def _finish(self) -> None:
        """Work out what resolving needs, once."""
        claimed = [schema for by_app in self._claims.values() for schema in by_app.values()]
        all_schemas = [*claimed, self._default] if self._default else claimed
        self._schemas = tuple({schema.id: schema for schema in all_schemas}.values())
        self._strict = any(schema.strict for schema in self._schemas)
        apps = {schema.app for schema in self._schemas}
        self._one_app = apps.pop() if len(apps) == 1 else ""
        self._cache: dict[tuple[str, str, str], Resolution | None] = {}
        # The longest glob is the most specific; of two that are as long, the first by name, so that the answer is one.
        globs = sorted(self._claims, key=lambda glob: (-len(glob), glob))
        self._globs = [(re.compile(translate(glob)), self._claims[glob]) for glob in globs]
        self._refuse_two_databases()
        self._refuse_two_apps_on_a_table()

    def _refuse_two_databases(self) -> None:
        for schema in self._schemas[1:]:
            first = self._schemas[0]
            if schema.database != first.database:
                raise SchemaError(
                    f"{first.title} is of the database {first.database}, {schema.title} of {schema.database}",
                    hint="keep the schemas of each database in a folder of their own",
                )

    def _refuse_two_apps_on_a_table(self) -> None:
        claims: dict[TableName, AppSchema] = {}
        for schema in self._schemas:
            for table in schema.by_table:
                other = claims.setdefault(table, schema)
                if other.app != schema.app:
                    raise SchemaError(
                        f"{quoted(table)} is claimed by {other.app} ({other.title}) and by {schema.app} ({schema.title})",
                        hint="leave it to one of the two",
                    )
