"""promptsource's templates as they are: a task for each data set, whose fields are the data set's columns.

A data set has templates that are answered by a choice and others that are answered by a text; where it has both, it
becomes two tasks. Every template is written down byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, nodes

from instructforge.building.making import language_of
from instructforge.data import Example
from instructforge.errors import ConfigError, TemplateError, printable
from instructforge.importing.pieces import NotConvertible, halves, pieces, source_of
from instructforge.importing.promptsource import Collection, PromptsourceTemplate
from instructforge.importing.slugs import Names
from instructforge.importing.writing import PlannedTask, Plugin, Report
from instructforge.tasks import Choice, Field, Task, Text
from instructforge.templates.asis import promptsource_source
from instructforge.templates.dialects import CHOICES
from instructforge.templates.template import compile_template

__all__ = ["answered_by_choice", "language_told", "plan_as_they_are", "planned_task"]

_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.S)
_CODE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
_METRICS = {"accuracy": "accuracy", "bleu": "bleu", "rouge": "rouge-l", "squad": "token-f1"}
_BY_TARGET = {"choice": ("accuracy", "macro-f1"), "text": ("exact-match", "token-f1")}
_FITTING = {"choice": {"accuracy"}, "text": {"bleu", "rouge-l", "token-f1"}}
MAX_SAMPLES = 4


def plan_as_they_are(
    collection: Collection,
    *,
    name: str,
    source: str,
    dataset: str | None = None,
    language: str | None = None,
    samples: Sequence[Mapping[str, Any]] = (),
) -> Plugin:
    """Return the plugin that runs templates on rows of their data sets.

    Args:
        dataset: One data set of the collection; all of them where left out.
        language: Of templates that do not say; told by their script where left out.
        samples: Rows of the data set, for the conformance check.

    Raises:
        UnknownNameError: There is no such data set.
        ConfigError: There are samples and no data set that they are of.
    """
    if samples and dataset is None:
        raise ConfigError("--samples are rows of one data set: say which with --dataset NAME")
    chosen = collection.dataset(dataset) if dataset is not None else list(collection)
    grouped: dict[str, list[PromptsourceTemplate]] = {}
    for template in chosen:
        grouped.setdefault(template.dataset_name, []).append(template)
    refused: dict[str, str] = {}
    left_out: dict[str, list[str]] = {}
    names = Names()
    tasks: list[PlannedTask] = []
    renamed: dict[str, str] = {}
    for found in grouped.values():
        tasks += _tasks(found, names, refused, left_out, renamed, language, samples)
    carried = sum(len(task.templates) for task in tasks)
    report = Report(
        kind="promptsource",
        source=source,
        found=len(chosen) + len(collection.failures),
        carried=carried,
        tasks=len(tasks),
        templates=carried,
        refused=refused,
        unreadable=[printable(str(failure).partition("\n")[0], 300) for failure in collection.failures],
        left_out=left_out,
        renamed=renamed | names.collisions,
        notes=_notes(tasks, samples),
    )
    return Plugin(name=name, tasks=tasks, report=report)


def _notes(tasks: Sequence[PlannedTask], samples: Sequence[Any]) -> list[str]:
    if any(task.samples for task in tasks):
        return []
    if samples:
        return ["no template gives an answer for any of the samples: none was written"]
    return ["no samples: `instructforge check` asks for a few rows of each task (--samples ROWS.jsonl)"]


def _tasks(
    templates: Iterable[PromptsourceTemplate],
    names: Names,
    refused: dict[str, str],
    left_out: dict[str, list[str]],
    renamed: dict[str, str],
    language: str | None,
    samples: Sequence[Mapping[str, Any]],
) -> list[PlannedTask]:
    """Return the tasks of one data set: one, or two where some templates are answered by a choice."""
    kinds: dict[str, list[PromptsourceTemplate]] = {}
    for template in templates:
        try:
            template.text  # noqa: B018  (compiled here, so that what is wrong is told now)
        except TemplateError as error:
            refused[f"{template.key} ({template.id})"] = printable(str(error).partition("\n")[0], 300)
            continue
        kinds.setdefault("choice" if answered_by_choice(template) else "text", []).append(template)
    made = []
    for kind in sorted(kinds, reverse=True):
        dataset = kinds[kind][0].dataset_name
        name = names.claim(dataset if len(kinds) == 1 or kind == "text" else f"{dataset}-choice", otherwise="dataset")
        task, others, slugs = planned_task(name, kinds[kind], kind, language, samples)
        made.append(task)
        left_out.update(others)
        renamed.update({f"{name}: {old}": new for old, new in slugs.items()})
    return made


def planned_task(
    name: str,
    templates: Sequence[PromptsourceTemplate],
    kind: str,
    language: str | None = None,
    samples: Sequence[Mapping[str, Any]] = (),
) -> tuple[PlannedTask, dict[str, list[str]], dict[str, str]]:
    """Return the task of templates of one data set, what is left out of them, and names that were changed."""
    columns = sorted(frozenset[str]().union(*(template.text.names for template in templates)))
    fields = {column: f"the column {column}" for column in columns} or {"row": "nothing of it is shown"}
    target: dict[str, Any] = {"kind": kind}
    if kind == "choice":
        target["from_field"] = CHOICES
        fields[CHOICES] = "what a row's answer is chosen from, as the template words it"
    files: dict[str, str] = {}
    slugs: dict[str, Names] = {}
    languages: set[str] = set()
    for template in templates:
        told = language_told(template, language)
        languages.add(told)
        file = slugs.setdefault(told, Names()).claim(template.name, otherwise=f"template-{template.id[:8]}")
        files[f"{told}/{file}"] = promptsource_source(template.jinja, template.answer_choices, note=_note(template))
    metrics, others = _metrics(templates, kind)
    entry = {
        "name": name,
        "summary": f"Templates of promptsource for {printable(templates[0].dataset_name, 120)}",
        "dataset": templates[0].dataset_name,
        "target": target,
        "fields": fields,
        "language": min(languages) if len(languages) == 1 else None,
        "metrics": metrics,
        "templates": {key: template.id for key, template in zip(files, templates, strict=True)},
    }
    planned = PlannedTask(entry=entry, templates=files, samples=_samples(name, entry, files, samples))
    left_out = {name: [f"metrics: {', '.join(others)}"]} if others else {}
    for template in templates:
        if template.others:
            left_out[template.key] = [f"attributes: {', '.join(template.others)}"]
    return planned, left_out, {old: new for one in slugs.values() for old, new in one.collisions.items()}


def _note(template: PromptsourceTemplate) -> str:
    parts = (f"{template.dataset_name}: {template.name}", template.id, template.reference)
    return printable(" · ".join(filter(None, parts)), 600)


def _metrics(templates: Iterable[PromptsourceTemplate], kind: str) -> tuple[list[str], list[str]]:
    """Return our metrics for those that templates name, and the names for which there is none."""
    named = sorted({metric for template in templates for metric in template.metadata.metrics})
    carried = {_METRICS.get(metric.casefold(), "") for metric in named} & _FITTING[kind]
    others = [metric for metric in named if _METRICS.get(metric.casefold(), "") not in _FITTING[kind]]
    kept = [metric for metric in others if metric not in ("Other", "Accuracy")]
    return list(dict.fromkeys((*_BY_TARGET[kind], *sorted(carried)))), kept


def language_told(template: PromptsourceTemplate, language: str | None = None) -> str:
    """Return the language of a template: the one that its metadata name, else ``language``, else by its script.

    >>> language_told(PromptsourceTemplate(dataset="d", id="1", name="n", jinja="这句话说了什么？{{text}} ||| {{y}}"))
    'zh'
    """
    said = [code for code in template.metadata.languages if _CODE.fullmatch(code)]
    if len(said) == 1:
        return said[0]
    if language is not None:
        return language
    return language_of(_JINJA.sub(" ", template.jinja))


def answered_by_choice(template: PromptsourceTemplate) -> bool:
    """Tell whether what a template's target shows is always one of its answer choices, as it stands there."""
    if template.answer_choices is None:
        return False
    try:
        target = source_of(halves(pieces(template.jinja)).target)
        tree = Environment().parse(target)
    except (NotConvertible, TemplateError, SyntaxError, ValueError):
        return False
    except Exception:  # half of a template need not be one
        return False
    return _shows_one_choice(tree.body)


