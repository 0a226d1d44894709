"""What all metrics share: the form of scores, tokens of any script, the best over several gold answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from instructforge.data import Answer, Example, Prediction, Reply, SpanAnswer
from instructforge.files import canonical_json
from instructforge.matching import folded

__all__ = ["Mean", "Scores", "best_over_answers", "language_of", "overlap_f1", "text_of", "tokens"]

Scores: TypeAlias = NDArray[np.float64]

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
UNSPACED = f"{HAN}\u3040-\u30ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
"""Scripts written without spaces between words: Han, kana, Thai, Lao, Burmese, Khmer."""


def text_of(answer: Answer | None) -> str:
    """Return the words of an answer; of a reply, what it says and, on a line each, the calls that it makes."""
    if isinstance(answer, SpanAnswer):
        return answer.text
    if isinstance(answer, Reply):
        calls = (canonical_json({"name": name, "arguments": arguments}) for name, arguments in answer.calls)
        return "\n".join(part for part in (answer.text, *calls) if part)
    return ", ".join(answer) if isinstance(answer, tuple) else answer or ""


def language_of(example: Example) -> str:
    """Return the example's language; where it does not say, ``zh`` if its texts are written in Han, else ``en``."""
    if example.language:
        return example.language
    texts = [text_of(answer) for answer in example.answers if text_of(answer)]
    texts = texts or [value for value in example.inputs.values() if isinstance(value, str)]
    joined = "".join(texts)
    return "zh" if 3 * len(re.findall(f"[{HAN}]", joined)) > len(joined) else "en"


def best_over_answers(
    predictions: Sequence[Prediction], examples: Sequence[Example], score: Callable[[Answer, Example], float]
) -> Scores:
    """Return each prediction's score, 0 where there is no answer to score."""
    return np.array(
        [
            0.0 if prediction.answer is None else score(prediction.answer, example)
            for prediction, example in zip(predictions, examples, strict=True)
        ],
        dtype=np.float64,
    )


class Mean:
    """The mean of the rows' scores."""

    def reduce(self, prepared: Scores, rows: NDArray[np.intp]) -> float:
        return float(prepared[rows].mean()) if len(rows) else float("nan")


def tokens(text: str) -> list[str]:
    """Return the words of ``text``, and each character of scripts without spaces, regardless of case and width.

    >>> tokens("GPT-4 于2023年发布。")
    ['gpt', '4', '于', '2023', '年', '发', '布']
    """
    return re.findall(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+", folded(text))


def overlap_f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """Return F1 over two bags of tokens; two empty ones are equal."""
    if not predicted or not gold:
        return float(predicted == gold)
    same = sum((Counter(predicted) & Counter(gold)).values())
    return 2 * same / (len(predicted) + len(gold))
