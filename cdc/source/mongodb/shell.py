"""Commands of a server as mongosh takes them: what `setup` prints for somebody else to run is what it runs itself."""

import json
import re
from typing import Any

_FORM = re.compile(r'db\.getSiblingDB\(("(?:[^"\\]|\\.)*")\)\.runCommand\((.*)\)', re.DOTALL)


def shell(database: str, command: dict[str, Any]) -> str:
    """A command as a line of mongosh."""
    return f"db.getSiblingDB({json.dumps(database)}).runCommand({json.dumps(command)})"


def read_shell(line: str) -> tuple[str, dict[str, Any]]:
    """The database and the command of what `shell` wrote.

    Raises:
        ValueError: It did not write this.
    """
    found = _FORM.fullmatch(line)
    if found is None:
        raise ValueError(f"{line!r} is no command of ours")
    return json.loads(found[1]), json.loads(found[2])
