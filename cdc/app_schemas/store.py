"""How an app schema that a command hands to the writer enters the log: into its folder, so that the next start knows it, and as a
record.
"""

import json
import os
from collections.abc import Callable

from ...schemas.errors import Refused, SchemaError
from ...schemas.record import Head
from ...transforms.app_schema import AppSchema
from ...transforms.app_schema_reader import parse
from ..config import Config
from ..log.chain import ChainWriter, Extras
from ..log.state import LogState
from .files import load_registry

REQUEST = "schema"
"""The kind of the request by which a command hands a schema to the writer."""

SETUP = "commitlog setup FILE, then commitlog schema add FILE again"
"""What helps where a schema that is handed in maps a table that is not published: it is in no folder yet."""


def parse_request(payload: bytes) -> AppSchema:
    """The app schema that a request holds, as JSON.

    Raises:
        SchemaError: It is not one.
    """
    try:
        document: object = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise SchemaError(f"the schema handed in is not JSON: {exc}") from exc
    return parse(document)


def add(
    schema: AppSchema, config: Config, *, state: LogState, chain: ChainWriter, append: Callable[[bytes, Head], None]
) -> int:
    """Append the record of a schema that is kept, unless the log has it. The log must be flushed after.

    Returns:
        The seq of its record.
    """
    recorded = schema.projected(config.log.visibility)
    if recorded.id not in state.schemas:
        append(chain.record("schema", [recorded.data], extras=Extras(schema=recorded.id)), chain.head)
        state.schemas[recorded.id] = chain.head.seq
    return state.schemas[recorded.id]


def keep(schema: AppSchema, config: Config) -> None:
    """Put a schema that the registry has accepted into the folder of app schemas, unless it is there.

    Raises:
        Refused: The folder cannot be written to.
    """
    folder = config.schemas.path
    if any(known.id == schema.id for known in load_registry(folder).schemas):
        return
    path = folder / f"{schema.app}-{schema.id[:12]}.json"
    part = path.with_suffix(".new")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(schema.data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as exc:
        raise Refused(
            f"the app schema cannot be kept in {folder}: {exc.strerror}",
            hint="put its file there yourself, then send the worker SIGHUP; or let the worker write there",
        ) from exc
