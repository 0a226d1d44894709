"""Rankings: well-formed answers, the round trip through templates, reading what models write, and the metrics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from instructforge.data import Example, Instruction, Output, Prediction
from instructforge.decoders import RankingDecoder, RankingLikelihoodDecoder, RankingTextDecoder
from instructforge.errors import ConfigError, DataError
from instructforge.metrics.ranking import HIT_AT_5, Hit, MeanReciprocalRank, Ndcg, full_order, ndcg_of
from instructforge.plugins import Forge
from instructforge.roundtrip import round_trip_problems
from instructforge.tasks import Choice, Field, Ranking, Task
from instructforge.templates import compile_template

TASK = Task(
    "rank",
    summary="Rank the items.",
    fields={"request": Field("what is asked", optional=True), "items": Field("to rank", kind="list")},
    target=Ranking(from_field="items"),
)
SET_TASK = Task("find", summary="Find items.", fields=TASK.fields, target=Ranking(from_field="items", relevance="set"))

PLAIN = "{% block prompt %}Rank: {{ items | join('; ') }}{% endblock %}{% block completion %}{{ answer }}{% endblock %}"
TEMPLATES = {
    "plain": "{{ answer }}",
    "numbered": "{% for item in answer.split('\\n') %}{{ loop.index }}. {{ item }}\n{% endfor %}",
    "bracketed": "{% for item in answer.split('\\n') %}({{ loop.index }}) {{ item }}\n{% endfor %}",
    "places": "{% for item in answer.split('\\n') %}第{{ loop.index }}名：{{ item }}\n{% endfor %}",
    "bullets": "{% for item in answer.split('\\n') %}- {{ item }}\n{% endfor %}",
    "quoted": "{% for item in answer.split('\\n') %}《{{ item }}》\n{% endfor %}",
    "headed": "My order, best first:\n{{ answer }}",
    "closed": "{{ answer }}\nThat is all.",
}
LETTERS = {"letters": "{{ answer }}", "letters-headed": "Order: {{ answer }}."}


def template(completion: str, *, letters: bool = False, language: str = "en") -> Any:
    declared = '{% set choices = "letters" %}' if letters else ""
    source = PLAIN.replace("{{ answer }}", completion)
    return compile_template(declared + source, task=TASK, language=language, name="t")


ALL = {name: template(text) for name, text in TEMPLATES.items()} | {
    f"{name}-{language}": template(text, letters=True, language=language)
    for name, text in LETTERS.items()
    for language in ("en", "zh")
}


def rendered(made: Any, items: list[str], answer: tuple[str, ...]) -> Instruction:
    example = Example(inputs={"items": items}, answers=(answer,), id="r")
    TASK.check(example)
    return made.render(example, seed=1)  # type: ignore[no-any-return]


def read(text: str, items: list[str], *, name: str = "plain", finished: bool = True) -> Prediction:
    instruction = rendered(ALL[name], items, (items[0],))
    (found,) = RankingTextDecoder().decode([Output(text=text, finished=finished)], [instruction], TASK)
    return found


# --- The target -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "answer", "rule"),
    [
        (["a", "b"], ("c",), "ranking-items"),
        (["a", "b"], ("a", "a"), "ranking-items"),
        (["a", "b"], "a", "answer-type"),
        (["a", "b"], (), "answer-type"),
        (["a", "a"], ("a",), "ranking-alike"),
        (["a b", "a\n b"], ("a b",), "ranking-alike"),
        (["a", " "], ("a",), "ranking-item"),
        (["a", 3], ("a",), "ranking-item"),
    ],
)
def test_an_answer_that_is_no_order_of_the_items_is_refused(items: list[Any], answer: Any, rule: str) -> None:
    with pytest.raises(DataError) as refused:
        TASK.target.check(answer, {"items": items})
    assert refused.value.rule == rule
    assert refused.value.fix


def test_grades_follow_the_order_or_the_set() -> None:
    assert Ranking(from_field="x").grades(("b", "a"), ["a", "b", "c"]) == (1.0, 2.0, 0.0)
    assert Ranking(from_field="x", relevance="set").grades(("b", "a"), ["a", "b", "c"]) == (1.0, 1.0, 0.0)
    with pytest.raises(ConfigError, match="order"):
        Ranking(from_field="x", relevance="stars")


def test_answers_are_equal_as_far_as_both_go() -> None:
    order, one_set = TASK.target, SET_TASK.target
    assert order.equal(("a", "b"), ("a", "b", "c"))
    assert not order.equal(("b", "a"), ("a", "b", "c"))
    assert one_set.equal(("b", "a"), ("a", "b", "c"))
    assert not one_set.equal(("c",), ("a", "b", "c"))
    assert not order.equal((), ("a",))
    assert not order.equal("a", ("a",))


# --- The round trip --------------------------------------------------------------------------------------

LINE = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
ITEM = LINE | st.sampled_from(
    (
        *("1. Emma", "2. Emma", "Emma", "- Emma", "(1) Emma", "Emma, Dune", "Dune", "Dune\nMessiah", "Dune Messiah"),
        *("《红楼梦》", "红楼梦", "第1名：红楼梦", "B, A", "My order, best first:", "That is all.", "Dune.", "dune"),
        *("A", "B", "1", "2"),
    )
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(ITEM, min_size=1, max_size=8), st.randoms(use_true_random=False), st.data())
def test_every_order_comes_back_from_every_template(items: list[str], draw: Any, data: st.DataObject) -> None:
    lines = [" ".join(item.split()) for item in items]
    assume(all(lines) and len(set(lines)) == len(lines))
    answer = tuple(draw.sample(items, data.draw(st.integers(1, len(items)))))
    for name, made in ALL.items():
        instruction = rendered(made, items, answer)
        (found,) = RankingTextDecoder().decode([Output(text=instruction.completion)], [instruction], TASK)
        assert found.answer == answer, (name, instruction.completion, found.error)
        assert set(found.scores) == set(items)


def test_all_decoders_of_the_task_make_the_round_trip() -> None:
    forge = Forge()
    for made in ALL.values():
        instruction = rendered(made, ["War and Peace", "Emma", "Dune"], ("Dune", "Emma"))
        assert list(round_trip_problems(forge, TASK, instruction)) == []


def test_a_template_may_answer_with_numbers() -> None:
    completion = (
        "{% for item in answer.split('\\n') %}{{ choices.index(item) + 1 }}{{ ', ' if not loop.last }}{% endfor %}"
    )
    instruction = rendered(template(completion), ["Emma", "Dune", "Ulysses"], ("Ulysses", "Emma"))
    assert instruction.completion == "3, 1"
    assert list(round_trip_problems(Forge(), TASK, instruction)) == []


def test_letters_beyond_z() -> None:
    items = [f"item {number}" for number in range(30)]
    instruction = rendered(ALL["letters-en"], items, (items[27], items[1], items[0]))
    assert instruction.completion == "AB, B, A"
    assert list(round_trip_problems(Forge(), TASK, instruction)) == []


# --- What models write -----------------------------------------------------------------------------------

BOOKS = ["Dune", "Dune Messiah", "Emma", "Eats, Shoots & Leaves", "红楼梦"]


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Emma, Dune", ("Emma", "Dune")),
        ("emma; DUNE messiah; dune.", ("Emma", "Dune Messiah", "Dune")),
        ("Eats, Shoots & Leaves, Emma and Dune", ("Eats, Shoots & Leaves", "Emma", "Dune")),
        ("Here you go:\n1. **Emma** - a delight\n2) Dune: sand\n\nEnjoy!", ("Emma", "Dune")),
        ("* “Dune Messiah”\n* Emma (Jane Austen)", ("Dune Messiah", "Emma")),
        ("My order:\nEmma\nDune", ("Emma", "Dune")),
        ("I would start with Dune Messiah, then Emma.", ("Dune Messiah", "Emma")),
        ("①《红楼梦》\n②Emma", ("红楼梦", "Emma")),
        ("第一名：红楼梦\n第二名：Emma", ("红楼梦", "Emma")),
        ("红楼梦、Emma", ("红楼梦", "Emma")),
        ("Emma > Dune > Dune Messiah", ("Emma", "Dune", "Dune Messiah")),
        ("Not Emma. I would take Dune.", ("Dune",)),
    ],
)
def test_loose_orders_are_read(text: str, order: tuple[str, ...]) -> None:
    found = read(text, BOOKS)
    assert found.answer == order, found.error
    assert list(found.scores)[: len(order)] == list(order)
    assert sorted(found.scores.values(), reverse=True) == list(found.scores.values())


@pytest.mark.parametrize(
    ("text", "order"),
    [
        *(("B, A", "BA"), ("b a", "BA"), ("B > C", "BC"), ("1. C\n2. A", "CA"), ("C) Emma, then A) Dune", "CA")),
        *(("The order is B, A.", "BA"), ("B、A", "BA"), ("Emma, Dune", "CA")),
    ],
)
def test_letters_are_read(text: str, order: str) -> None:
    found = read(text, BOOKS, name="letters-en")
    assert found.answer == tuple(BOOKS["ABCDE".index(letter)] for letter in order), found.error


def test_what_is_no_candidate_and_what_is_left_out_is_counted() -> None:
    found = read("1. Emma\n2. Middlemarch\n3. Dune\n4. Emma", BOOKS)
    assert found.answer == ("Emma", "Dune")
    assert found.notes == ("unknown-items:1", "repeated-items:1", "left-out:3")
    assert list(found.scores) == ["Emma", "Dune", "Dune Messiah", "Eats, Shoots & Leaves", "红楼梦"]
    assert read("Emma, Middlemarch, Dune", BOOKS).notes == ("unknown-items:1", "left-out:3")


@pytest.mark.parametrize("text", ["", "   ", "Middlemarch", "1. Middlemarch", "?" * 30_000, None])
def test_what_names_no_item_is_an_error(text: str | None) -> None:
    instruction = rendered(ALL["plain"], BOOKS, ("Emma",))
    (found,) = RankingTextDecoder().decode([Output(text=text)], [instruction], TASK)
    assert found.answer is None
    assert found.error


def test_a_last_item_that_was_cut_off_is_not_taken_for_a_shorter_one() -> None:
    assert read("Emma\nDune", BOOKS, finished=False).answer == ("Emma",)
    assert read("Dune", BOOKS, finished=False).answer is None
    assert read("Dune\nEmma", BOOKS, finished=False).answer == ("Dune", "Emma")


def test_reading_takes_no_longer_than_the_text_is_long() -> None:
    items = [f"a{'a' * number}" for number in range(40)]
    read(" ".join(items * 20), items)
    read("a " * 5000, items)
    read("1." * 9000, items)


# --- From scores -----------------------------------------------------------------------------------------


def test_scores_order_all_items() -> None:
    instruction = rendered(ALL["plain"], ["a", "b", "c"], ("a",))
    output = Output(label_scores=(0.5, 2.0, 0.5), choice_logprobs=(-4.0, -3.0, -9.0), choice_tokens=(4, 1, 3))
    (head,) = RankingDecoder().decode([output], [instruction], TASK)
    assert head.answer == ("b", "a", "c")
    assert math.isclose(sum(head.scores.values()), 1)
    (likely,) = RankingLikelihoodDecoder().decode([output], [instruction], TASK)
    assert likely.answer == ("a", "b", "c")
    (whole,) = RankingLikelihoodDecoder(normalize="none").decode([output], [instruction], TASK)
    assert whole.answer == ("b", "a", "c")


@pytest.mark.parametrize("scores", [None, (1.0,), (math.nan, 1.0, 1.0)])
def test_scores_that_do_not_fit_are_an_error(scores: Any) -> None:
    instruction = rendered(ALL["plain"], ["a", "b", "c"], ("a",))
    (found,) = RankingDecoder().decode([Output(label_scores=scores)], [instruction], TASK)
    assert found.answer is None
    assert found.error


def test_a_task_that_ranks_nothing_is_refused() -> None:
    other = Task("c", summary="s", fields={"text": "t"}, target=Choice(["a"]))
    instruction = rendered(ALL["plain"], ["a", "b"], ("a",))
    with pytest.raises(ConfigError, match="rankings"):
        RankingTextDecoder().decode([Output(text="a")], [instruction], other)


# --- Metrics ---------------------------------------------------------------------------------------------


def figure(metric: Any, predicted: Any, gold: tuple[str, ...], items: list[str], task: Task = TASK) -> float:
    example = Example(inputs={"items": items}, answers=(gold,), id="x")
    prepared = metric.prepare([Prediction(id="x", answer=predicted)], [example], task)
    return metric.reduce(prepared, np.array([0]))  # type: ignore[no-any-return]


def test_figures_worked_out_by_hand() -> None:
    items = ["a", "b", "c", "d"]
    # Grades a 3, b 2, c 1, d 0; the order b a d c gains 2 + 3/log2(3) + 0 + 1/log2(5), at best 3 + 2/log2(3) + 1/2.
    wanted = (2 + 3 / math.log2(3) + 1 / math.log2(5)) / (3 + 2 / math.log2(3) + 0.5)
    assert figure(Ndcg(), ("b", "a", "d", "c"), ("a", "b", "c"), items) == pytest.approx(wanted)
    assert figure(Ndcg(k=1), ("b", "a", "d", "c"), ("a", "b", "c"), items) == pytest.approx(2 / 3)
    assert figure(MeanReciprocalRank(), ("b", "a"), ("a", "b", "c"), items) == 0.5
    assert figure(Hit(k=1), ("b", "a"), ("a", "b", "c"), items) == 0.0
    assert figure(Hit(k=2), ("b", "a"), ("a", "b", "c"), items) == 1.0
    # As a set, a and b are equally good: either first is a hit.
    assert figure(MeanReciprocalRank(), ("b",), ("a", "b"), items, SET_TASK) == 1.0
    assert figure(Ndcg(), ("b", "a"), ("a", "b"), items, SET_TASK) == 1.0
    # Nothing is named: the row's own order is what is scored. Undecoded: 0.
    assert figure(MeanReciprocalRank(), (), ("c",), items) == pytest.approx(1 / 3)
    assert figure(Ndcg(), None, ("a",), items) == 0.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_ndcg_is_that_of_scikit_learn(grades: list[int], draw: Any) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    assume(any(grades))
    scores = [float(number) for number in draw.sample(range(len(grades)), len(grades))]
    ranked = [grade for _, grade in sorted(zip(scores, grades, strict=True), reverse=True)]
    for k in (None, 1, 3, 10):
        assert ndcg_of(ranked, k) == pytest.approx(sklearn.ndcg_score([grades], [scores], k=k))


def test_several_gold_orders_count_by_the_best() -> None:
    example = Example(inputs={"items": ["a", "b", "c"]}, answers=(("a",), ("c",)), id="x")
    prepared = MeanReciprocalRank().prepare([Prediction(id="x", answer=("c",))], [example], TASK)
    assert prepared.tolist() == [1.0]


def test_figures_that_would_mean_nothing_are_left_out() -> None:
    example = Example(inputs={"items": ["a", "b"]}, answers=(("a",),), id="x")
    assert HIT_AT_5.left_out([example], TASK) == "no row has more than 5 items"
    assert Ndcg().left_out([example], TASK) == ""
    other = Task("c", summary="s", fields={"text": "t"}, target=Choice(["a"]))
    assert Ndcg().left_out([example], other)


def test_all_names_are_registered() -> None:
    forge = Forge()
    for name in (*TASK.target.metrics, "ndcg-at-5", "ndcg-at-10"):
        assert forge.metrics.get(name).name == name
    for name in ("ranking", "ranking-text", "ranking-likelihood"):
        assert forge.decoders.get(name).name == name
    assert not forge.unresolved(TASK)
    assert full_order(("b",), ["a", "b"]) == ["b", "a"]
