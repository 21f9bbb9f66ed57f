"""The first record of a log: which source it is of, and from where on."""

import orjson

from ...schemas.record import FORMAT
from ..log.chain import ChainWriter, new_log_id
from ..log.home import LogWriter
from ..log.state import LogState
from .source import Source


def begin(writer: LogWriter, source: Source, state: LogState) -> None:
    """Begin a new log where its source says: everything since `setup` will be in it.

    Args:
        writer: Of a log without records; the first one is durable on return.
        source: What it is of.
        state: The log's, which takes over what the record says.
    """
    start, identity = source.genesis()
    log = source.config.log
    state.log, state.position = new_log_id(), start
    state.genesis = {
        "name": log.location.name,
        "visibility": log.visibility,
        "engine": source.engine,
        **identity,
        "start": start,
        "format": FORMAT,
    }
    chain = ChainWriter(state.log, epoch=state.epoch, engine=source.engine, position=start)
    writer.append(chain.record("genesis", [orjson.dumps(state.genesis)]), chain.head)
    writer.flush()
