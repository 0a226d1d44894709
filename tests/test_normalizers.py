"""Normalizers of flat records, column mapping, and the choice of a normalizer."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest
from building_kit import LABELS, PAIRS, pairs_normalizer
from hypothesis import given
from hypothesis import strategies as st

from instructforge import DataError, Example, Normalizer, Origin, Row, columns
from instructforge.errors import ConfigError
from instructforge.normalizers import choose, map_columns

NLI = pairs_normalizer()


def example_of(normalizer: Normalizer = NLI, **values: Any) -> Example:
    made = normalizer.function(Row(values, Origin("a.jsonl", 1)))
    assert isinstance(made, Example)
    return made


def rule_of(normalizer: Normalizer = NLI, **values: Any) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        normalizer.function(Row(values, Origin("a.jsonl", 1)))
    assert caught.value.fix
    return caught.value.rule, str(caught.value.field)


@pytest.mark.parametrize("names", [("premise", "hypothesis"), ("sentence1", "sentence2"), ("text_a", "text_b")])
@pytest.mark.parametrize("column", ["label", "gold_label"])
@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("entailment", "entailment"),
        ("Entailment ", "entailment"),
        ("NEUTRAL", "neutral"),
        (2, "contradiction"),
        ("0", "entailment"),
        (1.0, "neutral"),
        ("2.0", "contradiction"),
        (Decimal(0), "entailment"),
    ],
)
def test_every_spelling_of_sentence_pairs(names: tuple[str, str], column: str, value: Any, label: str) -> None:
    made = example_of(**{names[0]: "It rains.", names[1]: "It is wet.", column: value})
    assert made.inputs == {"premise": "It rains.", "hypothesis": "It is wet."}
    assert made.answers == (label,)
    assert made.origin == Origin("a.jsonl", 1)


@pytest.mark.parametrize("value", [-1, "-1", "-", -1.0, None])
def test_unlabelled_rows(value: Any) -> None:
    assert example_of(premise="a", hypothesis="b", label=value).answers == ()
    assert example_of(premise="a", hypothesis="b").answers == ()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"premise": "a"}, ("field-missing", "hypothesis")),
        ({"premise": "a", "hypothesis": None}, ("field-missing", "hypothesis")),
        ({"premise": {"x": 1}, "hypothesis": "b"}, ("field-type", "premise")),
        ({"premise": b"bytes", "hypothesis": "b"}, ("field-type", "premise")),
        ({"premise": float("nan"), "hypothesis": "b"}, ("field-type", "premise")),
        ({"premise": "a", "hypothesis": "b", "label": ""}, ("answer-empty", "label")),
        ({"premise": "a", "hypothesis": "b", "label": "  "}, ("answer-empty", "label")),
        ({"premise": "a", "hypothesis": "b", "label": "entailed"}, ("label-unknown", "label")),
        ({"premise": "a", "hypothesis": "b", "label": 3}, ("label-unknown", "label")),
        ({"premise": "a", "hypothesis": "b", "label": {"x": 1}}, ("field-type", "label")),
        ({"premise": "a", "hypothesis": "b", "id": ["x"]}, ("field-type", "id")),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], expected: tuple[str, str]) -> None:
    assert rule_of(**values) == expected


def test_a_wrong_label_is_guessed_at() -> None:
    with pytest.raises(DataError) as caught:
        example_of(premise="a", hypothesis="b", label="entailmnt")
    assert caught.value.fix == 'Did you mean "entailment"?'


def test_numbers_become_texts() -> None:
    made = example_of(premise=12, hypothesis=True, label="neutral", id=7, group=3)
    assert (made.inputs, made.id, made.group) == ({"premise": "12", "hypothesis": "true"}, "7", "3")


def test_lists_and_turns_and_several_answers() -> None:
    maker = columns("x", task="t", fields={"choices": "options", "history": ()}, answer="answers", optional=["history"])
    assert example_of(maker, options=["a", 1], answers=["a", "b", "a"]).answers == ("a", "b")
    assert example_of(maker, options=["a", 1]).inputs == {"choices": ["a", "1"]}
    turn = {"role": "user", "content": "hi"}
    assert example_of(maker, options=["a"], history=[turn]).inputs["history"] == [turn]
    assert rule_of(maker, options=["a", None]) == ("field-type", "options")


def test_the_fields_own_name_comes_first() -> None:
    made = example_of(premise="own", sentence1="other", hypothesis="b")
    assert made.inputs["premise"] == "own"


def test_normalizers_of_columns_can_be_sent_to_workers() -> None:
    back = pickle.loads(pickle.dumps(NLI))
    assert back == NLI
    assert example_of(back, premise="a", hypothesis="b", label=0).answers == ("entailment",)


@given(
    st.dictionaries(
        st.sampled_from(["premise", "hypothesis", "label", "id"]),
        st.none()
        | st.text()
        | st.integers()
        | st.floats()
        | st.booleans()
        | st.binary()
        | st.lists(st.text())
        | st.dictionaries(st.text(), st.text()),
    )
)
def test_whatever_a_row_holds_the_answer_is_an_example_or_a_data_error(values: dict[str, Any]) -> None:
    NLI.accepts(values)
    try:
        made = NLI.function(Row(values, Origin("a", 1)))
    except DataError:
        return
    assert isinstance(made, Example)
    assert set(made.answers) <= set(LABELS)


def test_mapping_renames() -> None:
    assert map_columns({"a": 1, "b": 2}, {}) == {"a": 1, "b": 2}
    assert map_columns({"premise": "p", "hypothesis": "h"}, {"premise": "hypothesis", "hypothesis": "premise"}) == {
        "premise": "h",
        "hypothesis": "p",
    }
    assert map_columns({"question": "old", "q": "new"}, {"question": "q"}) == {"question": "new"}
    assert map_columns({"a": 1}, {"x": "absent"}) == {"a": 1}


# --- Choosing -----------------------------------------------------------------------------------------

OTHER = columns("other", task="pairs", fields={"premise": "one", "hypothesis": "two"}, answer="label")
SAME = columns("same", task="pairs", fields={"premise": "sentence1", "hypothesis": "sentence2"}, answer="label")
BROKEN = Normalizer("broken", task="pairs", function=lambda row: [], accepts=lambda values: values["no such"])
ROWS = [Row({"sentence1": "a", "sentence2": "b", "label": 0}, Origin("a", n)) for n in range(10)]


def test_the_one_that_fits_is_chosen() -> None:
    assert choose(PAIRS, [OTHER, NLI], ROWS).name == "pairs"
    mostly = [*ROWS, *(Row({"sentence1": "a"}, Origin("a", n)) for n in range(40))]
    assert choose(PAIRS, [OTHER, NLI], mostly).name == "pairs"


def test_two_that_fit_are_not_guessed_between() -> None:
    with pytest.raises(ConfigError, match=r'"a.csv".*"pairs" and "same".*--normalizer'):
        choose(PAIRS, [NLI, SAME, OTHER], ROWS, source="a.csv")


def test_where_none_fits_the_message_says_what_there_is_and_what_is_wanted() -> None:
    rows = [Row({"spam": 1, "ham\x1b[0m": 2}, Origin("a", 1))]
    with pytest.raises(ConfigError) as caught:
        choose(PAIRS, [NLI, BROKEN], rows)
    message = str(caught.value)
    for part in (
        "spam",
        "ham\\x1b[0m",
        "premise | sentence1 | text_a",
        "failed with KeyError",
        "--column premise=COLUMN",
    ):
        assert part in message
    with pytest.raises(ConfigError, match="no normalizer"):
        choose(PAIRS, [], rows)


def test_one_that_fails_hides_no_other() -> None:
    assert choose(PAIRS, [BROKEN, NLI], ROWS).name == "pairs"
