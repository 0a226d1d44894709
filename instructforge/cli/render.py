"""``instructforge render``: instructions without a model, from a task's samples or from a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from instructforge.cli.options import json_option, key_values, pass_forge
from instructforge.cli.output import say, say_json, say_notice
from instructforge.data import Example, Instruction, Row
from instructforge.errors import ConfigError, DataError, TemplateError, UnknownNameError

if TYPE_CHECKING:
    from instructforge.building.inputs import Input
    from instructforge.components import RowOrError
    from instructforge.plugins import Forge
    from instructforge.tasks import Task
    from instructforge.templates.library import TemplateRef

__all__ = ["examples_of", "instructions_of", "render", "spoken_in"]


@click.command()
@click.argument("task")
@click.option("--input", "inputs", multiple=True, metavar="FILE", help="Raw data; the task's samples if left out.")
@click.option("--format", "reader", metavar="NAME", help="Reader, where the file leaves a choice.")
@click.option("--normalizer", metavar="NAME", help="Normalizer, where the rows leave a choice.")
@click.option("--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="Where a field stands.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the reader.")
@click.option("--constant", "constants", multiple=True, metavar="KEY=VALUE", help="In every row; @FILE is JSON.")
@click.option("--retrieve", metavar="FILE", help="Corpus from which rows that lack a passage get one.")
@click.option("--language", metavar="CODE", help="Language of the rows; told by their script if left out.")
@click.option("--template", "patterns", multiple=True, metavar="NAME", help="Template: exam, en/exam, qa/en/*.")
@click.option("--n", "count", type=click.IntRange(1), default=3, show_default=True, help="Instructions to show.")
@click.option("--seed", type=int, default=42, show_default=True, help="Of whatever the templates draw.")
@json_option
@pass_forge
def render(
    forge: Forge,
    task: str,
    inputs: tuple[str, ...],
    reader: str | None,
    normalizer: str | None,
    columns: tuple[str, ...],
    options: tuple[str, ...],
    constants: tuple[str, ...],
    retrieve: str | None,
    language: str | None,
    patterns: tuple[str, ...],
    count: int,
    seed: int,
    as_json: bool,
) -> None:
    """Show instructions of TASK as a model would read them: each turn, what is trained, where fields stand."""
    found = forge.tasks.get(task)
    shown = instructions_of(
        forge,
        found,
        inputs,
        reader=reader,
        normalizer=normalizer,
        columns=columns,
        options=options,
        constants=constants,
        retrieve=retrieve,
        language=language,
        patterns=patterns,
        seed=seed,
    )
    made: list[Instruction] = []
    for instruction in islice(shown, count):
        made.append(instruction)
        if not as_json:
            _show(instruction)
    if not made:
        raise ConfigError(
            f'there is nothing to show: no row of "{task}" fits a template{f" in {language}" if language else ""}'
        )
    if as_json:
        say_json("render/1", {"task": task, "instructions": [instruction.to_json() for instruction in made]})


def instructions_of(
    forge: Forge,
    task: Task,
    inputs: Iterable[str] = (),
    *,
    reader: str | None = None,
    normalizer: str | None = None,
    columns: Iterable[str] = (),
    options: Iterable[str] = (),
    constants: Iterable[str] = (),
    retrieve: str | None = None,
    language: str | None = None,
    patterns: Iterable[str] = (),
    seed: int = 42,
) -> Iterator[Instruction]:
    """Return the instructions of raw files, or of the task's samples, each under one template that fits it.

    Raises:
        ConfigError: Options contradict each other, or a file cannot be read in one way.
        UnknownNameError: No template fits one of ``patterns``.
    """
    refs = _chosen_templates(forge, task, language, patterns)
    rows: Iterable[Example]
    if inputs:
        rows = examples_of(
            forge,
            task,
            inputs,
            reader=reader,
            normalizer=normalizer,
            columns=columns,
            options=options,
            constants=constants,
            retrieve=retrieve,
        )
    elif reader or normalizer or columns or options or constants or retrieve:
        raise ConfigError("--format, --normalizer, --column, --option, --constant, --retrieve go with --input FILE")
    else:
        rows = (sample.to_example(number) for number, sample in enumerate(task.samples))
    return _renderings(forge, rows, refs, language, seed)


def _show(instruction: Instruction) -> None:
    from instructforge.cli.showing import say_instruction

    origin = instruction.example.origin
    say(f"{instruction.task}/{instruction.language}/{instruction.template} × {origin}")
    say_instruction(instruction)
    if instruction.choices:
        say(f"  choices: {' | '.join(instruction.choices)}")
    say()


def _chosen_templates(forge: Forge, task: Task, language: str | None, patterns: Iterable[str]) -> list[TemplateRef]:
    refs = forge.templates.refs(task.name, language)
    patterns = list(patterns)
    for pattern in patterns:
        if not any(_fits(ref, pattern) for ref in refs):
            raise UnknownNameError("template", pattern, (ref.key for ref in refs))
    return [ref for ref in refs if not patterns or any(_fits(ref, pattern) for pattern in patterns)]


def _fits(ref: TemplateRef, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (ref.name, f"{ref.language}/{ref.name}", ref.key))


# --- Rows ---------------------------------------------------------------------------------------------


def examples_of(
    forge: Forge,
    task: Task,
    inputs: Iterable[str],
    *,
    reader: str | None = None,
    normalizer: str | None = None,
    columns: Iterable[str] = (),
    options: Iterable[str] = (),
    constants: Iterable[str] = (),
    retrieve: str | None = None,
) -> Iterator[Example]:
    """Yield the good examples of raw files, read as a build reads them; say why others are none.

    Raises:
        ConfigError: Options contradict each other, or a file cannot be read in one way.
    """
    from tempfile import TemporaryDirectory

    from instructforge.building.collecting import with_collected
    from instructforge.building.inputs import open_inputs
    from instructforge.building.settings import Retrieve
    from instructforge.recipe import DataPlan

    plan = DataPlan(
        files=tuple(inputs),
        format=reader,
        normalizer=normalizer,
        columns=key_values(tuple(columns), "--column"),
        options=key_values(tuple(options), "--option"),
        constants=key_values(tuple(constants), "--constant"),
        retrieve=Retrieve(corpus=retrieve) if retrieve else None,
    )
    with TemporaryDirectory() as folder:  # of the corpus's index
        opened, _ = with_collected(open_inputs(forge, task, plan.sources(Path()), Path(folder)))
        for one in opened:
            for line in one.filler.prepare() if one.filler else ():
                say_notice(line)
            for row in one.rows():
                yield from _normalised(task, one, row)


def _normalised(task: Task, source: Input, row: RowOrError) -> Iterator[Example]:
    from instructforge.building.inputs import with_constants
    from instructforge.normalizers import map_columns

    try:
        if isinstance(row, DataError):
            raise row
        values = with_constants(map_columns(row.values, source.source.columns), source.source)
        made = source.normalizer.function(Row(values, row.origin))
        for number, example in enumerate([made] if isinstance(made, Example) else made):
            filled = source.filler.fill(example) if source.filler else example
            task.check(filled)
            yield _with_place(filled, row, number)
    except DataError as error:
        origin = error.origin or getattr(row, "origin", None)
        say_notice(f"{origin}: {error}{f' ({error.fix})' if error.fix else ''}")


def _with_place(example: Example, row: Row, number: int) -> Example:
    from attrs import evolve

    from instructforge.data import Origin

    origin = row.origin if example.origin == Origin("memory") else example.origin
    return evolve(example, id=example.id or f"{origin}-{number}", origin=origin)


# --- Renderings ---------------------------------------------------------------------------------------


def _renderings(
    forge: Forge, rows: Iterable[Example], refs: list[TemplateRef], language: str | None, seed: int
) -> Iterator[Instruction]:
    """Yield each example under one template of its language, the templates by turns."""
    turn: dict[str, int] = {}
    for example in rows:
        spoken = example.language or language or spoken_in(example)
        fitting = [ref for ref in refs if ref.language == spoken]
        start = turn.get(spoken, 0)
        for step in range(len(fitting)):
            instruction = _rendered(forge, fitting[(start + step) % len(fitting)], example, seed)
            if instruction is not None:
                turn[spoken] = start + step + 1
                yield instruction
                break


def _rendered(forge: Forge, ref: TemplateRef, example: Example, seed: int) -> Instruction | None:
    from instructforge.files import seed_of

    try:
        return forge.template(ref.key).render(example, seed=seed_of(seed, example.id, ref.key))
    except TemplateError as error:
        if error.rule != "not-applicable":
            say_notice(str(error))
    return None


def spoken_in(example: Example) -> str:
    """Return the language that the script of a row tells."""
    from instructforge.building.making import language_of

    return language_of(" ".join(_texts(example.inputs.values())))


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from _texts(value.values())
        elif isinstance(value, (list, tuple)):
            yield from _texts(value)
