"""What `setup` makes on a MongoDB, and `teardown` takes back: that the server keeps what documents of mapped collections were before a
change, and the collection whose documents carry the tags.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from pymongo.errors import ExecutionTimeout, OperationFailure

from ....schemas.errors import Locked, Refused
from ....transforms.registry import Registry
from ...config import Config
from ...tail.mongodb_address import UNAUTHORIZED
from ...tail.mongodb_catalog import Catalog
from ...tail.mongodb_connection import ERRORS, one_line
from ...tail.oplog.stamps import STAMPS
from ..provision import Provision
from ..step import PRINT, Step, mapped
from .beginning import Beginning
from .checks import check_entities, check_version, entities_there, images_on, missing_collections, unfit
from .grants import APP_NEEDS, APP_ROLE, WORKER_ROLE, worker_needs
from .grants import grant_steps as steps_of
from .shell import read_shell, shell

WAIT_MS = 30_000
"""So long a majority is waited for."""
LOCK_MS = 500
LOCK_TURNS = 20
LOCK_PAUSE_S = 0.5

_INVALID_OPTIONS = 72
_WAYS: dict[int | None, str] = {
    UNAUTHORIZED: f"let a DBA run what {PRINT} prints",
    # Of servers that are new enough and behave like older ones.
    _INVALID_OPTIONS: 'db.adminCommand({setFeatureCompatibilityVersion: "6.0"}), then do this again',
}
"""What leads on, by the server's error."""

_EXPIRY: dict[str, Any] = {"key": {"at": 1}, "name": "expiry", "expireAfterSeconds": 86_400}
"""Long after a stamp has served: one that goes while its session writes the next would be a write conflict for the app."""


class MongodbProvision(Provision[Catalog]):
    """The stamps, and that the server keeps what documents were before a change."""

    comment = "//"
    leftover = (
        "the server goes on keeping what documents were before a change; it ends with collMod … changeStreamPreAndPostImages:"
        " {enabled: false}. Roles and users stay, too"
    )
    nothing = "there is no collection commitlog.stamps"

    def __init__(self, config: Config) -> None:
        super().__init__(config, Catalog(config.source.conninfo()))

    def setup_steps(self, registry: Registry) -> list[Step]:
        """What is missing on the source, in the order it must be done; empty when all is there.

        Raises:
            Refused: The server is too old or has no primary, or a mapped collection cannot be recorded, or none exists.
            SchemaError: An app schema does not fit a MongoDB.
        """
        identity = self.catalog.identity()
        check_version(identity)
        if not identity.primary or (
            self.catalog.address.options.get("directConnection") and identity.member != identity.primary
        ):
            raise Refused(
                f"{identity.member or 'the source'} is not the primary of {identity.name}, and nothing can be made on it",
                hint="point [source] url at all members of the set, or at its primary",
            )
        check_entities(registry, database=self.catalog.address.database, visibility=self.config.log.visibility)
        return [*_images(self.catalog, registry), *_stamps(self.catalog)]

    def grant_steps(self, registry: Registry, role: str) -> list[Step]:
        """What a user or a role lacks to be the worker's: no more is granted than it needs."""
        return steps_of(
            self.catalog, role, worker_needs(self.catalog.address.database, mapped(registry)), by=WORKER_ROLE
        )

    def app_steps(self, user: str) -> list[Step]:
        """What an app's user or role needs to stamp its writes."""
        return steps_of(self.catalog, user, APP_NEEDS, by=APP_ROLE)

    def teardown_steps(self) -> list[Step]:
        """What `setup` made and is still there. That the server keeps images stays: whether it did before is not known."""
        if not has_stamps(self.catalog):
            return []
        return [Step("collection commitlog.stamps", shell(STAMPS[0], {"drop": STAMPS[1]}))]

    def execute(self, step: Step, *, say: Callable[[str], None] = lambda _: None) -> None:
        """Do one step. A majority has it when it is done. A collection's lock is waited for in short turns: whoever comes after waits behind
        it, the app too.

        Args:
            step: What to do.
            say: Told what is waited for.

        Raises:
            Locked: Transactions of others did not end in time.
            Refused: The server does not allow it.
            Unreachable: It does not answer.
        """
        database, command = read_shell(step.statement)
        whole = {**command, "writeConcern": {"w": "majority", "wtimeout": WAIT_MS}}
        try:
            if "collMod" in command:
                _in_turns(self.catalog, database, whole, lambda: say(f"{step.text}: waiting for transactions to end"))
            else:
                self.catalog.client[database].command(whole)
        except ExecutionTimeout as exc:
            raise Locked(
                f"{step.text}: transactions did not end in time",
                hint="end them, or wait until they end, then do this again",
            ) from exc
        except OperationFailure as exc:
            raise Refused(
                f"{step.text}: {one_line(exc)}", hint=_WAYS.get(exc.code, "see what the server says of it")
            ) from exc
        except ERRORS as exc:
            raise self.catalog.failed(exc, step.text) from exc

    def note_begin(self) -> None:
        """By a file beside the configuration, once; the first worker begins there."""
        Beginning.now(self.catalog).note(self.config.begin_path)

    def missing_tables(self, registry: Registry) -> Iterator[str]:
        """As the base says."""
        return missing_collections(self.catalog, registry)


