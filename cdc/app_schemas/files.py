"""App schemas in files: YAML or JSON, each error with its file and line.

Of YAML this takes what JSON has, in its plainer writing: no anchors, no tags, no key twice.
"""

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ...schemas.errors import CommitLogError, SchemaError, UsageError
from ...transforms.app_schema import AppSchema, MalformedSchema, place
from ...transforms.app_schema import Path as Place
from ...transforms.app_schema_reader import parse
from ...transforms.registry import Registry
from .. import json_schema

log = logging.getLogger("commitlog")

FILE_BYTES_MAX = 1 << 20
"""A schema of a thousand tables is well below."""

DEPTH_MAX = 32
"""A schema is five deep."""

SUFFIXES = (".yaml", ".yml", ".json")

_RIGHT = "commitlog schema draft writes one that is right"

Lines = dict[Place, int]
"""Place in a document to its line, from 1."""


@dataclass(frozen=True, slots=True)
class _Unquoted:
    """A number or a date where a schema has text: 1.10 would have lost its 0."""

    text: str

    def __repr__(self) -> str:
        return self.text


def load_path(path: Path) -> list[AppSchema]:
    """Read a file, or all of a folder's *.yaml, *.yml and *.json in the order of their names.

    Raises:
        UsageError: There is nothing at `path`.
        SchemaError: A file is not an app schema.
    """
    if path.is_dir():
        return [load_file(file) for file in sorted(path.iterdir()) if file.suffix in SUFFIXES and file.is_file()]
    return [load_file(path)]


def load_registry(path: Path) -> Registry:
    """All app schemas at `path`, ready to resolve; none where there is no such folder yet.

    Raises:
        SchemaError: A file is not an app schema, or two of them claim the same.
    """
    return Registry(load_path(path) if path.exists() else ())


def reload_registry(path: Path, asked: threading.Event, use: Callable[[Registry], None]) -> bool:
    """Read the app schemas again where that was asked for; a fault in them is logged, and those in force stay.

    Args:
        path: Where they are; that there is none any more is a fault, too.
        asked: Cleared here.
        use: Takes them; may refuse them by a CommitLogError.

    Returns:
        Whether it was asked for.
    """
    if not asked.is_set():
        return False
    asked.clear()
    try:
        registry = Registry(load_path(path))
        if not registry.schemas:
            raise UsageError(f"there is none in {path}")
        use(registry)
    except CommitLogError as exc:
        log.error("app schemas not read: %s", exc)
    except OSError as exc:
        log.error("app schemas not read: %s: %s", exc.filename or path, exc.strerror)
    else:
        log.info("app schemas read again: %d", len(registry.schemas))
    return True


