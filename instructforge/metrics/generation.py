"""Metrics of generated text: BLEU and chrF by sacrebleu, ROUGE by rouge-score; all between 0 and 1.

BLEU and chrF are figures of a whole corpus, not means of rows: ``prepare`` keeps each row's counts, and
``reduce`` adds up any rows and computes the figure of the sums, as sacrebleu does of its segments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from instructforge.data import Answer, Example, Prediction
from instructforge.errors import MissingDependencyError
from instructforge.matching import folded
from instructforge.metrics.base import HAN, Mean, Scores, best_over_answers, text_of, tokens
from instructforge.tasks import Task

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as SacreMetric

__all__ = ["Bleu", "ChrF", "Rouge1", "Rouge2", "RougeL", "bleu_tokenizer"]

EXTRA = "metrics"

_HAN = re.compile(f"[{HAN}]")
_KANA = re.compile("[\u3040-\u30ff]")
_OTHER_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
_LETTER = re.compile(r"[^\W\d_]")

_TOKENIZER_OF = dict.fromkeys(("zh", "yue", "wuu", "lzh", "zho", "chi", "cmn"), "zh")
_TOKENIZER_OF |= dict.fromkeys(("ja", "jpn", "th", "tha", "lo", "lao", "my", "mya", "bur", "km", "khm"), "char")


def bleu_tokenizer(texts: Sequence[str], language: str = "") -> str:
    """Return the name of sacrebleu's tokenizer for gold texts.

    ``language`` is what the row says of its target; where it says nothing, the script of the texts tells. Chinese
    takes ``zh``; Japanese, Thai, Lao, Burmese and Khmer take ``char``, since their own tokenizers need a
    dictionary; all else takes ``13a``, sacrebleu's default.

    >>> bleu_tokenizer(["你好"]), bleu_tokenizer(["これは本です"]), bleu_tokenizer(["Hello"], "zh-Hant")
    ('zh', 'char', 'zh')
    """
    spoken = re.split("[-_]", language.strip().lower())[0]
    if spoken:
        return _TOKENIZER_OF.get(spoken, "13a")
    text = " ".join(texts)
    letters = len(_LETTER.findall(text)) or 1
    if 10 * len(_KANA.findall(text)) > letters or 3 * len(_OTHER_UNSPACED.findall(text)) > letters:
        return "char"
    return "zh" if 3 * len(_HAN.findall(text)) > letters else "13a"


# --- BLEU and chrF ------------------------------------------------------------------------------------


@frozen(eq=False)
class CorpusCounts:
    """The counts of each row, and a scorer that turns their sum into a figure.

    Shapes:
        counts: (rows, counts); for BLEU the two lengths, then right and all n-grams of each order, for chrF the
            n-grams of prediction, gold and both, of each order.
    """

    counts: NDArray[np.int64]
    scorer: SacreMetric

    def figure(self, rows: NDArray[np.intp]) -> float:
        """Return the figure of ``rows`` taken as a corpus."""
        if not len(rows):
            return float("nan")
        sums = self.counts[rows].sum(axis=0).tolist()
        score = float(self.scorer._compute_score_from_stats(sums).score) / 100
        return min(1.0, score)  # 100.00000000000004 is 100


@frozen(eq=False)
class _BleuCounts(CorpusCounts):
    def figure(self, rows: NDArray[np.intp]) -> float:
        """Return BLEU; 1 for texts that are all equal to their gold answers and too short to have four words."""
        said, gold, *counts = self.counts[rows].sum(axis=0).tolist()
        right, total = counts[: len(counts) // 2], counts[len(counts) // 2 :]
        if said and said == gold and right == total and not total[-1]:
            return 1.0
        return CorpusCounts.figure(self, rows)


@frozen
class Bleu:
    """BLEU of the corpus, case kept; several gold answers are several references.

    Each row is tokenized as its target language is (``bleu_tokenizer``). A prediction that could not be decoded
    is an empty text: it adds to the length of the references and to nothing else.

    Source: ``sacrebleu.corpus_bleu``, whose figure divided by 100 this is; but where no prediction has four words,
    sacrebleu gives 0 even to a perfect corpus, and this gives it 1.
    """

    name: ClassVar[str] = "bleu"
    higher_is_better: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        _sacrebleu()  # what is missing is said when the metric is fetched, not after the training

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> CorpusCounts:
        scorers = {name: _sacrebleu().BLEU(tokenize=name, force=True) for name in set(map(_tokenizer_of, examples))}
        counts = [
            _counts(scorers[_tokenizer_of(example)], prediction, example)
            for prediction, example in zip(predictions, examples, strict=True)
        ]
        packed = np.array(counts, dtype=np.int64).reshape(-1, 2 + 2 * 4)
        return _BleuCounts(packed, _sacrebleu().BLEU(tokenize="none"))

    def reduce(self, prepared: CorpusCounts, rows: NDArray[np.intp]) -> float:
        return prepared.figure(rows)

    def signature(self, examples: Sequence[Example]) -> str:
        """Return how the figure was computed, in the form of sacrebleu's signatures."""
        tokenizers = "+".join(sorted(set(map(_tokenizer_of, examples))))
        return f"nrefs:{_references(examples)}|case:mixed|eff:no|tok:{tokenizers}|smooth:exp|version:{_version()}"


