"""Metrics: how right the predictions are. Figures lie between 0 and 1.

Each metric works in two steps: ``prepare`` scores every row once, ``reduce`` sums up any selection of rows,
so that a bootstrap of a thousand resamples costs a thousand sums. A prediction that could not be decoded
is wrong, whatever the metric.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from instructforge.data import Answer, Example, Prediction, SpanAnswer
from instructforge.matching import folded
from instructforge.tasks import Choice, Span, Task

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "Accuracy",
    "ExactMatch",
    "MacroF1",
    "SquadExactMatch",
    "SquadF1",
    "TokenF1",
    "cmrc_exact",
    "cmrc_f1",
    "language_of",
    "squad_exact",
    "squad_f1",
    "tokens",
]

Scores: TypeAlias = NDArray[np.float64]

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED = f"{_HAN}\u3040-\u30ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
"""Scripts written without spaces between words: Han, kana, Thai, Lao, Burmese, Khmer."""


def _text(answer: Answer | None) -> str:
    if isinstance(answer, SpanAnswer):
        return answer.text
    return ", ".join(answer) if isinstance(answer, tuple) else answer or ""


def language_of(example: Example) -> str:
    """Return the example's language; where it does not say, ``zh`` if its texts are written in Han, else ``en``."""
    if example.language:
        return example.language
    texts = [_text(answer) for answer in example.answers if _text(answer)]
    texts = texts or [value for value in example.inputs.values() if isinstance(value, str)]
    joined = "".join(texts)
    return "zh" if 3 * len(re.findall(f"[{_HAN}]", joined)) > len(joined) else "en"


