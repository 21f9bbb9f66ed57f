"""How a server is reached: by TLS that proves who it is wherever the way leaves this machine; and what it means when it is not.

Source: PostgreSQL manual, "libpq: SSL Support" and "Connection Strings".
"""

import os
import re
import socket
import ssl
import struct

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ...schemas.errors import CommitLogError, Refused, Unreachable, UsageError
from ..database_url import is_local
from .certificate import unproven

VERIFIED = "verify-full"

_PROBE_TIMEOUT_S = 5
_SSL_REQUEST = struct.pack(">II", 8, 80877103)
_USERS_ROOT = os.path.expanduser("~/.postgresql/root.crt")  # noqa: PTH111 - a user without a home, as of a container, has none
"""Where libpq looks for the certificates of CAs unless told."""
_UNVERIFIED = "certificate verify failed"

AT_THE_SERVER = "point {where} at the server itself, not at PgBouncer or another pooler"

_REFUSALS = (
    (
        r"does not support SSL, but SSL was required",
        "{what} does not speak TLS",
        "set ssl = on on the server; where the way to it is safe, write sslmode=disable into {where}",
    ),
    (
        r"(server certificate for .* does not match host name \"[^\"]*\")",
        "{what} may be another one: {0}",
        "write a host name into {where} that the certificate has",
    ),
    (
        r"root certificate file \"([^\"]*)\" does not exist",
        "{what} cannot be told from another one: there is no {0} to check its certificate against",
        "add sslrootcert=FILE with the certificate of its CA to {where}, or sslrootcert=system",
    ),
    (
        r"role \"([^\"]*)\" is not permitted to log in",
        "role {0} may not log in to {what}",
        'ALTER ROLE "{0}" LOGIN',
    ),
    (
        r"permission denied for database \"([^\"]*)\"",
        "role {user} may not connect to database {0}",
        'GRANT CONNECT ON DATABASE "{0}" TO "{user}"',
    ),
    (
        r"permission denied to start WAL sender|must be superuser or replication role to start walsender",
        "role {user} may not replicate",
        'ALTER ROLE "{user}" REPLICATION',
    ),
    (
        r"unsupported startup parameter(?: in options)?: (\w+)",
        "{what} is behind a pooler that takes no {0} from a connection",
        AT_THE_SERVER,
    ),
)
"""What libpq or the server says, what it means, and what to do: no waiting helps."""


def secured(url: str, where: str = "[source] url") -> str:
    """An address as it is connected to: `sslmode=verify-full` where it says no sslmode and does not stay on this machine.

    Args:
        url: As libpq takes it.
        where: Where the user wrote it.

    Raises:
        UsageError: libpq does not understand it.
    """
    said = _parsed(url, where)
    return url if "sslmode" in said or _stays_here(said) else make_conninfo(url, sslmode=VERIFIED)


def safety(url: str, *, encrypted: bool) -> str:
    """What is unsafe on the way to a server, for one sentence; empty where the server proves who it is, or is on this machine.

    Args:
        url: As libpq takes it.
        encrypted: Whether the connection uses TLS.
    """
    said = _parsed(url, "the url")
    mode = said.get("sslmode", VERIFIED)
    if _stays_here(said) or (encrypted and mode == VERIFIED):
        return ""
    return f"sslmode={mode}: " + (
        "whoever answers is believed" if encrypted else "everything goes over the net in clear"
    )


def refusal(exc: psycopg.OperationalError, *, what: str, where: str) -> CommitLogError:
    """The error of a connection that could not be made.

    Args:
        exc: As psycopg raised it.
        what: What was to be reached.
        where: Where its address is written.

    Returns:
        Refused where somebody must act, else Unreachable.
    """
    text = one_line(exc)
    user = exc.pgconn.user.decode(errors="replace") if exc.pgconn is not None else ""
    for pattern, message, hint in _REFUSALS:
        found = re.search(pattern, text)
        if found:
            words = {"what": what, "where": where, "user": user}
            return Refused(message.format(*found.groups(), **words), hint=hint.format(*found.groups(), **words))
    if _UNVERIFIED in text:
        return unproven(_reason(exc), what=what, where=where, option="sslrootcert")
    return Unreachable(f"{what} cannot be reached: {text}", hint=f"check {where}, and that the server runs")


def one_line(exc: BaseException) -> str:
    """An error's text on one line, without a trailing stop."""
    return " ".join(str(exc).split()).rstrip(".")


def _parsed(url: str, where: str) -> dict[str, str]:
    try:
        return {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError:
        # libpq's own words may hold the whole address, and with it the password.
        raise UsageError(
            f"{where} is not an address that libpq understands", hint="write postgresql://USER@HOST:PORT/DATABASE"
        ) from None


def _stays_here(said: dict[str, str]) -> bool:
    """Whether an address is a socket or the loopback of this machine, as far as it says so itself."""
    hosts = said.get("host") or os.environ.get("PGHOST", "")
    addresses = said.get("hostaddr") or os.environ.get("PGHOSTADDR", "")
    if not (hosts or addresses) and ("service" in said or "PGSERVICE" in os.environ):
        return False
    return all(name.startswith(("/", "@")) or is_local(name) for name in [*hosts.split(","), *addresses.split(",")])


def _reason(exc: psycopg.OperationalError) -> str:
    """Why a server's certificate is not accepted, which libpq keeps to itself; empty where that cannot be learned."""
    conn = exc.pgconn
    if conn is None:
        return ""
    options = {option.keyword: option.val for option in conn.info}
    root = (options.get(b"sslrootcert") or b"").decode(errors="replace") or _USERS_ROOT
    host, port = (conn.hostaddr or conn.host).decode(errors="replace"), conn.port.decode(errors="replace")
    try:
        context = ssl.create_default_context(cafile=None if root == "system" else root)
        context.check_hostname = False
        with socket.create_connection((host, int(port)), timeout=_PROBE_TIMEOUT_S) as raw:
            raw.sendall(_SSL_REQUEST)
            if raw.recv(1) == b"S":
                context.wrap_socket(raw, server_hostname=conn.host.decode(errors="replace")).close()
    except ssl.SSLCertVerificationError as verification:
        return verification.verify_message
    except (OSError, ValueError):
        return ""
    return ""
