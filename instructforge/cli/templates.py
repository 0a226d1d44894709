"""``instructforge templates``: what is there, by path; ``lint`` and ``preview`` look at templates more closely."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from instructforge.cli.options import json_option, pass_forge
from instructforge.cli.output import say, say_json, say_notice, say_table
from instructforge.errors import ConfigError, DataError, TemplateError, UnknownNameError

if TYPE_CHECKING:
    from instructforge.data import Example
    from instructforge.linting import LintReport
    from instructforge.plugins import Forge
    from instructforge.tasks import Task
    from instructforge.templates import Template

__all__ = ["templates"]

_MOST_ROWS = 200


class _ListByDefault(click.Group):
    """A group whose command is ``list`` where none is named: ``instructforge templates nli``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("--help", "-h")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListByDefault)
def templates() -> None:
    """List templates, lint them, or show what they make of rows."""


@templates.command("list")
@click.argument("task", required=False)
@click.option("--language", metavar="CODE", help="Only templates in this language: en, zh …")
@json_option
@pass_forge
def listing(forge: Forge, task: str | None, language: str | None, as_json: bool) -> None:
    """List the templates of every task, or of TASK."""
    if task is not None:
        forge.tasks.get(task)  # an unknown name is an error, not an empty list
    refs = forge.templates.refs(task, language)
    if as_json:
        rows = [
            {"key": ref.key, "task": ref.task, "language": ref.language, "name": ref.name}
            | {"path": str(ref.path), "plugin": ref.owner}
            for ref in refs
        ]
        say_json("templates/1", {"templates": rows})
    else:
        say_table(("template", "plugin"), [(ref.key, ref.owner) for ref in refs], empty="No templates.")


