"""Late session records where one request has more than one of something: records of the mesh, commits, parts of a commit."""

from commitlog.cdc.sessions.store import Store, path_of
from fixtures.load import open_shop
from fixtures.requests import access_log, amends_of, tag, write
from fixtures.worker import Run, Source

REQUEST = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def told(source: Source, run: Run, *paths: str) -> None:
    """Import a line for each hop of the request, and wait until the worker has compared all of them."""
    lines = [{"request_id": REQUEST, "user": "ann", "path": path} for path in paths]
    source.commitlog("sessions", "import", str(access_log(source.folder / "access.log", *lines)))

    def compared() -> bool:
        with Store.open(path_of(source.location), create=True) as store:
            return store.amended_through() == store.max_rowid() > 0

    run.until(compared, "the comparison of session records")


def test_two_hops_of_a_request_amend_each_of_its_commits_once(source: Source) -> None:
    open_shop(source)
    run = source.run()
    xids = [write(source, tag(REQUEST), f"INSERT INTO orders VALUES ({n}, 'new', 0)") for n in range(3)]
    run.until_marked()

    told(source, run, "/outer", "/inner", "/inmost")

    assert [[by["user"] for by in amends_of(source, xid)] for xid in xids] == [["ann"]] * 3
    run.until_snapshots()
    run.terminate()
    source.check()


def test_a_commit_in_parts_is_amended_at_its_first_part(source: Source) -> None:
    open_shop(source)
    run = source.run(limits__part_bytes=400)
    xid = write(source, tag(REQUEST), "INSERT INTO orders SELECT n, 'new', 0 FROM generate_series(1, 30) n")
    run.until_marked()

    told(source, run, "/")

    (commit,) = [commit for commit in source.history().commits if commit.xid == xid]
    assert len(commit.seqs) > 3
    assert [by["user"] for by in amends_of(source, xid)] == ["ann"]
    run.until_snapshots()
    run.terminate()
    source.check()
