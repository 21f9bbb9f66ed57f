"""The first record of a log: which source it is of, and from where on."""

import orjson

from ...schemas.position import format_lsn
from ...schemas.record import FORMAT
from ..config import Config
from ..log.chain import ChainWriter, new_log_id
from ..log.home import LogWriter
from ..log.state import LogState
from ..tail.catalog import Identity, Slot


def begin(writer: LogWriter, config: Config, state: LogState, *, identity: Identity, slot: Slot) -> None:
    """Begin a new log where the slot stands: everything since `setup` will be in it.

    Args:
        writer: Of a log without records; the first one is durable on return.
        config: Of the worker.
        state: The log's, which takes over what the record says.
        identity: The source.
        slot: The slot on it.
    """
    start = format_lsn(slot.confirmed)
    state.log, state.position = new_log_id(), start
    state.genesis = {
        "name": config.log.location.name,
        "visibility": config.log.visibility,
        "engine": "postgresql",
        "system": identity.system,
        "timeline": identity.timeline,
        "database": identity.database,
        "start": start,
        "format": FORMAT,
    }
    chain = ChainWriter(state.log, epoch=state.epoch, engine="postgresql", position=start)
    writer.append(chain.record("genesis", [orjson.dumps(state.genesis)]), chain.head)
    writer.flush()
