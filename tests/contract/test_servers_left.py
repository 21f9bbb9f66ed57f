"""Nothing is left behind: not by a start that is interrupted, and of a process that was killed only until the next one."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commitlog.cdc.servers.scratch import MARK, Scratch
from fixtures.patience import WAIT_S, until


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A process that holds a folder `left-…` in the folder it is given by its first line of stdin."""
    program = (
        "import sys\nfrom commitlog.cdc.servers.scratch import Scratch\n"
        "scratch = Scratch('left-', parent=sys.stdin.readline().strip())\nprint(scratch.folder, flush=True)\n"
        "sys.stdin.readline()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process
        process.kill()


def folder_of(process: subprocess.Popen[str], parent: Path) -> Path:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{parent}\n")
    process.stdin.flush()
    return Path(process.stdout.readline().strip())


def test_a_folder_stays_while_its_process_lives_and_goes_after_it_was_killed(
    child: subprocess.Popen[str], tmp_path: Path
) -> None:
    left = folder_of(child, tmp_path)
    (left / "data").mkdir()
    (left / "data" / "file").write_text("x")
    Scratch("left-", parent=str(tmp_path)).remove()
    assert left.exists()

    child.kill()
    child.wait(WAIT_S)
    new = Scratch("left-", parent=str(tmp_path))
    assert not left.exists()
    new.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_which_somebody_works_stays(child: subprocess.Popen[str], tmp_path: Path) -> None:
    left = folder_of(child, tmp_path)
    with subprocess.Popen(["sleep", "60"], cwd=left) as worker:
        child.kill()
        child.wait(WAIT_S)
        Scratch("left-", parent=str(tmp_path)).remove()
        assert left.exists()
        worker.kill()
    Scratch("left-", parent=str(tmp_path)).remove()
    assert not left.exists()


def test_what_is_not_such_a_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / MARK).touch()
    (tmp_path / "left-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "left-unmarked").mkdir()
    (tmp_path / "left-file").touch()
    before = sorted(tmp_path.rglob("*"))
    Scratch("left-", parent=str(tmp_path)).remove()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_kept_outlives_its_process(tmp_path: Path) -> None:
    scratch = Scratch("left-", parent=str(tmp_path))
    scratch.keep()
    Scratch("left-", parent=str(tmp_path)).remove()
    assert scratch.folder.exists()


def postgres_in(parent: Path) -> list[int]:
    """The processes that run in a server's folder below `parent`."""
    found: list[int] = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cwd").readlink().is_relative_to(parent):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_a_start_that_is_interrupted_while_it_waits_leaves_neither_a_process_nor_a_folder() -> None:
    program = (
        "import time\nfrom commitlog.cdc.servers import local\n"
        "def wait(server, pid):\n"
        "    print(pid, flush=True)\n    time.sleep(60)\n"
        "local.PostgresServer._ready = wait\n"
        "local.PostgresServer.start(settings={'fsync': 'off'})\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        server = Path(f"/proc/{pid}/cwd").readlink()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=WAIT_S)
    assert "KeyboardInterrupt" in errors
    assert not server.exists()
    until(lambda: not postgres_in(server), "the end of its processes")
