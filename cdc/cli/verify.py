"""`commitlog verify`: does a log hold together, and is it the one whose head is known?"""

from contextlib import closing
from functools import partial

import click

from ...schemas.errors import UsageError, VerificationFailed
from ...schemas.record import Head
from ..log.home import LogLocation, open_reader, parse_location
from ..log.verify import Verified, verify
from .options import Invocation, json_option, pass_invocation
from .output import Output, note
from .progress import bar


@click.command()
@click.argument("log", required=False)
@click.option("--log", "option", metavar="LOG", help="The same, as other commands take it.")
@click.option("--head", metavar="SEQ:HASH", help="A head learned elsewhere, which the log must hold.")
@json_option
@pass_invocation
def command(invocation: Invocation, log: str | None, option: str | None, head: str | None, as_json: bool) -> int:
    """Check every record of LOG (file:FOLDER#NAME), by default the configured log.

    Names the first record that fails, or the head, with exit code 3. Without --head it proves that the log is consistent; only
    with a head learned elsewhere that it is the log of that head.
    """
    if log and option and log != option:
        raise UsageError("two logs are named", hint="one at a time")
    named = log or option
    location = parse_location(named) if named else _configured(invocation)
    trusted = Head.parse(head) if head else None
    output = Output(as_json=as_json)
    try:
        with bar("records") as shown, closing(open_reader(location)) as reader:
            verified = verify(reader, head=trusted, progress=partial(shown.tell, "verifying"))
    except VerificationFailed as exc:
        if as_json:
            output.document({"ok": False, "log": str(location), "seq": exc.seq, "error": str(exc)})
        exc.hint = exc.hint or "put it back from a copy that verifies, against a head that you trust (--head)"
        raise
    if as_json:
        output.document(_document(location, verified))
    else:
        _print(output, location, verified)
    if reader.passed:
        note(f"{reader.passed} messages of its topic are not records of this log, and were passed over")
    return 0


def _configured(invocation: Invocation) -> LogLocation:
    return invocation.load("log").log.location


def _document(location: LogLocation, verified: Verified) -> dict[str, object]:
    return {
        "ok": True,
        "log": str(location),
        "id": verified.log,
        "head": {"seq": verified.head.seq, "hash": verified.head.hash},
        "records": verified.records,
        "commits": verified.commits,
        "hidden": verified.hidden,
        "unfinished": verified.unfinished,
        "against": str(verified.against) if verified.against else None,
    }


def _print(output: Output, location: LogLocation, verified: Verified) -> None:
    output.line(
        f"{location}: {verified.records} records, {verified.commits} commits, all as they were chained", "green"
    )
    output.line(f"head {verified.head}")
    if verified.hidden:
        output.line(f"{verified.hidden} records do not show their body whole; what they show is proven")
    if verified.unfinished:
        output.line(
            f"records {verified.unfinished[0]} to {verified.unfinished[1]} are parts of a commit not finished yet"
        )
    if verified.against:
        output.line(f"it holds record {verified.against}: up to there it is the log of that head")
    else:
        note(
            "this log is consistent; that it is the one its writer wrote, only --head with a head learned elsewhere shows"
        )
