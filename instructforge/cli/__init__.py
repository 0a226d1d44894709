"""The command line. Its commands are known by name here and imported when they are called.

Exit codes: 0 done; 1 the work failed or a gate was missed; 2 wrong usage or configuration. Errors that
are meant for people are shown without a traceback; ``--debug`` shows it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from instructforge import __version__
from instructforge.cli.options import State
from instructforge.cli.output import say_error
from instructforge.errors import ConfigError, InstructForgeError, MissingDependencyError, UnknownNameError
from instructforge.extras import extra_of

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Run": {
        "quickstart": ("quickstart:quickstart", "Build, train, predict and evaluate on the data that comes along."),
        "run": ("stages:run", "Carry a recipe through every stage."),
        "build": ("stages:build", "Turn raw files into instructions."),
        "train": ("stages:train", "Fine-tune a model on instructions."),
        "predict": ("stages:predict", "Answer instructions with a trained model."),
        "evaluate": ("stages:evaluate", "Score predictions and write the report."),
        "export": ("export:export", "Write instructions in other projects' formats."),
    },
    "Discover": {
        "tasks": ("tasks:tasks", "List the tasks, or show one task's card."),
        "templates": ("templates:templates", "List templates, lint them, or preview them on rows."),
        "normalizers": ("listings:normalizers", "List what turns raw rows into examples."),
        "readers": ("listings:readers", "List the file formats that can be read."),
        "trainers": ("listings:trainers", "List the trainers."),
        "decoders": ("listings:decoders", "List what reads answers out of a model's output."),
        "metrics": ("listings:metrics", "List the metrics."),
        "exporters": ("listings:exporters", "List the formats that can be written."),
        "models": ("models:models", "List the models known by name, and fetch them."),
        "plugins": ("plugins:plugins", "List the plugins, and those that were left out."),
    },
    "Look": {
        "render": ("render:render", "Show instructions without a model."),
        "mask": ("mask:mask", "Show which tokens of an instruction are trained."),
        "doctor": ("doctor:doctor", "Tell what is installed, what is missing and how to mend it."),
    },
    "Write": {
        "new": ("new:new", "Write a plugin to start from."),
        "check": ("check:check", "Prove that plugins keep the contract."),
        "import": ("importing:import_", "Turn promptsource's templates or lm-eval's tasks into a plugin."),
    },
}
"""Every command: its module and attribute below this package, and its one line of help."""

_TABLE = {name: entry for section in COMMANDS.values() for name, entry in section.items()}


class LazyGroup(click.Group):
    """A group that imports a command when it is called, and lists all of them without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_TABLE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _TABLE:
            return None
        module, _, attribute = _TABLE[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _TABLE and not args[0].startswith("-"):
            raise click.UsageError(str(UnknownNameError("command", args[0], _TABLE)), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()], col_max=12)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InstructForgeError as error:
            _show(error, ctx)
        except OSError as error:  # no room, no rights, a file where a folder should be
            if error.filename is None:
                raise
            _show(InstructForgeError(f'"{error.filename}": {error.strerror}'), ctx)
        except ModuleNotFoundError as error:
            extra = extra_of(error.name)
            if extra is None:
                raise
            _show(MissingDependencyError(f'"{error.name}"', extra=extra), ctx)


def _show(error: InstructForgeError, ctx: click.Context) -> None:
    """Show an error to a person, and leave with its exit code."""
    if ctx.params.get("debug"):
        raise error
    say_error(str(error))
    ctx.exit(2 if isinstance(error, (ConfigError, UnknownNameError)) else 1)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="instructforge")
@click.option("--disable", multiple=True, metavar="NAME", help="Leave out a plugin, or all plugins of a distribution.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def main(ctx: click.Context, disable: tuple[str, ...], debug: bool) -> None:
    """From raw task data to instructions, fine-tuned parameters, decoded answers and scores."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # data may hold what the terminal's encoding cannot say
            stream.reconfigure(errors="backslashreplace")
    names = [name.strip() for given in disable for name in given.split(",")]
    ctx.obj = State(disabled=tuple(filter(None, names)), debug=debug)
