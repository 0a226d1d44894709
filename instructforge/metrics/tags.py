"""Metrics of tags: whole entities, right in type and in both ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from instructforge.data import Answer, Example, Prediction
from instructforge.metrics.base import Scores
from instructforge.tagging import Entity, entities
from instructforge.tasks import Task

__all__ = ["EntityF1", "entities_of", "entity_figures", "gold_and_said"]


def entities_of(answer: Answer | None) -> set[Entity]:
    """Return the entities of an answer; none where there is no answer."""
    return set(entities(answer)) if isinstance(answer, tuple) else set()


def gold_and_said(prediction: Prediction, example: Example) -> tuple[set[Entity], set[Entity]]:
    """Return the entities that are right and those that were predicted.

    Where a row has several gold answers, the one that shares most with the prediction counts, the first of equals.
    """
    said = entities_of(prediction.answer)
    golds = [entities_of(answer) for answer in example.answers]
    return max(golds, key=lambda gold: 2 * len(gold & said) - len(gold), default=set()), said


@frozen
class EntityF1:
    """F1 over all entities: one is right where its type and both of its ends are (micro average).

    An undecoded prediction names none. Where no entity is gold and none is predicted, the figure is 0.

    Source: ``seqeval.metrics.f1_score(mode="strict", scheme=IOB2, average="micro")``.
    """

    name: ClassVar[str] = "entity-f1"
    higher_is_better: ClassVar[bool] = True

    def left_out(self, examples: Sequence[Example], task: Task) -> str:
        """Return why the figure would mean nothing here, or an empty text."""
        named = any(entities_of(answer) for example in examples for answer in example.answers)
        return "" if named or not examples else "no row has an entity"

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        """Return for each row the entities that are gold, predicted, and both. Shapes: (rows, 3)."""
        counts = [
            (len(gold), len(said), len(gold & said))
            for gold, said in (gold_and_said(*pair) for pair in zip(predictions, examples, strict=True))
        ]
        return np.array(counts, dtype=np.float64).reshape(-1, 3)

    def reduce(self, prepared: Scores, rows: NDArray[np.intp]) -> float:
        if not len(rows):
            return float("nan")
        gold, said, right = prepared[rows].sum(axis=0)
        return float(2 * right / (gold + said)) if gold + said else 0.0


def entity_figures(pairs: Sequence[tuple[set[Entity], set[Entity]]]) -> dict[str, tuple[int, int, int]]:
    """Return for each type how many entities are gold, predicted, and both.

    >>> entity_figures([({Entity("PER", 0, 1)}, {Entity("PER", 0, 1), Entity("LOC", 2, 3)})])
    {'LOC': (0, 1, 0), 'PER': (1, 1, 1)}
    """
    gold, said, right = Counter[str](), Counter[str](), Counter[str]()
    for wanted, found in pairs:
        gold.update(one.label for one in wanted)
        said.update(one.label for one in found)
        right.update(one.label for one in wanted & found)
    return {label: (gold[label], said[label], right[label]) for label in sorted(gold | said)}