def _shows_one_choice(body: Sequence[nodes.Node]) -> bool:
    """Tell whether every way through ``body`` shows at most one thing, a look-up among the choices."""
    shown = 0
    for node in body:
        if isinstance(node, nodes.Assign):
            continue
        if isinstance(node, nodes.If):
            branches = [node.body, *(branch.body for branch in node.elif_), node.else_]
            if not all(_shows_one_choice(branch) for branch in branches):
                return False
            shown += 1
        elif isinstance(node, nodes.Output):
            parts = [part for part in node.nodes if not _is_space(part)]
            if not all(_is_lookup(part) for part in parts):
                return False
            shown += len(parts)
        else:
            return False
    return shown <= 1


def _is_space(node: nodes.Node) -> bool:
    return isinstance(node, nodes.TemplateData) and not node.data.strip()


def _is_lookup(node: nodes.Node) -> bool:
    return (
        isinstance(node, nodes.Getitem)
        and isinstance(node.node, nodes.Name)
        and node.node.name == CHOICES
        and not isinstance(node.arg, nodes.Slice)
    )


# --- Samples ------------------------------------------------------------------------------------------


def _samples(
    name: str, entry: Mapping[str, Any], files: Mapping[str, str], rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return worked examples: rows, each with the answer that the first template for it gives."""
    if not rows:
        return []
    fields = {column: Field(text, kind="value", optional=True) for column, text in entry["fields"].items()}
    target = Choice(from_field=CHOICES) if entry["target"]["kind"] == "choice" else Text()
    task = Task(name, summary="", fields=fields, target=target)
    made: list[dict[str, Any]] = []
    for language in sorted({key.partition("/")[0] for key in files}):
        compiled = [
            compile_template(source, task=task, language=language, name=key.partition("/")[2])
            for key, source in files.items()
            if key.partition("/")[0] == language
        ]
        worked = (_worked(compiled, {column: row[column] for column in fields if column in row}) for row in rows)
        made += [
            {"language": language, "inputs": example.inputs, "answer": example.answers[0]}
            for example in worked
            if example is not None
        ][:MAX_SAMPLES]
    return made


def _worked(templates: Iterable[Any], inputs: Mapping[str, Any]) -> Example | None:
    for template in templates:
        try:
            example: Example = template.render(Example(inputs=inputs, answers=(), id="sample"), seed=1).example
        except TemplateError:
            continue
        if example.answers:
            return example
    return None
