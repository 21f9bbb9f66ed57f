"""`verify` on the golden log: it passes whole, and names what was changed, cut, swapped or written anew."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from golden import make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commitlog.cdc.cli.verify import command
from commitlog.cdc.log.location import Location
from commitlog.cdc.log.reader import Reader, items_of
from commitlog.cdc.log.verify import Verified, verify
from commitlog.schemas.errors import CommitLogError, UnknownFormat, VerificationFailed
from commitlog.schemas.record import Head, Record
from commitlog.schemas.tree import tree_root
from fixtures.logs import broken_bodies, golden_lines, head_of, lay

LINES = golden_lines()
HEAD = head_of(LINES)


def check(folder: Path, lines: list[bytes], head: Head | None = None) -> Verified:
    """Verify lines laid into a folder, under a head file that agrees with them."""
    return verify(Reader(lay(folder, lines, per_segment=7)), head=head)


def test_the_golden_log_passes(tmp_path: Path) -> None:
    assert check(tmp_path, LINES) == Verified(
        head=HEAD, log=make.LOG, commits=9, hidden=2, unfinished=None, against=None
    )


def test_a_log_may_end_in_parts_that_are_not_finished(tmp_path: Path) -> None:
    assert check(tmp_path, LINES[:10]).unfinished == (8, 9)
    assert check(tmp_path, LINES[:11]).unfinished is None


def test_the_head_learned_elsewhere_may_be_older(tmp_path: Path) -> None:
    old = head_of(LINES[:5])
    assert check(tmp_path, LINES, old).against == old


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    verify(Reader(lay(tmp_path, LINES)), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, len(LINES))]


def line_of(at: int) -> int:
    """The seq of the golden record that holds this byte of the log."""
    for seq, line in enumerate(LINES):
        at -= len(line)
        if at < 0:
            return seq
    raise AssertionError("no such byte")


def outside_every_hash(seq: int, at: int) -> bool:
    """Whether a byte of a record is a digit of `recorded`."""
    begin = LINES[seq].rindex(b'"recorded":"') + len(b'"recorded":"')
    return begin <= at < begin + len("2026-11-22T10:12:00.000000Z")


def flip(position: int, bit: int) -> tuple[list[bytes], int, int]:
    """The golden lines with one bit changed; the record it is in, and its place there."""
    data = bytearray(b"".join(LINES))
    data[position] ^= 1 << bit
    seq = line_of(position)
    start = sum(map(len, LINES[:seq]))
    out, at = [], 0
    for line in LINES:
        out.append(bytes(data[at : at + len(line)]))
        at += len(line)
    return out, seq, position - start


def named(folder: Path, lines: list[bytes]) -> int | None:
    """The record that verify names under the head file of the golden log; None where it passes."""
    try:
        verify(Reader(lay(folder, lines, per_segment=7, head=HEAD)))
    except VerificationFailed as exc:
        return exc.seq
    except UnknownFormat as exc:
        return int(str(exc).partition("record ")[2].partition(":")[0])
    return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.integers(0, sum(map(len, LINES)) - 1), st.integers(0, 7))
def test_L2_a_bit_flipped_anywhere_names_the_record_it_is_in(tmp_path: Path, position: int, bit: int) -> None:
    lines, seq, at = flip(position, bit)
    assert named(tmp_path, lines) == seq or (outside_every_hash(seq, at) and named(tmp_path, lines) is None)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_L2_every_byte_of_the_log_flipped_in_turn_names_its_record(tmp_path: Path) -> None:
    missed = []
    for position in range(sum(map(len, LINES))):
        lines, seq, at = flip(position, position % 8)
        if named(tmp_path, lines) != seq and not outside_every_hash(seq, at):
            missed.append((position, seq))
    assert missed == []


@pytest.mark.parametrize("seq", range(1, len(LINES) - 1))
def test_a_record_taken_out_is_named(tmp_path: Path, seq: int) -> None:
    with pytest.raises(VerificationFailed) as failure:
        check(tmp_path, LINES[:seq] + LINES[seq + 1 :])
    assert failure.value.seq == seq


def test_two_records_swapped_are_named(tmp_path: Path) -> None:
    lines = [*LINES[:4], LINES[5], LINES[4], *LINES[6:]]
    with pytest.raises(VerificationFailed) as failure:
        check(tmp_path, lines)
    assert failure.value.seq == 4


def test_a_record_that_stands_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(VerificationFailed) as failure:
        check(tmp_path, [*LINES[:6], *LINES[5:]])
    assert failure.value.seq == 6


def test_a_log_cut_short_is_consistent_and_lacks_the_head(tmp_path: Path) -> None:
    assert check(tmp_path, LINES[:15]).records == 15
    with pytest.raises(VerificationFailed, match=r"ends at record 14: the head .* is not in it"):
        check(tmp_path, LINES[:15], HEAD)


Change = Callable[[dict[str, Any], list[Any]], object]


def written_anew(seq: int, change: Change, *, until: int = len(LINES)) -> list[bytes]:
    """The golden log with one record changed and everything after it chained again, as a forger would."""
    prev, lines = "", []
    for line in LINES[:until]:
        record = Record.parse(line)
        header, items = record.header, record.items()
        header["prev"] = prev or header["prev"]
        body = record.body_bytes
        if record.seq == seq:
            change(header, items)
            salt = b"\7" * 32
            data = [make.dumps(item) for item in items]
            header["tree"] = {"count": len(data), "bytes": sum(map(len, data)), "root": tree_root(salt, data)}
            body = make.whole(salt, [], data, [])
        if header["kind"] == "amend" and record.seq != seq == header["ref"]["seq"]:
            header["ref"]["hash"] = sha256(lines[seq][10 : lines[seq].index(b',"body":')]).hexdigest()
        data_of_header = make.dumps(header)
        prev = sha256(data_of_header).hexdigest()
        lines.append(b'{"header":%b,"body":%b,"recorded":"%b"}\n' % (data_of_header, body, record.recorded.encode()))
    return lines


def test_a_log_written_anew_passes_alone_and_fails_against_its_head(tmp_path: Path) -> None:
    lines = written_anew(3, lambda _, items: items[2]["after"].update(total="99999.00"))
    assert check(tmp_path, lines).records == len(LINES)
    with pytest.raises(VerificationFailed, match="of the head learned elsewhere") as failure:
        check(tmp_path, lines, HEAD)
    assert failure.value.seq == HEAD.seq


RULES: dict[str, tuple[int, Change, str]] = {
    "log": (4, lambda h, _: h.update(log="f" * 32), "is of log"),
    "epoch": (4, lambda h, _: h.update(epoch=2), "epoch 2 does not follow 1"),
    "genesis": (4, lambda h, _: h.update(kind="genesis"), "begins with genesis"),
    "no genesis": (0, lambda h, _: h.update(kind="coverage"), "begins with genesis"),
    "after": (4, lambda h, _: h["source"].update(after="0/9"), "follows position"),
    "position": (2, lambda h, _: h["source"].update(position="0/9"), "must not move the position"),
    "part moves": (8, lambda h, _: h["source"].update(position="0/9"), "must not move the position"),
    "same id": (4, lambda h, _: h.update(id=f"pg:{make.SYSTEM}:1:{0x1500100:016X}"), "does not come after"),
    "odd id": (4, lambda h, _: h.update(id="4"), "does not come after"),
    "own id": (7, lambda h, _: h.update(id="x"), "its id is 'x'"),
    "part number": (13, lambda h, _: h["part"].update(n=2), "neither finished nor void"),
    "part id": (13, lambda h, _: h.update(id=f"pg:{make.SYSTEM}:1:{0x1500401:016X}"), "neither finished nor void"),
    "part without first": (4, lambda h, _: h.update(part={"n": 1, "last": True}), "first parts are missing"),
    "parts left": (10, lambda h, _: h.update(kind="coverage"), "neither finished nor void"),
    "void of others": (10, lambda h, _: h.update(void={"from": 7, "to": 9}), "voids other records"),
    "void of nothing": (11, lambda h, _: h.update(kind="void", void={"from": 8, "to": 9}), "voids other records"),
    "schema hash": (1, lambda _, i: i[2].update(app="bank"), "is not the one whose hash"),
    "shape hash": (2, lambda _, i: i[2].update(entity="Person"), "are not those whose hashes"),
    "shape count": (2, lambda _, i: i.pop(), "are not those whose hashes"),
    "unknown schema": (4, lambda h, _: h.update(schema="a" * 64), "schema was not recorded before"),
    "unknown shape": (4, lambda h, _: h.update(shapes=["a" * 64]), "shape it uses was not recorded"),
    "shape index": (3, lambda _, i: i[3].update(shape=1), "item 3 names a shape that is not there"),
    "shape name": (3, lambda _, i: i[3].update(shape="0"), "item 3 names a shape that is not there"),
    "entity": (3, lambda _, i: i[2].update(entity="Item"), "item 2 is of entity 'Item'"),
    "item": (3, lambda _, i: i.append(5), "item 4 names a shape that is not there"),
    "amend hash": (15, lambda h, _: h["ref"].update(hash="a" * 64), "of another hash"),
    "amend later": (15, lambda h, _: h["ref"].update(seq=15), "amends no earlier record"),
    "amend nothing": (15, lambda h, _: h.pop("ref"), "amends no earlier record"),
    "by": (3, lambda _, i: i.__setitem__(0, "alice"), "its by is not"),
    "by in later part": (13, lambda _, i: i.__setitem__(0, {"assurance": 1}), "its by is not"),
    "meta": (3, lambda _, i: i.__setitem__(1, None), "its meta is not"),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_forger_who_breaks_a_rule_is_found_by_record_and_reason(tmp_path: Path, rule: str) -> None:
    seq, change, reason = RULES[rule]
    with pytest.raises(VerificationFailed, match=f"record {seq}: .*{reason}") as failure:
        check(tmp_path, written_anew(seq, change))
    assert failure.value.seq == seq


def test_a_redacted_copy_proves_what_it_shows(tmp_path: Path) -> None:
    lines = LINES.copy()
    lines[17] = lines[17].replace(b'"id":"8"', b'"id":"5"')
    assert lines[17] != LINES[17]
    with pytest.raises(VerificationFailed) as failure:
        check(tmp_path, lines)
    assert failure.value.seq == 17


@pytest.mark.parametrize(
    ("name", "seq", "body"), broken_bodies(), ids=lambda value: value if type(value) is str else ""
)
def test_a_body_broken_in_one_way_is_named(tmp_path: Path, name: str, seq: int, body: bytes) -> None:
    lines = LINES.copy()
    lines[seq] = lines[seq].replace(Record.parse(lines[seq]).body_bytes, body)
    assert lines[seq] != LINES[seq], name
    with pytest.raises(VerificationFailed) as failure:
        check(tmp_path, lines)
    assert failure.value.seq == seq


def test_a_body_can_be_withheld_later_and_the_chain_holds(tmp_path: Path) -> None:
    lines = LINES.copy()
    record = Record.parse(lines[4])
    lines[4] = b'{"header":%b,"body":null,"recorded":"%b"}\n' % (record.header_bytes, record.recorded.encode())
    assert check(tmp_path, lines, HEAD).hidden == 3


def test_items_are_read_alike_by_both_readers(tmp_path: Path) -> None:
    for record in Reader(lay(tmp_path, LINES)).records():
        assert items_of(record) == record.items()


def run(location: Location, *args: str) -> tuple[dict[str, Any] | str, int]:
    result = CliRunner().invoke(command, [str(location), *args])
    code = result.exception.exit_code if isinstance(result.exception, CommitLogError) else result.exit_code
    return (json.loads(result.stdout) if "--json" in args else result.output), code


def test_the_command_prints_what_it_proved(tmp_path: Path) -> None:
    location = lay(tmp_path, LINES)
    text, code = run(location)
    assert code == 0
    assert f"{len(LINES)} records, 9 commits" in text
    assert "only --head" in text

    document, code = run(location, "--json", "--head", str(HEAD))
    assert code == 0
    assert document == {
        "ok": True,
        "log": str(location),
        "id": make.LOG,
        "head": {"seq": HEAD.seq, "hash": HEAD.hash},
        "records": len(LINES),
        "commits": 9,
        "hidden": 2,
        "unfinished": None,
        "against": str(HEAD),
    }


@pytest.mark.parametrize(("damage", "code", "seq"), [(b'"v":2', 4, None), (b'"v":1 ', 3, 5)], ids=["newer", "changed"])
def test_the_command_fails_with_the_code_of_the_fault(
    tmp_path: Path, damage: bytes, code: int, seq: int | None
) -> None:
    lines = LINES.copy()
    lines[5] = lines[5].replace(b'"v":1', damage, 1)
    location = lay(tmp_path, lines)
    result = CliRunner().invoke(command, [str(location), "--json"])
    assert isinstance(result.exception, CommitLogError)
    assert result.exception.exit_code == code
    if seq is not None:
        document = json.loads(result.stdout)
        assert (document["ok"], document["seq"]) == (False, seq)
        assert "record 5" in document["error"]


def test_the_command_refuses_what_is_no_head(tmp_path: Path) -> None:
    assert run(lay(tmp_path, LINES), "--head", "5")[1] == 2
