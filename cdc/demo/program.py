"""The demo from its first line to its last: what runs, the acts, the figures, and the reader's own way on."""

import shlex
import signal

from .engine import Engine
from .forking import fork_data
from .interrupt import interruptible
from .play import Play
from .screen import Screen
from .stage import SOURCE_VARIABLE, TARGET_VARIABLE, USERS, Stage
from .story import blame_order, deploy_second_build, show_commits, write_raw
from .trials import change_copies, kill_worker

ACTS = (
    ("Commits as they land", show_commits),
    ("A raw write is shown as untagged, not guessed", write_raw),
    ("A second build, with a new field and its own app schema", deploy_second_build),
    ("One order, field by field", blame_order),
    ("A fork of the data, kept up to date", fork_data),
    ("The worker is killed in mid-stream", kill_worker),
    ("A copy with a changed byte, and a copy rewritten with care", change_copies),
)


def run(screen: Screen, engine: Engine, *, keep: bool = False, kafka: bool = False) -> None:
    """Play the demo; whatever happens, nothing of it is left behind.

    Args:
        screen: Where it speaks.
        engine: The database's.
        keep: After the last act leave everything running until Ctrl-C.
        kafka: With the log on Kafka.

    Raises:
        DemoFailed: Something did not do what it must, or a proof does not hold.
        CommitLogError: No server could be had.
        KeyboardInterrupt: The demo was told to end.
    """
    with interruptible():
        screen.title("commitlog: who changed this row, in which request, with which build")
        screen.say(
            "A shop with a database, a mesh in front of it, and a worker that writes the log. All of it is real and runs"
            " on this machine. It is gone when the demo ends."
        )
        _fetch(screen, engine)
        with Stage(screen, engine, kafka=kafka) as stage:
            play = Play(stage, screen)
            _prepare(play)
            for title, act in ACTS:
                screen.act(title)
                act(play)
            _sum_up(play)
            screen.end("demo ok")
            if keep:
                _keep(play)


def _fetch(screen: Screen, engine: Engine) -> None:
    """Fetch the server where it is not there yet, and say so: it may take minutes."""
    with screen.told_of("commitlog.servers"):
        engine.fetch()


def _prepare(play: Play) -> None:
    stage, screen = play.stage, play.screen
    screen.gap()
    screen.fact("database", f"{stage.engine.title} {stage.server.version} at {stage.server_place}{stage.aside}")
    screen.fact(
        "shop",
        f"version 1.4.0 at 127.0.0.1:{stage.ports['stable']}, with the wrapped {stage.engine.driver} and the middleware",
    )
    screen.fact("mesh", f"127.0.0.1:{stage.mesh_port}, knows {', '.join(USERS)} by their tokens")
    if stage.on_kafka:
        screen.fact("log", f"{stage.log}, on Kafka")
    screen.fact("files", str(stage.folder))
    # Where init would draft one: the shop has said already what its data looks like.
    stage.give(1, f"schemas/{stage.database}.yaml")
    stage.shell.run("init", stage.source, *(["--log", stage.log.partition("#")[0]] if stage.on_kafka else []))
    stage.shell.run("setup")
    screen.command("commitlog run &")
    stage.start_worker()
    stage.start_follower()


def _sum_up(play: Play) -> None:
    screen, seen, engine = play.screen, play.stage.follower.seen, play.stage.engine
    steady, catchup = play.steady, play.catchup
    assert steady is not None
    assert catchup is not None
    screen.part("In figures")
    screen.gap()
    head = play.stage.reader.head()
    rows = sum(commit.rows for commit in seen)
    # The request is earlier: nothing is made better than it is.
    start = f"the request ({engine.title} notes COMMITs by the second)" if engine.clock_s else "COMMIT"
    screen.fact("the log", f"{len(seen):,} commits with {rows:,} rows in {head.seq + 1:,} records")
    screen.fact("latency", f"p50 {steady.p50_ms:.1f} ms, p99 {steady.p99_ms:.1f} ms from {start} to readable")
    screen.fact("", f"at {steady.commits:,.0f} commits/s and {steady.rows:,.0f} rows/s from {len(USERS)} users")
    rate = catchup.rows / catchup.seconds
    screen.fact("catching up", f"{rate:,.0f} rows/s: {catchup.rows:,} rows in {catchup.seconds:.2f} s after the kill")
    screen.part("Your own way on")
    screen.say("In the app, one import, and the middleware around it (WSGI or ASGI):")
    screen.code(
        f"{f'from commitlog.drivers import {engine.driver}':<48} # was: import {engine.driver}",
        "from commitlog.drivers.wsgi import CommitLogMiddleware",
        "app = CommitLogMiddleware(app)",
    )
    screen.say("Beside its database:")
    screen.code(
        f"pip install 'commitlog-cdc[worker,{engine.extra}{',kafka' if play.stage.on_kafka else ''}]'",
        f"commitlog init {engine.example}{' --log kafka://HOST/PREFIX' if play.stage.on_kafka else ''}",
        "# read the app schema that it drafts: schemas/DATABASE.yaml",
        "commitlog doctor",
        "commitlog setup",
        "commitlog run",
    )


def _keep(play: Play) -> None:
    """Wait for Ctrl-C, which then ends the demo well."""
    stage, screen = play.stage, play.screen
    screen.say("Everything is still running. Look around in another terminal; Ctrl-C here ends and removes it all.")
    variable = stage.engine.password_variable
    exports = (
        {variable: stage.env.get(variable)}
        if variable
        else {SOURCE_VARIABLE: stage.source, TARGET_VARIABLE: stage.target}
    )
    request = f"http://127.0.0.1:{stage.mesh_port}/orders/{play.order}/status"
    token = next(iter(stage.tokens))
    screen.code(
        f"cd {stage.folder}",
        *(f"export {name}={shlex.quote(value)}" for name, value in exports.items() if value),
        "commitlog log --follow",
        f"commitlog sessions import mesh/{stage.access_log.name}",
        stage.engine.client(stage.url),
        f"curl -X PUT -H 'authorization: Bearer {token}' -d '{{\"status\": \"sent\"}}' {request}",
    )
    try:
        signal.pause()
    except KeyboardInterrupt:
        return
