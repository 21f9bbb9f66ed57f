"""What a server's answers say of a transaction, whatever the size of the numbers before it."""

import struct

import pytest

from commitlog.drivers.mysql_stamp import IN_TRANSACTION, READ_ONLY, STATE_CHANGED, Transaction, counters, said

STATE = b"T___W___"


def encoded(number: int) -> bytes:
    """A length-encoded integer, as MySQL's protocol has it."""
    if number < 251:
        return bytes([number])
    mark, size = (252, 2) if number < 1 << 16 else (253, 3) if number < 1 << 24 else (254, 8)
    return bytes([mark]) + number.to_bytes(size, "little")


@pytest.mark.parametrize("number", [0, 250, 251, (1 << 16) - 1, 1 << 16, (1 << 24) - 1, 1 << 24, 1 << 40])
def test_the_state_is_found_behind_counters_of_every_size(number: int) -> None:
    other, state = b"\x02\x01a", b"\x05\x09\x08" + STATE
    tail = encoded(4) + b"info" + encoded(len(other + state)) + other + state
    status = IN_TRANSACTION | STATE_CHANGED

    *found, rest = counters(b"\xfe" + encoded(number) + encoded(number + 1) + struct.pack("<HH", status, 300) + tail)

    assert found == [number, number + 1, status, 300]
    assert said(status, rest) == (b"\x04info", STATE)


def test_what_a_transaction_that_only_reads_wrote_needs_no_stamp() -> None:
    """Temporary tables may be written there, and no other: a stamp would be refused."""
    now = Transaction()
    now.note(IN_TRANSACTION, STATE)
    assert now.wrote
    now.note(IN_TRANSACTION | READ_ONLY, STATE)
    assert not now.wrote