_ROW_OPTIONS = (
    click.option("--input", "inputs", multiple=True, metavar="FILE", help="Rows; the task's samples if left out."),
    click.option("--format", "reader", metavar="NAME", help="Reader, where the file leaves a choice."),
    click.option("--normalizer", metavar="NAME", help="Normalizer, where the rows leave a choice."),
    click.option("--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="Where a field stands."),
    click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the reader."),
    click.option("--constant", "constants", multiple=True, metavar="KEY=VALUE", help="In every row; @FILE is JSON."),
    click.option("--retrieve", metavar="FILE", help="Corpus from which rows that lack a passage get one."),
)


def _row_options(command: Any) -> Any:
    for option in reversed(_ROW_OPTIONS):
        command = option(command)
    return command


# --- lint ---------------------------------------------------------------------------------------------


@templates.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@_row_options
@click.option("--task", "task_name", metavar="NAME", help="Task of a file that lies in no <task>/<language> folder.")
@click.option("--language", metavar="CODE", help="Language of such a file.")
@click.option("--rows", "most", type=click.IntRange(1), default=_MOST_ROWS, show_default=True, help="Rows to render.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings, too.")
@json_option
@pass_forge
def lint(
    forge: Forge,
    targets: tuple[str, ...],
    inputs: tuple[str, ...],
    task_name: str | None,
    language: str | None,
    most: int,
    strict: bool,
    as_json: bool,
    **reading: Any,
) -> None:
    """Tell what is wrong, or may be, with templates.

    A TARGET is a task, a plugin, a template's key (qa/en/*), a .jinja file or a folder of templates. Templates are
    looked at by themselves and rendered on the task's samples, or on the rows of --input.
    """
    from instructforge.linting import lint as linted

    reports = []
    for task, chosen in _targets(forge, targets, task_name, language).items():
        found = forge.tasks.get(task)
        rows = _rows(forge, found, inputs, most, reading) if inputs else None
        reports.append(linted(forge, found, chosen, rows))
    if as_json:
        say_json("lint/1", {"tasks": [report.to_json() for report in reports]})
    else:
        for report in reports:
            _say_report(report)
    errors, warnings = (sum(report.count(level) for report in reports) for level in ("error", "warning"))
    if errors or (strict and warnings):
        click.get_current_context().exit(1)


def _say_report(report: LintReport) -> None:
    say(f"{report.task}: {len(report.templates)} templates on {report.rows} rows")
    for finding in report.findings:
        say(f"  {finding}")
    header = ("template", "rows", "left", "prompt: least, median, 95%, most", "completion")
    lines = [
        (part["template"], part["rows"], part["left"], _spread(part["prompt"]), _spread(part["completion"]))
        for part in report.lengths
    ]
    say_table(header, lines, empty="no template could be rendered")
    counts = ", ".join(f"{report.count(level)} {level}s" for level in ("error", "warning", "note"))
    say(f"{counts}\n")


def _spread(counts: list[int]) -> str:
    return " ".join(map(str, counts)) or "-"


def _targets(
    forge: Forge, targets: Iterable[str], task: str | None, language: str | None
) -> dict[str, list[str | Template]]:
    """Return the templates that are meant, by their task.

    Raises:
        UnknownNameError: A target is nothing that exists.
    """
    from fnmatch import fnmatchcase

    chosen: dict[str, list[str | Template]] = {}
    refs = forge.templates.refs()
    for target in targets:
        fitting = [ref for ref in refs if target in (ref.task, ref.owner) or fnmatchcase(ref.key, target)]
        if fitting:
            for ref in fitting:
                chosen.setdefault(ref.task, []).append(ref.key)
        elif Path(target).exists():
            for name, template in _of_path(forge, Path(target), task, language):
                chosen.setdefault(name, []).append(template)
        else:
            known = [*(ref.key for ref in refs), *forge.tasks, *(info.name for info in forge.plugins)]
            raise UnknownNameError("template, task, plugin or file", target, known)
    return {name: list(dict.fromkeys(given)) for name, given in chosen.items()}


def _of_path(forge: Forge, path: Path, task: str | None, language: str | None) -> Iterator[tuple[str, str | Template]]:
    """Yield the templates of a file or a folder that no plugin has registered."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*.jinja") if not file.is_symlink())
    if not files:
        raise ConfigError(f'"{path}" holds no template: a file whose name ends in .jinja')
    for file in files:
        if file.name.startswith("_"):
            continue  # a part of others
        found_task, found_language = task or file.parent.parent.name, language or file.parent.name
        yield found_task, _compiled(forge, file, found_task, found_language)


def _compiled(forge: Forge, file: Path, task: str, language: str) -> Template:
    from instructforge.templates import compile_template

    if task not in forge.tasks:
        raise ConfigError(
            f'"{file}" is for the task "{task}", by its folder, and there is no such task.\n'
            "A template lies in <task>/<language>/, or is given --task and --language.\nGive them."
        )
    try:
        source = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f'"{file}" cannot be read: {error}', template=str(file)) from None
    return compile_template(
        source, task=forge.tasks.get(task), language=language, name=file.stem, find=forge.templates.source_or_none
    )


# --- preview ------------------------------------------------------------------------------------------


@templates.command()
@click.argument("target", metavar="TARGET")
@_row_options
@click.option("--n", "count", type=click.IntRange(1), default=2, show_default=True, help="Rows for each template.")
@click.option("--seed", type=int, default=42, show_default=True, help="Of whatever the templates draw.")
@json_option
@pass_forge
def preview(
    forge: Forge, target: str, inputs: tuple[str, ...], count: int, seed: int, as_json: bool, **reading: Any
) -> None:
    """Show what the templates of TARGET (a key, a task, a file …) make of rows, each of them in turn."""
    from instructforge.cli.showing import say_instruction
    from instructforge.files import seed_of

    made = []
    for task, chosen in _targets(forge, [target], None, None).items():
        found = forge.tasks.get(task)
        rows = _rows(forge, found, inputs, _MOST_ROWS, reading) if inputs else None
        for given in chosen:
            template = forge.template(given) if isinstance(given, str) else given
            for example in islice(_fitting(found, template, rows), count):
                try:
                    instruction = template.render(example, seed=seed_of(seed, example.id, template.key))
                except TemplateError as error:
                    say_notice(f"{template.key} × {example.id}: {error}")
                    continue
                made.append(instruction)
                if not as_json:
                    say(f"{template.key} × {example.origin}")
                    say_instruction(instruction)
                    say()
    if as_json:
        say_json("preview/1", {"instructions": [instruction.to_json() for instruction in made]})


def _fitting(task: Task, template: Template, rows: list[Example] | None) -> Iterator[Example]:
    examples = [sample.to_example(number) for number, sample in enumerate(task.samples)] if rows is None else rows
    yield from (example for example in examples if example.language in (None, template.language))


# --- Rows ---------------------------------------------------------------------------------------------


def _rows(forge: Forge, task: Task, inputs: Iterable[str], most: int, reading: dict[str, Any]) -> list[Example]:
    """Return the first good rows of files, each with its language.

    Raises:
        DataError: There is none.
    """
    from attrs import evolve

    from instructforge.cli.render import examples_of, spoken_in

    found = list(islice(examples_of(forge, task, inputs, **reading), most))
    if not found:
        raise DataError(f'no row of "{", ".join(inputs)}" can be read as a row of {task.name}', rule="no-rows")
    return [evolve(example, language=example.language or spoken_in(example)) for example in found]
