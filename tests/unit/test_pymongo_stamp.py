"""Which commands of MongoDB write, what their answers say, which numbers lone writes take, and what becomes a transaction."""

from types import SimpleNamespace
from typing import Any

import bson
import pytest
from pymongo.client_session_shared import _ServerSession
from pymongo.message import _OpMsg
from pymongo.write_concern import WriteConcern

from commitlog.drivers import pymongo_stamp, session
from commitlog.drivers.mongodb_stamp import SPAN
from commitlog.drivers.pymongo_stamp import Failure, Marks, Refusals, failure_in, writes, wrote
from commitlog.drivers.pymongo_stamping import Stamper


def reply(**document: Any) -> _OpMsg:
    return _OpMsg(0, bson.encode(document))


@pytest.mark.parametrize(
    "command",
    [
        {"insert": "a"},
        {"findandmodify": "a"},
        {"bulkWrite": 1},
        {"aggregate": "a", "pipeline": [{"$match": {}}, {"$out": "b"}]},
        {"aggregate": "a", "pipeline": [{"$merge": {"into": "b"}}]},
        {"mapReduce": "a", "out": "b"},
        {"drop": "a"},
        {"renameCollection": "a.b"},
    ],
)
def test_what_writes_is_known(command: dict[str, Any]) -> None:
    assert writes(command, next(iter(command)))


@pytest.mark.parametrize(
    "command",
    [
        {"find": "a"},
        {"aggregate": "a", "pipeline": []},
        {"aggregate": "a", "pipeline": [{"$match": {"$out": 1}}]},
        {"mapReduce": "a", "out": {"inline": 1}},
        {"createIndexes": "a"},
        {"explain": {"update": "a"}},
    ],
)
def test_what_only_reads_is_known(command: dict[str, Any]) -> None:
    assert not writes(command, next(iter(command)))


@pytest.mark.parametrize(
    ("name", "answer", "did"),
    [
        ("insert", {"n": 1}, True),
        ("delete", {"n": 0}, False),
        ("update", {"n": 1, "nModified": 0}, False),
        ("update", {"n": 1, "nModified": 1}, True),
        ("update", {"n": 1, "nModified": 0, "upserted": [{"_id": 1}]}, True),
        ("findAndModify", {"lastErrorObject": {"n": 1}}, True),
        ("findAndModify", {"lastErrorObject": {"n": 0}}, False),
        ("findAndModify", {"value": None}, False),
        ("bulkWrite", {"nInserted": 0, "nMatched": 1, "nModified": 0, "nUpserted": 0, "nDeleted": 0}, False),
        ("bulkWrite", {"nInserted": 0, "nDeleted": 2}, True),
        ("insert", {"n": 1, "ok": 0.0}, False),
    ],
)
def test_the_answer_says_what_was_written(name: str, answer: dict[str, Any], did: bool) -> None:
    assert wrote(name, {"ok": 1.0, **answer}) is did


def test_the_answer_says_whether_a_stamp_was_written() -> None:
    assert failure_in(reply(n=1, ok=1.0)) is None
    assert failure_in(reply(n=1, ok=1)) is None
    unauthorized = failure_in(reply(ok=0.0, code=13))
    assert unauthorized == Failure(pymongo_stamp.NOT_ALLOWED, 13)
    assert unauthorized.lasts
    invalid = failure_in(reply(n=0, ok=1.0, writeErrors=[{"code": 121}]))
    assert invalid == Failure(pymongo_stamp.REFUSED, 121)
    assert invalid.lasts
    stepped_down = failure_in(reply(ok=0.0, code=10107))
    assert stepped_down is not None
    assert not stepped_down.lasts


def test_refusals_that_last_are_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = Refusals()
    refusals.note(None)
    refusals.note(Failure("passing", 112))
    assert refusals.why() is None
    refusals.note(Failure("why", 13))
    assert refusals.why() == "why"
    monkeypatch.setattr(Refusals, "SECONDS", 0.0)
    refusals.note(Failure("why", 13))
    assert refusals.why() is None


def test_each_request_begins_a_span_and_leaves_a_number_before_each_write() -> None:
    marks = Marks()
    assert marks.next_number(1, b"one") == 2
    marks.stamped(b"one", 2, "election")
    assert marks.next_number(2, b"one") == 2, "a retry keeps its number"
    assert marks.next_number(3, b"one") == 4
    assert marks.holds(b"one", 4, "election")
    assert not marks.holds(b"one", 4, "another election")
    assert not marks.holds(b"one", 4, None)
    assert not marks.holds(b"two", 4, "election")
    assert not marks.holds(b"one", SPAN + 1, "election")
    assert marks.next_number(5, b"two") == SPAN + 1
    marks.stamped(b"two", SPAN + 1, "election")
    assert marks.next_number(SPAN + 2, b"") == 2 * SPAN + 1
    assert marks.next_number(2 * SPAN - 1, b"two") == 2 * SPAN + 1, "a stamp and its write are in one span"


def test_a_transaction_of_its_own_takes_the_write_concern_of_its_write_and_of_no_other() -> None:
    stamper = Stamper(("host", 1), None, {}, refusals=Refusals(), wraps=True)
    of = SimpleNamespace(in_transaction=False, _server_session=_ServerSession(0))

    def commit(command: dict[str, Any]) -> dict[str, Any]:
        """What is sent after the write."""
        command["lsid"] = of._server_session.session_id
        stamper.note_any(command)
        steps = stamper.steps(b"data", 0)
        assert steps is not None
        assert next(steps) == (b"data", 0)
        assert steps.send(None) is None
        assert steps.send(7) == 7
        sent = steps.send(reply(n=0, ok=1.0))
        assert isinstance(sent, tuple)
        return bson.decode(sent[0][21:])

    with session.bind(request="r"):
        one: dict[str, Any] = {"update": "a"}
        left = stamper.options(one, {"write_concern": WriteConcern(2), "session": of})
        assert "write_concern" not in left
        stamper.note_any(one)
        stamper.note(one, of)
        assert one["startTransaction"]
        assert commit(one)["writeConcern"] == {"w": 2}

        stamper.options(one, {"write_concern": WriteConcern(2), "session": of})
        bulk: dict[str, Any] = {"insert": "a"}
        stamper.note(bulk, of)
        assert "writeConcern" not in commit(bulk)

        bulk = {"insert": "a", "writeConcern": {"w": 3}}
        stamper.note(bulk, of)
        assert "writeConcern" not in bulk
        assert commit(bulk)["writeConcern"] == {"w": 3}

        unacknowledged = {"write_concern": WriteConcern(0), "session": of}
        assert stamper.options(one, dict(unacknowledged)) == unacknowledged


def test_only_numbers_that_pymongo_gave_are_moved() -> None:
    """A txnNumber of the app's own, by which it tries again itself, goes out as it is."""
    stamper = Stamper(("host", 1), None, {}, refusals=Refusals(), wraps=False)
    of = SimpleNamespace(in_transaction=False, _server_session=_ServerSession(0))
    of._server_session.inc_transaction_id()
    with session.bind(request="r"):
        for number, sent in ((77, 77), (of._server_session.transaction_id, 2)):
            command: dict[str, Any] = {"insert": "a", "txnNumber": number}
            stamper.note(command, of)
            assert command["txnNumber"] == sent
