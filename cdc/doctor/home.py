"""What `doctor` finds of a log's home: a folder that others can read, a broker that keeps too little."""

from collections.abc import Iterator
from contextlib import closing

from ..config import Config
from ..log.home import log_exists, open_reader
from ..log.kafka_location import KafkaLocation
from ..log.state import LogState, state_of
from .finding import Finding


def diagnose_log(config: Config) -> Iterator[Finding]:
    """Look at where the log is, or is to be."""
    location = config.log.location
    if isinstance(location, KafkaLocation):
        from .kafka import diagnose_kafka

        yield Finding("ok", f"log {location}, visibility {config.log.visibility}")
        yield from diagnose_kafka(config, location)
        return
    folder = location.root
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    mode = existing.stat().st_mode & 0o777
    if folder.exists() and mode & 0o077:
        yield Finding("warning", f"{folder} can be read by others (mode {mode:o})", f"chmod 700 {folder}")
    else:
        yield Finding("ok", f"log {config.log.location}, visibility {config.log.visibility}")


def state_now(config: Config) -> LogState | None:
    """What the log's records amount to, None where there is no log. Raises CommitLogError where it cannot be read."""
    if not log_exists(config.log.location):
        return None
    with closing(open_reader(config.log.location)) as reader:
        return state_of(reader, config.state_path)
