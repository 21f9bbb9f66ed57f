"""Going on after lost history, by an operator's order: a gap that everyone can see, a new epoch, new snapshots.

Nothing of the log is changed or dropped. What the source still has is used: a slot that merely stands further on stays; one that is
gone, lost or of another server is made anew.
"""

from collections.abc import Iterator
from contextlib import closing

import orjson
import psycopg

from ...schemas.errors import HistoryLost, Refused, Unreachable
from ...schemas.position import format_lsn, parse_lsn
from ..app_schemas.files import load_registry
from ..config import Config, SourceConfig
from ..log.chain import ChainWriter, Extras
from ..log.home import LogWriter, open_reader, open_writer
from ..log.state import LogState, state_of
from ..source import provisioning
from ..source.check import check_identity, check_published, check_slot
from ..source.failover import Failover
from ..tail.catalog import Catalog, Identity, Slot, sql_name

PASSED_OVER_FROM = 180_000
"""Before this server version decoding fails where the publication was not there, also when it is there again."""


def resume(config: Config, *, accept_gap: bool) -> Iterator[str]:
    """Do it, and say what is done, a line at a time.

    Args:
        config: Of the worker, which must not run.
        accept_gap: Without it nothing is changed.

    Raises:
        HistoryLost: History is lost and `accept_gap` is false.
        Refused: There is no log yet, or the source is not ready.
        Locked: A worker runs.
    """
    location = config.log.location
    catalog = Catalog(config.source.conninfo())
    try:
        with open_writer(location, memory=config.memory_path) as writer:
            with closing(open_reader(location)) as reader:
                state = state_of(reader, config.state_path)
            if not state.genesis:
                raise Refused(f"log {location} has not begun", hint="commitlog run")
            lost = _lost(config, catalog, state)
            if lost is None and not accept_gap:
                yield "nothing lost is seen from here: commitlog run goes on by itself, or says what is lost"
                return
            if lost is not None and not accept_gap:
                raise lost
            yield from _go_on(config, catalog, state, writer, lost)
    finally:
        catalog.close()


def _lost(config: Config, catalog: Catalog, state: LogState) -> HistoryLost | None:
    try:
        identity, slot = catalog.identity(), catalog.slot(config.source.slot)
        check_identity(identity, state)
        Failover.between(identity, slot, config.source, state)
        check_slot(slot, config.source, state)
        check_published(catalog, config.source, load_registry(config.schemas.path), state=state)
    except HistoryLost as exc:
        return exc
    return None


def _go_on(
    config: Config, catalog: Catalog, state: LogState, writer: LogWriter, lost: HistoryLost | None
) -> Iterator[str]:
    identity = catalog.identity()
    slot = catalog.slot(config.source.slot)
    if slot is not None and slot.wal_status == "lost":
        for step in provisioning.teardown_steps(catalog, config.source, publication=False):
            provisioning.execute(catalog, step)
            yield f"dropped: {step.text}, whose WAL is gone"
    for step in provisioning.setup_steps(catalog, config.source, load_registry(config.schemas.path)):
        provisioning.execute(catalog, step)
        yield f"done: {step.text}"
    if identity.version < PASSED_OVER_FROM and not _readable(catalog, config.source):
        step = provisioning.advance_step(config.source)
        provisioning.execute(catalog, step)
        yield f"done: {step.text}"
    slot = catalog.slot(config.source.slot)
    if slot is None:
        raise Refused(f"slot {config.source.slot!r} could not be made", hint="commitlog doctor")
    resumed_at = _resumed_at(state, identity, slot) if lost else format_lsn(slot.confirmed)
    if writer.unfinished:
        chain = ChainWriter(
            state.log, epoch=state.epoch, engine="postgresql", head=writer.head, position=state.position
        )
        writer.append(chain.record("void", extras=Extras(void=writer.unfinished)), chain.head)
    chain = ChainWriter(
        state.log, epoch=state.epoch + 1, engine="postgresql", head=writer.head, position=state.position
    )
    item = {
        "reason": str(lost) if lost else "an operator asked for it",
        "lost_after": state.position,
        "resumed_at": resumed_at,
        "system": identity.system,
        "timeline": identity.timeline,
        "database": identity.database,
    }
    line = chain.record("gap", [orjson.dumps(item)], position=resumed_at)
    writer.append(line, chain.head)
    writer.flush()
    yield f"record {chain.head.seq}: gap after {state.position}, epoch {state.epoch + 1} begins at {resumed_at}"
    yield "next: commitlog run takes new snapshots of every table"


def _readable(catalog: Catalog, source: SourceConfig) -> bool:
    """Whether the server can decode all that the slot holds; true where that takes too long to find out."""
    try:
        catalog.rows(
            "SELECT count(*) FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL, 'proto_version', '1',"
            " 'publication_names', %s)",
            (source.slot, sql_name(source.publication)),
        )
    except psycopg.errors.UndefinedObject:
        return False
    except Unreachable:
        return True
    return True


def _resumed_at(state: LogState, identity: Identity, slot: Slot) -> str:
    """Where the log goes on: where the slot stands, or further where the same history was already read. Where nothing says that
    it is the same, everything that the slot has is read."""
    same = (identity.system, identity.timeline) == (state.genesis["system"], state.genesis["timeline"])
    if same and parse_lsn(state.position) <= identity.wal_end:
        return format_lsn(max(slot.confirmed, parse_lsn(state.position)))
    return format_lsn(slot.confirmed)
