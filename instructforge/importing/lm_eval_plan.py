"""lm-eval's declarative tasks as tasks of ours: ``doc_to_text`` as it is, target and choices read by a normalizer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from attrs import define, field

from instructforge.building.making import language_of
from instructforge.errors import DataError, TemplateError, UnknownNameError, printable
from instructforge.importing.as_they_are import answered_by_choice, planned_task
from instructforge.importing.filters import problem_of
from instructforge.importing.lm_eval import LmEvalTask, LmEvalTasks
from instructforge.importing.lm_eval_rows import Template
from instructforge.importing.promptsource import Collection, PromptsourceTemplate
from instructforge.importing.slugs import Names, slug
from instructforge.importing.writing import PlannedTask, Plugin, Report
from instructforge.importing.yamlfile import Function
from instructforge.templates.asis import lm_eval_source
from instructforge.templates.dialects import CHOICES

__all__ = ["plan_lm_eval", "refusal"]

_COLUMN = re.compile(r"[A-Za-z_]\w*")
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.S)
_TEMPLATE = "doc-to-text"
_MANY = 500
_METRICS = {
    "multiple_choice": {"acc": "accuracy", "acc_norm": "accuracy", "exact_match": "accuracy"},
    "generate_until": {
        "exact_match": "exact-match",
        "acc": "exact-match",
        "bleu": "bleu",
        "chrf": "chrf",
        "rouge1": "rouge-1",
        "rouge2": "rouge-2",
        "rougeL": "rouge-l",
    },
}
_CARRIED = frozenset(
    (
        *("task", "task_alias", "tag", "group", "dataset_path", "dataset_name", "metadata", "include", "use_prompt"),
        *("training_split", "validation_split", "test_split", "output_type", "repeats"),
        *("doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix", "target_delimiter"),
        *("metric_list", "generation_kwargs", "filter_list", "fewshot_delimiter"),
    )
)
_NEEDED = ("process_docs", "doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix", "class")


def plan_lm_eval(
    tasks: LmEvalTasks,
    *,
    name: str,
    source: str,
    patterns: Sequence[str] = (),
    language: str | None = None,
    collection: Collection | None = None,
) -> Plugin:
    """Return the plugin with those tasks that are declarative.

    Args:
        patterns: Names of tasks, groups or tags, with ``*``; all tasks where left out.
        language: Of the texts; told by their script where left out.
        collection: promptsource's templates, for tasks that use them.

    Raises:
        UnknownNameError: A pattern fits nothing.
    """
    chosen = _chosen(tasks, patterns)
    planning = _Planning(language, collection)
    for task in chosen:
        planning.take(task)
    overridden = {key: [f"changed by the group: {', '.join(keys)}"] for key, keys in tasks.overridden.items()}
    failures = tasks.failures if not patterns else ()
    report = Report(
        kind="lm-eval",
        source=source,
        found=len(chosen) + len(failures),
        carried=planning.carried,
        tasks=len(planning.tasks),
        templates=sum(len(task.templates) for task in planning.tasks),
        refused=planning.refused,
        unreadable=[printable(str(failure).partition("\n")[0], 300) for failure in failures],
        left_out=planning.left_out | (overridden if not patterns else {}),
        renamed=planning.names.collisions,
        notes=_notes(planning.tasks),
        groups={group: names for group, names in tasks.groups.items() if {*names} & {task.name for task in chosen}},
    )
    decoders = any(task.entry.get("decoders") for task in planning.tasks)
    return Plugin(name=name, tasks=planning.tasks, report=report, decoders=decoders)


def _notes(tasks: Sequence[PlannedTask]) -> list[str]:
    notes = ["no samples: `instructforge check` asks for a few worked rows of each task"] if tasks else []
    if len(tasks) > _MANY:
        notes.append(f"{len(tasks)} tasks in one plugin make every command slower: --task NAME takes a part")
    return notes


def _chosen(tasks: LmEvalTasks, patterns: Sequence[str]) -> list[LmEvalTask]:
    if not patterns:
        return list(tasks)
    wanted: set[str] = set()
    names = [task.name for task in tasks]
    for pattern in patterns:
        found = {name for name in names if fnmatchcase(name, pattern)}
        waiting = [group for group in tasks.groups if fnmatchcase(group, pattern)]
        seen: set[str] = set()
        while waiting:
            group = waiting.pop()
            if group not in seen:
                seen.add(group)
                found |= {*tasks.groups[group]} | {f"{group}::{member}" for member in tasks.groups[group]}
                waiting += [member for member in tasks.groups[group] if member in tasks.groups]
        if not found & {*names}:
            raise UnknownNameError("task, group or tag of lm-eval", pattern, (*names, *tasks.groups))
        wanted |= found
    return [task for task in tasks if task.name in wanted]


def refusal(task: LmEvalTask) -> str | None:
    """Return why a task cannot be converted, before its templates are looked at; None if it can.

    >>> refusal(LmEvalTask("t", "t.yaml", {"process_docs": Function("utils.process_docs")}))
    'process_docs is Python, which is not run'
    """
    config = task.config
    for key in _NEEDED:
        if _holds_python(config.get(key)):
            return f"{key} is Python, which is not run"
    for key in ("doc_to_image", "doc_to_audio"):
        if config.get(key) is not None:
            return f"{key}: it is not about text alone"
    if task.output_type not in ("generate_until", "multiple_choice", "loglikelihood"):
        return f"output_type {printable(task.output_type, 40)} has no answer"
    if config.get("use_prompt") is not None:
        return None
    for key in ("doc_to_text", "doc_to_target"):
        if config.get(key) is None:
            return f"it has no {key}"
    if not isinstance(config["doc_to_text"], str) or not config["doc_to_text"].strip():
        return "its doc_to_text is empty"
    if not isinstance(config["doc_to_target"], str | int | list):
        return "its doc_to_target is no text, place or list"
    if task.output_type == "multiple_choice" and not config.get("doc_to_choice"):
        return "it has no doc_to_choice"
    if not isinstance(config.get("doc_to_choice"), str | list | dict | None):
        return "its doc_to_choice is no text, list or mapping"
    return None


def _holds_python(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_python, value.values()))
    return any(map(_holds_python, value)) if isinstance(value, list) else isinstance(value, Function)


@define
class _Planning:
    """Plans tasks, one after the other."""

    language: str | None
    collection: Collection | None
    tasks: list[PlannedTask] = field(factory=list)
    refused: dict[str, str] = field(factory=dict)
    left_out: dict[str, list[str]] = field(factory=dict)
    names: Names = field(factory=Names)
    carried: int = 0

    def take(self, task: LmEvalTask) -> None:
        """Plan a task, or say why not."""
        reason = refusal(task)
        if reason is None:
            try:
                self._plan(task)
                self.carried += 1
                return
            except _Refused as error:
                reason = str(error)
            except (TemplateError, DataError) as error:
                reason = printable(str(error).partition("\n")[0].partition(" is refused: ")[2] or str(error), 200)
        self.refused[task.name] = reason

    def _plan(self, task: LmEvalTask) -> None:
        if task.config.get("use_prompt") is not None:
            self._plan_promptsource(task)
            return
        texts = _texts(task)
        columns = sorted(frozenset[str]().union(*(text.text.names for text in texts.values())))
        if not columns:
            raise _Refused("its text is the same for every row")
        for key in ("doc_to_target", "doc_to_choice"):
            if isinstance(task.config.get(key), str):
                Template(task.config[key], f"{task.name}, {key}")
        target, answers = _target(task, columns)
        fields = {column: f"the column {column}" for column in columns}
        if answers["into"]:
            fields[answers["into"]] = "the row's choices"
        left_out: list[str] = []
        name = self.names.claim(task.name, otherwise="task")
        language = self.language or language_of(_JINJA.sub(" ", texts["doc_to_text"].source))
        entry = {
            "name": name,
            "summary": f"lm-eval's task {printable(task.name, 100)}",
            "dataset": task.dataset or printable(task.file, 100),
            "target": target,
            "fields": fields,
            "language": language,
            "metrics": _metrics(task, left_out),
            "answers": answers,
            "decoders": _decoders(name, task, left_out),
            "lm_eval": _provenance(task),
        }
        left_out += _others(task)
        if left_out:
            self.left_out[task.name] = left_out
        self.tasks.append(PlannedTask(entry=entry, templates={f"{language}/{_TEMPLATE}": _source(task, texts)}))

    def _plan_promptsource(self, task: LmEvalTask) -> None:
        """Plan the tasks of templates that a task takes from promptsource."""
        category, _, pattern = str(task.config["use_prompt"]).partition(":")
        if category != "promptsource":
            raise _Refused(f'use_prompt "{printable(category, 40)}" is not known')
        if self.collection is None:
            raise _Refused("its prompts are promptsource's: give the collection with --promptsource PATH")
        found = [one for one in _templates_of(task, self.collection) if fnmatchcase(one.name, pattern)]
        if not found:
            raise _Refused(f"promptsource has no such template for {printable(task.dataset, 80)}")
        kinds: dict[str, list[PromptsourceTemplate]] = {}
        for template in found:
            kinds.setdefault("choice" if answered_by_choice(template) else "text", []).append(template)
        for kind in sorted(kinds, reverse=True):
            name = self.names.claim(task.name if kind == "text" or len(kinds) == 1 else f"{task.name}-choice")
            planned, others, _ = planned_task(name, kinds[kind], kind, self.language)
            self.tasks.append(planned)
            self.left_out.update(others)
        self.left_out.setdefault(task.name, []).extend(_others(task))


class _Refused(Exception):
    """Why a task is not converted."""


def _templates_of(task: LmEvalTask, collection: Collection) -> Iterator[PromptsourceTemplate]:
    path, name = str(task.config.get("dataset_path") or ""), task.config.get("dataset_name")
    for dataset in dict.fromkeys((path, path.rpartition("/")[2])):
        for wanted in dict.fromkeys((f"{dataset}/{name}" if name else dataset, dataset)):
            if wanted in collection.datasets:
                yield from collection.dataset(wanted)
                return


def _texts(task: LmEvalTask) -> dict[str, Template]:
    """Return the compiled templates of a task's prompt; a ``doc_to_text`` that names a column shows it."""
    texts: dict[str, Template] = {}
    for key in ("doc_to_text", "description", "gen_prefix"):
        source = task.config.get(key)
        if source is None or source == "":
            continue
        if not isinstance(source, str):
            raise _Refused(f"its {key} is no text")
        if key != "description" and _COLUMN.fullmatch(source):
            source = f"{{{{ {source} }}}}"
        texts[key] = Template(source, f"{task.name}, {key}")
    return texts


