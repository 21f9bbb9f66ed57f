"""What commands share: where the configuration is, and the flags that go over it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from ...schemas.errors import UsageError
from .. import config

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Invocation:
    """One run of `commitlog`: what its flags say of the configuration.

    Args:
        config_path: `--config`, or None.
        overrides: `{"source.url": …}` from other flags.
    """

    config_path: str | None = None
    overrides: dict[str, object] = field(default_factory=dict[str, object])

    def load(self, *need: str) -> config.Config:
        """Read the configuration; `need` names the sections that must be filled, by default source and log.

        Raises:
            UsageError: As `config.load`.
        """
        return config.load(self.config_path, self.overrides, need=need or ("source", "log"))


def ask(question: str, *, yes: bool) -> None:
    """Go on only with somebody's consent.

    Args:
        question: Asked on stderr.
        yes: It was given beforehand, by --yes.

    Raises:
        UsageError: Nobody is there to be asked.
        click.Abort: The answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked", hint="--yes")
    click.confirm(question, abort=True, err=True)


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)
"""Decorator: hands the Invocation to a command as its first argument."""


def config_option() -> click.Option:
    """`--config PATH`, which every command takes, before or after its name."""

    def keep(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.ensure_object(Invocation).config_path = value

    return click.Option(
        ["--config"],
        metavar="PATH",
        envvar="COMMITLOG_CONFIG",
        expose_value=False,
        callback=keep,
        help=f"The configuration file. Default: $COMMITLOG_CONFIG, or {config.FILE_NAME} here.",
    )


def _override(flag: str, key: str, *, metavar: str, text: str) -> Callable[[F], F]:
    def keep(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.ensure_object(Invocation).overrides[key] = value

    return click.option(flag, metavar=metavar, expose_value=False, callback=keep, help=text)


def log_option(function: F) -> F:
    """`--log file:FOLDER#NAME` instead of the configured log."""
    return _override(
        "--log", "log.url", metavar="LOG", text="The log, file:FOLDER#NAME, instead of the configured one."
    )(function)


def source_option(function: F) -> F:
    """`--source URL` instead of the configured source."""
    return _override(
        "--source", "source.url", metavar="URL", text="The source, postgresql://…, instead of the configured one."
    )(function)


def into_option(function: F) -> F:
    """`--into URL`, given to the command as `url`."""
    text = "The fork's database: postgresql://…, mysql://…, mariadb://… or mongodb://…."
    return click.option("--into", "url", metavar="URL", required=True, help=text)(function)


def json_option(function: F) -> F:
    """`--json`, given to the command as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, one document a line.")(function)
