"""Values above what a record may hold, and above what the server itself can send: the worker ends by name, and there is a way on."""

import pytest

from fixtures.worker import Run, Source

TOO_LARGE_TO_SEND = "decode(repeat('ab', 400 << 20), 'hex') || decode(repeat('ab', 130 << 20), 'hex')"
"""530 MB: hexadecimal it is above 1 GB."""


def open_files(source: Source, type_name: str) -> Source:
    source.execute(
        f"CREATE TABLE files (id int PRIMARY KEY, name text, body {type_name})",
        "ALTER TABLE files ALTER body SET STORAGE EXTERNAL",
        "INSERT INTO files VALUES (1, 'small', '')",
    )
    source.map("File", "files")
    return source.setup()


def gone_on(source: Source, run: Run) -> Source:
    run.until_caught_up(timeout_s=60)
    run.terminate()
    source.verify()
    return source


@pytest.mark.parametrize("streamed", [True, pytest.param(False, marks=pytest.mark.full)])
def test_a_value_above_a_records_limit_is_named_and_without_its_field_the_worker_goes_on(
    source: Source, streamed: bool
) -> None:
    open_files(source, "text")
    if streamed:
        gone_on(source, source.run())
    source.execute("INSERT INTO files VALUES (2, 'large', repeat(md5('x'), 70 << 15))")

    hint = source.run().refused(4, "above the limit of 67108864 bytes")

    assert hint == "leave File.body out of the app schema"
    document = source.schema()
    document["entities"]["File"]["fields"].pop("body")  # type: ignore[index] # as `schema` makes it
    source.write_schema(source.folder / "schemas" / "app.yaml", document)
    gone_on(source, source.run())
    told = source.history().rows(source.entities["File"])
    assert {key: row["name"] for key, row in told.items()} == {(1,): "small", (2,): "large"}


@pytest.mark.full
@pytest.mark.timeout(240)
def test_a_row_that_the_server_cannot_send_is_named_and_a_gap_leads_on(source: Source) -> None:
    open_files(source, "bytea")
    gone_on(source, source.run())
    source.execute(f"INSERT INTO files VALUES (2, 'large', {TOO_LARGE_TO_SEND})")

    hint = source.run().refused(4, "cannot send a row", "above 1 GB", timeout_s=60)

    assert hint == "make its values smaller, drop the slot, then commitlog resume --accept-gap"
    source.execute("UPDATE files SET body = 'small now' WHERE id = 2")
    source.value("SELECT pg_drop_replication_slot(%s)::text", source.name)
    source.commitlog("resume", "--accept-gap")
    gone_on(source, source.run())
    source.check_tables(source.history(), epoch=2)


@pytest.mark.full
@pytest.mark.timeout(240)
def test_a_row_that_no_snapshot_can_read_is_named(source: Source) -> None:
    open_files(source, "bytea")
    source.execute(f"INSERT INTO files VALUES (2, 'large', {TOO_LARGE_TO_SEND})")
    source.value("SELECT end_lsn FROM pg_replication_slot_advance(%s, pg_current_wal_lsn())", source.name)

    hint = source.run().refused(4, "the snapshot of File cannot be read", timeout_s=60)

    assert "above 1 GB" in hint
