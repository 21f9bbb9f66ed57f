"""Django's ORM over the wrapped PyMySQL and mysqlclient: each transaction with the tag of its session, whatever opened it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from fixtures.stamped import DRIVERS, StampLog

ENGINES = {"pymysql": "commitlog.drivers.django.mysql", "MySQLdb": "commitlog.drivers.django.mysqlclient"}


@pytest.mark.parametrize("driver", DRIVERS[:2], indirect=True)
def test_each_transaction_of_an_app_has_its_tag(stamp_log: StampLog, request: pytest.FixtureRequest) -> None:
    name = stamp_log.driver.plain.__name__
    more: Mapping[str, str] = request.getfixturevalue("mysqlclient_environment") if name == "MySQLdb" else {}
    ours, theirs = str(Path(__file__).parents[1]), more.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    paths = os.pathsep.join(filter(None, (ours, theirs)))
    run = subprocess.run(
        [sys.executable, "-m", "fixtures.django_papers", ENGINES[name], json.dumps(stamp_log.options())],
        env={**os.environ, **more, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert stamp_log.seen() == [
        (["alone"], "I"),
        (["alone"], "U"),
        (["alone"], "U"),
        (["alone"], "D"),
        ([], "I"),
        ([], "D"),
        (["block"], "II"),
        (["bulk"], "I" * 200),
        (["bulk"], "U"),
    ]
