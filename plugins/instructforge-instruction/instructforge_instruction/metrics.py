"""Metrics of what can be checked in a free-form answer: the number that it comes to, the tools that it calls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from attrs import frozen

from instructforge import Example, Prediction, Reply, Task
from instructforge.data import Answer
from instructforge.metrics.base import Mean, Scores, best_over_answers

__all__ = ["FinalNumber", "ToolCalls", "final_number"]

_NUMBER = re.compile(r"[-−]?\d[\d,，]*(?:\.\d+)?")


def final_number(answer: Answer | None, *, marked: bool) -> Decimal | None:
    """Return the number that an answer comes to: the one behind its last ``####``; else, unless ``marked``, its last.

    Source: the answers of GSM8K (Cobbe et al. 2021), whose last line is ``#### 72``.

    >>> final_number("so 3 * 24 = 72 clips\\n#### 1,072", marked=True)
    Decimal('1072')
    """
    text = answer.text if isinstance(answer, Reply) else answer if isinstance(answer, str) else ""
    _, found, behind = text.rpartition("####")
    numbers = _NUMBER.findall(behind if found else "" if marked else text)
    if not numbers:
        return None
    number = numbers[0] if found else numbers[-1]
    try:
        return Decimal(number.replace(",", "").replace("，", "").replace("−", "-"))
    except InvalidOperation:
        return None


@frozen
class FinalNumber(Mean):
    """The share of answers that come to the gold answer's number, which stands there behind ``####``."""

    name: ClassVar[str] = "final-number"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        def _score(answer: Answer, example: Example) -> float:
            said = final_number(answer, marked=False)
            return float(any(said == final_number(gold, marked=False) for gold in example.answers))

        return best_over_answers(predictions, examples, _score)

    def left_out(self, examples: Sequence[Example], task: Task) -> str:
        """Say why the figure would mean nothing: not every gold answer marks its number."""
        marked = sum(any(final_number(gold, marked=True) is not None for gold in one.answers) for one in examples)
        if marked == len(examples):
            return ""
        return f'{marked} of {len(examples)} answers mark their final number by "####"'


@frozen
class ToolCalls(Mean):
    """The share of replies that call the tools of the gold reply and no others: names, arguments, order."""

    name: ClassVar[str] = "tool-calls"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        def _score(answer: Answer, example: Example) -> float:
            return float(any(_calls(answer) == _calls(gold) for gold in example.answers))

        return best_over_answers(predictions, examples, _score)

    def left_out(self, examples: Sequence[Example], task: Task) -> str:
        """Say why the figure would mean nothing: no gold answer calls a tool."""
        return "" if any(_calls(gold) for one in examples for gold in one.answers) else "no answer calls a tool"


def _calls(answer: Answer) -> tuple[tuple[str, Any], ...]:
    return answer.calls if isinstance(answer, Reply) else ()
