"""The address of a database, `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=…` or that of another engine, and the secrets in it.

It is cut as libpq cuts it, which is not as other URLs are: what stands before an @ in front of the first / is user and password, and
may hold ? and #. Where even that is in doubt, less is shown. Standard library only.

Source: src/interfaces/libpq/fe-connect.c, conninfo_uri_parse_options.
"""

from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import quote, unquote

from ..schemas.errors import UsageError

_SECRETS = frozenset(
    "password sslpassword oauth_client_secret scram_client_key scram_server_key"
    " tlscertificatekeyfilepassword authmechanismproperties".split()
)
"""Options that are secret or may hold what is, in small letters: MongoDB's may be written in any."""

_ENGINES = {"postgres": "postgresql", "mongodb+srv": "mongodb"}


MYSQL_FAMILY = ("mysql", "mariadb")


class Url(NamedTuple):
    """What a URL says besides user and password, decoded."""

    scheme: str
    host: str
    """With its port, as it stands there."""
    database: str
    options: list[tuple[str, str]]


class _Parts(NamedTuple):
    """The pieces, each with its own punctuation; `user` and `secret` None where there are none."""

    scheme: str
    user: str | None
    secret: str | None
    host: str
    path: str
    query: list[str]


def split_password(url: str) -> tuple[str, str | None]:
    """Cut the password out of a URL, from `user:password@` or from `?password=`.

    Returns:
        (the URL without it, the password or None).

    Raises:
        UsageError: It is no URL, or one of which nobody can say what its password is.
    """
    parts = _split(url)
    password = None if parts.secret is None else unquote(parts.secret)
    for pair in parts.query:
        if _key(pair) == "password":
            password = unquote(pair.partition("=")[2])
    kept = [pair for pair in parts.query if _key(pair) != "password"]
    return _joined(parts._replace(secret=None, query=kept)), password


def with_password(url: str, password: str) -> str:
    """Put a password into a URL, instead of any that is there."""
    parts = _split(split_password(url)[0])
    secret = quote(password, safe="")
    if parts.user is not None:
        return _joined(parts._replace(secret=secret))
    return _joined(parts._replace(query=[*parts.query, f"password={secret}"]))


def database_name(url: str) -> str:
    """The database's name, empty where the URL says none."""
    return unquote(_split(url).path.strip("/"))


def engine_of(url: str) -> str:
    """The engine whose address it is: postgresql, mysql, mariadb or mongodb; another scheme as it stands."""
    scheme = url.partition("://")[0]
    return _ENGINES.get(scheme, scheme)


def is_local(host: str) -> bool:
    """Whether a host is the loopback of this machine."""
    if not host or host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def split_url(url: str) -> Url:
    """Cut a URL into what it says.

    Raises:
        UsageError: It is no URL, or one of which nobody can say what its password is.
    """
    parts = _split(url)
    options = [(_key(pair), unquote(pair.partition("=")[2])) for pair in parts.query]
    return Url(parts.scheme, unquote(parts.host), unquote(parts.path.strip("/")), options)


def shown(url: str) -> str:
    """The URL without anything secret, fit for messages."""
    parts = _split(url)
    kept = [pair for pair in parts.query if _key(pair).lower() not in _SECRETS]
    return _joined(parts._replace(secret=None, query=kept))


def user_of(url: str) -> str | None:
    """The user that a URL names, if any."""
    parts = _split(url)
    named = [unquote(pair.partition("=")[2]) for pair in parts.query if _key(pair) == "user"]
    return named[-1] if named else parts.user and unquote(parts.user)


def _key(pair: str) -> str:
    return unquote(pair.partition("=")[0])


def _split(url: str) -> _Parts:
    scheme, separator, rest = url.partition("://")
    if not separator or not url.isprintable():
        raise _malformed("is no URL" if not separator else "holds control characters")
    head, slash, tail = rest.partition("/")
    named, at, host = head.rpartition("@")
    host, mark, query = host.partition("?")
    if mark:
        query, path = query + slash + tail, ""
    else:
        path, _, query = tail.partition("?")
        path = slash + path
    if host.count("[") != host.count("]"):
        raise _malformed("has a [ without its ]")
    if "@" in path:
        raise UsageError(
            "the address of the database has an @ behind its first /: nobody can say where its password ends",
            hint="write %2F for a / in the password, and %40 for an @",
        )
    user, colon, secret = named.partition(":")
    pairs = [pair for pair in query.split("&") if pair]
    return _Parts(scheme, user if at else None, secret if colon else None, host, path, pairs)


def _joined(parts: _Parts) -> str:
    user = "" if parts.user is None else parts.user + ("" if parts.secret is None else f":{parts.secret}") + "@"
    query = "?" + "&".join(parts.query) if parts.query else ""
    return f"{parts.scheme}://{user}{parts.host}{parts.path}{query}"


def _malformed(trouble: str) -> UsageError:
    return UsageError(f"the address of the database {trouble}", hint="write ENGINE://USER@HOST:PORT/DATABASE")
