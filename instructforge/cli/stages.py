"""The stages of a run: ``run RECIPE``, or ``build``, ``train``, ``predict`` and ``evaluate`` one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from instructforge.cli.export import export_run, say_results
from instructforge.cli.options import json_option, key_values, pass_forge
from instructforge.cli.output import say, say_error, say_json, say_notice, say_table
from instructforge.errors import ConfigError

if TYPE_CHECKING:
    from instructforge.mixed import MixedRun
    from instructforge.pipeline import Run
    from instructforge.plugins import Forge

__all__ = ["build", "carry_out", "evaluate", "predict", "run", "running", "train"]

RUN_FOLDER = click.argument("folder", metavar="RUN", type=click.Path(path_type=Path, file_okay=False))

_DATA_OPTIONS = (
    click.option("--task", help="Name of the task (see `instructforge tasks`)."),
    click.option("--files", multiple=True, metavar="FILE", help="File to split here, seeded; may be repeated."),
    click.option("--train", multiple=True, metavar="FILE", help="File of training rows; may be repeated."),
    click.option("--validation", multiple=True, metavar="FILE", help="File of validation rows."),
    click.option("--test", multiple=True, metavar="FILE", help="File of test rows."),
    click.option("--format", "reader", metavar="NAME", help="Reader, where the file leaves a choice."),
    click.option("--normalizer", metavar="NAME", help="Normalizer, where the rows leave a choice."),
    click.option("--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="Where a field stands."),
    click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the reader."),
    click.option("--constant", "constants", multiple=True, metavar="KEY=VALUE", help="In every row; @FILE is JSON."),
    click.option("--retrieve", metavar="FILE", help="Corpus from which rows that lack a passage get one."),
    click.option("--dedup", type=click.Choice(("exact", "near")), help="Leave out rows that are like earlier ones."),
    click.option(
        "--decontaminate",
        type=click.Choice(("exact", "normalised", "ngram")),
        help="Leave out training rows that tell of rows of another split.",
    ),
    click.option("--language", metavar="LANG", help="Language of the rows; told by their script if left out."),
    click.option("--seed", type=int, help="Seed of everything in the run (42)."),
    click.option("--workers", type=click.IntRange(1), help="Processes that build; the bytes are the same."),
)
SET_OPTION = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any key of the recipe, such as train.settings.epochs=3.",
)


def _data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    return reduce(lambda wrapped, option: option(wrapped), reversed(_DATA_OPTIONS), command)


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("folder", metavar="[RUN]", required=False, type=click.Path(path_type=Path, file_okay=False))
@SET_OPTION
@click.option("--model", metavar="NAME", help="Model to fine-tune: a name, a folder or a hub id.")
@json_option
@pass_forge
def run(
    forge: Forge, recipe: Path, folder: Path | None, settings: tuple[str, ...], model: str | None, as_json: bool
) -> None:
    """Carry RECIPE through every stage, into the folder RUN (runs/<name of the recipe>)."""
    from instructforge.recipe import load_recipe

    overrides = key_values(settings, "--set") | ({"model": model} if model else {})
    loaded = load_recipe(recipe, overrides)
    target = folder or Path("runs") / recipe.stem
    with running(forge, target, loaded, base=recipe.parent) as work:
        carry_out(work, as_json=as_json)


@click.command()
@RUN_FOLDER
@_data_options
@click.option("--export", "exports", multiple=True, metavar="FORMAT", help="Write this format too (RUN/exports).")
@SET_OPTION
@json_option
@pass_forge
def build(
    forge: Forge, folder: Path, exports: tuple[str, ...], settings: tuple[str, ...], as_json: bool, **data: Any
) -> None:
    """Turn raw files into instructions, in the folder RUN; without options, those of its recipe again.

    Every row that is read is built, skipped, quarantined or deduplicated, and the figures are printed. The same
    command again goes on where it broke off.
    """
    from instructforge.recipe import recipe_from

    for name in exports:
        forge.exporters.peek(name)
    changes, known = key_values(settings, "--set"), (folder / "recipe.json").is_file()
    if known and not any(data.values()):
        opened = _opened(forge, folder, changes)
    else:
        _refuse_mixture(folder)
        recipe = recipe_from(_kept(folder) | _recipe_values(data), changes, source="the command line")
        opened = running(forge, folder, recipe, base=Path())
    with opened as work:
        ledger = _build(work, quiet=as_json)
        results = export_run(work, exports, model=work.recipe.model)
        if as_json:
            exported = {"exports": [result.to_json() for result in results]} if exports else {}
            say_json("build/1", {"run": str(folder), **ledger, **exported})
        else:
            say_results(results)


@click.command()
@RUN_FOLDER
@click.option("--model", metavar="NAME", help="Model to fine-tune: a name, a folder or a hub id.")
@click.option("--trainer", metavar="NAME", help="Trainer; by model and task if left out.")
@SET_OPTION
@json_option
@pass_forge
def train(
    forge: Forge, folder: Path, model: str | None, trainer: str | None, settings: tuple[str, ...], as_json: bool
) -> None:
    """Fine-tune a model on the instructions of RUN."""
    given = {"model": model, "train.trainer": trainer}
    with _opened(forge, folder, key_values(settings, "--set") | _said(given)) as work:
        summary = _train(work, quiet=as_json)
        if as_json:
            say_json("train/1", {"run": str(folder), **summary})


@click.command()
@RUN_FOLDER
@click.option("--input", "inputs", multiple=True, metavar="FILE", help="Answer these raw rows instead of a split.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="File for their answers (JSONL).")
@click.option("--part", metavar="NAME", help="For a mixture: the part whose task the raw rows are of.")
@click.option(
    "--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="Where a field of the raw rows stands."
)
@click.option("--split", help="Split to answer (test).")
@click.option("--decoder", metavar="NAME", help="Decoder; the one the model was trained for if left out.")
@SET_OPTION
@json_option
@pass_forge
def predict(
    forge: Forge,
    folder: Path,
    inputs: tuple[str, ...],
    output: Path | None,
    part: str | None,
    columns: tuple[str, ...],
    split: str | None,
    decoder: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Answer a split of RUN, or raw rows, with its trained model."""
    if bool(inputs) != bool(output):
        raise ConfigError("--input and --output go together")
    for option, given in (("--column", columns), ("--part", part)):
        if given and not inputs:
            raise ConfigError(f"{option} is about the rows of --input; there is no --input")
    overrides = key_values(settings, "--set") | _said({"predict.split": split, "predict.decoder": decoder})
    overrides |= {"data.columns": key_values(columns, "--column")} if columns else {}
    with _opened(forge, folder, overrides) as work:
        if inputs and output:
            paths = {"": work.part(part).answer(inputs, output)}
        else:
            work.predict()
            paths = {name: one.folder / "predictions.jsonl" for name, one in work.parts.items()}
        if as_json:
            say_json(
                "predict/1",
                {"run": str(folder), **_by_part({name: str(path) for name, path in paths.items()}, "predictions")},
            )
        else:
            for path in paths.values():
                say(f"predictions: {path}")