def _source(task: LmEvalTask, texts: Mapping[str, Template]) -> str:
    given = {key: text.source for key, text in texts.items()}
    note = f"lm-eval: {printable(task.name, 200)} · {printable(task.file, 200)}"
    return lm_eval_source(
        given["doc_to_text"], system=given.get("description"), prefix=given.get("gen_prefix"), note=note
    )


def _target(task: LmEvalTask, columns: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the target of the task, and how the normalizer reads answers."""
    config = task.config
    choice = config.get("doc_to_choice")
    choice = list(choice.values()) if isinstance(choice, dict) else choice
    answers: dict[str, Any] = {"target": config["doc_to_target"], "choice": choice, "labels": False, "into": None}
    if task.output_type != "multiple_choice":
        kwargs = config.get("generation_kwargs")
        kwargs = kwargs if isinstance(kwargs, Mapping) else {}
        tokens = kwargs.get("max_gen_toks", kwargs.get("max_new_tokens"))
        longest = tokens if isinstance(tokens, int) and 0 < tokens <= 1_000_000 else 256
        return {"kind": "text", "max_new_tokens": longest}, answers
    answers["labels"] = True
    if isinstance(choice, list):
        labels = [part if isinstance(part, str) else str(part) for part in choice]
        if len({label.strip() for label in labels}) < len(labels) or not all(label.strip() for label in labels):
            raise _Refused("two of its choices are the same, or one is empty")
        return {"kind": "choice", "options": labels}, {**answers, "choice": labels}
    into = CHOICES if CHOICES not in columns else f"{CHOICES}_of_row"
    return {"kind": "choice", "from_field": into}, {**answers, "into": into}


def _metrics(task: LmEvalTask, left_out: list[str]) -> list[str]:
    known = _METRICS["multiple_choice" if task.output_type == "multiple_choice" else "generate_until"]
    kept: list[str] = []
    metrics = task.config.get("metric_list")
    for entry in metrics if isinstance(metrics, list) else ():
        named = entry.get("metric") if isinstance(entry, Mapping) else None
        ours = known.get(named) if isinstance(named, str) else None
        aggregation = entry.get("aggregation") if isinstance(entry, Mapping) else None
        if ours is None or isinstance(aggregation, Function):
            shown = "one that is Python" if isinstance(named, Function) else printable(named, 40)
            left_out.append(f"metric {shown}")
            continue
        kept.append(ours)
        if named == "acc_norm":
            left_out.append("metric acc_norm: predict with the decoder choice-likelihood-characters for it")
    return list(dict.fromkeys(kept))


def _decoders(name: str, task: LmEvalTask, left_out: list[str]) -> list[dict[str, Any]]:
    """Return the decoders of a task that generates: one for each list of filters that can be carried over."""
    if task.output_type == "multiple_choice":
        return []
    kwargs = task.config.get("generation_kwargs")
    kwargs = kwargs if isinstance(kwargs, Mapping) else {}
    until = kwargs.get("until", task.config.get("fewshot_delimiter", "\n\n"))
    stops = [part for part in (until if isinstance(until, list) else [until]) if isinstance(part, str) and part]
    lists = task.config.get("filter_list")
    made: list[dict[str, Any]] = []
    names = Names()
    for entry in lists if isinstance(lists, list) else [{"name": "until", "filter": []}]:
        steps = entry.get("filter") if isinstance(entry, Mapping) else None
        if not isinstance(steps, list):
            left_out.append("a filter without steps")
            continue
        problem = next(filter(None, map(problem_of, steps)), None)
        label = slug(str(entry.get("name")), otherwise="filter")[:12].strip("-")
        if problem is not None:
            left_out.append(f"filter {label}: {problem}")
            continue
        made.append({"name": f"{name}.{names.claim(label)}", "steps": steps, "until": stops})
    return made


def _others(task: LmEvalTask) -> list[str]:
    """Return what else of a task is not carried over."""
    config = task.config
    made = [
        f"{key}{' (Python)' if isinstance(value, Function) else ''}"
        for key, value in config.items()
        if key not in _CARRIED and value not in (None, False, "", [], {}, 0)
    ]
    if config.get("repeats", 1) not in (None, 1):
        made.append("repeats")
    if str(config.get("target_delimiter", " ")).strip():
        made.append("target_delimiter")
    kwargs = config.get("generation_kwargs")
    for key, value in (kwargs if isinstance(kwargs, Mapping) else {}).items():
        if key not in ("until", "max_gen_toks", "max_new_tokens") and value not in (False, 0, 0.0, None):
            made.append(f"generation_kwargs.{printable(key, 40)}")
    return made


def _provenance(task: LmEvalTask) -> dict[str, Any]:
    keys = ("dataset_path", "dataset_name", "training_split", "validation_split", "test_split", "output_type", "tag")
    kept = {key: task.config[key] for key in keys if isinstance(task.config.get(key), str | list)}
    metadata = task.config.get("metadata")
    version = metadata.get("version") if isinstance(metadata, Mapping) else None
    return {"task": task.name, "file": task.file, **kept, **({"version": version} if version is not None else {})}
