"""Statements in QUERY events, as servers write them in sessions of any setting."""

import pytest

from commitlog.cdc.tail.binlog.query import savepoint_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SAVEPOINT `a b`", "a b"),
        ("SAVEPOINT `a``b`", "a`b"),
        ("ROLLBACK TO `x`", "x"),
        ('SAVEPOINT "batch"', "batch"),
        ('ROLLBACK TO "a""b"', 'a"b'),
        ("SAVEPOINT plain", "plain"),
    ],
)
def test_the_name_of_a_savepoint_is_read_in_the_quotes_of_any_sql_mode(text: str, name: str) -> None:
    assert savepoint_name(text) == name


@pytest.mark.parametrize("text", ["SAVEPOINT", "SAVEPOINT `a", 'SAVEPOINT "a'])
def test_a_savepoint_without_a_name_is_malformed(text: str) -> None:
    with pytest.raises(ValueError, match="no name of a savepoint"):
        savepoint_name(text)
