"""Metrics of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from instructforge.data import Answer, Example, Prediction
from instructforge.metrics.base import Mean, Scores, best_over_answers, text_of
from instructforge.tasks import Choice, Task

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Accuracy", "MacroF1", "MicroF1"]


@frozen
class Accuracy(Mean):
    """The share of predictions that equal a gold answer, by the target's own equality."""

    name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        equal = task.target.equal
        return best_over_answers(
            predictions, examples, lambda answer, example: float(any(equal(answer, gold) for gold in example.answers))
        )


@frozen
class MacroF1:
    """F1 of each label, averaged over the labels that occur as gold or as prediction.

    Where a row has several gold answers, the predicted one counts if it is among them, else the first.

    Source: ``sklearn.metrics.f1_score(average="macro", zero_division=0)``, an undecoded prediction being
    none of the labels.
    """

    name: ClassVar[str] = "macro-f1"
    higher_is_better: ClassVar[bool] = True

    def left_out(self, examples: Sequence[Example], task: Task) -> str:
        """Return why the figure would mean nothing for this task, or an empty text."""
        if not (isinstance(task.target, Choice) and task.target.from_field):
            return ""
        known = {frozenset(task.target.labels(example.inputs)) for example in examples}
        return "" if len(known) <= 1 else "each row has choices of its own"

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> LabelMarks:
        return _marks(predictions, examples, task)

    def reduce(self, prepared: LabelMarks, rows: NDArray[np.intp]) -> float:
        if not len(rows):
            return float("nan")
        # A resample is a weight for each row, so that a row is looked at once however often it is drawn.
        weight = np.bincount(rows, minlength=len(prepared))[prepared.row].astype(np.float64)
        right = np.bincount(prepared.label, weight * prepared.right, minlength=1)
        total = np.bincount(prepared.label, weight * prepared.total, minlength=1)
        present = total > 0
        return float((2 * right[present] / total[present]).mean()) if present.any() else 0.0


@frozen
class MicroF1:
    """F1 over all labels of all rows together: what is chosen often counts often. For answers of several labels.

    Where no label is gold and none is predicted, nothing was missed and nothing made up: 1.

    Source: ``sklearn.metrics.f1_score(average="micro", zero_division=1.0)``, an undecoded prediction being
    none of the labels.
    """

    name: ClassVar[str] = "micro-f1"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> LabelMarks:
        return _marks(predictions, examples, task)

    def reduce(self, prepared: LabelMarks, rows: NDArray[np.intp]) -> float:
        if not len(rows):
            return float("nan")
        weight = np.bincount(rows, minlength=len(prepared))[prepared.row].astype(np.float64)
        total = float(weight @ prepared.total)
        return 2 * float(weight @ prepared.right) / total if total else 1.0


def _marks(predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> LabelMarks:
    pairs = [
        _gold_and_predicted(prediction, example, task)
        for prediction, example in zip(predictions, examples, strict=True)
    ]
    names = sorted({label for pair in pairs for side in pair for label in side})
    return LabelMarks.of(pairs, {label: at for at, label in enumerate(names)})


@frozen(eq=False)
class LabelMarks:
    """Which labels are gold and which are predicted, sparse: one entry for each label of each row.

    Shapes:
        row, label, right, total: (entries,); ``total`` counts the label as gold and as prediction, ``right``
        is 1 where it is both.
    """

    rows: int
    row: NDArray[np.intp]
    label: NDArray[np.intp]
    right: Scores
    total: Scores

    def __len__(self) -> int:
        return self.rows

    @classmethod
    def of(cls, pairs: Sequence[tuple[tuple[str, ...], tuple[str, ...]]], place: Mapping[str, int]) -> Self:
        entries = [
            (row, place[label], float(label in gold and label in predicted), (label in gold) + (label in predicted))
            for row, (gold, predicted) in enumerate(pairs)
            for label in dict.fromkeys((*gold, *predicted))
        ]
        columns = list(zip(*entries, strict=True)) or [(), (), (), ()]
        return cls(
            rows=len(pairs),
            row=np.array(columns[0], dtype=np.intp),
            label=np.array(columns[1], dtype=np.intp),
            right=np.array(columns[2], dtype=np.float64),
            total=np.array(columns[3], dtype=np.float64),
        )


def _gold_and_predicted(
    prediction: Prediction, example: Example, task: Task
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    predicted = prediction.answer
    gold = next((g for g in example.answers if predicted is not None and task.target.equal(predicted, g)), None)
    return _as_labels(example.answers[0] if gold is None else gold), _as_labels(predicted)


def _as_labels(answer: Answer | None) -> tuple[str, ...]:
    if answer is None:
        return ()
    return answer if isinstance(answer, tuple) else (text_of(answer),)
