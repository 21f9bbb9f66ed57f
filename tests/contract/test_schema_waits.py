"""App schemas that come while the worker runs: builds that wait for theirs, second builds, new tables, and what is refused."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commitlog.cdc.cli.main import main
from commitlog.cdc.servers.ports import free_port
from fixtures.requests import tag, write
from fixtures.worker import Run, Source

BUILD = "sha256:b2"


@pytest.fixture
def shop(source: Source) -> Source:
    source.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, status text)", "INSERT INTO orders VALUES (-1, 'old'), (-2, 'old')"
    )
    source.map("Order", "orders")
    return source


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def status(
    source: Source, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], Any]:
    """`commitlog status --json`, told where the worker serves its figures."""

    def ask() -> Any:
        monkeypatch.chdir(source.folder)
        monkeypatch.setenv("COMMITLOG_HTTP__LISTEN", f"127.0.0.1:{port}")
        capsys.readouterr()
        assert main(["status", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


def schema_file(source: Source, name: str, **top: object) -> Path:
    """An app schema of the mapped tables in a file outside the folder of schemas."""
    return source.write_schema(source.folder / name, source.schema(default=False, **top))


def recorded(source: Source, entity: str = "Order") -> list[object]:
    """The rows of an entity that commits brought, by their number, in the log's order."""
    changes = [change for commit in source.history().commits for change in commit.changes if change["op"] == "insert"]
    return [change["after"]["id"] for change in changes if change["entity"] == entity]


def order(source: Source, number: int, **claims: object) -> int:
    return write(source, tag(**claims), f"INSERT INTO orders (id) VALUES ({number})")


def reread(source: Source, run: Run, words: str) -> None:
    """SIGHUP, until the worker says so in a new line."""
    before = run.output.count(words)
    run.signal(signal.SIGHUP)
    run.until(lambda: run.output.count(words) > before, f"{words!r} after SIGHUP")


@pytest.mark.parametrize("how", ["add", "folder and SIGHUP"])
def test_a_commit_of_an_unknown_build_waits_for_its_schema_and_later_ones_behind_it(
    shop: Source, port: int, status: Callable[[], Any], how: str
) -> None:
    shop.write_schema(shop.schema_path, shop.schema(strict=True))
    shop.setup()
    run = shop.run(http__listen=f"127.0.0.1:{port}").streaming()
    run.until_caught_up()
    shop.execute("INSERT INTO orders (id) VALUES (1)")
    order(shop, 2, build=BUILD, version="2.0")
    order(shop, 3, build="", version="")
    shop.execute("INSERT INTO orders (id) VALUES (4)")

    run.until(lambda: status()["worker"]["waiting_for_schema"], "status that says it waits")
    run.until(lambda: recorded(shop) == [1], "what came before")
    assert f"no app schema is for build '{BUILD}'; waiting" in run.output

    file = schema_file(shop, "b2.json", builds=[BUILD])
    if how == "add":
        seq = int(re.findall(r"is record (\d+)", shop.commitlog("schema", "add", str(file)).stdout)[0])
        assert shop.history().of_kind("schema")[-1][0]["seq"] == seq
    else:
        file.rename(shop.schema_path.with_name("b2.json"))
        reread(shop, run, "app schemas read again: 2")

    run.until_marked()
    assert recorded(shop) == [1, 2, 3, 4]
    assert [c.meta["schema_by"] for c in shop.history().commits[-5:-1]] == ["default", "build", "default", "default"]
    run.until(lambda: status()["worker"]["waiting_for_schema"] is False, "status that says it waits no more")
    run.terminate()
    shop.check()


def test_a_worker_that_waits_for_a_schema_ends_at_sigterm_and_waits_again(shop: Source) -> None:
    shop.write_schema(shop.schema_path, shop.schema(strict=True))
    shop.setup()
    order(shop, 1, build=BUILD, version="2.0")
    order(shop, 2, build="", version="")
    for _ in range(2):
        run = shop.run().streaming()
        run.until(lambda run=run: "waiting" in run.output, "a word that it waits")
        run.terminate()
    assert recorded(shop) == []

    # Without a worker the command writes the record itself.
    shop.commitlog("schema", "add", str(schema_file(shop, "b2.json", builds=[BUILD])))
    run = shop.run()
    run.until_caught_up()
    run.terminate()
    assert recorded(shop) == [1, 2]
    shop.check()


