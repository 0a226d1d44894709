"""Metrics against references written independently here, against scikit-learn, and against known cases."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructforge import builtin
from instructforge.components import Metric
from instructforge.data import NO_ANSWER, Answer, Example, Prediction, SpanAnswer
from instructforge.metrics import (
    Accuracy,
    ExactMatch,
    MacroF1,
    MicroF1,
    SquadExactMatch,
    SquadF1,
    TokenF1,
    cmrc_exact,
    cmrc_f1,
    language_of,
    squad_exact,
    squad_f1,
    tokens,
)
from instructforge.tasks import Choice, Field, Ranking, Span, Tags, Task, Text

TEXT = Task("text", summary="t", fields={"article": "a"}, target=Text())
SPAN = Task("qa", summary="t", fields={"context": "c"}, target=Span(within="context", nullable=True))
LABELS = ("a", "b", "c", "d")
CHOICE = Task("choice", summary="t", fields={}, target=Choice(LABELS))


TAGS = Task("tags", summary="t", fields={"tokens": Field("t", kind="list")}, target=Tags(["PER"], within="tokens"))
ITEMS = Task("items", summary="t", fields={"items": Field("i", kind="list")}, target=Ranking(from_field="items"))
GOLDS: dict[str, tuple[Task, list[Answer]]] = {
    "labels": (CHOICE, ["a", "b"]),
    "span": (SPAN, [SpanAnswer("北京", 0), SpanAnswer("Paris", 3)]),
    "tags": (TAGS, [("B-PER", "O"), ("O", "B-PER")]),
    "ranking": (ITEMS, [("a", "b"), ("b", "a")]),
}
"""A task and gold answers for the metrics of each module."""


def value(
    metric: Metric, answers: Sequence[Answer | None], golds: Sequence[Sequence[Answer]], task: Task, **more: str
) -> float:
    predictions = [Prediction(id="", answer=answer) for answer in answers]
    inputs = {"tokens": ["Ann", "sat"], "items": ["a", "b"]}
    examples = [Example(inputs=inputs, answers=tuple(gold), language=more.get("language")) for gold in golds]
    return metric.reduce(metric.prepare(predictions, examples, task), np.arange(len(answers)))


# --- SQuAD, as published: written again from its description, by other means -----------------------------


def reference_form(text: str) -> list[str]:
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return [word for word in re.split(r"\s+", re.sub(r"\b(?:a|an|the)\b", " ", kept)) if word]


def reference_squad(predicted: str, golds: Sequence[str], *, second: bool) -> tuple[float, float]:
    if second:
        golds = [gold for gold in golds if reference_form(gold)] or [""]
    exact, best = 0.0, 0.0
    for gold in golds:
        said, wanted = reference_form(predicted), reference_form(gold)
        exact = max(exact, float(said == wanted))
        if second and (not said or not wanted):
            best = max(best, float(said == wanted))
            continue
        left = list(wanted)
        common = 0
        for word in said:
            if word in left:
                left.remove(word)
                common += 1
        if common:
            precision, recall = common / len(said), common / len(wanted)
            best = max(best, 2 * precision * recall / (precision + recall))
    return exact, best


ENGLISH = st.text(alphabet="aAbn the.,!-'  \n\tx1", max_size=24)


@settings(deadline=None)
@given(ENGLISH, st.lists(ENGLISH, min_size=1, max_size=3), st.booleans())
def test_squad_agrees_with_an_independent_reference(predicted: str, golds: list[str], second: bool) -> None:
    exact, best = reference_squad(predicted, golds, second=second)
    assert squad_exact(predicted, golds, nullable=second) == exact
    assert squad_f1(predicted, golds, nullable=second) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize(
    ("predicted", "golds", "exact", "f1"),
    [
        ("The Eiffel tower", ["Eiffel Tower."], 1.0, 1.0),
        ("", [""], 1.0, 1.0),
        ("", ["Paris"], 0.0, 0.0),
        ("Paris", [""], 0.0, 0.0),
        ("in Paris", ["Paris", "in Paris, France"], 0.0, 0.8),
        ("the", ["a"], 1.0, 1.0),
        ("U.S.", ["US"], 1.0, 1.0),
    ],
)
def test_squad_on_known_cases(predicted: str, golds: list[str], exact: float, f1: float) -> None:
    assert squad_exact(predicted, golds) == exact
    assert squad_f1(predicted, golds) == pytest.approx(f1)


def test_version_one_gives_no_f1_for_nothing() -> None:
    assert squad_f1("the", ["a"], nullable=False) == 0.0
    assert squad_exact("the", ["a"], nullable=False) == 1.0


# --- CMRC 2018, as published ------------------------------------------------------------------------------

REFERENCE_MARKS = list("-:_*^/\\~`+=") + list("，。：？！“”；’《》·、「」（）－～『』")


def reference_cmrc(predicted: str, golds: Sequence[str]) -> tuple[float, float]:
    """Over Chinese characters and spaces only, where cutting into words is no question."""

    def clean(text: str) -> str:
        return "".join(c for c in text.lower().strip() if c not in REFERENCE_MARKS)

    def longest_common_run(one: list[str], other: list[str]) -> int:
        best, row = 0, [0] * (len(other) + 1)
        for left in one:
            new = [0] * (len(other) + 1)
            for at, right in enumerate(other):
                if left == right:
                    new[at + 1] = row[at] + 1
                    best = max(best, new[at + 1])
            row = new
        return best

    exact, best = 0.0, 0.0
    for gold in golds:
        exact = max(exact, float(clean(predicted) == clean(gold)))
        said = [c for c in clean(predicted) if not c.isspace()]
        wanted = [c for c in clean(gold) if not c.isspace()]
        run = longest_common_run(said, wanted)
        if run:
            precision, recall = run / len(said), run / len(wanted)
            best = max(best, 2 * precision * recall / (precision + recall))
        elif not said and not wanted:
            best = 1.0  # two empty answers: the rule of SQuAD 2.0
    return exact, best


CHINESE = st.text(alphabet="北京大学红楼梦年月，。《》、 ", max_size=16)


@settings(deadline=None)
@given(CHINESE, st.lists(CHINESE, min_size=1, max_size=3))
def test_cmrc_agrees_with_an_independent_reference(predicted: str, golds: list[str]) -> None:
    exact, best = reference_cmrc(predicted, golds)
    assert cmrc_exact(predicted, golds) == exact
    assert cmrc_f1(predicted, golds) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize(
    ("predicted", "golds", "exact", "f1"),
    [
        ("北京大学", ["北京大学。"], 1.0, 1.0),
        ("在北京大学", ["北京大学"], 0.0, 8 / 9),
        ("北大京学", ["北京大学"], 0.0, 1 / 4),  # a run, not a subsequence
        ("1889年", ["1889 年"], 0.0, 1.0),  # "1889" is one token
        ("3.5%", ["3.5 %"], 0.0, 1.0),
        ("Windows XP系统", ["windows xp"], 0.0, 2 / 3),
        ("NBA", ["nba"], 1.0, 1.0),
        ("a-b", ["ab"], 1.0, 1.0),
        ("don't", ["do n't"], 0.0, 1.0),
        ("1,000米", ["1,000米"], 1.0, 1.0),
        ("“红楼梦”……", ["红楼梦"], 0.0, 6 / 7),  # CMRC lists the ellipsis as two characters, and so never drops it
    ],
)
def test_cmrc_on_known_cases(predicted: str, golds: list[str], exact: float, f1: float) -> None:
    assert cmrc_exact(predicted, golds) == exact
    assert cmrc_f1(predicted, golds) == pytest.approx(f1)


def test_the_rule_is_chosen_by_the_language_of_the_example() -> None:
    answers, golds = [SpanAnswer("在北京大学", 0)], [[SpanAnswer("北京大学", 0)]]
    assert value(SquadF1(), answers, golds, SPAN, language="zh") == pytest.approx(8 / 9)
    assert value(SquadF1(), answers, golds, SPAN, language="zh-Hant") == pytest.approx(8 / 9)
    assert value(SquadF1(), answers, golds, SPAN) == pytest.approx(8 / 9)  # told by the script
    assert value(SquadF1(), answers, golds, SPAN, language="en") == 0.0
    assert language_of(Example(inputs={"context": "The cat"}, answers=(NO_ANSWER,))) == "en"
    assert language_of(Example(inputs={"context": "猫在哪里"}, answers=(NO_ANSWER,))) == "zh"


def test_no_answer_is_right_only_where_there_is_none() -> None:
    golds = [[NO_ANSWER], [SpanAnswer("Paris", 0)], [NO_ANSWER], [NO_ANSWER]]
    answers = [NO_ANSWER, NO_ANSWER, SpanAnswer("Paris", 0), None]
    for metric in (SquadExactMatch(), SquadF1()):
        assert value(metric, answers, golds, SPAN) == 0.25


# --- Labels and texts -------------------------------------------------------------------------------------


@settings(deadline=None)  # scikit-learn is imported in the first case
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, None])), min_size=1, max_size=60))
def test_label_metrics_agree_with_scikit_learn(pairs: list[tuple[str, str | None]]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    gold = [pair[0] for pair in pairs]
    said = [pair[1] or "undecoded" for pair in pairs]
    labels = sorted(set(gold) | {label for label in said if label != "undecoded"})
    f1 = sklearn.f1_score(gold, said, labels=labels, average="macro", zero_division=0)
    golds = [[label] for label in gold]
    assert value(MacroF1(), [pair[1] for pair in pairs], golds, CHOICE) == pytest.approx(f1, abs=1e-12)
    accuracy = sklearn.accuracy_score(gold, said)
    assert value(Accuracy(), [pair[1] for pair in pairs], golds, CHOICE) == pytest.approx(accuracy)


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.sets(st.sampled_from(LABELS), max_size=3)] * 2), min_size=1, max_size=30))
def test_f1_of_several_labels_agrees_with_scikit_learn(pairs: list[tuple[set[str], set[str]]]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    several = Task("t", summary="t", fields={}, target=Choice(LABELS, multiple=True))
    present = sorted(set().union(*(gold | said for gold, said in pairs)))
    got = value(MacroF1(), [tuple(said) for _, said in pairs], [[tuple(gold)] for gold, _ in pairs], several)
    if not present:
        assert got == 0.0
        return
    # scikit-learn takes a single column for two classes, so an empty one stands beside, and is left out.
    marks = [[[*(label in side for label in present), False] for side in pair] for pair in pairs]
    gold, said = (np.array([row[side] for row in marks]) for side in (0, 1))
    columns = list(range(len(present)))
    f1 = sklearn.f1_score(gold, said, labels=columns, average="macro", zero_division=0)
    assert got == pytest.approx(f1, abs=1e-12)
    micro = value(MicroF1(), [tuple(said) for _, said in pairs], [[tuple(gold)] for gold, _ in pairs], several)
    f1 = sklearn.f1_score(gold, said, labels=columns, average="micro", zero_division=1.0)
    assert micro == pytest.approx(f1, abs=1e-12)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, None])), min_size=2, max_size=30),
    st.data(),
)
def test_a_resample_scores_as_if_its_rows_were_all_there_is(
    pairs: list[tuple[str, str | None]], data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=1, max_size=40))
    for metric in (Accuracy(), MacroF1(), MicroF1()):
        predictions = [Prediction(id="", answer=said) for _, said in pairs]
        examples = [Example(inputs={}, answers=(gold,)) for gold, _ in pairs]
        prepared = metric.prepare(predictions, examples, CHOICE)
        drawn = [pairs[row] for row in rows]
        alone = value(metric, [said for _, said in drawn], [[gold] for gold, _ in drawn], CHOICE)
        assert metric.reduce(prepared, np.array(rows)) == pytest.approx(alone)


def test_macro_f1_says_where_it_means_nothing() -> None:
    own = Task("t", summary="t", fields={"options": "o"}, target=Choice(from_field="options"))
    one, other = (Example(inputs={"options": list(options)}, answers=("a",)) for options in ("ab", "ac"))
    assert MacroF1().left_out([one, one], own) == ""
    assert MacroF1().left_out([one, other], own) == "each row has choices of its own"
    assert MacroF1().left_out([one, other], CHOICE) == ""


def test_texts_are_compared_in_their_own_script() -> None:
    assert tokens("GPT-4 于2023年发布。") == ["gpt", "4", "于", "2023", "年", "发", "布"]
    assert value(TokenF1(), ["the cat sat"], [["a cat", "cat sat"]], TEXT) == pytest.approx(0.8)
    assert value(TokenF1(), ["今天下雨"], [["今天下雪"]], TEXT) == pytest.approx(0.75)
    assert value(ExactMatch(), ["Ｈello  World "], [["hello world"]], TEXT) == 1.0
    assert value(ExactMatch(), ["hello"], [["hello world"]], TEXT) == 0.0


@pytest.mark.parametrize("entry", list(builtin.instructforge_metrics()), ids=lambda entry: entry.name)
def test_gold_scores_one_and_nothing_scores_zero(entry) -> None:  # type: ignore[no-untyped-def]
    metric = entry.load()
    assert metric.name == entry.name
    task, gold = GOLDS.get(entry.target.partition(":")[0].rpartition(".")[2], (TEXT, ["a", "b"]))
    assert value(metric, gold, [[one] for one in gold], task) == 1.0
    assert value(metric, [None, None], [[one] for one in gold], task) == 0.0
    assert np.isnan(metric.reduce(metric.prepare([], [], task), np.arange(0)))