def _best_over_answers(
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


class _Mean:
    """The mean of the rows' scores."""

    def reduce(self, prepared: Scores, rows: NDArray[np.intp]) -> float:
        return float(prepared[rows].mean()) if len(rows) else float("nan")


# --- Labels -------------------------------------------------------------------------------------------


@frozen
class Accuracy(_Mean):
    """The share of predictions that equal a gold answer, by the target's own equality."""

    name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        equal = task.target.equal
        return _best_over_answers(
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
        pairs = [
            _gold_and_predicted(prediction, example, task)
            for prediction, example in zip(predictions, examples, strict=True)
        ]
        names = sorted({label for pair in pairs for side in pair for label in side})
        return LabelMarks.of(pairs, {label: at for at, label in enumerate(names)})

    def reduce(self, prepared: LabelMarks, rows: NDArray[np.intp]) -> float:
        if not len(rows):
            return float("nan")
        # A resample is a weight for each row, so that a row is looked at once however often it is drawn.
        weight = np.bincount(rows, minlength=len(prepared))[prepared.row].astype(np.float64)
        right = np.bincount(prepared.label, weight * prepared.right, minlength=1)
        total = np.bincount(prepared.label, weight * prepared.total, minlength=1)
        present = total > 0
        return float((2 * right[present] / total[present]).mean()) if present.any() else 0.0


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
    return answer if isinstance(answer, tuple) else (_text(answer),)


# --- Texts --------------------------------------------------------------------------------------------


def tokens(text: str) -> list[str]:
    """Return the words of ``text``, and each character of scripts without spaces, regardless of case and width.

    >>> tokens("GPT-4 于2023年发布。")
    ['gpt', '4', '于', '2023', '年', '发', '布']
    """
    return re.findall(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+", folded(text))


def _overlap_f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """Return F1 over two bags of tokens; two empty ones are equal."""
    if not predicted or not gold:
        return float(predicted == gold)
    same = sum((Counter(predicted) & Counter(gold)).values())
    return 2 * same / (len(predicted) + len(gold))


@frozen
class ExactMatch(_Mean):
    """The share of texts that are the same as a gold answer, but for case, width and spaces."""

    name: ClassVar[str] = "exact-match"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        def _score(answer: Answer, example: Example) -> float:
            said = folded(_text(answer))
            return float(any(said == folded(_text(gold)) for gold in example.answers))

        return _best_over_answers(predictions, examples, _score)


@frozen
class TokenF1(_Mean):
    """F1 over words (characters in Chinese) with the nearest gold answer."""

    name: ClassVar[str] = "token-f1"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        def _score(answer: Answer, example: Example) -> float:
            said = tokens(_text(answer))
            return max(_overlap_f1(said, tokens(_text(gold))) for gold in example.answers)

        return _best_over_answers(predictions, examples, _score)


# --- Spans: the official rules of SQuAD (English) and CMRC 2018 (Chinese) -------------------------------

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _squad_form(text: str) -> str:
    """Return ``text`` in lower case, without ASCII punctuation, articles and extra spaces, in that order."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def squad_exact(predicted: str, golds: Sequence[str], *, nullable: bool = True) -> float:
    """Return whether ``predicted`` equals a gold answer by SQuAD's rule.

    Args:
        nullable: Version 2.0, where an empty text is the answer "none", and gold answers that are nothing
            but articles and punctuation do not count; else version 1.1.

    Source: the behaviour of evaluate-v1.1.py and evaluate-v2.0.py.

    >>> squad_exact("the Eiffel Tower!", ["Eiffel tower"])
    1.0
    """
    said = _squad_form(predicted)
    return float(any(said == _squad_form(gold) for gold in _squad_golds(golds, nullable=nullable)))


def squad_f1(predicted: str, golds: Sequence[str], *, nullable: bool = True) -> float:
    """Return the best F1 of ``predicted`` over the gold answers by SQuAD's rule; see ``squad_exact``.

    >>> squad_f1("in the old tower", ["the tower", "a bridge"])
    0.5
    """
    said = _squad_form(predicted).split()
    found = []
    for gold in _squad_golds(golds, nullable=nullable):
        wanted = _squad_form(gold).split()
        either = bool(said) and bool(wanted)
        found.append(_overlap_f1(said, wanted) if either or nullable else 0.0)
    return max(found)


def _squad_golds(golds: Sequence[str], *, nullable: bool) -> Sequence[str]:
    return ([gold for gold in golds if _squad_form(gold)] or [""]) if nullable else golds


_CMRC_IGNORED = set("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CMRC_HAN = re.compile(r"[\u4e00-\u9fa5]")
_ENGLISH_TOKEN = re.compile(
    r"\.{2,}|--|``|''|[\"?!;@#$%&*()\[\]{}<>«»“”‘’„–—]"
    r"|(?:[^\s\"?!;@#$%&*()\[\]{}<>«»“”‘’„–—:,.`'-]|\.(?!\.)|[:,](?=\d)|-(?!-)|'(?!')|`(?!`))+|[:,`]"
)
_CLOSING = frozenset('])}>"»”’') | {"''"}
_CLITIC = re.compile(r"(.+?)(n't|'(?:s|m|d|ll|re|ve)|')$")


def _english_tokens(text: str) -> list[str]:
    """Split what is not Chinese into words and marks, as the Penn Treebank does: a last full stop apart."""
    found = _ENGLISH_TOKEN.findall(text)
    last = next((at for at in range(len(found) - 1, -1, -1) if found[at] not in _CLOSING), -1)
    if last >= 0 and len(found[last]) > 1 and found[last].endswith(".") and set(found[last]) != {"."}:
        found[last : last + 1] = [found[last][:-1], "."]
    parts: list[str] = []
    for word in found:
        clitic = _CLITIC.match(word)
        parts += [clitic[1], clitic[2]] if clitic else [word]
    return parts


def _cmrc_form(text: str) -> str:
    return "".join(c for c in text.lower().strip() if c not in _CMRC_IGNORED)


def _cmrc_segments(text: str) -> list[str]:
    """Return each Chinese character, and the words of what stands between."""
    segments: list[str] = []
    other = ""
    for character in _cmrc_form(text):
        if _CMRC_HAN.match(character):
            segments += _english_tokens(other)
            segments.append(character)
            other = ""
        else:
            other += character
    return segments + _english_tokens(other)


def cmrc_exact(predicted: str, golds: Sequence[str]) -> float:
    """Return whether ``predicted`` equals a gold answer by CMRC 2018's rule: case and marks aside.

    Source: the behaviour of cmrc2018_evaluate.py.

    >>> cmrc_exact("《红楼梦》", ["红楼梦。"])
    1.0
    """
    said = _cmrc_form(predicted)
    return float(any(said == _cmrc_form(gold) for gold in golds))


def cmrc_f1(predicted: str, golds: Sequence[str]) -> float:
    """Return the best F1 over the longest common run of characters, by CMRC 2018's rule.

    An empty text (the answer "none", which CMRC does not have) equals only another one, as in SQuAD 2.0.

    Source: the behaviour of cmrc2018_evaluate.py, where "LCS" is the longest common *substring*.

    >>> cmrc_f1("在北京大学", ["北京大学"])
    0.888...
    """
    said = _cmrc_segments(predicted)
    return max(_common_run_f1(said, _cmrc_segments(gold)) for gold in golds)


def _common_run_f1(said: Sequence[str], gold: Sequence[str]) -> float:
    if not said or not gold:
        return float(said == gold)
    run = SequenceMatcher(None, said, gold, autojunk=False).find_longest_match().size
    return 2 * run / (len(said) + len(gold))


def _span_scores(
    predictions: Sequence[Prediction],
    examples: Sequence[Example],
    task: Task,
    english: Callable[..., float],
    chinese: Callable[[str, Sequence[str]], float],
) -> Scores:
    nullable = isinstance(task.target, Span) and task.target.nullable

    def _score(answer: Answer, example: Example) -> float:
        golds = [_text(gold) for gold in example.answers]
        if language_of(example).lower().startswith("zh"):
            return chinese(_text(answer), golds)
        return english(_text(answer), golds, nullable=nullable)

    return _best_over_answers(predictions, examples, _score)


@frozen
class SquadExactMatch(_Mean):
    """Exact match by the official rule of the example's language: SQuAD, or CMRC 2018 for Chinese."""

    name: ClassVar[str] = "squad-em"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        return _span_scores(predictions, examples, task, squad_exact, cmrc_exact)


@frozen
class SquadF1(_Mean):
    """F1 by the official rule of the example's language: SQuAD, or CMRC 2018 for Chinese."""

    name: ClassVar[str] = "squad-f1"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        return _span_scores(predictions, examples, task, squad_f1, cmrc_f1)
