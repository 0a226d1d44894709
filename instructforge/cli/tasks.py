"""``instructforge tasks``: the list of tasks, and the card of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from instructforge.cli.options import json_option, pass_forge
from instructforge.cli.output import say, say_json, say_notice, say_table

if TYPE_CHECKING:
    from instructforge.plugins import Forge
    from instructforge.tasks import Task

__all__ = ["tasks"]

_LABELS_SHOWN = 12


@click.command()
@click.argument("name", required=False)
@json_option
@pass_forge
def tasks(forge: Forge, name: str | None, as_json: bool) -> None:
    """List the tasks, or show the card of the task NAME."""
    if name is None:
        _list(forge, as_json)
        return
    task = forge.tasks.get(name)
    if as_json:
        say_json("task/1", _card(forge, task))
    else:
        for line in _card_lines(forge, task):
            say(line)
        for problem in forge.unresolved(task):
            say_notice(problem)


def _list(forge: Forge, as_json: bool) -> None:
    languages: dict[str, set[str]] = {name: set(forge.tasks.get(name).languages) for name in forge.tasks}
    for ref in forge.templates.refs():
        languages.get(ref.task, set()).add(ref.language)
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "target": type(forge.tasks.get(name).target).__name__.lower(),
            "languages": sorted(languages[name]),
            "summary": forge.tasks.get(name).summary,
            "plugin": forge.tasks.owner(name),
        }
        for name in forge.tasks
    ]
    if as_json:
        say_json("tasks/1", {"tasks": rows})
    else:
        cells = [tuple(" ".join(cell) if isinstance(cell, list) else cell for cell in row.values()) for row in rows]
        say_table(("task", "target", "languages", "summary", "plugin"), cells, empty="No tasks: install a plugin.")


def _card(forge: Forge, task: Task) -> dict[str, Any]:
    """Return everything that is known of a task without rendering anything."""
    by_language: dict[str, list[str]] = {}
    for ref in forge.templates.refs(task.name):
        by_language.setdefault(ref.language, []).append(ref.name)
    return {
        "name": task.name,
        "summary": task.summary,
        "plugin": forge.tasks.owner(task.name),
        "fields": {
            name: {"summary": part.summary, "kind": part.kind, "optional": part.optional}
            for name, part in task.fields.items()
        },
        "target": _target(task),
        "normalizers": list(_normalizer_names(forge, task)),
        "decoder": task.decoder_name,
        "head_decoder": task.target.head_decoder,
        "trainer": task.trainer,
        "metrics": list(task.metric_names),
        "templates": by_language,
        "samples": {language: sum(s.language == language for s in task.samples) for language in task.languages},
        "problems": forge.unresolved(task),
    }


def _target(task: Task) -> dict[str, Any]:
    target = task.target
    options = getattr(target, "options", ())
    about: dict[str, Any] = {"kind": type(target).__name__.lower()}
    about |= {"labels": list(options)} if options else {}
    for part in ("from_field", "within", "multiple", "nullable"):
        if getattr(target, part, None):
            about[part] = getattr(target, part)
    return about


def _normalizer_names(forge: Forge, task: Task) -> Iterator[str]:
    yield from task.normalizers
    for name in forge.normalizers:
        if name not in task.normalizers and getattr(forge.normalizers.peek(name), "task", None) == task.name:
            yield name


def _card_lines(forge: Forge, task: Task) -> Iterator[str]:
    card = _card(forge, task)
    yield f"{card['name']}: {card['summary']}"
    yield ""
    yield f"plugin       {card['plugin']}"
    for number, (name, part) in enumerate(card["fields"].items()):
        marks = [part["kind"]] if part["kind"] != "text" else []
        marks += ["optional"] if part["optional"] else []
        mark = f" ({', '.join(marks)})" if marks else ""
        yield f"{'fields' if number == 0 else '':12} {name}{mark}: {part['summary']}"
    yield f"target       {_target_words(card['target'])}"
    yield f"normalizers  {', '.join(card['normalizers']) or 'none'}"
    yield f"decoders     {card['decoder']} for text, {card['head_decoder']} for a model's head"
    yield f"metrics      {', '.join(card['metrics']) or 'none'}"
    for number, (language, names) in enumerate(sorted(card["templates"].items())):
        yield f"{'templates' if number == 0 else '':12} {language}: {', '.join(names)}"
    if not card["templates"]:
        yield "templates    none"
    for language in task.languages:
        yield from _rendered(forge, task, language)


def _target_words(target: dict[str, Any]) -> str:
    words: str = target["kind"]
    if "labels" in target:
        labels = target["labels"]
        shown = ", ".join(labels[:_LABELS_SHOWN])
        words += f" of {len(labels)}: {shown}{', …' if len(labels) > _LABELS_SHOWN else ''}"
    words += f" of the field {target['from_field']}" if "from_field" in target else ""
    words += f" within the field {target['within']}" if "within" in target else ""
    words += ", several at once" if "multiple" in target else ""
    return words + (", or no answer" if "nullable" in target else "")


def _rendered(forge: Forge, task: Task, language: str) -> Iterator[str]:
    """Show one sample of a language under the first template that takes it."""
    from instructforge.cli.showing import first_rendering, instruction_lines  # imports jinja: only for a card

    rendering = first_rendering(forge, task, language)
    if rendering is not None:
        yield ""
        yield f"A sample in {language}, under the template {rendering.template}:"
        yield from instruction_lines(rendering)
