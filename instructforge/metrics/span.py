"""Metrics of spans: the official rules of SQuAD (English) and CMRC 2018 (Chinese)."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import ClassVar

from attrs import frozen

from instructforge.data import Answer, Example, Prediction
from instructforge.metrics.base import Mean, Scores, best_over_answers, language_of, overlap_f1, text_of
from instructforge.tasks import Span, Task

__all__ = ["SquadExactMatch", "SquadF1", "cmrc_exact", "cmrc_f1", "squad_exact", "squad_f1"]

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
        found.append(overlap_f1(said, wanted) if either or nullable else 0.0)
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
        golds = [text_of(gold) for gold in example.answers]
        if language_of(example).lower().startswith("zh"):
            return chinese(text_of(answer), golds)
        return english(text_of(answer), golds, nullable=nullable)

    return best_over_answers(predictions, examples, _score)


@frozen
class SquadExactMatch(Mean):
    """Exact match by the official rule of the example's language: SQuAD, or CMRC 2018 for Chinese."""

    name: ClassVar[str] = "squad-em"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        return _span_scores(predictions, examples, task, squad_exact, cmrc_exact)


@frozen
class SquadF1(Mean):
    """F1 by the official rule of the example's language: SQuAD, or CMRC 2018 for Chinese."""

    name: ClassVar[str] = "squad-f1"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        return _span_scores(predictions, examples, task, squad_f1, cmrc_f1)
