"""``instructforge import``: templates and tasks of other projects, as a plugin."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from instructforge.cli.options import json_option, pass_forge
from instructforge.cli.output import say, say_json
from instructforge.errors import ConfigError

if TYPE_CHECKING:
    from instructforge.importing.writing import Plugin
    from instructforge.plugins import Forge

__all__ = ["import_"]

_SHOWN = 10


@click.group(name="import", context_settings={"help_option_names": ["-h", "--help"]})
def import_() -> None:
    """Turn templates or tasks of another project into a plugin. They are read as data: none of their code runs."""


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and the options that both imports have."""
    for option in (
        click.option("--language", metavar="CODE", help="Language of the texts; told by their script if left out."),
        click.option("--name", metavar="NAME", help="Name of the plugin; that of the folder if left out."),
        click.option(
            "--into",
            required=True,
            type=click.Path(path_type=Path, file_okay=False),
            metavar="FOLDER",
            help="The new folder that the plugin is written into.",
        ),
        click.argument("path", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


@import_.command("promptsource")
@_common
@click.option("--dataset", metavar="NAME", help="One data set of a collection, such as glue/mrpc.")
@click.option("--task", "task_name", metavar="TASK", help="Convert to templates of this task, where they fit it.")
@click.option("--column", "columns", multiple=True, metavar="FIELD=PLACE", help="Where a field, or the answer, stands.")
@click.option("--label", "labels", multiple=True, metavar="VALUE=LABEL", help="What stands for a label of the task.")
@click.option("--samples", type=click.Path(path_type=Path), metavar="FILE", help="Rows for the conformance check.")
@json_option
@pass_forge
def promptsource(
    forge: Forge,
    path: Path,
    into: Path,
    name: str | None,
    language: str | None,
    dataset: str | None,
    task_name: str | None,
    columns: tuple[str, ...],
    labels: tuple[str, ...],
    samples: Path | None,
    as_json: bool,
) -> None:
    """Import templates of promptsource: PATH is its sdist or wheel, a folder, or one YAML file.

    Without --task, each data set becomes a task whose fields are its columns, and every template is carried over
    as it is. With --task, templates are converted for that task: --column says where its fields stand in a row of
    the data set, --column answer=PLACE where the answer does (a column, or a place such as answers.text[0]).
    """
    from instructforge.importing.promptsource import load

    if task_name is None and (columns or labels):
        raise ConfigError("--column and --label go with --task TASK")
    collection = load(path)
    plugin_name = _name(name, into)
    if task_name is not None:
        from instructforge.importing.conversion import Mapped, plan_conversion

        mapped = Mapped(forge.tasks.get(task_name), _pairs(columns, "--column"), _values(labels))
        chosen = collection.dataset(dataset) if dataset is not None else list(collection)
        plan = plan_conversion(
            chosen, mapped, name=plugin_name, source=path.name, collection=collection, language=language
        )
    else:
        from instructforge.importing.as_they_are import plan_as_they_are

        rows = _rows(forge, samples) if samples is not None else []
        plan = plan_as_they_are(
            collection, name=plugin_name, source=path.name, dataset=dataset, language=language, samples=rows
        )
    _write(plan, into, as_json=as_json)


def _name(name: str | None, into: Path) -> str:
    from instructforge.importing.slugs import slug

    return name if name is not None else slug(into.resolve().name, otherwise="imported")


def _pairs(given: tuple[str, ...], option: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in given]
    wrong = [
        f'{option} is "{left}{mark}{right}", not NAME=VALUE' for left, mark, right in pairs if not left or not mark
    ]
    if wrong:
        raise ConfigError(wrong)
    return {left.strip(): right.strip() for left, _, right in pairs}


def _values(labels: tuple[str, ...]) -> Mapping[Any, str]:
    """Return what stands for each label: a number where it reads as one."""
    pairs = _pairs(labels, "--label")
    return {int(value) if value.removeprefix("-").isdecimal() else value: label for value, label in pairs.items()}


def _rows(forge: Forge, path: Path) -> list[Mapping[str, Any]]:
    """Return the first rows of a file."""
    from itertools import islice

    from instructforge.data import Row
    from instructforge.readers import choose_reader

    found = choose_reader(path, forge.readers, None).read(path, {})
    rows = [row.values for row in islice(found, 100) if isinstance(row, Row)]
    if not rows:
        raise ConfigError(f'"{path}" has no row among its first 100 records')
    return rows


def _write(plan: Plugin, into: Path, *, as_json: bool) -> None:
    from instructforge.importing.writing import write_plugin

    report = plan.report
    if not plan.tasks:
        _say_report(plan) if not as_json else say_json("import/1", {"folder": None, **report.to_json()})
        raise ConfigError("nothing could be carried over: no folder was written")
    files = write_plugin(plan, into)
    if as_json:
        say_json("import/1", {"folder": str(into), "plugin": plan.name, **json.loads(json.dumps(report.to_json()))})
        return
    _say_report(plan)
    say(f"{len(files)} files were written to {into}; what was left out stands in import.json.")
    say()
    say(f"Next: pip install -e {into}")
    say(f"      instructforge templates {plan.tasks[0].name}")


def _say_report(plan: Plugin) -> None:
    report = plan.report
    things = "templates" if report.kind == "promptsource" else "tasks"
    tasks = f", as {report.tasks} tasks" if report.tasks and things == "templates" else ""
    say(f"{report.carried} of {report.found} {things} were carried over{tasks}.")
    for title, reasons in (
        ("refused", Counter(report.refused.values())),
        ("unreadable", Counter(report.unreadable)),
        ("left out", Counter(part for parts in report.left_out.values() for part in parts)),
    ):
        if reasons:
            say(f"{title}: {reasons.total()}")
            for reason, count in reasons.most_common(_SHOWN):
                say(f"  {count:5}  {reason}")
            if len(reasons) > _SHOWN:
                say(f"  … and {len(reasons) - _SHOWN} other reasons")
    if report.renamed:
        say(f"renamed: {len(report.renamed)}")
    for note in report.notes:
        say(f"note: {note}")


@import_.command("lm-eval")
@_common
@click.option("--task", "patterns", multiple=True, metavar="NAME", help="A task, group or tag, with *; all by default.")
@click.option("--promptsource", "prompts", type=click.Path(path_type=Path), metavar="PATH", help="For use_prompt.")
@json_option
def lm_eval(
    path: Path,
    into: Path,
    name: str | None,
    language: str | None,
    patterns: tuple[str, ...],
    prompts: Path | None,
    as_json: bool,
) -> None:
    """Import the declarative tasks of lm-evaluation-harness: PATH is a folder of task files, or one file.

    A task becomes a task of ours: its doc_to_text a template, as it is; what doc_to_target and doc_to_choice make of
    a row, its answer and its choices. Python that it names is never run; what needs it is left out and told.
    """
    from instructforge.importing.lm_eval import load
    from instructforge.importing.lm_eval_plan import plan_lm_eval
    from instructforge.importing.promptsource import load as load_prompts

    plan = plan_lm_eval(
        load(path),
        name=_name(name, into),
        source=path.name,
        patterns=patterns,
        language=language,
        collection=load_prompts(prompts) if prompts is not None else None,
    )
    _write(plan, into, as_json=as_json)
