"""Generated columns: recorded where the server can send them, and never in a way that makes the app's own UPDATE fail."""

from fixtures.worker import Source


def test_a_table_with_a_stored_generated_column_takes_updates_and_is_recorded_with_it(source: Source) -> None:
    source.execute(
        "CREATE TABLE lines (id int PRIMARY KEY, price int, total int GENERATED ALWAYS AS (price * 2) STORED)",
        "INSERT INTO lines VALUES (1, 10)",
    )
    source.map("Line", "lines")
    source.setup()
    worker = source.run()
    worker.until_snapshots()
    source.execute(
        "INSERT INTO lines VALUES (2, 20)", "UPDATE lines SET price = 11 WHERE id = 1", "DELETE FROM lines WHERE id = 2"
    )
    worker.until_marked()
    worker.terminate()

    source.check()
    shapes = source.history().of_kind("shape")
    assert len([items for _, items in shapes if items[2]["entity"] == "Line"]) == 1


def test_a_table_with_a_virtual_generated_column_keeps_taking_updates(source: Source) -> None:
    version = int(str(source.value("SHOW server_version_num")))
    kind = "VIRTUAL" if version >= 180000 else "STORED"
    source.execute(
        f"CREATE TABLE views (id int PRIMARY KEY, price int, total int GENERATED ALWAYS AS (price * 2) {kind})"
    )
    source.map("View", "views", fields=("id", "price"))
    source.setup()
    source.execute("INSERT INTO views VALUES (1, 10)", "UPDATE views SET price = 11")
    worker = source.run()
    worker.until_marked()
    worker.terminate()

    changes = [change for commit in source.history().commits for change in commit.changes if change["entity"] == "View"]
    assert [change["op"] for change in changes] == ["insert", "update"]
    assert changes[1]["after"]["price"] == 11