@click.command()
@RUN_FOLDER
@SET_OPTION
@json_option
@pass_forge
def evaluate(forge: Forge, folder: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Score the predictions of RUN: a table here, report.json and report.html in the folder."""
    with _opened(forge, folder, key_values(settings, "--set")) as work:
        _evaluate(work, as_json)


# --- What the commands share --------------------------------------------------------------------------


@contextmanager
def running(forge: Forge, folder: Path, recipe: Any, *, base: Path) -> Iterator[Run | MixedRun]:
    """Give a new or resumed run whose progress is shown."""
    from instructforge.cli.progress import showing_progress
    from instructforge.mixed import run_of

    with showing_progress() as progress:
        yield run_of(folder, recipe, forge=forge, base=base, say=say_error, progress=progress)


def carry_out(
    work: Run | MixedRun, *, as_json: bool = False, announce: Callable[[str], None] = lambda stage: None
) -> None:
    """Carry a run through every stage, showing what each has done; ``announce`` is told of each beforehand."""
    work.check()
    announce("build")
    _build(work, quiet=as_json)
    announce("train")
    _train(work, quiet=as_json)
    announce("predict")
    work.predict()
    announce("evaluate")
    _evaluate(work, as_json)


@contextmanager
def _opened(forge: Forge, folder: Path, overrides: Mapping[str, Any]) -> Iterator[Run | MixedRun]:
    """Give the run in ``folder``, with some keys of its recipe changed."""
    from instructforge.cli.progress import showing_progress
    from instructforge.mixed import open_run

    with showing_progress() as progress:
        yield open_run(folder, forge=forge, say=say_error, progress=progress, overrides=overrides)


def _by_part(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what JSON says of a run: ``name`` itself, or for a mixture each part's under ``parts``."""
    return {name: found[""]} if set(found) == {""} else {"parts": {part: {name: one} for part, one in found.items()}}


def _build(work: Run | MixedRun, *, quiet: bool) -> dict[str, Any]:
    from instructforge.building import read_ledger

    work.build()
    ledgers = {name: read_ledger(part.folder) for name, part in work.parts.items()}
    if not quiet:
        for name, part in work.parts.items():
            if name:
                say(f"\n{name}:")
            _say_ledger(part.folder, ledgers[name])
    return _by_part(ledgers, "ledger")


def _train(work: Run | MixedRun, *, quiet: bool) -> dict[str, Any]:
    result = work.train()
    best = ", ".join(f"{name} {value:.4g}" for name, value in result.best.items() if name != "step")
    if not quiet:
        what = f"{result.steps} steps" if result.steps else "the head, on the model's features as they are,"
        say(f"trained: {what} in {result.seconds:.0f} s{f'; kept {best} on validation rows' if best else ''}")
    return {"steps": result.steps, "counts": dict(result.counts), "best": dict(result.best)}


def _evaluate(work: Run | MixedRun, as_json: bool) -> None:
    from instructforge import report as reporting

    found = work.evaluate()
    reports = found if isinstance(found, dict) else {"": found}
    if as_json:
        told = _by_part({name: report.to_json() for name, report in reports.items()}, "report")
        say_json("evaluate/1", {"run": str(work.folder), **told})
    else:
        for report in reports.values():
            reporting.show(report)
        say(f"report: {work.folder / 'report.html'}")
    missed = work.missed_gates(found)  # type: ignore[arg-type]  # each kind of run takes what it has given
    for line in missed:
        say_error(line)
    if missed:
        click.get_current_context().exit(1)


def _say_ledger(folder: Path, ledger: Mapping[str, Any]) -> None:
    """Print how each file was read, where every row went, and what came out."""
    for source in ledger["sources"]:
        say(f"{source['label']}: read as {source['reader']}, normalizer {source['normalizer']}")
    say_table(("rows", "number"), list(_ledger_rows(ledger)), empty="nothing was read")
    splits = ", ".join(f"{part['instructions']} {name}" for name, part in ledger["splits"].items())
    say(f"instructions: {splits}, from {len(ledger['templates'])} templates")
    for warning in (*ledger["warnings"], *_doubts(ledger)):
        say_notice(warning)
    if ledger["totals"]["quarantined"]:
        say(f"quarantine: {folder / 'quarantine.jsonl'} (each row with its reason and fix)")


def _doubts(ledger: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is allowed, and seldom meant."""
    totals, train = ledger["totals"], ledger["splits"].get("train", {})
    if totals["quarantined"] * 2 > totals["read"]:
        yield f"{totals['quarantined']} of {totals['read']} rows are in quarantine; build.max_bad would refuse that"
    if train and train["examples"] and train["unlabelled"] == train["examples"]:
        yield "no training row has an answer; name its column with --column answer=COLUMN"


def _ledger_rows(ledger: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    totals = ledger["totals"]
    yield from (("read", totals["read"]), ("built", totals["built"]))
    for outcome in ("skipped", "quarantined", "deduplicated"):
        yield outcome, totals[outcome]
        yield from ((f"  {reason}", number) for reason, number in ledger[outcome].items())
    yield "unlabelled (of the built)", totals["unlabelled"]
    yield from ((f"noted: {note}", number) for note, number in ledger["notes"].items())


def _kept(folder: Path) -> dict[str, Any]:
    """Return what a run that is built anew keeps of its recipe: all that is not about the build."""
    import json

    path = folder / "recipe.json"
    if not path.is_file():
        return {}
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: value[name] for name in ("model", "train", "predict", "evaluate") if value.get(name)}


def _refuse_mixture(folder: Path) -> None:
    """Refuse to build one task over a folder whose recipe mixes several: its parts would stay beside it."""
    import json

    path = folder / "recipe.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("mix"):
        raise ConfigError(
            f'"{folder}" holds a mixture of tasks, and the options name one task.\n'
            "Without options, `instructforge build` builds the mixture again.\nTake another folder for the task."
        )


def _recipe_values(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ``build`` as a recipe's keys."""
    if not data["task"]:
        raise ConfigError("--task is missing: the name of a task (see `instructforge tasks`)")
    files = {name: list(data[name]) for name in ("files", "train", "validation", "test") if data[name]}
    plan = files | _said({"format": data["reader"], "normalizer": data["normalizer"]})
    plan["columns"] = key_values(data["columns"], "--column")
    plan["options"] = key_values(data["options"], "--option")
    plan["constants"] = key_values(data["constants"], "--constant")
    plan |= {"retrieve": {"corpus": data["retrieve"]}} if data["retrieve"] else {}
    values = {"task": data["task"], "data": plan} | _said({"language": data["language"], "seed": data["seed"]})
    build = {name: data[name] for name in ("dedup", "decontaminate", "workers") if data[name]}
    return values | ({"build": build} if build else {})


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
