"""How long a worker waits before it tries again."""

import logging
import threading

import pytest

from commitlog.cdc.config import Limits
from commitlog.cdc.telemetry.vitals import Vitals
from commitlog.cdc.worker import waits
from commitlog.schemas.errors import Unreachable


@pytest.mark.parametrize(("steady_s", "pauses"), [(3600.0, ["0.5", "1.0", "2.0"]), (-1.0, ["0.5", "0.5", "0.5"])])
def test_waits_grow_also_where_each_attempt_comes_as_far_as_the_stream_and_begin_anew_once_it_was_steady(
    steady_s: float, pauses: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waits, "STEADY_S", steady_s)
    stop = threading.Event()
    stop.set()
    waiting = waits.Waits(Limits(), stop=stop, vitals=Vitals(60))
    with caplog.at_level(logging.WARNING, "commitlog"):
        for _ in range(3):
            waiting.over()
            waiting.within_reach(Unreachable("the log cannot be appended to: No space left on device"))
    assert [record.getMessage().split()[-2] for record in caplog.records] == pauses
