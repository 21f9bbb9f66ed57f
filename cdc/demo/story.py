"""Acts 1 to 4: commits with who, request and build; an untagged write; two builds in one log; one order, field by field."""

import time

from .engine import Engine
from .history import Commit, commit_of, prove, read_commits
from .play import Play
from .processes import await_true
from .user import Answer

PACE_S = 0.3
"""Between two requests, for those who watch."""


def show_commits(play: Play) -> None:
    """Requests of three users become commits; their names come from the mesh alone."""
    stage, screen, shell = play.stage, play.screen, play.stage.shell
    screen.say(
        "Ann, Ben and Cleo use the shop. The mesh knows them by their tokens and gives each request an id; the shop"
        " sees the id and never learns a name. This is its log, as it grows:"
    )
    following = shell.start("log", "--follow")
    try:
        writes, others = _shopping(play)
        following.await_texts([answer.request for answer in writes], processes=[stage.worker])
    finally:
        following.interrupt()
    play.writes += writes

    screen.say("The mesh's access log says who sent each request. It comes later, and the commits are amended:")
    import_sessions(play)
    shell.run("log", "--oneline")
    screen.gap()
    commits = {answer.request: commit_of(stage.reader, answer.request) for answer in writes}
    prove(all("user" not in commit.claimed for commit in commits.values()), "no tag of the shop names a user")
    prove(
        all(commits[a.request].by["user"] == a.user and commits[a.request].by["assurance"] == 2 for a in writes),
        "each commit names the user who sent its request",
    )
    screen.proof(f"{len(writes)} requests wrote, and each has one commit with its request, its build and its rows.")
    screen.proof(
        "Each commit has the user who sent its request, and no tag of the shop has one: the mesh's log told it."
    )
    known = {commit.request for commit in read_commits(stage.reader)}
    prove(not known & {answer.request for answer in others}, "what wrote nothing has no commit")
    screen.proof("One request only read, one was refused and rolled back: neither is in the log.")


def _shopping(play: Play) -> tuple[list[Answer], list[Answer]]:
    """The requests of act 1: (those that wrote, those that did not)."""
    ann, ben, cleo = play.stage.users
    first = ann.order(1, {1: 1, 2: 4}, "ring twice")
    play.order, play.total = first.id, str(first.document["total"])
    play.fields = dict.fromkeys(play.stage.engine.order, first)
    time.sleep(PACE_S)
    second = ben.order(2, {3: 2})
    time.sleep(PACE_S)
    read = ann.do("GET", f"/orders/{first.id}")
    refused = ben.ask("POST", "/orders", {"customer": 2, "lines": [{"product": 4, "quantity": 9}]})
    prove(refused.status == 409, "nine trays are refused: there are three")
    paid = ben.do("PUT", f"/orders/{first.id}/status", {"status": "paid"})
    play.fields["status"] = paid
    time.sleep(PACE_S)
    email = ann.do("PUT", "/customers/1/email", {"email": "ida.holm@example.com"})
    time.sleep(PACE_S)
    cancelled = cleo.do("POST", f"/orders/{second.id}/cancel")
    return [first, second, paid, email, cancelled], [read, refused]


def import_sessions(play: Play) -> None:
    """Import what the mesh has logged so far, and wait until every commit of a request has its user."""
    stage = play.stage
    stage.shell.run("sessions", "import", f"mesh/{stage.access_log.name}")

    def users() -> dict[str, object]:
        return {commit.request: commit.by.get("user") for commit in read_commits(stage.reader)}

    wanted = {answer.request: answer.user for answer in play.writes}
    await_true("the commits have their users", lambda: wanted.items() <= users().items(), processes=[stage.worker])


