"""The index of a log: filled from where it stands, the same however it came about, and made anew when it is not fit."""

import os
import shutil
import stat
import tempfile
import threading
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commitlog.cdc.log.index import Filter, Index
from commitlog.cdc.log.location import Location
from commitlog.schemas.errors import CommitLogError, Unreachable, UsageError, VerificationFailed
from commitlog.transforms.request_key import mask_request
from fixtures.fork_log import MadeLog, column

REQUEST = "9d1e6f0a-1c1b-4c7e-8a55-0f2f4c3f8a11"
SAME_REQUEST = "9d1e6f0a-1c1b-9c7e-8a55-0f2f4c3f8a11"  # as Envoy rewrites it when it decides to trace
QUESTIONS = (
    "SELECT seq, kind, hex(hash), segment, at, length FROM records ORDER BY seq",
    "SELECT c.seq, last, kind, c.id, time, assurance, user, request_key, b.build, h.hash, amended_by FROM commits c"
    " LEFT JOIN builds b ON b.id = c.build LEFT JOIN schemas h ON h.id = c.schema ORDER BY c.seq",
    "SELECT seq, ref FROM amends ORDER BY seq",
    "SELECT e.name, key, t.seq, part, item, op, other, f.fields FROM touches t JOIN entities e ON e.id = t.entity"
    " JOIN commits c ON c.seq = t.seq LEFT JOIN fieldsets f ON f.id = t.changed ORDER BY 1, 2, 3, 4, 5, 6",
    "SELECT e.name, n.seq, part, inserts, updates, deletes, truncates FROM counts n JOIN entities e ON e.id = n.entity"
    " JOIN commits c ON c.seq = n.seq ORDER BY 1, 2, 3",
    "SELECT seq, entity, snapshot, last FROM chunks ORDER BY 1",
    "SELECT seq, hash, entity, document FROM shapes ORDER BY 1, 2",
)


MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where a sync costs nothing


def open_index(location: Location) -> Index:
    index = Index(location, request_key=mask_request)
    index.refresh()
    return index


def all_that_it_knows(location: Location) -> list[list[tuple[object, ...]]]:
    """What the file of a log's index holds, ids of its own left out."""
    with open_index(location) as index:
        assert not index.in_memory
    db = apsw.Connection(str(location.root / "index.sqlite"))
    try:
        return [db.execute(question).fetchall() for question in QUESTIONS]
    finally:
        db.close()


def made_anew(location: Location) -> list[list[tuple[object, ...]]]:
    for path in location.root.glob("index.sqlite*"):
        path.unlink()
    return all_that_it_knows(location)


@pytest.fixture
def log(made_log: MadeLog) -> MadeLog:
    made_log.shape("Order", column("id", "int32"), column("status"))
    made_log.commit(
        made_log.insert("Order", {"id": 1, "status": "new"}), by={"assurance": 1, "user": "ann", "request": REQUEST}
    )
    made_log.commit(made_log.update("Order", 1, {"status": "new"}, {"status": "paid"}))
    made_log.commit(
        made_log.insert("Order", {"id": 2, "status": "new"}), made_log.delete("Order", {"id": 1, "status": "paid"})
    )
    return made_log


def test_it_is_filled_from_where_it_stands(log: MadeLog) -> None:
    with open_index(log.location) as index:
        assert index.head == log.head
        assert [touch.seq for touch in index.touches("Order", ["[1]"])] == [2, 3, 4]

        seq = log.commit(log.insert("Order", {"id": 1, "status": "again"}))
        assert [touch.seq for touch in index.touches("Order", ["[1]"])] == [2, 3, 4]

        assert index.refresh() == log.head
        assert [touch.seq for touch in index.touches("Order", ["[1]"])] == [2, 3, 4, seq]
    assert all_that_it_knows(log.location) == made_anew(log.location)


def test_only_its_owner_may_read_it(log: MadeLog) -> None:
    with open_index(log.location):
        modes = {stat.S_IMODE(path.stat().st_mode) for path in log.location.root.glob("index.sqlite*")}
    assert modes == {0o600}


def test_an_index_of_another_log_is_made_anew(log: MadeLog, tmp_path: Path) -> None:
    expected = all_that_it_knows(log.location)
    other = MadeLog(tmp_path, "other")
    other.shape("Customer", column("id", "int32"))
    for number in range(20):
        other.commit(other.insert("Customer", {"id": number}))
    all_that_it_knows(other.location)

    # Once with an index that stands before the log's head, once with one that stands after it.
    for source, target, found in ((log, other, made_anew(other.location)), (other, log, expected)):
        made_anew(source.location)
        shutil.copy(source.location.root / "index.sqlite", target.location.root / "index.sqlite")
        assert all_that_it_knows(target.location) == found


def test_an_index_of_an_older_format_is_made_anew(log: MadeLog) -> None:
    expected = all_that_it_knows(log.location)
    db = apsw.Connection(str(log.location.root / "index.sqlite"))
    db.execute("""UPDATE about SET value = replace(value, '"format": 1', '"format": 0')""")
    db.execute("DELETE FROM touches; DROP TABLE counts")
    db.close()
    assert all_that_it_knows(log.location) == expected


