"""The plugin keeps the contract, and reads tagged sentences in all their forms."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import instructforge_tagging
from instructforge import DataError, Example, Origin, Row
from instructforge.building import BuildSettings
from instructforge.testing import check_data_set, check_plugin
from instructforge_tagging.normalizers import ALL
from instructforge_tagging.types import WORDS

TASK = next(iter(instructforge_tagging.instructforge_tasks()))
NORMALIZERS = {one.name: one for one in ALL}
DATA = os.environ.get("INSTRUCTFORGE_DATA", "")


def normalised(name: str, values: dict[str, Any]) -> Example:
    found = NORMALIZERS[name].function(Row(values, Origin("rows.jsonl", 1)))
    assert isinstance(found, Example)
    TASK.check(found)
    return found


def refused(name: str, values: dict[str, Any]) -> DataError:
    with pytest.raises(DataError) as caught:
        normalised(name, values)
    return caught.value


def tagged(**values: Any) -> Example:
    return normalised("tagged-tokens", {"types": "PER,LOC", **values})


def marked(text: str, entities: Any, **values: Any) -> Example:
    return normalised("marked-text", {"types": ["PER", "LOC"], "text": text, "entities": entities, **values})


def test_the_plugin_keeps_the_contract() -> None:
    check_plugin(instructforge_tagging)


def test_the_task_costs_at_most_25_lines() -> None:
    source = Path(instructforge_tagging.__file__).read_text(encoding="utf-8")
    start = source.index("yield Task(")
    assert len(source[start : source.index("@hookimpl", start)].split("\n")) <= 25


# --- Tokens with tags ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", ["tokens", "words", "characters"])
@pytest.mark.parametrize("tags", ["tags", "ner_tags", "ner"])
def test_columns_in_every_spelling(tokens: str, tags: str) -> None:
    found = tagged(**{tokens: ["Ada", "sang", "."], tags: ["B-PER", "O", "O"], "id": 7})
    assert found.inputs == {"text": "Ada sang .", "tokens": ["Ada", "sang", "."], "types": ["PER", "LOC"]}
    assert found.answers == (("B-PER", "O", "O"),)
    assert (found.id, found.group, found.notes) == ("7", None, ())


def test_other_schemes_become_iob2_and_are_counted() -> None:
    found = tagged(tokens=list("王小明在"), tags=["B-PER", "M-PER", "E-PER", "O"])
    assert found.answers == (("B-PER", "I-PER", "I-PER", "O"),)
    assert found.notes == ("tags-from-bioes",)
    assert tagged(tokens=["a", "b"], tags=["O", "I-PER"]).notes == ("tags-from-iob1",)
    assert tagged(tokens=["a", "b", "c"], tags="B-LOC O I-PER").notes == ("tags-repaired",)


def test_numbered_tags_need_their_names() -> None:
    row = {"tokens": ["Ada", "sang"], "ner_tags": [1, 0]}
    assert tagged(**row, names="O,B-PER,I-PER").answers == (("B-PER", "O"),)
    assert refused("tagged-tokens", {**row, "types": "PER"}).rule == "tags-numbered"
    assert refused("tagged-tokens", {**row, "types": "PER", "names": ["O"]}).rule == "tags-numbered"


def test_a_text_that_is_not_that_of_the_tokens_is_put_aside_and_blank_tokens_are_dropped() -> None:
    assert tagged(tokens=["Ada", "'s"], tags=["B-PER", "O"], text="Ada's").inputs["text"] == "Ada's"
    other = tagged(tokens=["Ada", "'s"], tags=["B-PER", "O"], text="Adam's")
    assert (other.inputs["text"], other.notes) == ("Ada 's", ("text-not-of-its-tokens",))
    blank = tagged(tokens=["Ada", " ", "Li"], tags=["B-PER", "I-PER", "I-PER"])
    assert (blank.answers, blank.notes) == ((("B-PER", "I-PER"),), ("blank-token-dropped",))


def test_rows_without_tags_are_unlabelled() -> None:
    assert tagged(tokens=["Ada"]).answers == ()
    assert normalised("marked-text", {"text": "Ada", "types": "PER"}).answers == ()


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"tokens": ["a"], "tags": ["O", "O"]}, "tags-length"),
        ({"tokens": ["a"], "tags": ["B-ORG"]}, "label-unknown"),
        ({"tokens": "a b", "tags": ["O", "O"]}, "field-type"),
        ({"tokens": ["a"], "tags": 3}, "field-type"),
        ({"tokens": ["a"], "tags": [None]}, "field-type"),
        ({"tokens": ["a"], "tags": ["O"], "types": None}, "types-missing"),
        ({"tokens": ["a"], "tags": ["O"], "types": 5}, "field-type"),
        ({"tokens": ["a"], "tags": ["O"], "types": ["none"]}, "type-unreadable"),
        ({"tokens": [" "], "tags": ["O"]}, "field-missing"),
    ],
)
def test_malformed_rows_are_refused(values: dict[str, Any], rule: str) -> None:
    assert refused("tagged-tokens", {"types": "PER,LOC", **values}).rule == rule


# --- A text with marks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entities",
    [
        [{"start": 0, "end": 3, "label": "PER"}, {"start": 7, "end": 11, "label": "LOC"}],
        [[7, 11, "LOC"], [0, 3, "PER"]],
        [{"start_offset": 0, "end_offset": 3, "type": "PER"}, {"start": 7, "end": 11, "labels": ["LOC"]}],
        [
            {"start": 0, "end": 2, "label": "PER", "text": "Ada"},
            {"start": 7, "end": 11, "label": "LOC", "text": "Rome"},
        ],
        {"PER": {"Ada": [[0, 2]]}, "LOC": {"Rome": [[7, 10]]}},
    ],
)
@pytest.mark.parametrize("column", ["entities", "spans", "label", "labels"])
def test_marks_in_every_form(entities: Any, column: str) -> None:
    found = normalised("marked-text", {"text": "Ada of Rome.", column: entities, "types": "PER,LOC"})
    assert found.inputs["tokens"] == ["Ada", "of", "Rome", "."]
    assert found.answers == (("B-PER", "O", "B-LOC", "O"),)


def test_cluener_counts_characters_both_ends_of_which_belong() -> None:
    row = {
        "text": "浙商银行企业信贷部叶老桂博士则从另一个角度",
        "label": {"name": {"叶老桂": [[9, 11]]}, "company": {"浙商银行": [[0, 3]]}},
    }
    types = set(NORMALIZERS["marked-text"].collects["types"](row))
    found = normalised("marked-text", {**row, "types": sorted(types)})
    assert types == {"name", "company"}
    assert found.answers[0][:5] == ("B-company", "I-company", "I-company", "I-company", "O")
    assert found.answers[0][9:13] == ("B-name", "I-name", "I-name", "O")


def test_what_overlaps_or_is_given_twice_is_dropped_and_counted() -> None:
    found = marked("New York Times", [[0, 8, "LOC"], [0, 14, "PER"], [0, 14, "PER"]])
    assert found.answers == (("B-PER", "I-PER", "I-PER"),)
    assert sorted(found.notes) == ["mark-given-twice", "overlapping-mark-dropped"]
    assert marked("Ada sang", [[0, 4, "PER"]]).notes == ("mark-trimmed",)
    assert marked("Ada sang", []).answers == (("O", "O"),)


@pytest.mark.parametrize(
    ("entities", "rule"),
    [
        ([[0, 2, "PER"]], "mark-inside-word"),
        ([[0, 99, "PER"]], "mark-misaligned"),
        ([[-3, 2, "PER"]], "mark-misaligned"),
        ([{"start": 0, "end": 3, "label": "PER", "text": "Bob"}], "mark-misaligned"),
        ([{"start": "0", "end": 3, "label": "PER"}], "marks-malformed"),
        ([[0, 3]], "marks-malformed"),
        ("PER", "marks-malformed"),
        ({"PER": {"Ada": [[0]]}}, "marks-malformed"),
        ({"PER": [[0, 2]]}, "marks-malformed"),
    ],
)
def test_malformed_marks_are_refused(entities: Any, rule: str) -> None:
    row = {"text": "Ada sang", "entities": entities, "types": "PER"}
    assert refused("marked-text", row).rule == rule


def test_a_row_is_of_one_form_only() -> None:
    for values in (
        {"tokens": ["a"], "text": "a"},
        {"text": "a", "label": {}},
        {"text": "a"},
        {"words": ["a"]},
        {"x": 1},
    ):
        assert sum(one.accepts(values) for one in ALL) == (0 if "x" in values else 1)


def test_words_of_types_can_be_told_apart_within_the_usual_sets() -> None:
    sets = (
        "PER LOC ORG MISC",
        "person location corporation product creative-work group",
        "address book company game government movie name organization position scene",
        "CONT EDU LOC NAME ORG PRO RACE TITLE",
        "CARDINAL DATE EVENT FAC GPE LANGUAGE LAW LOC MONEY NORP ORDINAL ORG PERCENT PERSON PRODUCT QUANTITY TIME "
        "WORK_OF_ART",
    )
    for types in sets:
        for language in ("en", "zh"):
            words = [WORDS[one][language] for one in types.split()]
            assert len(set(words)) == len(words)


# --- Real data ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="INSTRUCTFORGE_DATA names no folder with the real data sets")
@pytest.mark.parametrize(
    ("files", "language", "types"),
    [
        (
            {"wnut17/wnut17train.conll": 3393, "wnut17/emerging.dev.conll": 1009},
            "en",
            ["corporation", "creative-work", "group", "location", "person", "product"],
        ),
        (
            {"uner_zh_gsd/zh_gsd-ud-train.iob2": 3997, "uner_zh_gsd/zh_gsd-ud-dev.iob2": 500},
            "zh",
            ["LOC", "ORG", "PER"],
        ),
    ],
    ids=["wnut17", "uner_zh_gsd"],
)
def test_every_sentence_is_built_and_comes_back(files: dict[str, int], language: str, types: list[str]) -> None:
    paths = [Path(DATA) / "ner" / name for name in files]
    records = sum(files.values())
    report = check_data_set("ner", *paths, records=records, quarantined=0, settings=BuildSettings(language=language))
    assert report.rows == records
    assert [source["read"] for source in report.ledger["sources"]] == list(files.values())
    assert report.ledger["notes"] == {}
    assert any(", ".join(types) in warning for warning in report.ledger["warnings"])
    inverted = {key: left for key, left in report.left.items() if left}
    assert all(key.endswith("write-a-sentence") for key in inverted)
