"""How the choices of a task are answered: told from the data, once, and written into the contract.

There are five ways:

``label``
    The rows share one set of labels, and it comes back row after row: a linear head with a weight for each
    label, on features of the row's texts.
``pair``
    The same, few labels, and every row is a pair of texts (a premise and a hypothesis): the pair is read
    together, and the head compares the two. It has to be learnt from thousands of rows.
``contrast``
    The same with few rows: each text is read by itself, and a linear head compares their features.
``match``
    Every row brings choices of its own, new ones at prediction included: the choice that stands nearest to
    the row's texts.
``several``
    A row may have several labels, or none: a linear head as for ``label``, with a yes or no for each label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from instructforge.data import Instruction
from instructforge.encoding.fields import field_text
from instructforge.errors import ConfigError, TrainingError, did_you_mean
from instructforge.tasks import Ranking, Task
from instructforge.training.heads.several import label_counts, several_notes

__all__ = ["CHOICE_KINDS", "ChoicePlan", "plan_choices", "text_fields", "untrained_plan"]

CHOICE_KINDS = ("label", "pair", "contrast", "match", "several")

_MOST_PAIR_LABELS = 10
"""With more labels than this a pair is a text in two parts rather than a relation between two texts."""

_LEAST_ROWS_READ_TOGETHER = 2000
"""With fewer pairs, features of each text by itself do better than reading both together.