@pytest.mark.parametrize("garbage", [b"", b"x", b"no database at all" * 1000, bytes(4096), os.urandom(20_000)])
def test_a_file_that_is_no_database_is_made_anew(log: MadeLog, garbage: bytes) -> None:
    expected = made_anew(log.location)
    (log.location.root / "index.sqlite").write_bytes(garbage)
    assert all_that_it_knows(log.location) == expected


@pytest.mark.parametrize("page", range(24))
def test_a_damaged_page_never_gives_a_wrong_answer(log: MadeLog, page: int) -> None:
    for number in range(100, 160):
        log.commit(log.insert("Order", {"id": number, "status": "x" * 40}))
    expected = made_anew(log.location)
    path = log.location.root / "index.sqlite"
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xa5" * 4096)

    for _ in range(3):
        try:
            with open_index(log.location) as index:
                assert index.commit(2) is not None
                touches = index.touches("Order", ["[1]"])
                commits = list(index.commits(Filter()))
            break
        except Unreachable:
            continue  # found in mid-question, and made anew
    assert [touch.seq for touch in touches] == [2, 3, 4]
    assert [commit.seq for commit in commits] == [row[0] for row in reversed(expected[1])]


def test_a_log_put_back_from_an_older_copy_makes_it_anew(log: MadeLog, tmp_path: Path) -> None:
    shutil.copytree(log.location.root, tmp_path / "copy" / "made")
    for number in range(5):
        log.commit(log.insert("Order", {"id": 100 + number, "status": ""}))
    all_that_it_knows(log.location)
    shutil.copy(log.location.root / "index.sqlite", tmp_path / "copy" / "made")

    older = Location(tmp_path / "copy", "made")
    with open_index(older) as index:
        assert index.head.seq == 4
        assert index.touches("Order", ["[100]"]) == []
    assert all_that_it_knows(older) == made_anew(older)


def test_where_it_cannot_be_written_it_is_kept_in_memory(log: MadeLog) -> None:
    (log.location.root / "index.sqlite").mkdir()
    with open_index(log.location) as index:
        assert index.in_memory
        assert [touch.seq for touch in index.touches("Order", ["[1]"])] == [2, 3, 4]


def test_parts_count_with_the_last_and_stand_at_the_first(log: MadeLog) -> None:
    with open_index(log.location) as index:
        first = log.commit(
            log.insert("Order", {"id": 7, "status": "a"}), by={"assurance": 1, "user": "ben"}, part=(0, False)
        )
        index.refresh()
        assert index.commit(first) is None
        assert index.touches("Order", ["[7]"]) == []

        log.commit(log.update("Order", 7, {"status": "a"}, {"status": "b"}), part=(1, False))
        index.refresh()
        last = log.commit(log.delete("Order", {"id": 7, "status": "b"}), part=(2, True))
        index.refresh()
        for seq in range(first, last + 1):
            commit = index.commit(seq)
            assert commit is not None
            assert (commit.seq, commit.last, commit.user) == (first, last, "ben")
        assert [(touch.seq, touch.part) for touch in index.touches("Order", ["[7]"])] == [
            (first, 0),
            (first, 1),
            (first, 2),
        ]
        counts = index.counts(first)["Order"]
        assert (counts.inserts, counts.updates, counts.deletes) == (1, 1, 1)
    assert all_that_it_knows(log.location) == made_anew(log.location)


def test_void_parts_do_not_count(log: MadeLog) -> None:
    first = log.commit(log.insert("Order", {"id": 7, "status": "a"}), part=(0, False))
    second = log.commit(log.insert("Order", {"id": 8, "status": "a"}), part=(1, False))
    with open_index(log.location) as index:
        log.void(first, second)
        again = log.commit(log.insert("Order", {"id": 7, "status": "a"}), part=(0, False))
        log.commit(log.insert("Order", {"id": 8, "status": "a"}), part=(1, True))
        index.refresh()
        assert index.commit(first) is None
        assert [touch.seq for touch in index.touches("Order", ["[7]"])] == [again]
        assert [commit.seq for commit in index.commits(Filter(entity="Order"), limit=1)] == [again]
    assert all_that_it_knows(log.location) == made_anew(log.location)


def test_the_last_amendment_holds_everywhere(log: MadeLog) -> None:
    log.amend(2, {"assurance": 2, "user": "cleo", "request": REQUEST, "app": "shop", "version": "1.4.0"})
    second = log.amend(2, {"assurance": 2, "user": "ann", "request": SAME_REQUEST, "app": "shop", "version": "1.4.1"})
    with open_index(log.location) as index:
        commit = index.commit(2)
        assert commit is not None
        assert (commit.user, commit.assurance, commit.amended_by) == ("ann", 2, second)
        assert [c.seq for c in index.commits(Filter(user="cleo"))] == []
        assert [c.seq for c in index.commits(Filter(build="1.4.*"))] == [2]
        assert [c.seq for c in index.commits(Filter(build="1.4.0"))] == []
        assert index.assurances() == {2: 1, 0: 2}