def write_raw(play: Play) -> None:
    """A write without the wrapper has no tag, and nobody guesses one."""
    stage, screen, shell = play.stage, play.screen, play.stage.shell
    screen.say("Somebody counts the trays and corrects the stock by hand, past the shop:")
    screen.code(stage.engine.stock_statement)
    before = len(read_commits(stage.reader))
    stage.engine.execute(stage.url, stage.engine.stock_statement)
    await_true("the write is in the log", lambda: len(read_commits(stage.reader)) > before, processes=[stage.worker])
    shell.run("log", "--limit", "1")
    commit = read_commits(stage.reader)[-1]
    prove(not commit.by, "the commit has no provenance")
    prove(commit.changes[0]["after"] == {"stock": stage.engine.recorded(50)}, "the commit has the change")
    screen.gap()
    screen.proof("The change is recorded, from 3 to 50, and its commit says: untagged. Nobody is made up for it.")


def deploy_second_build(play: Play) -> None:
    """A second build with a new field and its own app schema, beside the first, in one log."""
    stage, screen, shell = play.stage, play.screen, play.stage.shell
    ann, _, cleo = stage.users
    column, statement = stage.engine.column, stage.engine.delivery_statement
    screen.say(f"Version 2 of the shop knows a day of delivery: a new {column}, and an app schema of its own.")
    if statement:
        screen.code(statement)
        stage.engine.execute(stage.url, statement)
    stage.give(2, "shop_2.yaml")
    shell.run("schema", "add", "shop_2.yaml")
    stage.route("canary", stage.start_shop("shop_2", "2.0.0"))
    screen.say("It starts beside version 1. The mesh sends some requests to the new one, the others to the old one:")
    delivery = cleo.do("PUT", f"/orders/{play.order}/delivery", {"deliver_on": "2026-12-01"}, canary=True)
    note = ann.do("PUT", f"/orders/{play.order}/note", {"note": "ring once"})
    play.fields |= {"deliver_on": delivery, "note": note}
    play.tell([delivery, note])
    play.await_logged([delivery, note])
    import_sessions(play)
    shell.run("log", f"Order/{play.order}", "--limit", "2")
    new, old = commit_of(stage.reader, delivery.request), commit_of(stage.reader, note.request)
    _prove_two_builds(stage.engine, new, old)
    screen.gap()
    screen.proof(
        f"One log, two builds: record {new.seq} is of version 2.0.0, record {old.seq} after it of version 1.4.0."
    )
    screen.proof(f"Each was read by its own app schema; the new {column} is recorded for the build that knows it.")


def _prove_two_builds(engine: Engine, new: Commit, old: Commit) -> None:
    prove((new.by["version"], old.by["version"]) == ("2.0.0", "1.4.0"), "each commit names its version")
    prove(new.by["build"] != old.by["build"], "each commit names its build")
    prove(new.schema != old.schema, "each commit has its own app schema")
    prove((new.schema_by, old.schema_by) == ("version", "version"), "each schema was found by the version")
    delivery, note = engine.recorded("2026-12-01"), engine.recorded("ring once")
    prove(new.changes[0]["after"] == {"deliver_on": delivery}, f"the new {engine.column} is recorded")
    prove(old.changes[0]["after"] == {"note": note}, "the old build's change is recorded")


def blame_order(play: Play) -> None:
    """Every field of one order: who, in which request, with which build."""
    screen, shell = play.screen, play.stage.shell
    screen.say(f"Who last wrote each field of order {play.order}?")
    entity = f"Order/{play.order}"
    shell.run("blame", entity)
    told = {document["field"]: document["set_by"] for document in shell.documents("blame", entity)}
    prove(told.keys() == play.fields.keys(), "blame knows each field of the order")
    for field, answer in play.fields.items():
        set_by = told[field]
        prove((set_by["user"], set_by["request"]) == (answer.user, answer.request), f"{field} leads to who wrote it")
        prove(set_by["version"] == ("2.0.0" if field == "deliver_on" else "1.4.0"), f"{field} leads to its build")
    requests = {answer.request for answer in play.fields.values()}
    users = {answer.user for answer in play.fields.values()}
    screen.gap()
    screen.proof(
        f"All {len(told)} fields lead to the {len(requests)} requests that wrote them, by {len(users)} users with 2 builds,"
        " as those who sent the requests noted it."
    )
