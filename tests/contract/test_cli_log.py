"""The commands that read a log: what they print, as text and as JSON, and what they refuse."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import pytest

from commitlog.cdc.cli import main
from commitlog.cdc.log.chain import Extras
from commitlog.cdc.log.embedded import Writer
from commitlog.cdc.log.headfile import DurableHead
from fixtures import fork_log
from fixtures.fork_log import MadeLog, column
from fixtures.logs import nap

PROGRAM = "import sys; from commitlog.cdc.cli.main import main; sys.exit(main())"
REQUEST = "9d1e6f0a-1c1b-4c7e-8a55-0f2f4c3f8a11"
BY = {
    "assurance": 1, "request": REQUEST, "session": "5" * 64, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    "app": "shop", "version": "1.4.0", "build": "sha256:9f2b",
}  # fmt: skip
ANN = {"assurance": 2, "user": "ann", **{name: value for name, value in BY.items() if name != "assurance"}}


class Story(MadeLog):
    """A small shop's log, the same in every run but for its salts and hashes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "shop", genesis={"visibility": "own"})
        self.record("schema", [{"app": "shop", "builds": ["1.*"], "default": True}], extras=Extras(schema="0" * 64))
        self.shape("Order", column("id", "int32"), column("status"), column("total", "decimal"), column("note"))
        self.shape("Line", column("order", "int32"), column("no", "int32"), column("sku"), key=("order", "no"))
        self.order = {"id": 1, "status": "new", "total": "12.50", "note": None}
        self.snapshot("Order", {**self.order, "id": 9})
        self.commit(self.insert("Order", self.order), self.insert("Line", {"order": 1, "no": 1, "sku": "A,1"}), by=BY)
        self.commit(
            self.update("Order", 1, {"status": "new"}, {"status": "paid"}),
            by={"assurance": 1, "user": "ben", "app": "shop", "version": "2.0.0"},
        )
        self.commit(self.update("Order", 1, {"note": None}, {"note": "a\nb\x1b[31m"}), self.truncate("Line"))
        self.amend(5, ANN)
        self.record("coverage")
        self.commit(self.delete("Order", {**self.order, "id": 9}))

    def clean(self, text: str) -> str:
        """A text without what differs from run to run: hashes, and the log's id."""
        for record in self.reader.records():
            mark = f"<{record.seq}>"
            text = (
                text.replace(record.hash, mark * 5).replace(record.hash[:12], mark * 3).replace(record.hash[:8], mark)
            )
        return text.replace(self.reader.record(0).header["log"], "<log>")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fork_log, "new_log_id", lambda: "0123456789abcdef" * 2)
    return Story(tmp_path)


class Run:
    """Runs commands on a log, in this process."""

    def __init__(self, log: MadeLog, capsys: pytest.CaptureFixture[str]) -> None:
        self._log, self._capsys = log, capsys

    def __call__(self, *argv: str, code: int = 0) -> str:
        assert main.main([*argv, "--log", self._log.url]) == code
        self.out, self.err = self._capsys.readouterr()
        return self._log.clean(self.out) if isinstance(self._log, Story) else self.out

    def documents(self, *argv: str) -> list[dict[str, Any]]:
        self(*argv, "--json")
        return [json.loads(line) for line in self.out.splitlines()]

    def refused(self, *argv: str) -> str:
        self(*argv, code=2)
        assert self.out == ""
        return self.err


