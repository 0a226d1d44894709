"""The plugin keeps the contract, and reads NLI in all its spellings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import instructforge_nli
from instructforge import DataError, Example, Origin, Row
from instructforge.testing import check_plugin

TASK = next(iter(instructforge_nli.instructforge_tasks()))
NORMALIZER = next(iter(instructforge_nli.instructforge_normalizers()))


def normalised(values: dict[str, Any]) -> Example:
    found = NORMALIZER.function(Row(values, Origin("pairs.jsonl", 1)))
    assert isinstance(found, Example)
    TASK.check(found)
    return found


def test_the_plugin_keeps_the_contract() -> None:
    check_plugin(instructforge_nli)


def test_the_task_costs_at_most_25_lines() -> None:
    source = Path(instructforge_nli.__file__).read_text(encoding="utf-8")
    assert sum(bool(line.strip()) for line in source.splitlines()) <= 25


@pytest.mark.parametrize(
    ("premise", "hypothesis"), [("premise", "hypothesis"), ("sentence1", "sentence2"), ("text_a", "text_b")]
)
def test_fields_in_every_spelling(premise: str, hypothesis: str) -> None:
    found = normalised({premise: "It rains.", hypothesis: "It is wet.", "label": "entailment"})
    assert found.inputs == {"premise": "It rains.", "hypothesis": "It is wet."}
    assert found.group == "It rains."


@pytest.mark.parametrize(
    ("label", "answers"),
    [
        ("entailment", ("entailment",)),
        ("ENTAILMENT", ("entailment",)),
        (" Neutral ", ("neutral",)),
        ("Contradiction", ("contradiction",)),
        (0, ("entailment",)),
        (1, ("neutral",)),
        (2, ("contradiction",)),
        ("0", ("entailment",)),
        (2.0, ("contradiction",)),
        ("蕴含", ("entailment",)),
        ("蕴涵", ("entailment",)),
        ("中立", ("neutral",)),
        ("矛盾", ("contradiction",)),
        (-1, ()),
        ("-1", ()),
        ("-", ()),
        (None, ()),
    ],
)
@pytest.mark.parametrize("column", ["label", "gold_label"])
def test_labels_in_every_spelling(column: str, label: Any, answers: tuple[str, ...]) -> None:
    assert normalised({"premise": "a", "hypothesis": "b", column: label}).answers == answers


def test_the_gold_label_counts_before_an_annotators() -> None:
    row = {"sentence1": "a", "sentence2": "b", "label": "neutral", "gold_label": "contradiction"}
    assert normalised(row).answers == ("contradiction",)


def test_a_row_without_a_label_column_is_unlabelled() -> None:
    assert normalised({"premise": "a", "hypothesis": "b"}).answers == ()


@pytest.mark.parametrize("label", ["not_entailment", 3, "maybe", True, ["a"], {"x": 1}, ""])
def test_an_unknown_label_is_refused(label: Any) -> None:
    with pytest.raises(DataError):
        normalised({"premise": "a", "hypothesis": "b", "label": label})


@pytest.mark.parametrize("row", [{"premise": "a"}, {"hypothesis": "b"}, {"premise": None, "hypothesis": "b"}])
def test_a_missing_sentence_is_refused_by_name(row: dict[str, Any]) -> None:
    with pytest.raises(DataError) as caught:
        normalised(row)
    assert caught.value.field in ("premise", "hypothesis")
    assert caught.value.rule == "field-missing"


def test_pairs_with_one_premise_stay_together() -> None:
    rows = [{"sentence1": "It rains.", "sentence2": text, "label": 0} for text in ("a", "b")]
    assert len({normalised(row).group for row in rows}) == 1


OCNLI = {
    "level": "medium",
    "sentence1": "他把伞忘在了车上,只好冒雨走回家",
    "sentence2": "他回家时没有打伞",
    "label": "entailment",
    "label0": "entailment",
    "label1": "entailment",
    "label2": "neutral",
    "label3": "entailment",
    "label4": "entailment",
    "genre": "lit",
    "prem_id": "lit_12",
    "id": 7,
}
CMNLI = {"sentence1": "新的规定已经够好了", "sentence2": "人人都喜欢新的规定", "label": "neutral"}


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        (OCNLI, ("entailment",)),
        (OCNLI | {"label": "-"}, ()),  # its annotators did not agree
        ({name: OCNLI[name] for name in ("sentence1", "sentence2", "id")}, ()),  # a test row
        (CMNLI, ("neutral",)),
        (CMNLI | {"label": "contradiction"}, ("contradiction",)),
    ],
)
def test_clue_and_fewclue_as_they_are(row: dict[str, Any], answers: tuple[str, ...]) -> None:
    assert NORMALIZER.accepts(row)
    found = normalised(row)
    assert found.answers == answers
    assert found.id == str(row.get("id", ""))
    assert found.group == row["sentence1"]
