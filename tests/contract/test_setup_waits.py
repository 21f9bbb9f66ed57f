"""What `setup` and `teardown` wait for, how long, and that they say so meanwhile."""

from collections.abc import Iterator

import pytest

from commitlog.cdc.config import load
from commitlog.cdc.source import postgres_provision
from commitlog.cdc.source.postgres_provision import PostgresProvision
from commitlog.transforms.app_schema_reader import parse
from commitlog.transforms.registry import Registry
from fixtures.patience import until
from fixtures.worker import Source


@pytest.fixture
def provision(source: Source) -> Iterator[PostgresProvision]:
    opened = PostgresProvision(load(source.folder / "commitlog.toml"))
    yield opened
    opened.close()


def test_teardown_waits_until_the_server_has_noticed_that_the_worker_is_gone(
    source: Source, provision: PostgresProvision
) -> None:
    source.setup()
    run = source.run().streaming()
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        run.kill()

    for step in provision.teardown_steps():
        provision.execute(step, say=say)

    assert len(said) == 1
    assert f'replication slot "{source.name}" is active for PID' in said[0]
    assert provision.catalog.slot(source.name) is None


def test_teardown_beside_a_worker_says_what_it_waits_for_and_changes_nothing(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_provision, "SLOT_FREE_S", 0.2)
    source.setup()
    run = source.run().streaming()

    errors = source.commitlog("teardown", "--yes", code=4).stderr

    assert "note: " in errors
    assert ": waiting up to 0.2 s\n" in errors
    assert errors.endswith("try: stop the worker first\n")
    run.until_marked()
    run.terminate()
    source.check()


def test_setup_names_the_transactions_that_a_slot_waits_for(source: Source, provision: PostgresProvision) -> None:
    source.execute("CREATE TABLE elsewhere (id int)")
    with source.connect() as writing:
        writing.execute("BEGIN")
        writing.execute("INSERT INTO elsewhere VALUES (1)")
        pid = writing.info.backend_pid
        old = "SELECT now() - xact_start > '1.1 s' FROM pg_stat_activity WHERE pid = %s"
        until(lambda: source.value(old, pid), "a transaction that lasts")
        said: list[str] = []

        def say(text: str) -> None:
            said.append(text)
            writing.execute("COMMIT")

        for step in provision.setup_steps(Registry([parse(source.schema())])):
            provision.execute(step, say=say)

    assert len(said) == 1
    assert "waiting up to 60 s for transactions to end: " in said[0]
    assert f"process {pid} since " in said[0]
    assert provision.catalog.slot(source.name) is not None
