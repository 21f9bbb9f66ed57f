"""The session: what the request at work says about itself, bound to the running code by a ContextVar.

Middleware (`wsgi`, `asgi`) or `bind` puts it there; the wrapped drivers read it at a transaction's first statement. The
raw session id never stays, only its HMAC-SHA-256 under COMMITLOG_SESSION_KEY does. Nothing here talks to a server.
"""

import hmac
import os
import threading
import warnings
from collections import Counter
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, get_args
from urllib.parse import unquote

from . import tag as tags

OnUntagged = Literal["allow", "warn", "raise"]


class Untagged(Exception):
    """A session is bound, what it writes cannot be tagged, and `on_untagged` is "raise"."""


class TagWarning(UserWarning):
    """What a session writes goes untagged and `on_untagged` is "warn", or tags lack the session for want of a key."""


@dataclass(frozen=True, slots=True)
class Session:
    """What one request, or one job, claims about itself.

    `session` is the hash of the session id, never the id. `tag` is the JSON of it all, computed once and sent with every
    transaction.
    """

    request: str | None
    traceparent: str | None
    session: str | None
    user: str | None
    cause: str | None
    tag: bytes


@dataclass(frozen=True, slots=True)
class Settings:
    """What is the same in every tag of this process, and what happens to writes that cannot be tagged."""

    app: str | None
    version: str | None
    build: str | None
    on_untagged: OnUntagged
    session_key: bytes | None


class Binding:
    """A session, bound inside `with` and to all that is called or awaited there; the outer one is back at the end."""

    __slots__ = ("_token", "session")

    def __init__(self, session: Session | None) -> None:
        self.session = session
        self._token: Token[Session | None] | None = None

    def __enter__(self) -> Session | None:
        self._token = _bound.set(self.session)
        return self.session

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        token, self._token = self._token, None
        if token is not None:
            _bound.reset(token)


_bound: ContextVar[Session | None] = ContextVar("commitlog_session", default=None)
_lock = threading.Lock()
_counters: Counter[str] = Counter()
_settings: Settings | None = None
_key_missed = False

current = _bound.get
"""Return the session bound to the running code, or None."""


def bind(
    *,
    request: str | None = None,
    traceparent: str | None = None,
    session: str | None = None,
    user: str | None = None,
    cause: str | None = None,
) -> Binding:
    """Make a session and return the `with` block that binds it. It replaces an outer one whole.

    Args:
        request: The request id as received.
        traceparent: The W3C trace context header.
        session: The raw session id. It is hashed at once; without a key it is dropped, with one warning.
        user: The user's name, where the app may say it.
        cause: The upstream commit, where a fork applies one.

    A value above `tag.VALUE_BYTES_MAX` bytes is left out of the tag, which then says `"cut":true`.

    Raises:
        TypeError: A value is not text.
        ValueError: `cause` is above `tag.VALUE_BYTES_MAX` bytes.
    """
    return Binding(make(request=request, traceparent=traceparent, session=session, user=user, cause=cause))


def resume(session: Session | None) -> Binding:
    """Return the `with` block that binds a session made before, for instance in another thread."""
    return Binding(session)


def unbind() -> None:
    """Leave the running code without a session, until the end of the `with` block it stands in."""
    _bound.set(None)


def make(
    *,
    request: str | None = None,
    traceparent: str | None = None,
    session: str | None = None,
    user: str | None = None,
    cause: str | None = None,
) -> Session:
    """Return a session without binding it; arguments and errors as in `bind`."""
    of = settings()
    hashed = None
    if session:
        if of.session_key is None:
            _miss_key()
        else:
            hashed = hash_session(session, of.session_key)
    tag, cut = tags.encode(
        {
            "traceparent": traceparent,
            "request": request,
            "session": hashed,
            "user": user,
            "app": of.app,
            "version": of.version,
            "build": of.build,
            "cause": cause,
        }
    )
    if cut:
        count("tag cut")
    return Session(request, traceparent, hashed, user, cause, tag)


