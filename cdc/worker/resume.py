"""Going on after lost history, by an operator's order: a gap that everyone can see, a new epoch, new snapshots.

Nothing of the log is changed or dropped. What the source still has is used.
"""

from collections.abc import Iterator
from contextlib import closing

import orjson

from ...schemas.errors import HistoryLost, Refused
from ..config import Config
from ..log.chain import ChainWriter, Extras
from ..log.home import LogWriter, open_reader, open_writer
from ..log.state import LogState, state_of
from .resumption import Resumption


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
    with closing(_open(config)) as source, open_writer(location, memory=config.memory_path) as writer:
        with closing(open_reader(location)) as reader:
            state = state_of(reader, config.state_path)
        if not state.genesis:
            raise Refused(f"log {location} has not begun", hint="commitlog run")
        lost = source.lost(state)
        if lost is None and not accept_gap:
            yield "nothing lost is seen from here: commitlog run goes on by itself, or says what is lost"
            return
        if lost is not None and not accept_gap:
            raise lost
        yield from _go_on(source, state, writer, lost)


def _open(config: Config) -> Resumption:
    # Here, so that only the driver of the engine in use is needed.
    if config.source.engine == "postgresql":
        from .postgres_resumption import PostgresResumption

        return PostgresResumption(config)
    if config.source.engine == "mongodb":
        from .mongodb_resumption import MongodbResumption

        return MongodbResumption(config)
    from .mysql_resumption import MysqlResumption

    return MysqlResumption(config)


def _go_on(source: Resumption, state: LogState, writer: LogWriter, lost: HistoryLost | None) -> Iterator[str]:
    yield from source.make_ready()
    resumed_at = source.resumed_at(state, lost=lost is not None)

    def chain(epoch: int) -> ChainWriter:
        return ChainWriter(state.log, epoch=epoch, engine=source.engine, head=writer.head, position=state.position)

    if writer.unfinished:
        unfinished = chain(state.epoch)
        writer.append(unfinished.record("void", extras=Extras(void=writer.unfinished)), unfinished.head)
    begun = chain(state.epoch + 1)
    item = {
        "reason": str(lost) if lost else "an operator asked for it",
        "lost_after": state.position,
        "resumed_at": resumed_at,
        **source.identity(),
    }
    line = begun.record("gap", [orjson.dumps(item)], position=resumed_at)
    writer.append(line, begun.head)
    writer.flush()
    yield f"record {begun.head.seq}: gap after {state.position}, epoch {state.epoch + 1} begins at {resumed_at}"
    yield "next: commitlog run takes new snapshots of every table"