@frozen
class ChrF:
    """chrF2 of the corpus: n-grams of up to 6 characters, recall counted twice as much as precision.

    Source: ``sacrebleu.corpus_chrf``, whose figure divided by 100 this is.
    """

    name: ClassVar[str] = "chrf"
    higher_is_better: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        _sacrebleu()

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> CorpusCounts:
        scorer = _sacrebleu().CHRF()
        counts = [
            _counts(scorer, prediction, example) for prediction, example in zip(predictions, examples, strict=True)
        ]
        return CorpusCounts(np.array(counts, dtype=np.int64), scorer)

    def reduce(self, prepared: CorpusCounts, rows: NDArray[np.intp]) -> float:
        return prepared.figure(rows)

    def signature(self, examples: Sequence[Example]) -> str:
        """Return how the figure was computed, in the form of sacrebleu's signatures."""
        return f"nrefs:{_references(examples)}|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{_version()}"


def _sacrebleu() -> Any:
    try:
        import sacrebleu.metrics as found  # only where such a figure is computed: it loads its data sets' list
    except ModuleNotFoundError as error:
        raise MissingDependencyError('"sacrebleu", which BLEU and chrF need,', extra=EXTRA) from error
    return found


def _version() -> str:
    from importlib.metadata import version

    return version("sacrebleu")


def _counts(scorer: SacreMetric, prediction: Prediction, example: Example) -> list[int]:
    golds = [[text_of(gold)] for gold in example.answers]
    found: list[int] = scorer._extract_corpus_statistics([text_of(prediction.answer)], golds)[0]
    return found


def _tokenizer_of(example: Example) -> str:
    language = example.inputs.get("target_language")
    return bleu_tokenizer([text_of(gold) for gold in example.answers], language if isinstance(language, str) else "")


def _references(examples: Sequence[Example]) -> str:
    counts = {len(example.answers) for example in examples}
    return str(counts.pop()) if len(counts) == 1 else "var"


# --- ROUGE --------------------------------------------------------------------------------------------


class _Tokens:
    """A tokenizer for rouge-score that knows all scripts; its own drops every letter beyond a to z."""

    def tokenize(self, text: str) -> list[str]:
        return tokens(text)


@lru_cache(maxsize=4)
def _rouge(kind: str) -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer  # it loads nltk, which takes seconds
    except ModuleNotFoundError as error:
        raise MissingDependencyError('"rouge_score", which ROUGE needs,', extra=EXTRA) from error
    return RougeScorer([kind], tokenizer=_Tokens())


class _Rouge(Mean):
    """F1 of one kind of ROUGE with the best of the gold answers, in the mean over the rows.

    A text that is the gold answer itself scores 1 even where it is too short to have a word, or a pair of words.
    """

    kind: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    def __init__(self) -> None:
        _rouge(self.kind)  # what is missing is said when the metric is fetched, not after the training

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Scores:
        scorer = _rouge(self.kind)

        def _score(answer: Answer, example: Example) -> float:
            said, golds = text_of(answer), [text_of(gold) for gold in example.answers]
            found = float(scorer.score_multi(golds, said)[self.kind].fmeasure)
            return found or float(any(folded(said) == folded(gold) for gold in golds))

        return best_over_answers(predictions, examples, _score)


class Rouge1(_Rouge):
    """F1 over words, or characters of scripts without spaces.

    Source: ``rouge_score`` (Lin 2004), without its stemmer, and with tokens of every script.
    """

    name: ClassVar[str] = "rouge-1"
    kind: ClassVar[str] = "rouge1"


class Rouge2(_Rouge):
    """F1 over pairs of neighbouring words; see ``Rouge1``."""

    name: ClassVar[str] = "rouge-2"
    kind: ClassVar[str] = "rouge2"


class RougeL(_Rouge):
    """F1 of the longest common subsequence of words; see ``Rouge1``."""

    name: ClassVar[str] = "rouge-l"
    kind: ClassVar[str] = "rougeL"
