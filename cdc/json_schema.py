"""The JSON Schemas that the package carries, and what a document says against one."""

import json
from importlib import resources
from typing import Any, cast

from .. import schemas

Path = tuple[str | int, ...]


def read(name: str) -> dict[str, Any]:
    """The schema schemas/NAME.schema.json as it is installed."""
    text = resources.files(schemas).joinpath(f"{name}.schema.json").read_text("utf-8")
    return cast(dict[str, Any], json.loads(text))


def is_valid(instance: object, schema: dict[str, Any]) -> bool:
    """Whether `instance` is what `schema` asks for."""
    return not problems(instance, schema)


def problems(instance: object, schema: dict[str, Any]) -> list[tuple[Path, str]]:
    """(path in `instance`, what is wrong there) of each problem, the deepest of alternatives."""
    import jsonschema

    # jsonschema's own types are partial; what is used of it is these two names.
    validator = cast(Any, jsonschema).Draft202012Validator(schema)
    best_match = cast(Any, jsonschema).exceptions.best_match
    found: list[tuple[Path, str]] = []
    for error in validator.iter_errors(instance):
        best = best_match([error])
        found.append((tuple(best.absolute_path), str(best.message)))
    return found
