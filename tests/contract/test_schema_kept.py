"""An app schema that is handed to a worker stays beside the others, or is refused: the worker goes on either way."""

from fixtures.worker import Source


def test_one_that_cannot_be_kept_is_refused_and_the_worker_goes_on(source: Source) -> None:
    source.execute("CREATE TABLE item (id int PRIMARY KEY)")
    source.map("Item", "item")
    # The one file of [schemas] is no folder that another could be put into.
    run = source.setup().run(schemas__path=source.schema_path).streaming()
    new = source.write_schema(source.folder / "new.yaml", source.schema(builds=["2.0"], default=False))

    refused = source.commitlog("schema", "add", str(new), code=4)

    assert "the app schema cannot be kept in " in refused.stderr
    assert "\ntry: put its file there yourself" in refused.stderr
    source.execute("INSERT INTO item VALUES (1)")
    run.until_caught_up()
    run.terminate()
    source.check()
