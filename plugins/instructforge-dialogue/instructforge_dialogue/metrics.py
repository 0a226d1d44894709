"""Metrics of dialogue: states of slots and values, and how varied replies are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from instructforge.data import Answer, Example, Prediction
from instructforge.matching import folded
from instructforge.metrics import tokens
from instructforge.metrics.base import Mean, Scores, best_over_answers, text_of
from instructforge.tasks import Task
from instructforge_dialogue.slots import Pair, as_pairs

__all__ = ["Distinct2", "JointGoal", "SlotF1"]


# --- Slots and values ----------------------------------------------------------------------------------


def _pairs(answer: Answer | None) -> Counter[Pair]:
    """Return slots and values regardless of case, width and spaces; none for a prediction without an answer."""
    text = text_of(answer)
    return Counter((folded(slot), folded(value)) for slot, value in as_pairs(text)) if text else Counter()


def _right(said: Counter[Pair], example: Example) -> int:
    """Return how many of the predicted slots are right.

    Gold answers differ in how they spell a value: any spelling of a slot that one of them has will do, as often as the
    slot stands in the first.
    """
    golds = [_pairs(gold) for gold in example.answers]
    if len(golds) == 1:
        return (said & golds[0]).total()
    spelt = set().union(*golds)
    wanted = Counter(slot for slot, _ in golds[0].elements())
    found = Counter(pair[0] for pair in said.elements() if pair in spelt)
    return (found & wanted).total()


@frozen
class JointGoal(Mean):
    """The share of turns of which every slot is there with the right value, and no other.

    Source: Henderson et al. (2014), the second dialog state tracking challenge; values are compared as texts,
    regardless of case, width and spaces, with any of the spellings that the gold answers have.
    """

    name: ClassVar[str] = "joint-goal"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        def _score(answer: Answer, example: Example) -> float:
            said, gold = _pairs(answer), _pairs(example.answers[0])
            return float(said.total() == gold.total() == _right(said, example))

        return best_over_answers(predictions, examples, _score)


@frozen
class SlotF1:
    """F1 over all slots with their values, counted over all rows; 1 where there is none and none is said."""

    name: ClassVar[str] = "slot-f1"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        """Return right, said and wanted slots.

        Shapes:
            (N, 3) for N rows. A row without slots of which none were said counts as one slot that is right: an answer
            that cannot be decoded is wrong there too.
        """
        rows = []
        for prediction, example in zip(predictions, examples, strict=True):
            said, gold = _pairs(prediction.answer), _pairs(example.answers[0])
            if gold:
                rows.append((_right(said, example), said.total(), gold.total()))
            else:
                decoded = prediction.answer is not None
                rows.append((int(decoded and not said), max(said.total(), int(decoded)), 1))
        return np.array(rows, dtype=np.float64).reshape(-1, 3)

    def reduce(self, prepared: Scores, rows: NDArray[np.intp]) -> float:
        right, said, wanted = prepared[rows].sum(axis=0) if len(rows) else (0.0, 0.0, 0.0)
        return float(2 * right / (said + wanted)) if said + wanted else float("nan")


# --- Variety -------------------------------------------------------------------------------------------


@frozen(eq=False)
class _Bigrams:
    """The word pairs of all replies, numbered.

    Shapes:
        number: (P,) the pair's own number, the same for the same pair. row: (P,) the reply that it stands in.
        start: (N + 1,) where each reply's pairs begin. total: (N,) pairs that a reply counts for.
    """

    number: NDArray[np.intp]
    start: NDArray[np.intp]
    total: NDArray[np.float64]
    kinds: int


@frozen
class Distinct2:
    """The share of different word pairs among all word pairs of the replies: how varied they are.

    Words are characters in Chinese. A reply that could not be decoded has no pairs, and counts for as many as its gold
    answer. The figure falls with the number of replies, so that only equally many are to be compared; each reply
    counts once, however often a resample draws it.

    Source: Li et al. (2016), A diversity-promoting objective function for neural conversation models, section 4.
    """

    name: ClassVar[str] = "distinct-2"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> _Bigrams:
        numbers: dict[Pair, int] = {}
        said = [_bigrams(prediction.answer) for prediction in predictions]
        number = [numbers.setdefault(pair, len(numbers)) for pairs in said for pair in pairs]
        total = [
            len(_bigrams(example.answers[0])) if prediction.answer is None else len(pairs)
            for prediction, example, pairs in zip(predictions, examples, said, strict=True)
        ]
        return _Bigrams(
            np.array(number, dtype=np.intp),
            np.cumsum([0, *map(len, said)], dtype=np.intp),
            np.array(total, dtype=np.float64),
            len(numbers),
        )

    def reduce(self, prepared: _Bigrams, rows: NDArray[np.intp]) -> float:
        seen = np.zeros(prepared.kinds, dtype=bool)
        once = np.unique(rows)
        for row in once:
            seen[prepared.number[prepared.start[row] : prepared.start[row + 1]]] = True
        total = prepared.total[once].sum()
        return float(seen.sum() / total) if total else float("nan")


def _bigrams(answer: Answer | None) -> list[Pair]:
    words = tokens(text_of(answer))
    return list(pairwise(words))
