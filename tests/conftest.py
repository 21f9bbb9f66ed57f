"""What every test gets: the fixtures, the guard on slow tests, and hypothesis without a clock."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest_plugins = (
    "fixtures.logs",
    "fixtures.mongodb",
    "fixtures.mysql",
    "fixtures.mysqlclient",
    "fixtures.postgres",
    "fixtures.proxy",
    "fixtures.worker",
    "fixtures.kafka",
    "fixtures.databases",
    "fixtures.followed",
    "fixtures.fork_log",
    "fixtures.fork_process",
    "fixtures.binlog_source",
    "fixtures.oplog_source",
    "fixtures.pair",
    "fixtures.shops",
    "fixtures.stamped",
    "fixtures.stamped_mongodb",
    "fixtures.tagged",
    "fixtures.tls",
)

FULL = os.environ.get("COMMITLOG_TEST_FULL") == "1"

# Who runs in the background may have been started with Ctrl-C ignored, and so would be all whom the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no counterexample, so no deadline; the blob of a failing example is printed to be replayed.
settings.register_profile("short", deadline=None, print_blob=True)
settings.register_profile("full", deadline=None, print_blob=True, max_examples=5000)
settings.load_profile("full" if FULL else "short")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `full`, unless `make test-full` asks for it."""
    if FULL:
        for item in items:
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(600))  # for so many more examples
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """A command that runs in the tests' own process leaves its handlers behind, as it would in its own."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
