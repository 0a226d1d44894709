"""Labels: how each fares, and which are taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from instructforge.data import Answer, Example
from instructforge.evaluation.figures import Pair
from instructforge.metrics.tags import entity_figures, gold_and_said
from instructforge.tasks import Choice, Tags, Task

__all__ = ["confusion", "label_figures"]

MOST_LABELS_IN_A_MATRIX = 20
MOST_CONFUSIONS = 20


def _named(pairs: Sequence[Pair], task: Task) -> bool:
    """Tell whether labels stand for themselves: the task's own, or a set that all rows share and that comes back."""
    if not (isinstance(task.target, Choice) and task.target.from_field):
        return True
    sets = {frozenset(task.target.labels(one.example.inputs)) for one, _ in pairs}
    return len(sets) == 1 and len(pairs) >= len(next(iter(sets)))


def _label_of(answer: Answer | None, example: Example, task: Task, *, named: bool) -> str | None:
    """Return the label that stands for an answer in tables: itself, or its place where rows have own choices."""
    if answer is None or not isinstance(task.target, Choice):
        return None
    if named:
        return str(answer)
    labels = task.target.labels(example.inputs)
    return _letter(labels.index(str(answer))) if answer in labels else None


def _letter(place: int) -> str:
    return chr(65 + place) if place < 26 else str(place + 1)


def _confused(pairs: Sequence[Pair], task: Task, *, named: bool) -> Counter[tuple[str, str | None]]:
    """Count (gold, predicted); where several answers are gold, the predicted one if it is among them."""
    found: Counter[tuple[str, str | None]] = Counter()
    for one, said in pairs:
        answers = one.example.answers
        gold = said.answer if said.answer in answers else answers[0]
        label = _label_of(gold, one.example, task, named=named)
        if label is not None:
            found[label, _label_of(said.answer, one.example, task, named=named)] += 1
    return found


def _confusable(task: Task) -> bool:
    return isinstance(task.target, Choice) and not task.target.multiple


def _order(names: Iterable[str], task: Task) -> list[str]:
    known = list(task.target.options) if isinstance(task.target, Choice) else []
    place = {label: at for at, label in enumerate(known)}
    return sorted(names, key=lambda name: (place.get(name, len(place)), len(name) > 1 and name.isdigit(), name))


def confusion(pairs: Sequence[Pair], task: Task) -> dict[str, Any]:
    if not _confusable(task) or not pairs:
        return {}
    named = _named(pairs, task)
    counts = _confused(pairs, task, named=named)
    names = _order({name for pair in counts for name in pair if name is not None}, task)
    support: Counter[str] = Counter()
    for (gold, _), count in counts.items():
        support[gold] += count
    wrong = sorted(
        ((gold, said, count) for (gold, said), count in counts.items() if gold != said),
        key=lambda item: (-item[2], item[0], item[1] or ""),
    )
    found: dict[str, Any] = {
        "of": "labels" if named else "places",
        "labels": len(names),
        "pairs": [
            {"gold": gold, "predicted": said, "count": count, "of": support[gold]}
            for gold, said, count in wrong[:MOST_CONFUSIONS]
        ],
    }
    if len(names) <= MOST_LABELS_IN_A_MATRIX:
        columns: list[str | None] = [*names, *([None] if any(said is None for _, said in counts) else [])]
        found["columns"] = columns
        found["matrix"] = [{"gold": gold, "counts": [counts[gold, said] for said in columns]} for gold in names]
    return found


def label_figures(pairs: Sequence[Pair], task: Task) -> list[dict[str, Any]]:
    """Return support, precision, recall and F1 of each label of a closed set, or of each type of entity."""
    if isinstance(task.target, Tags):
        return _entity_figures(pairs)
    if not isinstance(task.target, Choice) or not _named(pairs, task):
        return []
    support, predicted, right = Counter[str](), Counter[str](), Counter[str]()
    for one, said in pairs:
        answers = one.example.answers
        gold = _names(said.answer if said.answer in answers else answers[0])
        chosen = _names(said.answer)
        support.update(gold)
        predicted.update(chosen)
        right.update(gold & chosen)
    return [
        _figures_of(label, support[label], predicted[label], right[label])
        for label in _order(set(support) | set(predicted), task)
    ]


def _figures_of(label: str, support: int, predicted: int, right: int) -> dict[str, Any]:
    return {
        "label": label,
        "n": support,
        "predicted": predicted,
        "precision": right / predicted if predicted else None,
        "recall": right / support if support else None,
        "f1": 2 * right / (support + predicted),
    }


def _entity_figures(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    found = entity_figures([gold_and_said(said, one.example) for one, said in pairs])
    return [_figures_of(label, *counts) for label, counts in found.items()]


def _names(answer: Answer | None) -> set[str]:
    if answer is None:
        return set()
    return set(answer) if isinstance(answer, tuple) else {str(answer)}
