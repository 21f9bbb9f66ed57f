"""The systemd unit says what the worker keeps to, and without systemd nothing is said."""

import configparser
import threading
from pathlib import Path

import click
import pytest

from commitlog.cdc.cli.run import command
from commitlog.cdc.telemetry.systemd import Systemd
from commitlog.cdc.telemetry.vitals import Vitals
from commitlog.schemas.errors import CommitLogError, HistoryLost, UsageError

UNIT = Path(__file__).parents[2] / "compose" / "commitlog@.service"


@pytest.fixture
def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign] # systemd's names have capitals
    unit.read(UNIT)
    return unit["Service"]


def test_the_unit_starts_the_worker_with_options_it_has(service: configparser.SectionProxy) -> None:
    program, run, *options = service["ExecStart"].split()
    assert (Path(program).name, run) == ("commitlog", "run")
    with command.make_context("run", options, resilient_parsing=True) as context:
        assert context.params["log_format"] == "json"
    with pytest.raises(click.NoSuchOption):
        command.make_context("run", ["--no-such"])


def test_the_unit_hears_what_the_worker_says_and_gives_it_time_to_end(service: configparser.SectionProxy) -> None:
    assert service["Type"] == "notify"
    assert float(service["WatchdogSec"]) > 0
    assert service["ExecReload"].split()[1:] == ["-HUP", "$MAINPID"]
    assert float(service["TimeoutStopSec"]) > 10


def test_the_unit_does_not_try_again_what_only_an_operator_can_mend(service: configparser.SectionProxy) -> None:
    final = {str(error.exit_code) for error in (UsageError, HistoryLost, CommitLogError)}
    assert set(service["RestartPreventExitStatus"].split()) == final


def test_without_systemd_nothing_is_said_and_no_thread_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    before = threading.active_count()
    systemd = Systemd(Vitals(60))
    systemd.reloading()
    systemd.stopping()
    assert threading.active_count() == before


def test_a_manager_that_is_gone_is_no_trouble(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    systemd = Systemd(Vitals(60))
    systemd.stopping()
