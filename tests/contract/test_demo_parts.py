"""The parts of the demo that its own acts cannot hold to account: the figures and the screen."""

import io

import pytest

from commitlog.cdc.demo.follower import Seen
from commitlog.cdc.demo.play import Catchup, Steady, since_request
from commitlog.cdc.demo.screen import Screen
from commitlog.cdc.demo.user import Answer


def test_latency_is_that_of_the_steady_stretch_alone() -> None:
    steady = [Seen(seq=n, request="", rows=2, committed=10 + n / 100, read=10 + n / 100 + n / 1000) for n in range(100)]
    outage = Seen(seq=100, request="", rows=2, committed=11.5, read=20)

    figures = Steady.measure([*steady, outage], 10, 11)

    assert (figures.commits, figures.rows) == (100, 200)
    assert figures.p50_ms == pytest.approx(50)
    assert figures.p99_ms == pytest.approx(99)


def test_catching_up_counts_what_was_committed_while_nobody_read() -> None:
    missed = [Seen(seq=n, request="", rows=5, committed=11, read=20 + n / 10) for n in range(11)]
    others = [Seen(seq=n, request="", rows=5, committed=at, read=30) for n, at in ((50, 9), (51, 13))]

    assert Catchup.measure([*missed, *others], 10, 12) == Catchup(rows=55, seconds=1.0)


def test_where_commits_are_noted_by_the_second_latency_counts_from_the_request() -> None:
    answers = [Answer("ann", "PUT /", f"r{n}", 200, {}, sent=10 + n / 100) for n in range(100)]
    seen = [Seen(seq=n, request=f"r{n}", rows=2, committed=10, read=10.02 + n / 100) for n in range(100)]
    job = [Seen(seq=100, request="import-1", rows=20, committed=10, read=20)]

    figures = Steady.measure(since_request([*seen, *job], answers), 10, 11)

    assert (figures.commits, figures.rows) == (100, 200)
    assert figures.p99_ms == pytest.approx(20)


def test_where_commits_are_noted_by_the_second_catching_up_counts_only_what_was_surely_missed() -> None:
    read = [Seen(seq=n, request="", rows=5, committed=10, read=10.2) for n in range(5)]
    missed = [Seen(seq=n, request="", rows=5, committed=11 + n // 6, read=20 + n / 10) for n in range(11)]
    later = [Seen(seq=30, request="", rows=5, committed=13, read=30)]

    assert Catchup.measure([*read, *missed, *later], 10.5, 13.9, clock_s=1.0) == Catchup(rows=55, seconds=1.0)


@pytest.mark.parametrize("styled", [True, False])
def test_long_lines_stand_below_their_beginning_on_a_terminal_and_stay_whole_elsewhere(
    styled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    screen = Screen(stream, styled=styled)

    screen.proof("one two three four five six seven eight nine ten")

    plain = "".join(
        part.partition("m")[2] if number else part for number, part in enumerate(stream.getvalue().split("\x1b["))
    )
    assert ("\x1b[" in stream.getvalue()) is styled
    lines = plain.splitlines()
    assert all(line.startswith("  ") for line in lines)
    assert len(lines) == (2 if styled else 1)