Source: with 240 pairs 0.65 against chance, where reading together learns nothing; with 8,330 pairs 0.54
against 0.64.
"""

_LEAST_ROWS_A_LABEL = 2
"""A shared set counts as closed once its labels are used so often on average; a label seen once teaches nothing."""


def _texts(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@frozen(kw_only=True)
class ChoicePlan:
    """What a model with a choice head reads and answers.

    Attributes:
        kind: ``label``, ``pair``, ``contrast``, ``match`` or ``several``.
        fields: The fields that are read, in the task's order.
        labels: The labels in the order of the head's outputs; empty for ``match``.
        passage: For ``match``: the field that is read sentence by sentence, if there is one.
        reason: Why this way was chosen, in a sentence.
        notes: What the owner of the data should know of the labels.
        relevance: For rankings: how an answer grades the items, as ``Ranking`` has it; empty for choices.
    """

    kind: str
    fields: tuple[str, ...] = field(converter=_texts)
    labels: tuple[str, ...] = field(default=(), converter=_texts)
    passage: str | None = None
    reason: str = ""
    notes: tuple[str, ...] = field(default=(), converter=_texts)
    relevance: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "fields": list(self.fields),
            "labels": list(self.labels),
            "passage": self.passage,
            "reason": self.reason,
            **({"relevance": self.relevance} if self.relevance else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ChoicePlan:
        return cls(
            kind=value["kind"],
            fields=value["fields"],
            labels=value["labels"],
            passage=value["passage"],
            reason=value["reason"],
            relevance=value.get("relevance", ""),
        )


def text_fields(task: Task) -> tuple[str, ...]:
    """Return the fields that an encoder model reads, in their declared order: all but the list of choices."""
    choices = getattr(task.target, "from_field", None)
    return tuple(name for name in task.fields if name != choices)


def plan_choices(task: Task, rows: Sequence[Instruction], *, wanted: str | None = None) -> ChoicePlan:
    """Choose how to answer, from labelled rows.

    Args:
        task: The task; its target is a ``Choice`` or a ``Ranking``.
        rows: Labelled instructions to train on.
        wanted: The way that the settings ask for, if they do.

    Raises:
        ConfigError: The settings ask for a way that does not exist.
        TrainingError: The data cannot be answered in that way.
    """
    if wanted is not None and wanted not in CHOICE_KINDS:
        raise ConfigError(
            f'settings.head: "{wanted}" is no way to answer choices. {did_you_mean(wanted, CHOICE_KINDS)}'
        )
    if getattr(task.target, "multiple", False) or wanted == "several":
        return _plan_several(task, rows, wanted)
    if isinstance(task.target, Ranking):
        return _ranking_plan(task, task.target, rows, wanted)
    sets = Counter(frozenset(_labels(task, row)) for row in rows)
    answers = Counter(_answer(row) for row in rows)
    fields = text_fields(task)
    used = [name for name in fields if any(_filled(row, name) for row in rows)]
    kind, reason = _kind(task, sets, answers, used)
    if wanted is not None and wanted != kind:
        kind, reason = wanted, f"the settings ask for it (the data would have been read as {kind}: {reason})"
    if kind == "match":
        return ChoicePlan(kind=kind, fields=fields, passage=_passage(rows, used), reason=reason)
    labels = _closed_labels(task, rows)
    fields = tuple(used) if kind in ("pair", "contrast") else fields
    if kind in ("pair", "contrast") and len(used) != 2:
        raise TrainingError(
            f'The head "{kind}" reads two texts, and the rows of "{task.name}" have {len(used)}: {", ".join(used)}.\n'
            'Leave settings.head open, or set it to "label".'
        )
    return ChoicePlan(kind=kind, fields=fields, labels=labels, reason=reason, notes=_label_notes(labels, answers))


def _plan_several(task: Task, rows: Sequence[Instruction], wanted: str | None) -> ChoicePlan:
    several = getattr(task.target, "multiple", False)
    if not several or wanted not in (None, "several"):
        takes = "any number of labels" if several else "one label"
        raise TrainingError(
            f'The head "{wanted}" does not fit the task "{task.name}", whose rows have {takes}.\n'
            'The head "several" is for any number of labels a row, the others are for one.\nLeave settings.head open.'
        )
    labels = _closed_labels(task, rows)
    return ChoicePlan(
        kind="several",
        fields=text_fields(task),
        labels=labels,
        reason=f"a row may have several of {len(labels)} labels",
        notes=several_notes(labels, label_counts(rows), len(rows)),
    )


def untrained_plan(task: Task) -> ChoicePlan:
    """Return how a model without a trained head chooses: by matching, the last of several fields being the passage."""
    fields, reason = text_fields(task), "the model has no trained head"
    if isinstance(task.target, Ranking):
        passage, relevance = _listed_field(task, fields), task.target.relevance
        return ChoicePlan(kind="match", fields=fields, passage=passage, reason=reason, relevance=relevance)
    passage = fields[-1] if len(fields) > 1 else None
    return ChoicePlan(kind="match", fields=fields, passage=passage, reason=reason)


def _ranking_plan(task: Task, target: Ranking, rows: Sequence[Instruction], wanted: str | None) -> ChoicePlan:
    """Return how items are ranked: by matching, item by item against the list of what went before, if there is one.

    Raises:
        TrainingError: The settings ask for another way.
    """
    if wanted not in (None, "match"):
        raise TrainingError(
            f'The head "{wanted}" answers choices, and the rows of "{task.name}" are ranked.\n'
            'Rankings are answered by the head "match".\nLeave settings.head open.'
        )
    known = {name: {field_text(row.example.inputs.get(name)) for row in rows} for name in text_fields(task)}
    fields = [name for name, values in known.items() if len(values) > 1 or len(rows) == 1]
    listed = _listed_field(task, fields)
    passage = listed if any(_filled(row, listed) for row in rows) else _passage(rows, fields)
    reason = "rows that are ranked bring their own items"
    notes = [f'"{name}" is the same in all rows, and is not read' for name in known if name not in fields]
    return ChoicePlan(
        kind="match", fields=fields, passage=passage, reason=reason, notes=notes, relevance=target.relevance
    )


def _listed_field(task: Task, fields: Iterable[str]) -> str | None:
    """Return the first of ``fields`` that is a list: each of its items is compared by itself."""
    return next((name for name in fields if task.fields[name].kind == "list"), None)


def _kind(task: Task, sets: Counter[frozenset[str]], answers: Counter[str], used: Sequence[str]) -> tuple[str, str]:
    labels = max(sets, key=lambda labels: sets[labels])
    rows = sum(sets.values())
    if getattr(task.target, "from_field", None):
        if len(sets) > 1:
            return "match", f"the rows bring {len(sets)} different sets of choices"
        if rows < _LEAST_ROWS_A_LABEL * len(labels):
            return "match", f"all rows share {len(labels)} choices, but {rows} rows are too few to learn each of them"
        reason = f"all {rows} rows share one set of {len(labels)} choices"
    else:
        reason = f"the task has {len(labels)} labels"
    if len(used) == 2 and len(labels) <= _MOST_PAIR_LABELS:
        reason = f"{reason}, and each row is a pair of texts ({used[0]}, {used[1]})"
        if rows < _LEAST_ROWS_READ_TOGETHER:
            return "contrast", f"{reason}; {rows} rows are too few to learn to read both together"
        return "pair", reason
    return "label", reason


def _labels(task: Task, row: Instruction) -> tuple[str, ...]:
    return row.labels or task.target.labels(row.example.inputs)


def _answer(row: Instruction) -> str:
    return str(row.example.answers[0])


def _filled(row: Instruction, name: str | None) -> bool:
    return name is not None and bool(row.example.inputs.get(name))


def _closed_labels(task: Task, rows: Sequence[Instruction]) -> tuple[str, ...]:
    """Return every label of the task or of the rows: in the task's order, else sorted."""
    declared = tuple(getattr(task.target, "options", ()) or ())
    return declared or tuple(sorted({label for row in rows for label in _labels(task, row)}))


def _passage(rows: Sequence[Instruction], used: Sequence[str]) -> str | None:
    """Return the longest text field where there are several: that is where the answer is looked for."""
    if len(used) < 2:
        return None
    sizes = {name: sum(len(str(row.example.inputs.get(name) or "")) for row in rows) for name in used}
    return max(used, key=lambda name: sizes[name])


def _label_notes(labels: Iterable[str], answers: Counter[str]) -> tuple[str, ...]:
    notes = []
    missing = [label for label in labels if not answers[label]]
    if missing:
        shown = ", ".join(f'"{label}"' for label in missing[:10]) + (", …" if len(missing) > 10 else "")
        notes.append(f"{len(missing)} labels have no training row and will hardly ever be answered: {shown}")
    (most, count), total = answers.most_common(1)[0], sum(answers.values())
    present = sum(1 for number in answers.values() if number)
    if present > 1 and count / total > max(0.5, min(0.8, 3 / present)):
        notes.append(
            f'the label "{most}" has {count / total:.0%} of the {total} training rows; read macro-f1, not accuracy'
        )
    if present == 1:
        notes.append(f'all {total} training rows have the label "{most}": there is nothing to learn from them')
    return tuple(notes)
