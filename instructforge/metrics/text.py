"""Metrics of short texts: equal, and how much of the words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from attrs import frozen

from instructforge.data import Answer, Example, Prediction
from instructforge.matching import folded
from instructforge.metrics.base import Mean, Scores, best_over_answers, overlap_f1, text_of, tokens
from instructforge.tasks import Task

__all__ = ["ExactMatch", "TokenF1"]


@frozen
class ExactMatch(Mean):
    """The share of texts that are the same as a gold answer, but for case, width and spaces."""

    name: ClassVar[str] = "exact-match"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        def _score(answer: Answer, example: Example) -> float:
            said = folded(text_of(answer))
            return float(any(said == folded(text_of(gold)) for gold in example.answers))

        return best_over_answers(predictions, examples, _score)


@frozen
class TokenF1(Mean):
    """F1 over words (characters in Chinese) with the nearest gold answer."""

    name: ClassVar[str] = "token-f1"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        def _score(answer: Answer, example: Example) -> float:
            said = tokens(text_of(answer))
            return max(overlap_f1(said, tokens(text_of(gold))) for gold in example.answers)

        return best_over_answers(predictions, examples, _score)