def _images(catalog: Catalog, registry: Registry) -> Iterator[Step]:
    found = {entity.table: collection for entity, collection in entities_there(catalog, registry)}
    if not found:
        raise Refused(
            f"no app schema maps a collection of {catalog.address.database or 'a database'}: nothing would be recorded",
            hint="commitlog schema draft > schemas/app.yaml, then read and correct it",
        )
    for _, collection in sorted(found.items()):
        wrong = unfit(collection)
        if wrong is not None:
            raise Refused(f"collection {collection.quoted} is mapped by an app schema: {wrong[0]}", hint=wrong[1])
        if not collection.images:
            yield Step(
                f"collection {collection.quoted}: the server keeps what documents were before a change",
                images_on(collection),
            )


def _stamps(catalog: Catalog) -> Iterator[Step]:
    database, name = STAMPS
    there = has_stamps(catalog)
    if not there:
        yield Step("collection commitlog.stamps: its documents carry tags", shell(database, {"create": name}))
    indexes: set[str] = set()
    if there:
        with catalog.reading("the indexes of commitlog.stamps cannot be read"):
            indexes = set(catalog.client[database][name].index_information())
    if _EXPIRY["name"] not in indexes:
        yield Step(
            "collection commitlog.stamps: stamps go after a day, so that there are no more of them than sessions of a day",
            shell(database, {"createIndexes": name, "indexes": [_EXPIRY]}),
        )


def has_stamps(catalog: Catalog) -> bool:
    """Whether the collection of the stamps is there, as far as this user may see.

    Raises:
        Refused: Something else has its name.
    """
    # Their names and kinds are shown to everybody who may do anything with them.
    with catalog.reading("whether there is commitlog.stamps cannot be read"):
        answer = catalog.client[STAMPS[0]].command(
            {"listCollections": 1, "filter": {"name": STAMPS[1]}, "nameOnly": True, "authorizedCollections": True}
        )
    kinds = [found["type"] for found in answer["cursor"]["firstBatch"]]
    if kinds and kinds != ["collection"]:
        raise Refused(f"commitlog.stamps is a {kinds[0]}, and no collection", hint="drop it, then commitlog setup")
    return bool(kinds)


def _in_turns(catalog: Catalog, database: str, command: dict[str, Any], tell: Callable[[], None]) -> None:
    for turn in range(LOCK_TURNS):
        try:
            catalog.client[database].command({**command, "maxTimeMS": LOCK_MS})
            return
        except ExecutionTimeout:
            if turn == 0:
                tell()
            if turn == LOCK_TURNS - 1:
                raise
        time.sleep(LOCK_PAUSE_S)
