"""The session: binding, hashing, settings and what happens to writes that cannot be tagged."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextvars import copy_context

import pytest

from commitlog.drivers import session

ENVIRONMENT = ("APP", "VERSION", "BUILD", "SESSION_KEY")


@pytest.fixture(autouse=True)
def _fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*(f"COMMITLOG_{n}" for n in ENVIRONMENT), "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(session, "_settings", None)
    monkeypatch.setattr(session, "_key_missed", False)
    before = session.current()
    yield
    assert session.current() is before, "a test left a session bound"


def counted(what: str) -> int:
    return session.counters().get(what, 0)


def test_a_binding_ends_with_its_block_and_gives_back_the_outer_one() -> None:
    assert session.current() is None

    def fail() -> None:
        with session.bind(request="inner") as inner:
            assert session.current() is inner
            raise KeyError

    with session.bind(request="outer") as outer:
        assert session.current() is outer
        with pytest.raises(KeyError):
            fail()
        assert session.current() is outer
    assert session.current() is None


def test_unbind_lasts_until_the_end_of_the_block() -> None:
    with session.bind(request="r") as outer, session.bind(request="job"):
        session.unbind()
        assert session.current() is None
    with session.resume(outer):
        assert session.current() is outer


def test_a_thread_has_no_session_unless_it_is_given_one() -> None:
    seen: list[session.Session | None] = []

    def look() -> None:
        seen.append(session.current())

    with session.bind(request="r") as bound:
        context = copy_context()
        for target in (look, lambda: context.run(look)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join(timeout=10)
    assert seen == [None, bound]


def test_the_raw_session_id_never_stays() -> None:
    session.configure(session_key="k" * 20)
    bound = session.make(session="s3cret-cookie", request="r")
    expected = hmac.new(b"k" * 20, b"s3cret-cookie", hashlib.sha256).hexdigest()
    assert bound.session == expected
    assert json.loads(bound.tag)["session"] == expected
    assert "s3cret" not in repr(bound)
    assert session.hash_session("s3cret-cookie", b"k" * 20) == expected


def test_without_a_key_there_is_no_session_field_and_one_warning() -> None:
    missed = counted("session left out: no key")
    with pytest.warns(session.TagWarning, match="COMMITLOG_SESSION_KEY is not set"):
        bound = session.make(session="s3cret", request="r")
    assert json.loads(bound.tag) == {"v": 1, "request": "r"}
    assert session.make(session="s3cret").session is None  # a second warning would be an error here
    assert counted("session left out: no key") == missed + 2


def test_app_version_and_build_come_from_arguments_then_ours_then_opentelemetry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", "service.name=res%20name, service.version=1.0,app.build_id=sha256%3A9f,broken"
    )
    of = session.configure()
    assert (of.app, of.version, of.build) == ("res name", "1.0", "sha256:9f")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "otel")
    assert session.configure().app == "otel"
    for name in ("APP", "VERSION", "BUILD"):
        monkeypatch.setenv(f"COMMITLOG_{name}", f"own {name}")
    of = session.configure()
    assert (of.app, of.version, of.build) == ("own APP", "own VERSION", "own BUILD")
    of = session.configure(app="a", version="v", build="b")
    assert (of.app, of.version, of.build) == ("a", "v", "b")
    assert json.loads(session.make().tag) == {"v": 1, "app": "a", "version": "v", "build": "b"}


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMITLOG_APP", "first")
    assert session.settings().app == "first"
    monkeypatch.setenv("COMMITLOG_APP", "second")
    assert session.settings().app == "first"


def test_a_cut_tag_is_counted() -> None:
    before = counted("tag cut")
    assert session.make(user="u" * 201).tag == b'{"v":1,"cut":true}'
    assert counted("tag cut") == before + 1


class _LibraryUntagged(session.Untagged):
    pass


def test_allow_counts_warn_warns_and_raise_raises() -> None:
    before = counted("untagged: a reason")
    session.untagged("a reason")
    session.configure(on_untagged="warn")
    with pytest.warns(session.TagWarning, match="a write goes untagged: a reason"):
        session.untagged("a reason")
    session.configure(on_untagged="raise")
    with pytest.raises(_LibraryUntagged, match="a reason"):
        session.untagged("a reason", error=_LibraryUntagged)
    assert counted("untagged: a reason") == before + 3


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="on_untagged is 'shout', must be one of allow, warn, raise"):
        session.configure(on_untagged="shout")  # type: ignore[arg-type] # what an untyped caller may do