def test_a_second_build_has_its_new_column_beside_the_first_which_has_not(shop: Source) -> None:
    first = source_schema = shop.schema(builds=["1.*"])
    shop.write_schema(shop.schema_path, first)
    shop.setup()
    run = shop.run().streaming()
    run.until_caught_up()
    order(shop, 1)
    shop.execute("ALTER TABLE orders ADD coupon text")
    order(shop, 2)
    shop.map("Order", "orders")
    shop.write_schema(shop.schema_path, source_schema)
    shop.commitlog("schema", "add", str(schema_file(shop, "b2.json", builds=[BUILD])))
    write(shop, tag(build=BUILD, version="2.0"), "INSERT INTO orders VALUES (3, 'new', 'SPRING')")
    order(shop, 4)
    run.until_marked()
    run.terminate()

    commits = [commit for commit in shop.history().commits if commit.changes[0]["entity"] == "Order"]
    fields = {commit.changes[0]["key"]["id"]: list(commit.changes[0]["after"]) for commit in commits}
    assert fields == {1: ["id", "status"], 2: ["id", "status"], 3: ["id", "status", "coupon"], 4: ["id", "status"]}
    assert [commit.meta["schema_by"] for commit in commits] == ["version", "version", "build", "version"]
    headers = {header["seq"]: header for header, _ in shop.history().of_kind("commit")}
    schemas = [headers[commit.seqs[0]]["schema"] for commit in commits]
    assert schemas == [schemas[0], schemas[0], schemas[2], schemas[0]]
    assert schemas[2] != schemas[0]
    shop.check(tables=False)


def test_a_malformed_schema_file_at_sighup_leaves_the_old_ones_in_force(shop: Source) -> None:
    shop.setup()
    run = shop.run().streaming()
    run.until_caught_up()
    good = shop.schema_path.read_text()

    for broken, words in (("{", "not YAML"), (good.replace('"public"}', '"pubic"}'), "class must be one of")):
        shop.schema_path.write_text(broken)
        before = len(recorded(shop))
        reread(shop, run, "app schemas not read")
        assert words in run.output.splitlines()[-1]
        shop.execute(f"INSERT INTO orders (id) VALUES ({before + 1})")
        run.until_marked()
        assert len(recorded(shop)) == before + 1

    shop.schema_path.write_text(good)
    reread(shop, run, "app schemas read again: 1")
    run.terminate()
    shop.check()


def notes(source: Source) -> None:
    """A new table with rows, which no schema maps yet."""
    source.execute(
        "CREATE TABLE notes (id int PRIMARY KEY, body text)",
        "INSERT INTO notes SELECT n, 'old' FROM generate_series(1, 40) n",
    )


def test_a_schema_of_a_new_table_is_refused_until_setup_has_published_it(shop: Source) -> None:
    shop.setup()
    run = shop.run(limits__snapshot_rows=7).streaming()
    run.until_caught_up()
    notes(shop)
    old = shop.schema_path.read_text()
    shop.map("Note", "notes")
    new = schema_file(shop, "new.json", builds=[BUILD])
    shop.schema_path.write_text(old)

    refused = shop.commitlog("schema", "add", str(new), code=4)
    assert "table public.notes is mapped by an app schema but is not in publication" in refused.stderr
    assert refused.stderr.endswith("try: commitlog setup FILE, then commitlog schema add FILE again\n")
    shop.commitlog("setup", str(new))
    # Snapshots are those of the default schema, so this one brings changes only.
    shop.commitlog("schema", "add", str(new))
    write(shop, tag(build=BUILD), "INSERT INTO notes VALUES (100, 'new')")
    shop.execute("INSERT INTO orders (id) VALUES (1)")
    run.until_marked()
    run.terminate()

    assert recorded(shop, "Note") == [100]
    assert recorded(shop) == [1]
    shop.verify()


def test_a_schema_put_into_the_folder_then_setup_then_sighup_brings_a_new_tables_rows(shop: Source) -> None:
    shop.setup()
    run = shop.run(limits__snapshot_rows=7).streaming()
    run.until_caught_up()
    notes(shop)
    shop.map("Note", "notes")

    shop.commitlog("setup")
    reread(shop, run, "app schemas read again: 1")
    for number in range(100, 130):
        shop.execute(f"INSERT INTO notes VALUES ({number}, 'new')", f"INSERT INTO orders (id) VALUES ({number})")
    run.until_caught_up()
    shop.execute("INSERT INTO notes VALUES (200, 'last')")
    run.until_marked()
    run.terminate()

    history = shop.history()
    shop.check_tables(history)
    chunks = [items for _, items in history.of_kind("snapshot") if items[1]["entity"] == "Note"]
    assert len(chunks) > 5
    assert recorded(shop)[-1] == 129
    assert recorded(shop, "Note")[-1] == 200
