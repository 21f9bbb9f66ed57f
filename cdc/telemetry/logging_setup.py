"""The worker's lines on stderr: one per event, as text or JSON; never a row's value, never a password."""

import json
import logging
import sys
import time

from ..printable import clean


class _Text(logging.Formatter):
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


class _Json(logging.Formatter):
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {"time": self.formatTime(record), "level": record.levelname.lower()}
        line["message"] = record.getMessage()
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Stderr(logging.Handler):
    """Writes to stderr as it is at the moment: a progress bar puts itself in its place, to stay below the lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except OSError:
            # Who read the lines is gone; the work goes on.
            return


def configure_logging(form: str) -> None:
    """Send the lines of `commitlog` to stderr, and with them the errors of what sends its telemetry.

    psycopg says nothing: what it warns of is raised as well, and may quote a row.

    Args:
        form: `text` or `json`.
    """
    formatter = _Json() if form == "json" else _Text()
    formatter.converter = time.gmtime
    handler = _Stderr()
    handler.setFormatter(formatter)
    for name, level in (
        ("commitlog", logging.INFO),
        ("opentelemetry", logging.ERROR),
        ("psycopg", logging.CRITICAL),
    ):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)
