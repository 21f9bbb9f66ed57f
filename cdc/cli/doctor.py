"""`commitlog doctor`: what keeps the guarantees from holding, and what to do about it."""

from typing import TYPE_CHECKING

import click

from ...schemas.errors import CommitLogError
from ..app_schemas.files import load_registry
from .options import Invocation, json_option, pass_invocation, source_option
from .output import Output

if TYPE_CHECKING:
    from ..doctor.finding import Finding

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


@click.command()
@source_option
@json_option
@pass_invocation
def command(invocation: Invocation, as_json: bool) -> int:
    """Check every setting that the guarantees need, and change nothing.

    Exit code 0 when all is well, 1 with warnings, 4 when the worker would refuse to run, 5 when the source does not answer. With
    --json each line is {"level", "what", "hint"}, the form of schemas/doctor.schema.json.
    """
    # Loaded here only: a `--help` needs no driver.
    from ..doctor.examination import examine
    from ..doctor.finding import Finding

    config, output = invocation.load(), Output(as_json=as_json)
    levels: set[str] = set()
    try:
        for finding in examine(config, load_registry(config.schemas.path)):
            levels.add(finding.level)
            _print(output, finding)
    except CommitLogError as exc:
        if as_json:
            _print(output, Finding("error", str(exc), exc.hint))
        raise
    return 4 if "error" in levels else 1 if "warning" in levels else 0


def _print(output: Output, finding: "Finding") -> None:
    if output.as_json:
        output.document({"level": finding.level, "what": finding.what, "hint": finding.hint})
        return
    output.line(f"{finding.level:8} {finding.what}", _STYLES[finding.level])
    if finding.hint:
        output.line(f"{'':8} try: {finding.hint}")
