"""An entity's key is one that the server itself keeps: rows of one key would be taken for one, and be lost without a word."""

from fixtures.midstream import started
from fixtures.worker import Source

TABLE = (
    "CREATE DOMAIN number AS int NOT NULL",
    'CREATE TABLE item (b int, "A" int, whole int UNIQUE, sure number, part int NOT NULL, said text NOT NULL, PRIMARY KEY (b, "A"))',
    "CREATE UNIQUE INDEX ON item (sure) INCLUDE (part)",
    "CREATE UNIQUE INDEX ON item (part) WHERE whole > 0",
    "CREATE UNIQUE INDEX ON item (lower(said))",
)


def refused(source: Source, *key: str) -> str:
    source.map("Item", "item", key=key)
    error = source.commitlog("setup", code=4).stderr
    assert f"Item: its key [{', '.join(key)}] does not tell the rows of public.item apart" in error
    return error


def test_only_what_the_server_keeps_unique_and_not_null_is_a_key(source: Source) -> None:
    source.execute(*TABLE)
    for key in ("A",), ("whole",), ("part",), ("said",):
        assert "try: key: [b, A]" in refused(source, *key)
    for key in ("sure",), ("A", "b", "said"):
        source.map("Item", "item", key=key)
        source.commitlog("setup", "--sql")
    source.execute("ALTER TABLE item DROP CONSTRAINT item_pkey", "DROP INDEX item_sure_part_idx")
    assert "try: ALTER TABLE public.item ADD PRIMARY KEY (b)" in refused(source, "b")


def test_a_worker_does_not_read_a_table_whose_key_is_none_any_more(source: Source) -> None:
    source.execute("CREATE TABLE item (id int PRIMARY KEY, n int)", "INSERT INTO item VALUES (1, 1), (2, 2)")
    source.map("Item", "item")
    source.setup()
    source.execute("ALTER TABLE item DROP CONSTRAINT item_pkey", "INSERT INTO item VALUES (1, 3)")
    way = source.run().refused(4, "Item: its key [id] does not tell the rows of public.item apart")
    assert "its key [id] does not tell the rows" in source.commitlog("doctor", code=4).stdout
    source.execute("DELETE FROM item WHERE n = 3", way)
    run = started(source)
    run.terminate()
    source.check()


def test_what_is_no_table_is_named_and_stops_nothing(source: Source) -> None:
    source.execute(
        "CREATE TABLE item (id int PRIMARY KEY)",
        "INSERT INTO item VALUES (1)",
        "CREATE VIEW shown AS SELECT * FROM item",
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM item",
    )
    source.map("Item", "item")
    for name in ("shown", "kept", "typo"):
        source.map(name.title(), name, fields=("id",))
    said = source.commitlog("setup").stdout
    run = source.run().streaming()
    read = {"Item", "Mark"}
    run.until(
        lambda: {items[1]["entity"] for _, items in source.history().of_kind("snapshot")} == read, "the snapshots"
    )
    run.terminate()
    for name in ("shown", "kept", "typo"):
        assert f"warning: table public.{name} of {name.title()} does not exist: nothing of it will be recorded" in said
        assert f"there is no table public.{name}" in run.output