def test_commits_of_a_request_are_found_whatever_its_trace_digit(log: MadeLog) -> None:
    late = log.commit(log.insert("Order", {"id": 9, "status": ""}), by={"assurance": 1, "request": SAME_REQUEST})
    with open_index(log.location) as index:
        assert mask_request(REQUEST) == mask_request(SAME_REQUEST)
        assert [commit.seq for commit in index.commits_of_request(mask_request(REQUEST))] == [2, late]
        assert index.commits_of_request("another") == []


def test_a_record_is_found_by_seq_id_hash_and_its_beginning(log: MadeLog) -> None:
    with open_index(log.location) as index:
        for seq in range(index.head.seq + 1):
            record = log.reader.record(seq)
            for name in (str(seq), record.header["id"], record.hash, record.hash[:16]):
                assert index.find(name) == seq
        assert index.find("HEAD") == 4
        for unknown in ("5", "99", "abc", "f" * 64, "pg:1:1:0", "", "HEAD~", "x", "made:1:1", "٣"):
            with pytest.raises(UsageError):
                index.find(unknown)


def test_a_beginning_of_several_hashes_names_none(log: MadeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_index(log.location) as index:
        monkeypatch.setattr(index, "_find_hash", lambda text: [1, 2])
        with pytest.raises(UsageError, match="beginning of 2 hashes"):
            index.find("abcd")


@pytest.mark.parametrize("in_body", [False, True])
def test_a_damaged_record_is_named_and_never_shown(log: MadeLog, in_body: bool) -> None:
    for number in range(50):
        log.commit(log.insert("Order", {"id": 100 + number, "status": "ok"}))
    segment = next(log.location.segments.iterdir())
    lines = segment.read_bytes().splitlines(keepends=True)
    old, new = (b'"status":"new"', b'"status":"old"') if in_body else (b'"position":"0/100"', b'"position":"0/101"')
    assert old in lines[2]
    lines[2] = lines[2].replace(old, new, 1)
    segment.write_bytes(b"".join(lines))

    with pytest.raises(VerificationFailed, match=r"record [23]"):
        open_index(log.location).record(2)
    # And the same where the index was there before the damage.
    lines[2] = lines[2].replace(new, old, 1)
    segment.write_bytes(b"".join(lines))
    made_anew(log.location)
    lines[2] = lines[2].replace(old, new, 1)
    segment.write_bytes(b"".join(lines))
    with open_index(log.location) as index, pytest.raises(VerificationFailed, match="record 2"):
        index.record(2)


def test_several_readers_fill_it_at_once_while_the_log_grows(log: MadeLog) -> None:
    stop, failures, heads = threading.Event(), list[BaseException](), list[int]()

    def read() -> None:
        try:
            with Index(log.location, request_key=mask_request) as index:
                while not stop.is_set():
                    heads.append(index.refresh().seq)
                    found = [commit.seq for commit in index.commits(Filter(), newest_first=False)]
                    assert found == list(range(2, index.head.seq + 1))
        except (AssertionError, CommitLogError, apsw.Error) as exc:
            failures.append(exc)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(200):
        log.commit(log.insert("Order", {"id": 100 + number, "status": ""}))
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert max(heads) > 4
    assert all_that_it_knows(log.location) == made_anew(log.location)


def test_there_is_none_where_there_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no log"):
        Index(Location(tmp_path, "none"), request_key=mask_request)
    assert list(tmp_path.iterdir()) == []


STEPS = st.lists(
    st.sampled_from(["insert", "part", "last", "void", "amend", "shape", "coverage", "refresh"]), max_size=30
)


@settings(max_examples=40)
@given(STEPS)
def test_it_is_the_same_however_often_it_was_filled_in_between(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        log = MadeLog(Path(folder))
        log.shape("Order", column("id", "int32"), column("status"))
        written, parts = list[int](), list[int]()
        with Index(log.location, request_key=mask_request) as index:
            for number, step in enumerate(steps):
                change = log.insert("Order", {"id": number, "status": step})
                if step == "refresh":
                    index.refresh()
                elif step in ("part", "last"):
                    part = (len(parts), step == "last")
                    parts.append(log.commit(change, by={"assurance": 1, "user": "u"} if not parts else None, part=part))
                    parts = [] if step == "last" else parts
                elif parts:
                    log.void(parts[0], parts[-1])
                    parts = []
                elif step == "insert":
                    written.append(log.commit(change))
                elif step == "amend" and written:
                    log.amend(written[number % len(written)], {"assurance": 2, "user": f"u{number}"})
                elif step == "shape":
                    log.shape("Order", column("id", "int32"), column(f"f{number}"))
                else:
                    log.record("coverage")
            index.refresh()
        log.close()
        assert all_that_it_knows(log.location) == made_anew(log.location)
