"""A timeline's history file: which timelines went on from which, and where."""

import pytest

from commitlog.cdc.tail.timeline import Switch, parse_history, switches_since
from commitlog.schemas.errors import DecodeError

THIRD = "1\t0/3000110\tno recovery target specified\n# a comment\n\n2\t1/A0\tbefore 2026-11-22 10:00:00\n"


def test_each_switch_leads_to_the_next_timeline() -> None:
    history = parse_history(THIRD, 3)
    assert history == [(1, Switch(0x3000110, 2)), (2, Switch(0x1000000A0, 3))]
    assert switches_since(history, 1) == [Switch(0x3000110, 2), Switch(0x1000000A0, 3)]
    assert switches_since(history, 2) == [Switch(0x1000000A0, 3)]


def test_a_timeline_that_another_branch_used_is_not_in_the_history() -> None:
    history = parse_history("1\t0/3000110\tno recovery target specified\n", 3)
    assert switches_since(history, 1) == [Switch(0x3000110, 3)]
    assert switches_since(history, 2) == []


@pytest.mark.parametrize("text", ["1\n", "one\t0/1\tx\n", "1\tnowhere\tx\n", "1 0/1 x\n"])
def test_what_is_no_history_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_history(text, 2)
