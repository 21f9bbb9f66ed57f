"""How a MongoDB is reached: by TLS that proves who it is wherever the way leaves this machine; and what it means when it is not.

Source: MongoDB manual, "Connection Strings"; error_codes.yml of the server.
"""

import difflib
import re
import ssl
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pymongo import errors, uri_parser
from pymongo.topology_description import TopologyDescription

from ...schemas.errors import CommitLogError, Refused, Unreachable, UsageError
from ..database_url import is_local, split_url, user_of
from .certificate import unproven

SCHEMES = ("mongodb", "mongodb+srv")
_EXAMPLE = "write mongodb://USER@HOST:PORT/DATABASE?replicaSet=NAME"
_OPTIONS = (
    "replicaSet authSource authMechanism directConnection tls tlsCAFile tlsCertificateKeyFile tlsAllowInvalidCertificates"
    " tlsAllowInvalidHostnames tlsInsecure readPreference compressors"
).split()
"""What is said most often, to point to."""

_UNKNOWN = re.compile(r"Unknown option:? (\w+)")

UNAUTHORIZED = 13
AUTHENTICATION_FAILED = 18


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica set is, and how to reach it.

    Args:
        url: As pymongo takes it, with the password.
        hosts: Host and port of each member that the URL names; of mongodb+srv:// the name to look them up by.
        user: Who logs in, or empty.
        database: The database, or empty.
        auth_source: The database that knows the user.
        options: What else it says, by pymongo's names.
    """

    url: str = field(repr=False)
    hosts: tuple[tuple[str, int], ...]
    user: str
    database: str
    auth_source: str
    options: dict[str, Any] = field(repr=False)

    @property
    def here(self) -> bool:
        """Whether all it names is a socket or the loopback of this machine, as far as it says so itself."""
        return all(host.endswith(".sock") or is_local(host) for host, _ in self.hosts)

    @property
    def tls(self) -> bool:
        """Whether to encrypt: unless the URL says otherwise, off this machine."""
        said = self.options.get("tls")
        return bool(said) if said is not None else not self.here


def parse(url: str, where: str = "[source] url") -> Address:
    """Read a URL; off this machine the server must prove who it is unless the URL says otherwise.

    Args:
        url: `mongodb://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?replicaSet=…`, or `mongodb+srv://…`.
        where: Where the user wrote it.

    Raises:
        UsageError: It is not one, or says something that is not known.
    """
    parts = split_url(url)
    if parts.scheme not in SCHEMES:
        raise UsageError(f"{where} is not the address of a MongoDB", hint=_EXAMPLE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of options that only say what others say, too
            options: dict[str, Any] = dict(
                uri_parser.parse_uri(_of_options(url), validate=True, warn=False, normalize=True)["options"]
            )
            if parts.scheme == SCHEMES[0]:
                found = uri_parser.parse_uri(url, validate=True, warn=False)
                hosts = tuple((str(host), int(port or 0)) for host, port in found["nodelist"])
                # The parser takes a.b for a collection of a database.
                if found["collection"]:
                    raise UsageError(f"the database in {where} has a dot", hint=_EXAMPLE)
            else:
                hosts = ((parts.host, 0),)
    except OSError as exc:
        raise UsageError(f"there is no file {exc.filename}", hint=f"correct {where}") from None
    except (errors.PyMongoError, ValueError) as exc:
        raise UsageError(f"{where} is not right: {_shown(exc, parts.options)}", hint=_nearest(exc)) from None
    return Address(
        url=url,
        hosts=hosts,
        user=user_of(url) or "",
        database=parts.database,
        auth_source=str(options.get("authSource") or parts.database or "admin"),
        options=options,
    )


def safety(address: Address) -> str:
    """What is unsafe on the way to a server, for one sentence; empty where the server proves who it is, or is on this machine."""
    if address.here:
        return ""
    if not address.tls:
        return "tls=false: everything goes over the net in clear"
    for name, trust in _TRUSTING.items():
        if address.options.get(name):
            return f"{name}=true: {trust}"
    return ""


_TRUSTING = {
    "tlsInsecure": "whoever answers is believed",
    "tlsAllowInvalidCertificates": "whoever answers is believed",
    "tlsAllowInvalidHostnames": "whoever answers is believed that its CA knows",
}


def refusal(exc: Exception, *, what: str, where: str, user: str) -> CommitLogError:
    """The error of a connection that could not be made.

    Args:
        exc: As pymongo raised it.
        what: What was to be reached.
        where: Where its address is written.
        user: Who was to log in.

    Returns:
        Refused where somebody must act, UsageError where the address cannot be meant, else Unreachable.
    """
    for cause in _causes(exc):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return unproven(cause.verify_message, what=what, where=where, option="tlsCAFile")
    number, text = code(exc), one_line(exc)
    if number == AUTHENTICATION_FAILED:
        # The server does not say whether user or password was wrong; one that is being changed is right in a moment.
        hint = f"check user and password in {where}, and authSource, the database that knows the user"
        return Unreachable(f"{what} refuses the login of {user or 'nobody'}: {text}", hint=hint)
    if number == UNAUTHORIZED:
        return Refused(f"{what}: {text}", hint=f"name a user and a password in {where}")
    if isinstance(exc, errors.ConfigurationError):
        return UsageError(f"{where} is not right: {text}", hint=_EXAMPLE)
    hint = f"check {where}, and that the server runs"
    if "SSL handshake failed" in text:
        hint = f"where the server speaks no TLS and the way to it is safe, write tls=false into {where}"
    return Unreachable(f"{what} cannot be reached: {text}", hint=hint)


def code(exc: BaseException) -> int:
    """The number of the server's error, 0 where it has none."""
    return (exc.code or 0) if isinstance(exc, errors.OperationFailure) else 0


