"""What a worker remembers of tables beside the log, in a file that is disposable: without it they are taken as they are."""

import json
import logging
import os
from pathlib import Path
from typing import Any

log = logging.getLogger("commitlog")


def keep(path: Path, entities: dict[str, Any], *, epoch: int) -> bool:
    """Write what is known of each entity in place of what the file holds.

    Returns:
        Whether it could be written; else the reason is in the log.
    """
    temporary = path.with_suffix(".new")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump({"epoch": epoch, "entities": entities}, file)
        temporary.replace(path)
    except OSError as exc:
        log.warning("%s cannot be written: %s", path, exc.strerror)
        return False
    return True


def kept(path: Path, *, epoch: int | None = None) -> dict[str, Any]:
    """What the file holds by entity; nothing where it cannot be read, or is of another epoch than the one asked for."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return dict(document["entities"]) if epoch in (None, document["epoch"]) else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}
