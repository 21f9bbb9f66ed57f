"""The keys a worker keeps beside its configuration, made when first needed and never written anywhere else."""

import os

from ..schemas.errors import Refused
from ..transforms.pseudonym import Pseudonyms
from .config import Config

KEY_BYTES = 32


def pseudonyms_of(config: Config) -> Pseudonyms | None:
    """The pseudonyms of a shared log; None for an own log, which hides nothing.

    Raises:
        Refused: The key's file cannot be used: another key would give everyone a second pseudonym.
    """
    if config.log.visibility == "own":
        return None
    path = config.state / f"{config.log.location.name}.pseudonyms"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    else:
        key = os.urandom(KEY_BYTES)
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(key.hex())
            file.flush()
            os.fsync(file.fileno())
    if len(key) != KEY_BYTES:
        raise Refused(f"{path} does not hold a key of {KEY_BYTES} bytes", hint="put the right file back")
    return Pseudonyms(key)
