"""Metrics of rankings: NDCG, mean reciprocal rank, and hits among the first k.

A prediction is scored as an order of all of a row's items: what it left out stands behind the rest, in the row's own
order. How relevant an item is follows from the gold answer (``Ranking.grades``). Where a row has several gold answers
the best score counts. A prediction that could not be decoded scores 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from instructforge.data import Answer, Example, Prediction
from instructforge.metrics.base import Mean, Scores, best_over_answers
from instructforge.tasks import Ranking, Task

__all__ = ["Hit", "MeanReciprocalRank", "Ndcg", "first_relevant", "full_order", "ndcg_of"]


def full_order(answer: Answer, items: Sequence[str]) -> list[str]:
    """Return all of ``items``: those that ``answer`` names in its order, then the others in theirs.

    >>> full_order(("c", "x", "a"), ["a", "b", "c"])
    ['c', 'a', 'b']
    """
    known = set(items)
    named = [item for item in (answer if isinstance(answer, tuple) else ()) if item in known]
    return list(dict.fromkeys([*named, *items]))


def ndcg_of(grades: Sequence[float], k: int | None = None) -> float:
    """Return the normalised discounted cumulative gain of items with these grades, in the order they were ranked.

    Source: ``sklearn.metrics.ndcg_score``: the grade itself is the gain, and rank i is discounted by log2(i + 1).

    >>> ndcg_of([0.0, 1.0])
    0.6309...
    """
    gained = np.asarray(grades, dtype=np.float64)
    best = _discounted(np.sort(gained)[::-1], k)
    return float(_discounted(gained, k) / best) if best > 0 else 0.0


def _discounted(gains: NDArray[np.float64], k: int | None) -> float:
    kept = gains[:k]
    return float((kept / np.log2(np.arange(2, len(kept) + 2))).sum())


def first_relevant(answer: Answer, gold: Answer, example: Example, target: Ranking) -> int | None:
    """Return the rank, from 1, at which an item that was to be found stands; None where there is none.

    To be found is any item of the gold answer where it is a set, the first one where it is an order.
    """
    listed = gold if isinstance(gold, tuple) else ()
    wanted = set(listed if target.relevance == "set" else listed[:1])
    ranked = full_order(answer, target.labels(example.inputs))
    return next((rank for rank, item in enumerate(ranked, 1) if item in wanted), None)


def _target(task: Task) -> Ranking | None:
    return task.target if isinstance(task.target, Ranking) else None


def _best(
    predictions: Sequence[Prediction],
    examples: Sequence[Example],
    task: Task,
    score: Callable[[Answer, Answer, Example, Ranking], float],
) -> Scores:
    """Return each prediction's best score over its row's gold answers; 0 throughout for a task that ranks nothing."""
    target = _target(task)
    if target is None:
        return np.zeros(len(predictions))
    return best_over_answers(
        predictions, examples, lambda answer, example: max(score(answer, g, example, target) for g in example.answers)
    )


def _left_out(examples: Sequence[Example], task: Task, k: int | None) -> str:
    target = _target(task)
    if target is None:
        return "the task's answers are no rankings"
    if k is not None and examples and all(len(target.labels(example.inputs)) <= k for example in examples):
        return f"no row has more than {k} items"
    return ""


@frozen
class Ndcg(Mean):
    """Normalised discounted cumulative gain, over all items or over the first ``k``."""

    k: int | None = None

    higher_is_better: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "ndcg" if self.k is None else f"ndcg-at-{self.k}"

    def left_out(self, examples: Sequence[Example], task: Task) -> str:
        """Return why the figure would mean nothing for this task, or an empty text."""
        return _left_out(examples, task, self.k)

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        def _score(answer: Answer, gold: Answer, example: Example, target: Ranking) -> float:
            ranked = full_order(answer, target.labels(example.inputs))
            return ndcg_of(target.grades(gold, ranked), self.k)

        return _best(predictions, examples, task, _score)


@frozen
class MeanReciprocalRank(Mean):
    """One over the rank of the first item that was to be found (see ``first_relevant``)."""

    name: ClassVar[str] = "mrr"
    higher_is_better: ClassVar[bool] = True

    def left_out(self, examples: Sequence[Example], task: Task) -> str:
        """Return why the figure would mean nothing for this task, or an empty text."""
        return _left_out(examples, task, None)

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        def _score(answer: Answer, gold: Answer, example: Example, target: Ranking) -> float:
            rank = first_relevant(answer, gold, example, target)
            return 0.0 if rank is None else 1 / rank

        return _best(predictions, examples, task, _score)


@frozen
class Hit(Mean):
    """The share of rows where an item that was to be found (see ``first_relevant``) is among the first ``k``."""

    k: int = 1

    higher_is_better: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"hit-at-{self.k}"

    def left_out(self, examples: Sequence[Example], task: Task) -> str:
        """Return why the figure would mean nothing for this task, or an empty text."""
        return _left_out(examples, task, self.k)

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        def _score(answer: Answer, gold: Answer, example: Example, target: Ranking) -> float:
            rank = first_relevant(answer, gold, example, target)
            return float(rank is not None and rank <= self.k)

        return _best(predictions, examples, task, _score)


NDCG_AT_5 = Ndcg(k=5)
NDCG_AT_10 = Ndcg(k=10)
HIT_AT_1 = Hit(k=1)
HIT_AT_5 = Hit(k=5)
HIT_AT_10 = Hit(k=10)
