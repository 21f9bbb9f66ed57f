"""The commands of `commitlog` by name, each in a module of its own that is imported when it is run."""

import difflib
import importlib
from typing import cast

import click

from ... import __version__
from ...schemas.errors import UsageError
from .options import Invocation, config_option
from .output import ReaderGone

COMMANDS = {
    "demo": "everything below on local servers, in one go",
    "init": "write a commented commitlog.toml for a database",
    "doctor": "check every setting that the guarantees need, change nothing",
    "setup": "create publication and slot, and set what is needed",
    "teardown": "drop publication and slot",
    "run": "run the worker: tail the source, write the log",
    "log": "list commits, of all, an entity or one row",
    "show": "one record in full",
    "blame": "who last wrote each field of a row, in which request, with which build",
    "diff": "what changed between two places of the log",
    "verify": "check a log, or a copy against a head learned elsewhere",
    "status": "where the worker, the source and the log stand",
    "resume": "go on after lost history, by your order",
    "schema": "app schemas: draft, check, add, list",
    "sessions": "session records of the mesh: import, list",
    "fork": "a copy of the data in a database of your own, kept up to date",
    "conflicts": "where a fork and its upstream disagree",
}
"""Name to summary. The module of the same name beside this one holds it as `command`."""


class Group(click.Group):
    """A group whose help stands for no arguments, and which knows the nearest name for a mistyped one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        names = self.list_commands(ctx)
        if name not in names and not name.startswith("-"):
            near = difflib.get_close_matches(name, names, 1, 0.5)
            hint = f"{ctx.command_path} {near[0] if near else '--help'}"
            raise UsageError(f"there is no command {ctx.command_path} {name}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.summary(name)) for name in self.list_commands(ctx) if self.summary(name)])

    def summary(self, name: str) -> str:
        """The first sentence of a command's help, whole; empty where it is hidden."""
        command = self.commands[name]
        return "" if command.hidden else " ".join((command.help or "").split()).partition(". ")[0].rstrip(".")


class _Commands(Group):
    """The commands of `COMMANDS`, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = cast(click.Command, importlib.import_module(f".{cmd_name}", __package__).command)
        _add_config_option(command)
        return command

    def summary(self, name: str) -> str:
        return COMMANDS[name]

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as exc:
            # click would end the process with code 1, which means findings.
            raise ReaderGone from exc


def _add_config_option(command: click.Command) -> None:
    if any(parameter.name == "config" for parameter in command.params):
        return
    command.params.append(config_option())
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _add_config_option(child)


@click.group(cls=_Commands, name="commitlog", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="commitlog %(version)s")
@click.pass_context
def group(ctx: click.Context) -> None:
    """A verifiable history of the databases of running applications.

    Exit codes: 0 done, 1 done with open conflicts or findings, 2 usage, 3 history lost or verification failed, 4 refused,
    5 unreachable.
    """
    ctx.ensure_object(Invocation)


group.params.append(config_option())


def run(argv: list[str]) -> int:
    """Run a command and return its exit code: what it returns, or 0.

    Raises:
        UsageError: The arguments are not what the command takes.
        CommitLogError: What the command raised.
    """
    try:
        code = group.main(argv, prog_name="commitlog", standalone_mode=False)
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as exc:
        raise _usage_error(exc) from exc
    return code if isinstance(code, int) else 0


def _usage_error(exc: click.ClickException) -> UsageError:
    context = exc.ctx if isinstance(exc, click.UsageError) else None
    # What a group does by default has a name that nobody writes.
    context = context.parent if context and context.command.hidden else context
    path = context.command_path if context else "commitlog"
    if isinstance(exc, click.NoSuchOption):
        near = exc.possibilities or _children_with(context, exc.option_name) or ["--help"]
        return UsageError(f"{path} has no option {exc.option_name}", hint=f"{path} {near[0]}")
    message = exc.format_message().rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint=f"{path} --help")


def _children_with(context: click.Context | None, option: str) -> list[str]:
    """The commands of a group, if it is one, that have the option, each followed by it."""
    command = context.command if context else None
    children = command.commands.values() if isinstance(command, Group) else ()
    return [f"{child.name} {option}" for child in children if any(option in each.opts for each in child.params)]
