"""From the headers of an HTTP request to a session: which header says what, and which values are fit for a tag.

Headers are a stranger's words. Nothing here decides whether they are true; a user header is read only when told to.
"""

from collections.abc import Callable
from dataclasses import dataclass

from . import session as sessions

HEADER_BYTES_MAX = 200
"""A longer value is left out and counted: ids have 36 to 60 characters."""

COOKIE_BYTES_MAX = 4096
"""Limit of a session cookie's value, which is only hashed. Signed cookies are long; browsers keep 4096 bytes."""


@dataclass(frozen=True, slots=True)
class Headers:
    """Where a request's session is read from. A name of "" reads nothing.

    Args:
        request: Header of the request id, taken as received.
        traceparent: Header of the W3C trace context.
        session_cookie: Cookie of the session id.
        session: Header of the session id, read where the cookie is missing.
        user: Header of the user's name.
        trust_user_header: Read that header. Say so only where a proxy always sets it, or anyone can be anyone.
    """

    request: str = "x-request-id"
    traceparent: str = "traceparent"
    session_cookie: str = "session"
    session: str = "x-session-id"
    user: str = "x-forwarded-user"
    trust_user_header: bool = False

    def names(self) -> frozenset[str]:
        """Return the lower-case names of all headers that `read` may ask for."""
        cookie = "cookie" if self.session_cookie else ""
        user = self.user if self.trust_user_header else ""
        return frozenset(n.lower() for n in (self.request, self.traceparent, self.session, user, cookie) if n)


def read(headers: Headers, get: Callable[[str], str | None]) -> sessions.Session:
    """Return the session that a request's headers tell of.

    Args:
        headers: Which header says what.
        get: Returns a header's value by its lower-case name, decoded as latin-1; None where it is missing.
    """

    def value(name: str) -> str | None:
        return _fit(name, get(name.lower()) if name else None, HEADER_BYTES_MAX)

    cookie = headers.session_cookie
    session = _fit("cookie", _cookie(get("cookie") or "", cookie), COOKIE_BYTES_MAX) if cookie else None
    return sessions.make(
        request=value(headers.request),
        traceparent=value(headers.traceparent),
        session=session or value(headers.session),
        user=value(headers.user) if headers.trust_user_header else None,
    )


def _fit(name: str, value: str | None, bytes_max: int) -> str | None:
    if not value:
        return None
    # In latin-1 a character is a byte.
    if len(value) > bytes_max or not value.isascii() or not value.isprintable():
        sessions.count(f"header left out: {name.lower()}")
        return None
    return value


def _cookie(header: str, wanted: str) -> str | None:
    """Return one cookie's value. `http.cookies` would stop at the first cookie it does not like."""
    for item in header.split(";"):
        name, sign, value = item.partition("=")
        if sign and name.strip() == wanted:
            return value.strip().strip('"')
    return None
