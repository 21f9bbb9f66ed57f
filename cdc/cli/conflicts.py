"""`commitlog conflicts`: where a fork and its upstream disagree."""

from typing import Any

import click

from ...schemas.errors import UsageError
from ..log.row_key import format_key
from .commands import Group
from .options import into_option, json_option
from .output import Output, to_json


class _ConflictsGroup(Group):
    """`commitlog conflicts --into …` is `commitlog conflicts list --into …`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {"--config", *ctx.help_option_names}
        if args and args[0].startswith("-") and args[0].partition("=")[0] not in known:
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ConflictsGroup, name="conflicts", subcommand_metavar="[list] | show")
def command() -> None:
    """Where a fork and its upstream disagree. The fork keeps its own value until both agree again."""


@command.command("list")
@into_option
@click.option("--entity", metavar="ENTITY", default="", help="Only those of one entity.")
@click.option("--all", "closed", is_flag=True, help="Those that are settled, too.")
@json_option
def list_command(url: str, entity: str, closed: bool, as_json: bool) -> int:
    """List conflicts, oldest first. Exit code 1: some are open.

    With --json one document a line: id, status, kind, entity, key, field ("" for the whole row), base, ours, theirs, ours_by,
    theirs_by, commit, epoch, seq, error, at, closed_at.
    """
    output = Output(as_json=as_json)
    found = _found(url, closed=closed, entity=entity)
    rows = (
        found
        if as_json
        else [{**c, "row": _row(c), "field": c["field"] or "(row)", "by": _who(c["theirs_by"])} for c in found]
    )
    output.records(["id", "status", "kind", "row", "field", "seq", "by"], rows)
    return 1 if any(conflict["status"] == "open" for conflict in found) else 0


@command.command()
@click.argument("id")
@into_option
@json_option
def show(id: str, url: str, as_json: bool) -> None:  # noqa: A002 - click names it so
    """Show one conflict by its id, or the beginning of it."""
    output = Output(as_json=as_json)
    found = _found(url, closed=True, id_=id)
    if len(found) != 1:
        what = f"{len(found)} conflicts begin" if found else "no conflict begins"
        raise UsageError(f"{what} with {id!r}", hint="commitlog conflicts list --all --into …")
    conflict = found[0]
    if as_json:
        output.document(conflict)
        return
    output.line(f"conflict {conflict['id']} ({conflict['status']})", "bold")
    output.line(_sentence(conflict))
    for name in ("base", "ours", "theirs"):
        output.line(f"  {name:<7} {to_json(conflict[name])}")
    output.line(
        f"  theirs is of commit {conflict['commit']}, record {conflict['seq']}, by {_who(conflict['theirs_by'])}"
    )
    if conflict["error"]:
        output.line(f"  the database said: {conflict['error']}")


def _found(url: str, *, closed: bool, entity: str = "", id_: str = "") -> list[dict[str, Any]]:
    # Loaded here only: a `--help` needs no driver.
    from ..fork import status
    from ..fork.conflicts import listed
    from ..fork.targets import open_target

    with open_target(url) as target:
        status.require(target)
        return listed(target.memory, closed=closed, entity=entity, id_=id_)


def _row(conflict: dict[str, Any]) -> str:
    return f"{conflict['entity']}/{format_key(conflict['key'])}"


def _who(by: dict[str, Any] | None) -> str:
    """Who made a commit, as far as its provenance says."""
    if not by:
        return "nobody named"
    named = [str(by["user"])] if by.get("user") else []
    named += [f"{name} {by[name]}" for name in ("request", "build") if by.get(name)]
    return ", ".join(named) or "nobody named"


def _sentence(conflict: dict[str, Any]) -> str:
    """What happened, in one sentence."""
    row, field = _row(conflict), conflict["field"]
    match conflict["kind"]:
        case "update/update" | "insert/insert" if field:
            return f"{row}.{field} was changed here, and upstream changed it, too; ours stands."
        case "update/delete":
            return f"{row} is not here any more, and upstream changed it; it stays away."
        case "delete/update":
            return f"{row} was changed here, and upstream deleted it; ours stands."
        case kind:
            return f"{row} cannot be what upstream says: the database refused it ({kind})."
