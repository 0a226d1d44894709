"""What a guess would reach: the commonest answer, and a uniform choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np

from instructforge.data import NO_ANSWER, Answer, Example, Prediction
from instructforge.evaluation.document import Figures
from instructforge.evaluation.figures import Table, figure
from instructforge.tasks import Choice, Span, Task

__all__ = ["baseline", "guesses"]


def baseline(table: Table, trained: Counter[str]) -> dict[str, Any]:
    """Score the commonest answer, as if it had been predicted for every row."""
    if not table.pairs:
        return {}
    source = "train" if trained else "test"
    counts = trained or Counter(guesses([one.example for one, _ in table.pairs], table.task))
    chance = _chance(table)
    if not counts:
        return {"chance": chance} if chance is not None else {}
    guess, _ = min(counts.items(), key=lambda item: (-item[1], item[0]))
    predictions = [Prediction(id=one.id, answer=_as_answer(guess, one.example, table.task)) for one, _ in table.pairs]
    examples = [one.example for one, _ in table.pairs]
    always = attrs.evolve(
        table,
        pairs=[(one, prediction) for (one, _), prediction in zip(table.pairs, predictions, strict=True)],
        prepared={metric.name: metric.prepare(predictions, examples, table.task) for metric in table.metrics},
    )
    return {
        "answer": guess,
        "counted_in": source,
        "metrics": always.figures("all", table.all_rows),
        "gain": _gain(table, always),
        "chance": chance,
    }


def _gain(table: Table, always: Table) -> Figures:
    """Return how much better the predictions are than the guess, on the same resamples."""
    rows = table.all_rows
    ours, theirs = (one.drawn("all", rows) for one in (table, always))
    gains = {}
    for metric in table.metrics[:-1]:
        name = metric.name
        value = metric.reduce(table.prepared[name], rows) - metric.reduce(always.prepared[name], rows)
        drawn = ours[name] - theirs[name] if name in ours else ()
        groups = len(np.unique(table.groups))
        gains[name] = figure(value, drawn, n=len(rows), groups=groups, higher_is_better=True)
    return gains


def guesses(examples: Iterable[Example], task: Task) -> list[str]:
    """Return each example's first gold answer, as something that could be guessed for any row."""
    return [guess for example in examples if example.answers and (guess := _guess(example, task)) is not None]


def _guess(example: Example, task: Task) -> str | None:
    answer, target = example.answers[0], task.target
    if isinstance(target, Choice) and not target.multiple:
        if not target.from_field:
            return str(answer)
        labels = target.labels(example.inputs)
        return f"choice {labels.index(str(answer)) + 1}" if answer in labels else None
    if isinstance(target, Span) and target.nullable:
        return "no answer"  # the one answer that fits every passage
    return None


def _as_answer(guess: str, example: Example, task: Task) -> Answer | None:
    target = task.target
    if isinstance(target, Span):
        return NO_ANSWER
    if isinstance(target, Choice) and target.from_field:
        labels, place = target.labels(example.inputs), int(guess.rpartition(" ")[2]) - 1
        return labels[place] if place < len(labels) else None
    return guess


def _chance(table: Table) -> float | None:
    """Return the accuracy of guessing any of a row's labels alike, for choices of one label."""
    target = table.task.target
    if not isinstance(target, Choice) or target.multiple:
        return None
    sizes = [len(set(target.labels(one.example.inputs))) for one, _ in table.pairs]
    return float(np.mean([1 / size for size in sizes if size])) if any(sizes) else None
