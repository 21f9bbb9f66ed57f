"""Acts 6 and 7: the worker is killed while requests go on, and copies of the log are changed."""

import shutil
import time
from collections import Counter
from contextlib import closing
from decimal import Decimal

import orjson

from ...drivers import session
from ...schemas.record import Record
from ..log.headfile import DurableHead
from ..log.location import Location
from ..log.segment import segment_name
from . import forgery
from .forking import check_fork
from .history import Commit, commit_of, prove, read_commits
from .play import Catchup, Play, Steady, since_request
from .shop_stores import open_store
from .traffic import REQUESTS_PER_SECOND, Traffic

STEADY_S, BEFORE_S, DOWN_S, AFTER_S = 3.0, 0.5, 1.0, 0.5
IMPORT_TRANSACTIONS, IMPORT_ROWS = 1000, 20
CATCH_UP_S = 40.0


def kill_worker(play: Play) -> None:
    """Kill the worker in mid-stream, start it again, and count."""
    stage, screen = play.stage, play.screen
    screen.say(
        f"All three users place and pay orders, {REQUESTS_PER_SECOND} requests a second each. In the middle of it the"
        " worker is killed. The shop does"
        " not notice: requests go on, and a nightly job imports customers. Then the worker is started again."
    )
    screen.gap()
    with Traffic(stage.users) as traffic:
        steady = traffic.go_on(STEADY_S)
        # What is committed at the moment of the kill waits for the next worker, which says nothing of a steady one.
        traffic.go_on(BEFORE_S)
        head = stage.reader.head()
        stage.worker.kill()
        killed = time.time()
        screen.event(f"kill -9 {stage.worker.pid}", f"the worker, at record {head.seq}")
        import_customers(stage.url)
        # Long enough that some commits were surely missed, however coarse their times are.
        traffic.go_on(DOWN_S + stage.engine.clock_s)
        rows = IMPORT_TRANSACTIONS * IMPORT_ROWS
        screen.event("no worker", f"{len(traffic.answers):,} requests answered so far, {rows:,} customers imported")
        restarted = time.time()
        stage.start_worker()
        screen.event("commitlog run &", f"a new worker, pid {stage.worker.pid}")
        traffic.go_on(AFTER_S)
    traffic.check()
    play.writes += traffic.answers
    last = stage.users[0].do("PUT", f"/orders/{play.order}/status", {"status": "packed"})
    play.writes.append(last)
    play.await_logged([last], CATCH_UP_S)
    seen, clock_s = stage.follower.seen, stage.engine.clock_s
    play.steady = Steady.measure(since_request(seen, traffic.answers) if clock_s else seen, *steady)
    play.catchup = Catchup.measure(seen, killed, restarted, clock_s=clock_s)
    _prove_exactly_once(play, read_commits(stage.reader))
    screen.say("The fork was away as well. It goes on where it stood:")
    stage.shell.run("fork", play.log, "--into", stage.target, "--once")
    check_fork(play)
    screen.proof("What the worker had missed has reached the fork, once: every published row is equal again.")


def import_customers(url: str) -> None:
    """Write as a job that no request stands behind: it binds a session of its own, so its commits say which run made them."""
    customers = [(f"Customer {n}", f"c{n}@example.com") for n in range(IMPORT_ROWS)]
    with session.bind(request="import-1"), closing(open_store(url)) as store:
        for _ in range(IMPORT_TRANSACTIONS):
            store.add_customers(customers)


def _prove_exactly_once(play: Play, commits: list[Commit]) -> None:
    screen = play.screen
    screen.gap()
    requests = Counter(commit.request for commit in commits)
    for answer in play.writes:
        prove(
            requests[answer.request] == 1, f"request {answer.request} has {requests[answer.request]} commits, not one"
        )
    screen.proof(f"Nothing lost: each of the {len(play.writes):,} requests that wrote so far has its one commit.")
    engine, url = play.stage.engine, play.stage.url
    orders, customers = engine.ids(url, "orders"), engine.ids(url, "customers", above=3)
    for entity, ids in (("Order", orders), ("Customer", customers)):
        wanted = Counter(engine.recorded(number) for number in ids)
        prove(_inserted(commits, entity) == wanted, f"each {entity} of the database is in the log, once")
    screen.proof(
        f"Nothing twice: the ids of {len(orders):,} orders and {len(customers):,} imported customers, compared with the"
        " database, stand in the log once each."
    )


def _inserted(commits: list[Commit], entity: str) -> Counter[object]:
    """How often each number of an entity was inserted."""
    changes = [change for commit in commits for change in commit.changes]
    inserted = [change for change in changes if (change["op"], change.get("entity")) == ("insert", entity)]
    return Counter(value for change in inserted for value in change["key"].values())


def change_copies(play: Play) -> None:
    """Verify the log against its head; then change two copies of it."""
    stage, screen, shell = play.stage, play.screen, play.stage.shell
    head = stage.reader.head()
    screen.say(
        "A log's head, its last seq and hash, stands for all of it. Whoever noted it down can later check any copy, on"
        " any machine, without trusting who made it."
    )
    shell.run("verify", "--head", str(head))
    victim = commit_of(stage.reader, play.fields["total"].request)
    total = b'"total":' + orjson.dumps(stage.engine.recorded(Decimal(play.total)))

    screen.say(f"A copy in which one byte is not what it was: the total of order {play.order}, record {victim.seq}.")
    copy = _copy(play, "copy-1")
    forgery.change_byte(copy, victim.seq, total, total.replace(b"0", b"1", 1))
    said = shell.run("verify", f"file:{copy.folder.name}#{copy.name}", code=3).text
    prove(f"record {victim.seq}" in said, f"verify names record {victim.seq}")

    screen.say(
        "A copy rewritten with care: the same total, and every hash after it computed anew. It holds together. It"
        " is not the log of that head."
    )
    copy = _copy(play, "copy-2")
    forgery.rewrite(copy, victim.seq, total, total.replace(b"0", b"1", 1))
    shell.run("verify", f"file:{copy.folder.name}#{copy.name}")
    said = shell.run("verify", f"file:{copy.folder.name}#{copy.name}", "--head", str(head), code=3).text
    prove(head.hash in said, "verify names the head that is broken")
    screen.gap()
    screen.proof(f"Exit code 3 both times: once record {victim.seq} is named, once the head.")


def _copy(play: Play, name: str) -> Location:
    """A copy of the log in a folder: its records and its head, as rsync would make it, or any consumer of its topic."""
    source, copy = play.stage.location, Location(play.stage.folder / name, play.stage.location.name)
    copy.root.mkdir(parents=True)
    if isinstance(source, Location):
        shutil.copy(source.head, copy.head)
        shutil.copytree(source.segments, copy.segments)
        return copy
    copy.segments.mkdir()
    head, segment = play.stage.reader.head(), segment_name(0)
    lines = b"".join(_line(record) for record in play.stage.reader.records(until=head.seq))
    (copy.segments / segment).write_bytes(lines)
    copy.head.write_bytes(DurableHead(head, segment, len(lines)).encode())
    return copy


def _line(record: Record) -> bytes:
    return b'{"header":%b,"body":%b,"recorded":"%b"}\n' % (
        record.header_bytes,
        record.body_bytes,
        record.recorded.encode(),
    )