def hash_session(raw: str, key: bytes) -> str:
    """Return the form of a session id that may be logged: HMAC-SHA-256 of its UTF-8 bytes, in 64 hex digits.

    Whoever imports session records hashes them by this, under the same key, so that both sides meet.
    """
    return hmac.digest(key, raw.encode("utf-8", "replace"), "sha256").hex()


def configure(
    *,
    app: str | None = None,
    version: str | None = None,
    build: str | None = None,
    on_untagged: OnUntagged = "allow",
    session_key: str | None = None,
) -> Settings:
    """Set what is the same for this process. What is not given here comes from the environment.

    Args:
        app: Name of the app; else COMMITLOG_APP, OTEL_SERVICE_NAME, or `service.name` of OTEL_RESOURCE_ATTRIBUTES.
        version: Version of the app; else COMMITLOG_VERSION or `service.version` of OTEL_RESOURCE_ATTRIBUTES.
        build: Id of the deployed build; else COMMITLOG_BUILD or `app.build_id` of OTEL_RESOURCE_ATTRIBUTES.
        on_untagged: What happens when a session is bound and its write cannot be tagged: "allow" counts it, "warn" also
            gives a `TagWarning`, "raise" refuses it by an error.
        session_key: Key that session ids are hashed under; else COMMITLOG_SESSION_KEY. Its UTF-8 bytes are the key.

    Raises:
        ValueError: `on_untagged` is none of the three.
    """
    global _settings
    if on_untagged not in get_args(OnUntagged):
        raise ValueError(f"on_untagged is {on_untagged!r}, must be one of {', '.join(get_args(OnUntagged))}")
    env = os.environ
    resource = _resource_attributes(env.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    key = session_key or env.get("COMMITLOG_SESSION_KEY")
    _settings = Settings(
        app=app or env.get("COMMITLOG_APP") or env.get("OTEL_SERVICE_NAME") or resource.get("service.name"),
        version=version or env.get("COMMITLOG_VERSION") or resource.get("service.version"),
        build=build or env.get("COMMITLOG_BUILD") or resource.get("app.build_id"),
        on_untagged=on_untagged,
        session_key=key.encode() if key else None,
    )
    return _settings


def settings() -> Settings:
    """Return the settings in force; the environment is read once, at the first call or by `configure`."""
    return _settings or configure()


def counters() -> dict[str, int]:
    """Return how often something was left out since the process started, by what it was.

    `untagged: <why>` counts writes that went out without their tag, or were refused; `header left out: <name>` counts
    values of headers; `tag cut` counts tags that lost a value; `session left out: no key` counts session ids dropped.
    """
    with _lock:
        return dict(_counters)


def count(what: str) -> None:
    """Add one to a counter."""
    with _lock:
        _counters[what] += 1


def untagged(why: str, *, error: type[Untagged] = Untagged) -> None:
    """Count a write that cannot be tagged and do what `on_untagged` says.

    Args:
        why: The reason, a few words that do not vary with the data.
        error: What is raised; a driver gives the class that is an error of its library, too.

    Raises:
        Untagged: `on_untagged` is "raise". The driver calls this before the write is sent, or rolls it back.
    """
    count(f"untagged: {why}")
    policy = settings().on_untagged
    if policy == "raise":
        raise error(f"this write cannot be tagged with the session that is bound: {why}")
    if policy == "warn":
        warnings.warn(f"a write goes untagged: {why}", TagWarning, stacklevel=2)


def untagged_after_all(why: str) -> None:
    """Count a write that went untagged, where that was known too late to refuse it; warn unless `on_untagged` is "allow"."""
    count(f"untagged: {why}")
    if settings().on_untagged != "allow":
        warnings.warn(f"a write went untagged: {why}", TagWarning, stacklevel=2)


def _miss_key() -> None:
    global _key_missed
    count("session left out: no key")
    if not _key_missed:
        _key_missed = True
        warnings.warn("COMMITLOG_SESSION_KEY is not set: tags carry no session", TagWarning, stacklevel=4)


def _resource_attributes(text: str) -> dict[str, str]:
    """Read `key=value,key=value` with percent-encoded values, as the OpenTelemetry SDK specification has it."""
    pairs = (item.partition("=") for item in text.split(","))
    return {key.strip(): unquote(value.strip()) for key, sign, value in pairs if sign}
