"""BLEU, chrF and ROUGE: the figures of sacrebleu and rouge-score, in every script, over any rows."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from instructforge.builtin import instructforge_metrics
from instructforge.data import Example, Prediction
from instructforge.errors import MissingDependencyError
from instructforge.metrics.generation import Bleu, ChrF, Rouge1, Rouge2, RougeL, bleu_tokenizer
from instructforge.tasks import Field, Task, Text

TASK = Task("t", summary="", fields={"text": Field("a text")}, target=Text())
ROUGE = {"rouge1": Rouge1, "rouge2": Rouge2, "rougeL": RougeL}
WORDS = re.findall(
    r"\S+", "the a cat dog sat ran on under mat; table, Don't it's 3.5% U.S. e-mail (quick) brown_fox — “fox” jumps"
)
HAN = "我你他猫狗坐跑在垫子上下桌，。的了是不"


def said(texts: Sequence[str | None]) -> list[Prediction]:
    return [Prediction(id=str(at), answer=text) for at, text in enumerate(texts)]


def golds(references: Sequence[Sequence[str]], **inputs: str) -> list[Example]:
    return [Example(inputs=inputs, answers=tuple(some)) for some in references]


def value(metric: Any, predictions: Sequence[Prediction], examples: Sequence[Example], rows: Any = None) -> float:
    prepared = metric.prepare(predictions, examples, TASK)
    return float(metric.reduce(prepared, np.arange(len(examples)) if rows is None else np.array(rows, dtype=np.intp)))


def sentences(count: int, seed: int, *, chinese: bool = False) -> list[str]:
    draw = random.Random(seed)
    if chinese:
        return ["".join(draw.choices(HAN, k=draw.randint(1, 20))) for _ in range(count)]
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 14))) for _ in range(count)]


CORPORA = {
    "en": ("13a", {"target_language": "en-GB"}, False),
    "zh": ("zh", {"target_language": "zh-Hant"}, True),
    "ja": ("char", {"target_language": "ja"}, True),
    "told by the script": ("zh", {}, True),
}


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize("references", [1, 3])
def test_bleu_and_chrf_are_sacrebleus(name: str, references: int) -> None:
    tokenizer, inputs, chinese = CORPORA[name]
    hypotheses = sentences(60, 1, chinese=chinese)
    streams = [sentences(60, 2 + at, chinese=chinese) for at in range(references)]
    streams[0][:20] = hypotheses[:20]
    examples = golds(list(zip(*streams, strict=True)), **inputs)
    bleu = BLEU(tokenize=tokenizer)
    assert value(Bleu(), said(hypotheses), examples) == pytest.approx(
        bleu.corpus_score(hypotheses, streams).score / 100, abs=1e-12
    )
    assert Bleu().signature(examples) == str(bleu.get_signature())
    chrf = CHRF()
    assert value(ChrF(), said(hypotheses), examples) == pytest.approx(
        chrf.corpus_score(hypotheses, streams).score / 100, abs=1e-12
    )
    assert ChrF().signature(examples) == str(chrf.get_signature())


@pytest.mark.parametrize(("metric", "theirs"), [(Bleu, BLEU), (ChrF, CHRF)])
def test_any_rows_are_a_corpus_of_their_own(metric: Any, theirs: Any) -> None:
    """A bootstrap resample draws rows several times: its figure is that of the resampled files."""
    hypotheses, gold = sentences(30, 5), sentences(30, 6)
    gold[:15] = hypotheses[:15]
    rows = random.Random(7).choices(range(30), k=30)
    drawn = theirs().corpus_score([hypotheses[row] for row in rows], [[gold[row] for row in rows]]).score / 100
    assert value(metric(), said(hypotheses), golds([[text] for text in gold]), rows) == pytest.approx(drawn, abs=1e-12)


def test_rows_may_have_different_numbers_of_references() -> None:
    hypotheses = ["the cat sat on it", "the dog ran there"]
    examples = golds([["the cat sat on this"], ["a dog ran there", "the dog ran off"]])
    streams: list[Any] = [["the cat sat on this", "a dog ran there"], [None, "the dog ran off"]]
    theirs = BLEU().corpus_score(hypotheses, streams).score / 100
    assert 0.0 < theirs < 1.0
    assert value(Bleu(), said(hypotheses), examples) == pytest.approx(theirs, abs=1e-12)
    assert Bleu().signature(examples).startswith("nrefs:var|")


def test_each_row_takes_the_tokenizer_of_its_own_target() -> None:
    """Both directions of a pair in one file: a row each, and the signature names both tokenizers."""
    examples = [
        Example(inputs={"target_language": "zh"}, answers=("我喜欢红苹果。",)),
        Example(inputs={"target_language": "en"}, answers=("I like red apples a lot.",)),
    ]
    assert value(Bleu(), said(["我喜欢红苹果。", "I like red apples a lot."]), examples) == 1.0
    assert "|tok:13a+zh|" in Bleu().signature(examples)


@pytest.mark.parametrize("metric", [Bleu, ChrF, Rouge1, Rouge2, RougeL])
@pytest.mark.parametrize(
    "text",
    [
        "今天天气很好，我们去公园吧。",
        "The weather is fine today.",
        "今日はいい天気です。",
        "날씨가 아주 좋습니다 오늘은",
    ],
)
def test_equal_texts_score_1_and_others_0(metric: Any, text: str) -> None:
    examples = golds([[text]])
    assert value(metric(), said([text]), examples) == 1.0
    assert value(metric(), said(["Ωψξ ζζ"]), examples) == 0.0


@pytest.mark.parametrize("metric", [Bleu, ChrF, Rouge1, Rouge2, RougeL])
@pytest.mark.parametrize("text", ["好", "a", "你好", "？"])
def test_short_texts_that_are_equal_score_1(metric: Any, text: str) -> None:
    """Too short for a pair of words, or for four: sacrebleu and rouge-score give 0 even where all is right."""
    assert value(metric(), said([text, text]), golds([[text]] * 2)) == 1.0
    assert value(metric(), said([text, None]), golds([[text]] * 2)) < 1.0
    assert value(metric(), said(["Ω", "Ω"]), golds([[text]] * 2)) == 0.0


@pytest.mark.parametrize("metric", [Bleu, ChrF, Rouge1, Rouge2, RougeL])
def test_what_could_not_be_decoded_is_wrong(metric: Any) -> None:
    examples = golds([["the cat sat on the mat"], ["the dog ran under the table"]])
    assert value(metric(), said([None, None]), examples) == 0.0
    assert 0.0 < value(metric(), said(["the cat sat on the mat", None]), examples) < 1.0
    assert np.isnan(value(metric(), said([None, None]), examples, []))


@pytest.mark.parametrize("kind", ROUGE)
def test_rouge_is_rouge_scores_on_english(kind: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([kind])
    metric = ROUGE[kind]()
    for text, gold in zip(sentences(300, 8), sentences(300, 9), strict=True):
        theirs = scorer.score(gold, text)[kind].fmeasure
        assert value(metric, said([text]), golds([[gold]])) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("kind", ROUGE)
def test_rouge_takes_the_best_reference(kind: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    texts, first, second = sentences(40, 10), sentences(40, 11), sentences(40, 12)
    metric = ROUGE[kind]()
    for text, *references in zip(texts, first, second, strict=True):
        theirs = RougeScorer([kind]).score_multi(references, text)[kind].fmeasure
        assert value(metric, said([text]), golds([references])) == pytest.approx(theirs, abs=1e-12)


def test_rouge_counts_chinese_characters() -> None:
    assert value(Rouge1(), said(["我喜欢猫"]), golds([["我喜欢狗"]])) == 0.75
    assert value(Rouge2(), said(["我喜欢猫"]), golds([["我喜欢狗"]])) == pytest.approx(2 / 3)
    assert value(RougeL(), said(["猫我喜欢"]), golds([["我喜欢狗"]])) == 0.75


@pytest.mark.parametrize(
    ("language", "texts", "tokenizer"),
    [
        ("zh", ["x"], "zh"),
        ("yue", ["x"], "zh"),
        ("cmn_Hans", ["x"], "zh"),
        ("ja-JP", ["x"], "char"),
        ("th", ["x"], "char"),
        ("ko", ["x"], "13a"),
        ("tlh", ["x"], "13a"),
        ("", ["สวัสดี"], "char"),
        ("", ["GPT-4 于2023年发布"], "zh"),
        ("", ["日本語の本です"], "char"),
        ("", [""], "13a"),
    ],
)
def test_the_tokenizer_follows_language_or_script(language: str, texts: list[str], tokenizer: str) -> None:
    assert bleu_tokenizer(texts, language) == tokenizer


@pytest.mark.parametrize("name", ["bleu", "chrf", "rouge-1", "rouge-2", "rouge-l"])
def test_a_missing_library_is_told_with_its_extra_when_the_metric_is_fetched(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from instructforge.metrics.generation import _rouge

    _rouge.cache_clear()
    for module in ("sacrebleu", "sacrebleu.metrics", "rouge_score", "rouge_score.rouge_scorer"):
        monkeypatch.setitem(sys.modules, module, None)
    lazy = next(part for part in instructforge_metrics() if part.name == name)
    with pytest.raises(MissingDependencyError) as caught:
        lazy.load()
    assert caught.value.extra == "metrics"


def test_the_report_says_how_bleu_was_computed() -> None:
    from instructforge.data import Instruction, Message
    from instructforge.evaluation import evaluate
    from instructforge.plugins import Forge

    task = Task("t", summary="", fields={"text": Field("a text")}, target=Text(), metrics=["bleu", "rouge-l"])
    examples = [
        Example(inputs={"text": "x"}, answers=(text,), id=str(at)) for at, text in enumerate(["a b c d e", "f g h i j"])
    ]
    turns = (Message(role="user", content="x"), Message(role="assistant", content="y"))
    shown = [
        Instruction(example=one, task="t", language="en", template="p", template_sha256="0", messages=turns)
        for one in examples
    ]
    report = evaluate(said(["a b c d e", "f g h i j"]), shown, task=task, forge=Forge(), resamples=100)
    assert report.metrics["bleu"]["value"] == 1.0
    assert report.provenance["metrics"]["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
