"""``instructforge mask``: which tokens of an instruction a causal model is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from instructforge.cli.options import json_option, pass_forge
from instructforge.cli.output import on_terminal, say, say_json
from instructforge.data import Instruction
from instructforge.errors import ConfigError, printable

if TYPE_CHECKING:
    from instructforge.encoding.chat import ChatEncoder
    from instructforge.encoding.view import MaskView
    from instructforge.plugins import Forge

__all__ = ["mask"]


@click.command()
@click.argument("subject")
@click.option("--model", metavar="NAME", help="Registered name, folder or hub id; the run's own model if left out.")
@click.option("--split", default="train", show_default=True, metavar="NAME", help="Split, where SUBJECT is a run.")
@click.option("--input", "inputs", multiple=True, metavar="FILE", help="Raw data; the task's samples if left out.")
@click.option("--format", "reader", metavar="NAME", help="Reader, where the file leaves a choice.")
@click.option("--normalizer", metavar="NAME", help="Normalizer, where the rows leave a choice.")
@click.option("--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="Where a field stands.")
@click.option("--language", metavar="CODE", help="Language of the rows; told by their script if left out.")
@click.option("--template", "patterns", multiple=True, metavar="NAME", help="Template: exam, en/exam, qa/en/*.")
@click.option("--train", type=click.Choice(["last", "all"]), default="last", show_default=True, help="Turns trained.")
@click.option("--max-length", type=click.IntRange(8), metavar="TOKENS", help="Cut as training would.")
@click.option("--n", "count", type=click.IntRange(1), default=3, show_default=True, help="Instructions to show.")
@click.option("--seed", type=int, default=42, show_default=True, help="Of whatever the templates draw.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a page.")
@json_option
@pass_forge
def mask(
    forge: Forge,
    subject: str,
    model: str | None,
    split: str,
    train: Literal["last", "all"],
    max_length: int | None,
    count: int,
    html: Path | None,
    as_json: bool,
    **choice: Any,
) -> None:
    """Show which tokens are trained. SUBJECT is a task, or the folder of a run."""
    run = Path(subject) if subject not in forge.tasks and (Path(subject) / "data").is_dir() else None
    rows = _rows_of_run(run, split, choice) if run else _rows_of_task(forge, subject, choice)
    encoder = _encoder(forge, run, model, max_length)
    from instructforge.encoding.view import html_page, mask_view

    views = list(mask_view(encoder, islice(rows, count), train=train))
    if not views:
        raise ConfigError(f'there is nothing to show: "{printable(subject)}" gives no instruction')
    if html is not None:
        from instructforge.files import write_atomically

        with write_atomically(html) as handle:
            handle.write(html_page(views, title=f"What is trained: {subject}"))
    if as_json:
        facts = {"stop_texts": list(encoder.stop_texts), "options": encoder.options()}
        say_json("mask/1", {"subject": subject, **facts, "rows": [view.to_json() for view in views]})
    else:
        _say(views)


def _say(views: list[MaskView]) -> None:
    if not on_terminal():
        for view in views:
            say(view.summary)
            say(view.to_plain())
            say()
        return
    from rich.console import Console

    console = Console(highlight=False)
    for view in views:
        say(view.summary)
        console.print(view.to_rich(), soft_wrap=True)


def _rows_of_task(forge: Forge, task: str, choice: dict[str, Any]) -> Iterator[Instruction]:
    from instructforge.cli.render import instructions_of

    return instructions_of(forge, forge.tasks.get(task), **choice)


def _rows_of_run(run: Path, split: str, choice: dict[str, Any]) -> Iterator[Instruction]:
    from fnmatch import fnmatchcase

    from instructforge.building import InstructionSet

    if choice["inputs"] or choice["reader"] or choice["normalizer"] or choice["columns"]:
        raise ConfigError("--input, --format, --normalizer and --column go with a task, not with a run's folder")
    patterns, language = choice["patterns"], choice["language"]
    for row in InstructionSet(run, split):
        names = (row.template, f"{row.language}/{row.template}", f"{row.task}/{row.language}/{row.template}")
        fits = not patterns or any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
        if fits and language in (None, row.language):
            yield row


def _encoder(forge: Forge, run: Path | None, model: str | None, max_length: int | None) -> ChatEncoder:
    """Return the encoder of a trained model's contract, or a new one for any other model."""
    from instructforge.contract import FILE_NAME, Contract
    from instructforge.encoding.chat import ChatEncoder
    from instructforge.models import family_of, resolve
    from instructforge.models.loading import load_tokenizer

    if model is None and (run is None or not (run / "model" / FILE_NAME).is_file()):
        raise ConfigError(
            "no model is named, and which tokens are trained depends on its tokenizer and chat template; "
            "name one, such as --model smollm2-135m"
        )
    folder = resolve(model, forge=forge) if model is not None else run / "model" if run else Path()
    if family_of(folder) != "causal":
        raise ConfigError(
            f'the model in "{printable(folder)}" is an encoder: it has a head, and no trained tokens; '
            "name a causal model, such as --model smollm2-135m"
        )
    tokenizer = load_tokenizer(folder)
    if (folder / FILE_NAME).is_file() and max_length is None:
        return ChatEncoder.from_contract(tokenizer, Contract.read(folder))
    return ChatEncoder(tokenizer, max_length=max_length)