def one_line(exc: BaseException) -> str:
    """An error's text on one line, without what the library adds, a command with its values, and a trailing stop."""
    if isinstance(exc, errors.OperationFailure) and exc.details:
        text = str(exc.details.get("errmsg") or exc)
    elif isinstance(exc, errors.ServerSelectionTimeoutError):
        found = [str(error) for error in _server_errors(exc)]
        text = found[0] if found else str(exc)
    else:
        text = str(exc)
    text = re.split(r",? \(configured timeouts|, Timeout: |, full error: | to execute command \{", text)[0]
    return " ".join(text.split()).rstrip(".")


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """An error, those of the servers that it is about, and what each was made of."""
    for one in (exc, *_server_errors(exc)):
        cause: BaseException | None = one
        while cause is not None:
            yield cause
            cause = cause.__cause__ or cause.__context__


def _server_errors(exc: BaseException) -> list[BaseException]:
    details = getattr(exc, "details", None)
    if not isinstance(details, TopologyDescription):
        return []
    return [server.error for server in details.server_descriptions().values() if server.error is not None]


def _of_options(url: str) -> str:
    """A URL that says the same options, and neither user nor host, so that nothing is looked up."""
    query = url.partition("?")[2]
    scheme = "mongodb://localhost/"
    return f"{scheme}?{query}" if query else scheme


def _shown(exc: Exception, options: list[tuple[str, str]]) -> str:
    """What the parser says, without any option's value."""
    text = one_line(exc)
    unknown = _UNKNOWN.match(text)
    if unknown:
        return f"it says {unknown[1]}, which is not known"
    for value in sorted((value for _, value in options if value), key=len, reverse=True):
        text = text.replace(value, "…")
    return text


def _nearest(exc: Exception) -> str:
    unknown = _UNKNOWN.match(str(exc))
    if not unknown:
        return _EXAMPLE
    names = {name.lower(): name for name in _OPTIONS}
    near = difflib.get_close_matches(unknown[1], names, 1, 0.5)
    return f"write {names[near[0]]}" if near else f"it may say {', '.join(_OPTIONS[:6])}, …"
