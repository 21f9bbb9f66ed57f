"""Act 5: the shop's published data in a database of somebody else's, made from the log alone and kept up to date."""

from .history import prove
from .play import Play
from .processes import await_true
from .stage import Stage


def fork_data(play: Play) -> None:
    """Make a fork, change the source meanwhile, and compare."""
    stage, screen, shell = play.stage, play.screen, play.stage.shell
    ann, ben, cleo = stage.users
    screen.say(
        "Somebody else wants the shop's data in a database of their own. The fork reads the log and never the source: first"
        " the snapshot that the worker took of what was there before, then every commit since, then what comes."
    )
    stage.create_fork_database()
    following = shell.start("fork", play.log, "--into", stage.target, "--yes")
    try:
        following.await_texts([": following"], processes=[stage.worker])
        screen.say("The shop goes on meanwhile, and so does the fork:")
        placed = ann.order(3, {1: 2})
        cancelled = cleo.do("POST", f"/orders/{placed.id}/cancel")
        email = ben.do("PUT", "/customers/3/email", {"email": "kim.sato@example.com"})
        delivery = cleo.do("PUT", f"/orders/{play.order}/delivery", {"deliver_on": "2026-12-03"}, canary=True)
        play.tell([placed, cancelled, email, delivery])
        play.fields["deliver_on"] = delivery
        await_true("the fork has the last request's change", lambda: _is_equal(stage))
    finally:
        following.interrupt()
    check_fork(play)
    screen.proof("Made from the log alone; snapshot, later commits and live changes: every published row is equal.")


def check_fork(play: Play) -> None:
    """Compare every row of the fork with the source's, by the command and by our own reading."""
    stage, shell = play.stage, play.stage.shell
    shell.run("fork", "status", "--into", stage.target, "--check", stage.source)
    prove(_is_equal(stage), "the fork's rows are the source's")
    play.screen.gap()


def _is_equal(stage: Stage) -> bool:
    return stage.engine.published(stage.url) == stage.engine.published(stage.fork_url)
