"""How a MySQL or MariaDB server is reached: by TLS that proves who it is wherever the way leaves this machine; and what it means
when it is not.

Source: MySQL manual, "Connecting to the Server Using URI-Like Strings" and "Command Options for Encrypted Connections".
"""

import difflib
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from pymysql import err

from ...schemas.errors import CommitLogError, Refused, Unreachable, UsageError
from ..database_url import is_local, split_password, split_url, user_of
from .certificate import unproven

MODES = ("disabled", "required", "verify_ca", "verify_identity")
VERIFIED = MODES[-1]
PORT = 3306

_OPTIONS = ("ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "socket", "user", "password")
_EXAMPLE = "write mysql://USER@HOST:PORT/DATABASE, or mariadb://…"

_REFUSALS = {
    1044: ("{user} may not connect to that database", "commitlog setup --role {user}"),
    1130: ("{what} lets nobody in from this machine", "CREATE USER for this machine's address on the server"),
    1251: ("{what} wants a way to log in that is not known here", "let the user log in with caching_sha2_password"),
    1820: ("the password of {user} has expired", "ALTER USER on the server"),
    1862: ("the password of {user} has expired", "ALTER USER on the server"),
    2026: ("{what} does not speak TLS", "where the way to it is safe, write ssl-mode=disabled into {where}"),
    2059: ("{what} wants a way to log in that is not known here", "let the user log in with caching_sha2_password"),
    3118: ("{user} is locked", "ALTER USER … ACCOUNT UNLOCK on the server"),
    3159: ("{what} takes encrypted connections only", "write ssl-mode=required, or verify_identity, into {where}"),
    4151: ("{user} is locked", "ALTER USER … ACCOUNT UNLOCK on the server"),
}
"""What the server or the library says by number, what it means, and what to do: no waiting helps."""


_DENIED = (1045, 1698)
"""The server does not say whether user, password or way was wrong; a password that is being changed is right in a moment."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and how to reach it.

    Args:
        engine: mysql or mariadb, as the URL says.
        host: A name or an address; empty with a socket.
        port: Its TCP port.
        socket: The path of a Unix socket, or empty.
        user: Who logs in.
        password: Theirs, or empty.
        database: The database, or empty.
        mode: One of MODES.
        ca: File with the certificates that the server's must lead to; empty for those of this machine.
        cert: File with a certificate of our own, or empty.
        key: File with its key, or empty.
    """

    engine: str
    host: str
    port: int
    socket: str
    user: str
    password: str = field(repr=False)
    database: str = ""
    mode: str = VERIFIED
    ca: str = ""
    cert: str = ""
    key: str = ""

    @property
    def here(self) -> bool:
        """Whether it is a socket or the loopback of this machine, as far as it says so itself."""
        return bool(self.socket) or is_local(self.host)

    def tls(self) -> ssl.SSLContext | None:
        """How to encrypt; None for not at all.

        Raises:
            Refused: A file that the URL names cannot be read.
        """
        if self.mode == "disabled" or self.socket:
            return None
        for file in filter(None, (self.ca, self.cert, self.key)):
            if not Path(file).is_file():
                raise Refused(f"there is no file {file}", hint="correct ssl-ca, ssl-cert and ssl-key in the url")
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            # The certificates that servers make for themselves lack what Python asks for from 3.13 on.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            context.check_hostname = self.mode == VERIFIED
            context.verify_mode = ssl.CERT_NONE if self.mode == "required" else ssl.CERT_REQUIRED
            if self.cert:
                context.load_cert_chain(self.cert, self.key or None)
        except (ssl.SSLError, OSError) as exc:
            files = ", ".join(filter(None, (self.ca, self.cert, self.key)))
            raise Refused(f"{files}: no certificates, or not the key to them", hint="correct the url") from exc
        return context


def parse(url: str, where: str = "[source] url") -> Address:
    """Read a URL; off this machine the server must prove who it is unless the URL says otherwise.

    Args:
        url: `mysql://USER:PASSWORD@HOST:PORT/DATABASE?ssl-mode=…`, or `mariadb://…`.
        where: Where the user wrote it.

    Raises:
        UsageError: It is not one, or says something that is not known.
    """
    parts = split_url(url)
    if parts.scheme not in ("mysql", "mariadb"):
        raise UsageError(f"{where} is not the address of a MySQL or MariaDB", hint=_EXAMPLE)
    options = {name: value for name, value in parts.options if name not in ("user", "password")}
    for name in options:
        if name not in _OPTIONS:
            near = difflib.get_close_matches(name, _OPTIONS, 1, 0.5)
            hint = f"write {near[0]}" if near else f"it may say {', '.join(_OPTIONS[:5])}"
            raise UsageError(f"{where} says {name}, which is not known", hint=hint)
    host, port = _host_and_port(parts.host, where)
    socket = options.get("socket", "")
    local = bool(socket) or is_local(host)
    mode = options.get("ssl-mode", "disabled" if local else VERIFIED).lower()
    if mode not in MODES:
        raise UsageError(f"{where} says an ssl-mode that is not known", hint=f"ssl-mode is one of {', '.join(MODES)}")
    return Address(
        engine=parts.scheme,
        host="" if socket else host or "localhost",
        port=port,
        socket=socket,
        user=user_of(url) or "",
        password=split_password(url)[1] or "",
        database=parts.database,
        mode=mode,
        ca=options.get("ssl-ca", ""),
        cert=options.get("ssl-cert", ""),
        key=options.get("ssl-key", ""),
    )


def safety(address: Address) -> str:
    """What is unsafe on the way to a server, for one sentence; empty where the server proves who it is, or is on this machine."""
    if address.here or address.mode == VERIFIED:
        return ""
    if address.mode == "disabled":
        return "ssl-mode=disabled: everything goes over the net in clear"
    believed = "whoever answers is believed"
    return f"ssl-mode={address.mode}: " + (believed if address.mode == "required" else f"{believed} that its CA knows")


def refusal(exc: Exception, *, what: str, where: str, user: str) -> CommitLogError:
    """The error of a connection that could not be made.

    Args:
        exc: As PyMySQL raised it.
        what: What was to be reached.
        where: Where its address is written.
        user: Who was to log in.

    Returns:
        Refused where somebody must act, else Unreachable.
    """
    number, text = code(exc), one_line(exc)
    words = {"what": what, "where": where, "user": user or "the user"}
    if number in _REFUSALS:
        message, hint = _REFUSALS[number]
        return Refused(f"{message.format(**words)}: {text}", hint=hint.format(**words))
    cause = getattr(exc, "original_exception", None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return unproven(cause.verify_message, what=what, where=where, option="ssl-ca")
    hint = f"check {where}, and that the server runs"
    if number in _DENIED:
        hint = f"check user and password in {where}; a user who may log in encrypted only needs ssl-mode=required"
    return Unreachable(f"{what} cannot be reached: {text}", hint=hint)


def code(exc: BaseException) -> int:
    """The number of the server's or the library's error, 0 where it has none."""
    number = exc.args[0] if exc.args else 0
    return number if isinstance(exc, err.MySQLError) and isinstance(number, int) else 0


def one_line(exc: BaseException) -> str:
    """An error's text on one line, without its number and a trailing stop."""
    text = exc.args[1] if code(exc) and len(exc.args) > 1 else exc
    return " ".join(str(text).split()).rstrip(".")


def _host_and_port(text: str, where: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([^\[\]]*)\]|([^:\[\],]*))(?::([0-9]{1,5})?)?", text)
    port = int(found[3] or PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise UsageError(f"{where} does not say one host and one port", hint=_EXAMPLE)
    return found[1] or found[2] or "", port
