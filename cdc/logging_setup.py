"""The worker's lines on stderr: one per event, as text or JSON; never a row's value, never a password."""

import json
import logging
import sys
import time


class _Text(logging.Formatter):
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\\n")


class _Json(logging.Formatter):
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.formatTime(record), "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(line, ensure_ascii=False)


def configure_logging(form: str) -> None:
    """Send the lines of `commitlog` to stderr.

    Args:
        form: `text` or `json`.
    """
    formatter = _Json() if form == "json" else _Text()
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logger = logging.getLogger("commitlog")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
