"""The configuration that `commitlog init` writes: commented, and right as it stands."""

import json
import re
from pathlib import Path

from ..schemas.errors import UsageError
from .config import FILE_NAME, STATE_FOLDER, Visibility, slot_name
from .database_url import MYSQL_FAMILY, database_name, engine_of, shown, split_password
from .log.home import parse_location

DEFAULT_LOG = "file:log"
PASSWORD_FILE = f"{STATE_FOLDER}/password"

_TEMPLATE = """\
# What the worker reads and writes. Each value may also come from the environment (COMMITLOG_SOURCE__URL, …), which
# goes over this file, or from a flag, which goes over both. Relative paths go from the folder of this file.

[source]
# Unless it stays on this machine, the server must prove by its certificate that it is the one: ?{ca}=FILE names the CA.
url = {url}
{password}
{more}

[log]
url = {log}
name = {name}
# own: for your own use, every field that has a class is recorded in clear. shared: for others, public fields only.
# A log never changes from own to shared.
visibility = {visibility}

[schemas]
# What of the database appears in the log, for which builds of the app: `commitlog schema draft` writes a first one. A commit that
# none of them is for waits until there is one.
path = "schemas"

[http]
# /healthz, /readyz and /metrics of the worker; "" for none.
listen = "127.0.0.1:9464"

# [limits] has defaults for every size and time; schemas/config.schema.json of the package lists them.
"""


_POSTGRES = """\
# `commitlog setup` creates both, `commitlog teardown` drops both.
publication = {publication}
slot = {slot}"""

_MONGODB = """\
# One worker reads one database, of a replica set; name several members, so that one may be away: mongodb://HOST,HOST/…?replicaSet=NAME"""

_MYSQL = """\
# What the worker calls itself among the server's replicas; no other may have it. Default: a number made of the log's name.
# server_id = 4000000001"""


def render_default(url: str, *, name: str = "", log: str = DEFAULT_LOG, visibility: Visibility = "own") -> str:
    """The text of a configuration for the database at `url`.

    Args:
        url: `postgresql://…`, `mysql://…`, `mariadb://…` or `mongodb://…`; a password in it is left out, and the file says where it will be looked for.
        name: The log's name; empty for the database's, as far as a log's name allows its letters.
        log: Where the log is to be, without its name.

    Raises:
        UsageError: `url` is not one, or no log can be there.
    """
    bare, password = split_password(url)
    engine = engine_of(bare)
    if engine not in ("postgresql", "mongodb", *MYSQL_FAMILY):
        raise UsageError(
            f"{shown(url)} is not the address of a source",
            hint="write postgresql://USER@HOST:PORT/DATABASE, or mysql://…, mariadb://… or mongodb://…",
        )
    if engine != "postgresql" and not database_name(bare):
        raise UsageError(f"{shown(url)} names no database", hint=f"write {engine}://USER@HOST:PORT/DATABASE")
    name = name or log_name(bare)
    if "#" in log:
        raise UsageError(f"{log!r} names a log, and its place is meant", hint="--log file:FOLDER --name NAME")
    parse_location(f"{log}#{name}")
    return _TEMPLATE.format(
        url=_quoted(bare),
        ca={"postgresql": "sslrootcert", "mongodb": "tlsCAFile"}.get(engine, "ssl-ca"),
        password=_password(engine, password),
        more=_more(engine, name),
        log=_quoted(log),
        name=_quoted(name),
        visibility=_quoted(visibility),
    )


def write_default(
    folder: Path, url: str, *, name: str = "", log: str = DEFAULT_LOG, visibility: Visibility = "own"
) -> list[Path]:
    """Write the configuration, and the password of `url` to a file of its own that only this user can read.

    Returns:
        The files written.

    Raises:
        UsageError: A configuration is there already, or `url` is not one.
    """
    text = render_default(url, name=name, log=log, visibility=visibility)
    password = split_password(url)[1]
    file = folder / FILE_NAME
    if file.exists():
        raise UsageError(f"{file} is there already", hint="correct it, or remove it first")
    written = [file]
    if password is not None:
        secret = folder / PASSWORD_FILE
        secret.parent.mkdir(mode=0o700, exist_ok=True)
        secret.unlink(missing_ok=True)
        secret.touch(mode=0o600)
        secret.write_text(password + "\n", encoding="utf-8")
        written.append(secret)
    file.write_text(text, encoding="utf-8")
    return written


def log_name(url: str) -> str:
    """A log's name made from the database's."""
    database = database_name(url) or "log"
    return re.sub(r"[^a-z0-9_-]+", "-", database.lower()).strip("-_")[:64] or "log"


def _more(engine: str, name: str) -> str:
    """The lines of [source] that are its engine's own."""
    if engine == "postgresql":
        return _POSTGRES.format(publication=_quoted("commitlog"), slot=_quoted(slot_name(name)))
    return _MONGODB if engine == "mongodb" else _MYSQL


def _password(engine: str, password: str | None) -> str:
    """The line that says where the password is."""
    if password is not None:
        return f'password = "file:{PASSWORD_FILE}"'
    without = "; without it, PGPASSWORD and ~/.pgpass are looked at" if engine == "postgresql" else ""
    return f'# password = "env:SHOP_PASSWORD"   or "file:PATH"{without}.'


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's for all that is printable."""
    return json.dumps(text, ensure_ascii=False)