@pytest.fixture
def run(log: Story, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(log, capsys)


def test_log_lists_commits_newest_first_with_who_what_and_when(run: Run) -> None:
    assert run("log") == (
        "commit 10 <10><10><10>\n"
        "User:     untagged\n"
        "Time:     2026-09-21 14:13:20.001024 UTC\n"
        "\n"
        "    Order +0 ~0 -1\n"
        "    - Order/9\n"
        "\n"
        "commit 7 <7><7><7>\n"
        "User:     untagged\n"
        "Time:     2026-09-21 14:13:20.000768 UTC\n"
        "\n"
        "    Line +0 ~0 -0 truncated   Order +0 ~1 -0\n"
        "    ~ Order/1  note: null → 'a\\nb\\x1b[31m'\n"
        "    - Line/*  truncated\n"
        "\n"
        "commit 6 <6><6><6>\n"
        "User:     ben (claimed)\n"
        "Build:    shop 2.0.0\n"
        "Time:     2026-09-21 14:13:20.000512 UTC\n"
        "\n"
        "    Order +0 ~1 -0\n"
        "    ~ Order/1  status: 'new' → 'paid'\n"
        "\n"
        "commit 5 <5><5><5>\n"
        "User:     ann (corroborated, amended by 8)\n"
        "Request:  9d1e6f0a-1c1b-4c7e-8a55-0f2f4c3f8a11\n"
        "Build:    shop 1.4.0 sha256:9f2b\n"
        "Time:     2026-09-21 14:13:20.000256 UTC\n"
        "\n"
        "    Line +1 ~0 -0   Order +1 ~0 -0\n"
        "    + Order/1  status: 'new', total: 12.50, note: null\n"
        "    + Line/1,1  sku: 'A,1'\n"
    )


def test_log_oneline(run: Run) -> None:
    assert run("log", "--oneline", "--reverse") == (
        " 5 <5> 2026-09-21 14:13:20 ann          Line +1   Order +1\n"
        " 6 <6> 2026-09-21 14:13:20 ben?         Order ~1\n"
        " 7 <7> 2026-09-21 14:13:20 untagged     Line truncated   Order ~1\n"
        "10 <10> 2026-09-21 14:13:20 untagged     Order -1\n"
    )


def test_log_of_one_row_has_its_snapshot_and_only_its_changes(run: Run) -> None:
    assert run("log", "Order/9") == (
        "commit 10 <10><10><10>\n"
        "User:     untagged\n"
        "Time:     2026-09-21 14:13:20.001024 UTC\n"
        "\n"
        "    Order +0 ~0 -1\n"
        "    - Order/9\n"
        "\n"
        f"snapshot 4 <4><4><4>\n"
        f"Time:     {run.out.splitlines()[8].removeprefix('Time:     ')}\n"
        "\n"
        "    Order +1 ~0 -0\n"
        "    = Order/9  status: 'new', total: 12.50, note: null\n"
    )
    assert [d["seq"] for d in run.documents("log", "Order/1")] == [7, 6, 5]
    assert [[c["entity"] for c in d["changes"]] for d in run.documents("log", "Order/1")] == [["Order"]] * 3


@pytest.mark.parametrize(
    ("arguments", "seqs"),
    [
        ([], [10, 7, 6, 5]),
        (["--reverse"], [5, 6, 7, 10]),
        (["-n", "2"], [10, 7]),
        (["--limit", "2", "--reverse"], [7, 10]),
        (["-n", "0"], []),
        (["Line"], [7, 5]),
        (["Line", "-n", "1"], [7]),
        (["Line/1,1"], [7, 5]),
        (['Line/{"no":1,"order":1}'], [7, 5]),
        (["Line/1,2"], []),
        (["--user", "ann"], [5]),
        (["--user", "ben"], [6]),
        (["--user", "cleo"], []),
        (["--build", "1.*"], [5]),
        (["--build", "shop"], [6, 5]),
        (["--build", "sha256:9f2b"], [5]),
        (["--request", REQUEST], [5]),
        (["--request", REQUEST.replace("-4c7e", "-ac7e")], [5]),
        (["--since", "2026-09-21T14:13:20.0006"], [10, 7]),
        (["--until", "2026-09-21T14:13:20.0006Z"], [6, 5]),
        (["--until", "2026-09-21T16:13:20.0006+02:00"], [6, 5]),
        (["--until", "2026-09-21"], [10, 7, 6, 5]),
        (["--until", "2026-09-20"], []),
        (["--since", "2026-09-22"], []),
        (["Order", "--user", "ann", "--since", "2026-09-21", "--build", "1.4.0"], [5]),
    ],
)
def test_log_finds_commits_by(run: Run, arguments: list[str], seqs: list[int]) -> None:
    assert [document["seq"] for document in run.documents("log", *arguments)] == seqs


def test_log_since_takes_times_before_now(run: Run) -> None:
    assert run.documents("log", "--since", "1h") == []
    assert len(run.documents("log", "--until", "2s ago", "--since", "9999 days")) == 4


def test_log_json_is_a_commit_a_line(run: Run, log: Story) -> None:
    *_, found = run.documents("log")
    record = log.reader.record(5)
    assert found == {
        "kind": "commit",
        "seq": 5,
        "last": 5,
        "hash": record.hash,
        "id": "pg:1:1:0000000000000100",
        "time": "2026-09-21T14:13:20.000256Z",
        "assurance": 2,
        "by": ANN,
        "amended_by": 8,
        "schema": "0" * 64,
        "position": "0/100",
        "counts": {
            "Line": {"inserts": 1, "updates": 0, "deletes": 0, "truncates": 0},
            "Order": {"inserts": 1, "updates": 0, "deletes": 0, "truncates": 0},
        },
        "changes": record.items()[2:],
        "omitted": 0,
    }


def test_log_shows_the_first_rows_of_a_large_commit_and_counts_the_rest(run: Run, log: Story) -> None:
    rows = [log.insert("Order", {**log.order, "id": number}) for number in range(100, 1600)]
    first = log.commit(*rows[:4], part=(0, False))
    log.commit(*rows[4:], part=(1, True))
    text = run("log", "-n", "1")
    assert f"commit {first}..{first + 1} " in text
    assert text.count("    + Order/") == 8
    assert text.endswith(f"    … 1492 more rows: commitlog show {first}\n")
    (document,) = run.documents("log", "-n", "1")
    assert (len(document["changes"]), document["omitted"]) == (1000, 500)
    assert [len(d["items"]) - 2 for d in run.documents("show", str(first + 1))] == [4, 1496]


def test_show_has_everything_a_commit_says(run: Run) -> None:
    assert run("show", "5") == (
        "commit 5 <5><5><5><5><5>\n"
        "User:     ann (corroborated, amended by 8)\n"
        "Request:  9d1e6f0a-1c1b-4c7e-8a55-0f2f4c3f8a11\n"
        "Build:    shop 1.4.0 sha256:9f2b\n"
        "Time:     2026-09-21 14:13:20.000256 UTC\n"
        f"Session:  {'5' * 64}\n"
        f"Trace:    00-{'a' * 32}-{'b' * 16}-01\n"
        "Id:       pg:1:1:0000000000000100\n"
        "Position: postgresql 0/0 to 0/100\n"
        "Schema:   000000000000\n"
        "Source:   transaction 256\n"
        "\n"
        "    + Order/1\n"
        "        status: 'new'\n"
        "        total:  12.50\n"
        "        note:   null\n"
        "\n"
        "    + Line/1,1\n"
        "        sku: 'A,1'\n"
    )


def test_show_finds_a_record_by_every_name_it_has(run: Run, log: Story) -> None:
    for seq in range(11):
        record = log.reader.record(seq)
        shown = run("show", str(seq))
        assert shown == run("show", record.hash) == run("show", record.hash[:20]) == run("show", record.header["id"])
        assert shown.startswith(f"{record.kind} {seq} ")
    assert run("show", "HEAD") == run("show", "10")


def test_show_amend_names_the_commit_and_who_it_says_made_it(run: Run) -> None:
    text = run("show", "8")
    assert text.splitlines()[1] == "Of:       commit 5 <5><5><5><5><5>"
    assert '      "user": "ann",\n' in text


def test_show_shape_is_a_table(run: Run) -> None:
    assert run("show", "3").split("\n\n")[1] == (
        "    Line from public.line, key order, no\n"
        "        order  integer    public\n"
        "        no     integer    public\n"
        "        sku    text       public\n"
    )


def test_show_raw_is_the_line_as_it_stands(log: Story) -> None:
    lines = (log.location.segments / f"{0:020}.jsonl").read_bytes().splitlines(keepends=True)
    for seq in (0, 5, 10):
        process = subprocess.run(
            [sys.executable, "-c", PROGRAM, "show", str(seq), "--raw", "--log", log.url],
            capture_output=True,
            check=True,
        )
        assert process.stdout == lines[seq]


def test_show_json_has_the_record_as_recorded_and_by_as_amended(run: Run, log: Story) -> None:
    record = log.reader.record(5)
    (document,) = run.documents("show", "5")
    assert document == {
        "hash": record.hash,
        "header": record.header,
        "by": ANN,
        "amended_by": 8,
        "items": record.items(),
        "recorded": record.recorded,
    }
    assert document["items"][0] == BY
    (coverage,) = run.documents("show", "9")
    assert (coverage["by"], coverage["amended_by"], coverage["items"]) == (None, None, [None, {}])


def test_blame_gives_each_field_its_commit(run: Run) -> None:
    assert run("blame", "Order/1") == (
        "id      1               5  ann       9d1e6f0a-1c1b-4c7e-8a55-0f2f4c3f8a11  shop 1.4.0 sha256:9f2b  2026-09-21 14:13:20\n"
        "status  'paid'          6  ben?                                            shop 2.0.0              2026-09-21 14:13:20\n"
        "total   12.50           5  ann       9d1e6f0a-1c1b-4c7e-8a55-0f2f4c3f8a11  shop 1.4.0 sha256:9f2b  2026-09-21 14:13:20\n"
        "note    'a\\nb\\x1b[31m'  7  untagged                                                                2026-09-21 14:13:20\n"
    )


def test_blame_of_a_row_that_is_gone_says_who_ended_it_and_what_it_held(run: Run) -> None:
    assert run("blame", "Line/1,1") == (
        "Line/1,1 was removed by TRUNCATE in commit 7\n"
        "User:     untagged\n"
        "Time:     2026-09-21 14:13:20.000768 UTC\n"
        "\n"
        "It held:\n"
        "order  1      5  ann  9d1e6f0a-1c1b-4c7e-8a55-0f2f4c3f8a11  shop 1.4.0 sha256:9f2b  2026-09-21 14:13:20\n"
        "no     1      5  ann  9d1e6f0a-1c1b-4c7e-8a55-0f2f4c3f8a11  shop 1.4.0 sha256:9f2b  2026-09-21 14:13:20\n"
        "sku    'A,1'  5  ann  9d1e6f0a-1c1b-4c7e-8a55-0f2f4c3f8a11  shop 1.4.0 sha256:9f2b  2026-09-21 14:13:20\n"
    )
    text = run("blame", "Order/9")
    assert text.startswith("Order/9 was deleted in commit 10\n")
    assert "status  'new'  4  snapshot  " in text


def test_blame_of_a_row_that_got_another_key_leads_there(run: Run, log: Story) -> None:
    seq = log.commit(log.rekey("Order", 1, 2), by={"assurance": 1, "user": "ben"})
    text = run("blame", "Order/1")
    assert text.startswith(f"Order/1 got another key in commit {seq}\nUser:     ben (claimed)\n")
    assert "\nNow:      Order/2\n" in text
    fields = {d["field"]: d["set_by"]["seq"] for d in run.documents("blame", "Order/2")}
    assert fields == {"id": seq, "status": 6, "total": 5, "note": 7}
    end, *_ = run.documents("blame", "Order/1")
    assert (end["ended"], end["newkey"], end["ended_by"]["seq"]) == ("rekeyed", {"id": 2}, seq)


def test_blame_names_fields_that_the_log_has_no_value_of(run: Run, log: Story) -> None:
    log.commit(log.update("Order", 77, {"status": "a"}, {"status": "b"}))
    text = run("blame", "Order/77")
    assert "note    not in the log\n" in text
    assert text.endswith("the row was there before this log; what was never changed since is not in it\n")
    assert [d["known"] for d in run.documents("blame", "Order/77")] == [False, True, False, False]


def test_blame_json_is_a_field_a_line(run: Run, log: Story) -> None:
    found = {document["field"]: document for document in run.documents("blame", "Order/1")}
    assert found["status"] == {
        "entity": "Order",
        "key": {"id": 1},
        "field": "status",
        "known": True,
        "value": "paid",
        "type": "text",
        "set_by": {
            "kind": "commit",
            "seq": 6,
            "hash": log.reader.record(6).hash,
            "id": "pg:1:1:0000000000000200",
            "time": "2026-09-21T14:13:20.000512Z",
            "assurance": 1,
            "user": "ben",
            "request": None,
            "app": "shop",
            "version": "2.0.0",
            "build": None,
        },
    }
    assert found["note"]["value"] == "a\nb\x1b[31m"


def test_diff_is_the_net_change_of_each_row(run: Run) -> None:
    expected = (
        "~ Order/1\n"
        "    status: 'new' → 'paid'\n"
        "    note:   null → 'a\\nb\\x1b[31m'\n"
        "\n"
        "- Order/9\n"
        "    status: 'new'\n"
        "    total:  12.50\n"
        "    note:   null\n"
    )
    assert run("diff", "5", "HEAD") == "- Line/1,1\n\n" + expected
    assert run("diff", "5..HEAD") == run("diff", "5..") == "- Line/1,1\n\n" + expected
    assert run("diff", "4", "5").splitlines()[0] == "+ Line/1,1"
    assert run("diff", "9..9") == ""


def test_diff_stat_counts_rows_of_each_entity(run: Run) -> None:
    assert run("diff", "5", "10", "--stat") == (
        " Line    +0  ~0  -1\n Order   +0  ~1  -1\n 2 entities, 0 rows added(+), 1 changed(~), 2 removed(-)\n"
    )
    assert run.documents("diff", "5", "10", "--stat")[1] == {"entity": "Order", "added": 0, "changed": 1, "removed": 1}


def test_diff_json_is_a_row_a_line(run: Run) -> None:
    assert run.documents("diff", "5", "6") == [
        {
            "entity": "Order",
            "key": {"id": 1},
            "newkey": None,
            "what": "changed",
            "before": {"status": "new"},
            "after": {"status": "paid"},
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["log", "Ordre"], "has no entity 'Ordre'", "write Order"),
        (["log", "Ordre/1"], "has no entity 'Ordre'", "write Order"),
        (["log", "Order/x"], "'x' is not a number, as id is, the key of Order", "write Order/ID"),
        (["log", "Line/1"], "Line has the key order, no", "write Line/ORDER,NO"),
        (["log", "--since", "yesterday"], "--since 'yesterday' is not a time", "write 2026-11-22"),
        (["log", "-n", "-1"], "is not in the range", "commitlog log --help"),
        (["blame", "Order"], "'Order' names no row", "commitlog blame Order/KEY"),
        (["blame", "Order/5"], "has nothing of Order/5", "commitlog log Order lists its rows"),
        (["blame", "Zebra/5"], "has no entity 'Zebra'", "it has Line, Order"),
        (["show", "99"], "has no record 99", "its head is 10"),
        (["show", "nothing"], "has no record 'nothing'", "name a record by its seq"),
        (["diff", "5"], "5 does not name two places", "commitlog diff A B"),
        (["diff", "5..6", "7"], "does not name two places", "commitlog diff A B"),
        (["diff", "7", "5"], "7 comes after 5", "commitlog diff 5 7"),
        (["diff", "5..99"], "has no record 99", "its head is 10"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_way_on(run: Run, arguments: list[str], error: str, hint: str) -> None:
    text = run.refused(*arguments)
    first, second = text.splitlines()
    assert first.startswith("error: ")
    assert error in first
    assert second.startswith(f"try: {hint}")


def test_where_there_is_no_log_each_command_says_so(log: Story, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["log"], ["log", "--follow"], ["show", "0"], ["blame", "Order/1"], ["diff", "0", "1"]):
        assert main.main([*arguments, "--log", f"file:{log.location.folder}#none"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: there is no log file:")


def test_an_empty_log_has_no_commits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = MadeLog(tmp_path)
    run = Run(log, capsys)
    assert run("log") == ""
    assert run("show", "0").startswith("genesis 0 ")
    assert "no table is recorded yet" in run.refused("log", "Order")

    empty = log.location.__class__(tmp_path, "empty")
    Writer.open(empty, memory=None).close()
    capsys.readouterr()
    assert main.main(["log", "--log", str(empty)]) == 0
    assert capsys.readouterr() == ("", "note: there are no commits yet\n")
    assert main.main(["show", "HEAD", "--log", str(empty)]) == 2


def test_a_damaged_record_ends_a_command_with_exit_3(run: Run, log: Story) -> None:
    run("log")
    segment = log.location.segments / f"{0:020}.jsonl"
    data = segment.read_bytes()
    assert data.count(b'"sku":"A,1"') == 1
    segment.write_bytes(data.replace(b'"sku":"A,1"', b'"sku":"A,2"'))
    for arguments in (["show", "5"], ["blame", "Line/1,1"], ["log", "--user", "ann"], ["show", "5", "--raw"]):
        run(*arguments, code=3)
        assert run.out == ""
        assert "record 5" in run.err
    run("show", "6")


def test_a_commit_whose_body_is_withheld_is_nobodys_and_not_untagged(run: Run, log: Story) -> None:
    segment = log.location.segments / f"{0:020}.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    head, tail = lines[10].split(b',"body":')
    lines[10] = head + b',"body":null' + tail[tail.rindex(b',"recorded"') :]
    segment.write_bytes(b"".join(lines))
    end = sum(map(len, lines))
    log.location.head.write_bytes(DurableHead(log.head, segment.name, end).encode())

    assert run("log", "-n", "1").splitlines()[1] == "User:     withheld"
    assert "withheld" in run("log", "-n", "1", "--oneline")
    assert "    the body is withheld or redacted\n" in run("show", "10")
    assert [document["items"] for document in run.documents("show", "10")] == [None]


class Following:
    """`commitlog log --follow` in a process of its own."""

    def __init__(self, log: MadeLog, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-c", PROGRAM, "log", "--follow", "--json", *arguments, "--log", log.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        document: dict[str, Any] = orjson.loads(self._process.stdout.readline())
        return document

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self._process.send_signal(signal.SIGINT)
        out, err = self._process.communicate(timeout=20)
        assert (out, err.strip()) == (b"", b"")
        return self._process.returncode

    def __enter__(self) -> "Following":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def test_follow_shows_the_newest_then_each_commit_as_it_comes(log: Story) -> None:
    with Following(log, "-n", "1") as following:
        assert following.next()["seq"] == 10
        delays, naps = [], []
        for number in range(20):
            seq = log.commit(log.insert("Order", {**log.order, "id": 100 + number}), by=BY)
            start = time.monotonic()
            assert following.next()["seq"] == seq
            delays.append(time.monotonic() - start)
            naps.append(nap(0.005))
        amend = log.amend(seq, ANN)
        assert following.next() == {"kind": "amend", "seq": amend, "amends": seq, "by": ANN}
        assert following.interrupt() == 130
    # It looks every 5 ms; where others take the processors, such a pause takes longer.
    assert median(delays) < 20 * median(naps), delays


def test_follow_of_a_row_shows_only_its_commits(log: Story) -> None:
    with Following(log, "Order/1", "-n", "1") as following:
        assert following.next()["seq"] == 7
        other = log.commit(log.insert("Order", {**log.order, "id": 50}))
        seq = log.commit(log.rekey("Order", 1, 60))
        assert following.next()["seq"] == seq
        log.amend(other, ANN)
        amend = log.amend(seq, ANN)
        assert following.next()["seq"] == amend
        assert following.interrupt() == 130


def test_follow_of_a_user_shows_what_is_found_to_be_theirs_and_no_more(log: Story) -> None:
    with Following(log, "--user", "ann", "-n", "1") as following:
        assert following.next()["seq"] == 5
        log.amend(6, {**ANN, "user": "cleo"})
        amend = log.amend(7, ANN)
        assert following.next() == {"kind": "amend", "seq": amend, "amends": 7, "by": ANN}
        assert following.interrupt() == 130


def test_on_a_terminal_long_output_goes_through_the_pager(log: Story, tmp_path: Path) -> None:
    import pty

    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho PAGED; cat\n")
    pager.chmod(0o755)
    for arguments, paged in (
        (["log"], True),
        (["log", "--json"], False),
        (["blame", "Order/1"], False),
        (["show", "5"], True),
    ):
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments, "--log", log.url],
            stdin=follower,
            stdout=follower,
            env={**os.environ, "PAGER": str(pager), "TERM": "xterm", "COLUMNS": "80"},
        )
        os.close(follower)
        text = read_all(leader)
        assert process.wait(20) == 0
        assert ("PAGED" in text) is paged
        assert ("\x1b[" in text) is ("--json" not in arguments)


def read_all(fd: int) -> str:
    """What is written to a terminal until its last user has left."""
    data = b""
    try:
        while chunk := os.read(fd, 65536):
            data += chunk
    except OSError:
        pass  # how Linux tells that nobody has it open any more
    os.close(fd)
    return data.decode()
