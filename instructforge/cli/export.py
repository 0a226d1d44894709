"""``instructforge export``: what was built, in the formats of other projects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from instructforge.cli.options import json_option, pass_forge
from instructforge.cli.output import say, say_error, say_json
from instructforge.errors import ConfigError

if TYPE_CHECKING:
    from instructforge.exporting import ExportResult
    from instructforge.mixed import MixedRun
    from instructforge.pipeline import Run
    from instructforge.plugins import Forge

__all__ = ["export", "export_run"]


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--to", "formats", multiple=True, required=True, metavar="FORMAT", help="Format; may be repeated.")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), help="Folder to write (RUN/exports/FORMAT).")
@click.option("--train", type=click.Choice(["last", "all"]), default="last", show_default=True, help="Turns to learn.")
@click.option("--model", metavar="NAME", help="For formats of token ids: the model that they are for.")
@click.option("--max-length", type=click.IntRange(1), help="For these: tokens of a row at most.")
@click.option("--name", help="Name of the data set.")
@click.option("--licence", "--license", metavar="SPDX", help="Licence of the data, for the card: cc-by-4.0.")
@json_option
@pass_forge
def export(
    forge: Forge, folder: Path, formats: tuple[str, ...], into: Path | None, as_json: bool, **options: Any
) -> None:
    """Write the instructions of RUN in other projects' formats, each with a card and an account of what was lost.

    Formats: see `instructforge exporters`.
    """
    from instructforge.cli.progress import showing_progress
    from instructforge.mixed import open_run

    if into is not None and len(formats) > 1:
        raise ConfigError("--into takes one format; leave it out to write RUN/exports/FORMAT for each")
    with showing_progress() as progress:
        work = open_run(folder, forge=forge, say=say_error, progress=progress)
        results = export_run(work, formats, into=into, **options)
    if as_json:
        say_json("exported/1", {"run": str(folder), "exports": [one.to_json() for one in results]})
    else:
        say_results(results)


def export_run(
    work: Run | MixedRun,
    formats: tuple[str, ...],
    *,
    into: Path | None = None,
    model: str | None = None,
    **options: Any,
) -> list[ExportResult]:
    """Export a run, or each part of a mixed one, in every format."""
    from instructforge.exporting import export as exported
    from instructforge.models import resolve

    for name in formats:
        work.forge.exporters.peek(name)  # a name that nobody knows is told before anything is written
    folder = resolve(model, forge=work.forge) if model else None
    return [
        exported(
            part.folder,
            to,
            forge=work.forge,
            task=part.task,
            into=into / name if into is not None and name else into,
            model=folder,
            progress=lambda done, total: work.progress("export", done, total),
            **options,
        )
        for to in formats
        for name, part in work.parts.items()
    ]


def say_results(results: list[ExportResult]) -> None:
    """Print what exports did."""
    from instructforge.exporting.writing import lines_for_people

    for result in results:
        say(f"{result.format}: {result.folder}")
        for line in lines_for_people(result):
            say(f"  {line}")