def load_file(path: Path) -> AppSchema:
    """Read one file.

    Raises:
        UsageError: It cannot be read.
        SchemaError: It is not an app schema; the message begins with file and line.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {exc.strerror}", hint="commitlog schema draft") from exc
    return load_text(data, origin=str(path))


def load_text(data: bytes, *, origin: str) -> AppSchema:
    """Read the content of a file.

    Args:
        data: YAML or JSON, as UTF-8.
        origin: The file's name, for messages; JSON where it ends so.

    Raises:
        SchemaError: It is not an app schema; the message begins with file and line.
    """
    document, lines = _read(data, origin)
    try:
        schema = parse(document, origin=origin)
    except MalformedSchema as exc:
        raise SchemaError(_placed(origin, lines, exc.path, exc.message), hint=exc.hint) from exc
    for path, message in json_schema.problems(document, _SCHEMA):
        raise SchemaError(_placed(origin, lines, path, message), hint="see schemas/app.schema.json")
    return schema


def findings(
    path: Path, visibility: str, catalog: dict[str, list[str]] | None, *, engine: str = ""
) -> list[tuple[str, str]]:
    """What is wrong with a file: (message with file and line, hint) of each problem, none when it is fit for use.

    Args:
        path: The file.
        visibility: That of the log.
        catalog: Quoted table name to its columns; None to look at the file alone.
        engine: The source's; empty where that is not known.
    """
    try:
        schema = load_file(path)
    except SchemaError as exc:
        return [(str(exc), exc.hint)]
    _, lines = _read(path.read_bytes(), str(path))
    return [
        (_placed(str(path), lines, problem.path, problem.message), problem.hint)
        for problem in schema.problems(visibility, catalog, engine=engine)
    ]


def _placed(origin: str, lines: Lines, path: Place, message: str) -> str:
    """`FILE:LINE: PLACE: MESSAGE`; the line of the nearest thing around that has one."""
    around = next((path[:end] for end in range(len(path), -1, -1) if path[:end] in lines), None)
    where = f"{origin}:{lines[around]}" if around is not None else origin
    return f"{where}: {place(path)}: {message}" if path else f"{where}: {message}"


def _read(data: bytes, origin: str) -> tuple[object, Lines]:
    if len(data) > FILE_BYTES_MAX:
        raise SchemaError(f"{origin}: the file is above {FILE_BYTES_MAX >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise SchemaError(f"{origin}: the file is not UTF-8 at byte {exc.start}", hint="write it in UTF-8") from exc
    return _read_json(text, origin) if origin.endswith(".json") else _read_yaml(text, origin)


def _read_json(text: str, origin: str) -> tuple[object, Lines]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as exc:
        line = exc.lineno if isinstance(exc, json.JSONDecodeError) else 1
        raise SchemaError(f"{origin}:{line}: not JSON: {exc}") from exc
    # YAML reads JSON, too, and knows lines and keys that stand twice. A tab is white space to JSON alone.
    _, lines = _read_yaml(text.replace("\t", " "), origin)
    return document, lines


def _read_yaml(text: str, origin: str) -> tuple[object, Lines]:
    import yaml

    try:
        _refuse_growth(text, origin)
        node = yaml.compose(text, yaml.SafeLoader)
        lines: Lines = {}
        return (None if node is None else _value(node, (), lines, origin)), lines
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f"{origin}:{mark.line + 1}" if mark else origin
        raise SchemaError(f"{where}: not YAML: {exc.problem or exc.context}", hint=_RIGHT) from exc
    except yaml.YAMLError as exc:
        raise SchemaError(f"{origin}: not YAML: {' '.join(str(exc).split())}", hint=_RIGHT) from exc


def _refuse_growth(text: str, origin: str) -> None:
    """Refuse what makes a small document large or deep, before anything is built of it."""
    import yaml

    begins = (
        yaml.FlowSequenceStartToken
        | yaml.FlowMappingStartToken
        | yaml.BlockSequenceStartToken
        | yaml.BlockMappingStartToken
    )
    ends = yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken | yaml.BlockEndToken
    depth = 0
    for token in yaml.scan(text, yaml.SafeLoader):
        line = cast(Any, token).start_mark.line + 1
        if isinstance(token, yaml.AnchorToken | yaml.AliasToken | yaml.TagToken):
            raise SchemaError(f"{origin}:{line}: anchors, aliases and tags are not taken", hint="write it out")
        depth += isinstance(token, begins) - isinstance(token, ends)
        if depth > DEPTH_MAX:
            raise SchemaError(f"{origin}:{line}: the document is nested too deep")


def _value(node: Any, path: Place, lines: Lines, origin: str) -> object:
    """The value of a YAML node, and the lines of all that is in it."""
    import yaml

    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*path, index), lines, origin) for index, child in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node)
    out: dict[object, object] = {}
    for key_node, child in node.value:
        line = key_node.start_mark.line + 1
        if isinstance(key_node, yaml.CollectionNode):
            raise SchemaError(
                _placed(origin, {path: line}, path, "a key must be text"), hint="write a column's name there"
            )
        key = _scalar(key_node)
        if key in out:
            raise SchemaError(
                _placed(origin, {path: line}, (*path, str(key)), f"{key} stands twice"), hint="remove one of the two"
            )
        if isinstance(key, str):
            lines[(*path, key)] = line
        out[key] = _value(child, (*path, key) if isinstance(key, str) else path, lines, origin)
    return out


def _scalar(node: Any) -> object:
    """Text, a boolean or None; a number or a date becomes what `parse` refuses, with the advice to quote it."""
    tag, text = str(node.tag).rpartition(":")[2], node.value
    if tag == "bool":
        return text.lower() in ("yes", "true", "on")
    if tag == "null":
        return None
    if tag in ("int", "float", "timestamp"):
        return _Unquoted(text)
    return text


_SCHEMA = json_schema.read("app")
