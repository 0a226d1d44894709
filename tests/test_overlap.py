"""Overlap of held-out with training rows: one measure in ledger and report, in both scripts, and builds without it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from building_kit import PAIRS, adds_up, pair, pairs_forge, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from instructforge import Example, Forge, Origin, Task, Text
from instructforge.building import BuildSettings, InstructionSet, Source, build
from instructforge.duplicates import heldout
from instructforge.duplicates.examples import Compared
from instructforge.duplicates.overlap import GRAMS, MOST, HeldOut, Overlap, keys_of, training_hashes
from instructforge.errors import ConfigError
from instructforge.evaluation import measure_overlap
from instructforge.metrics.base import tokens

LONG = "the old stone bridge over the river was built by the people of the town many years ago"
LONG_ZH = "镇上的人们在很多年以前修建了这座横跨在大河之上的古老的石头桥梁"
TASK = Task("ask", summary="", fields={"question": "", "context": ""}, target=Text())


def row(number: int, question: str, context: str, answer: str = "yes", group: str = "") -> Example:
    inputs = {"question": question, "context": context}
    return Example(inputs=inputs, answers=(answer,), id=f"r{number}", origin=Origin("rows", number), group=group)


def measured(train: Sequence[Example], test: Sequence[Example]) -> dict[str, Any]:
    compared = Compared.of(TASK)
    keys = keys_of(compared, compared.read(test))
    held = HeldOut(b"".join(one.head for one in keys), b"".join(one.grams for one in keys), len(compared.names))
    held.look_at(training_hashes(keys_of(compared, compared.read(train)), len(compared.names)))
    held.settle()
    counts = Overlap(compared.names)
    counts.add(held, [one.id for one in test])
    return counts.to_json(len(train))


# --- The measure --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "exact", "normalised", "with_answer"),
    [
        (row(9, "Is it old?", LONG), 1, 1, 1),
        (row(9, "is it OLD", LONG + "!"), 0, 1, 1),
        (row(9, "Is it old?", LONG, "no"), 1, 1, 0),
        (row(9, "Is it cold?", LONG), 0, 0, 0),
    ],
)
def test_whole_rows(train: Example, exact: int, normalised: int, with_answer: int) -> None:
    found = measured([train], [row(1, "Is it old?", LONG), row(2, "Who?", "")])
    assert (found["exact"], found["normalised"], found["with_answer"]) == (exact, normalised, with_answer)
    assert (found["train"], found["test"]) == (1, 2)
    assert found["examples"] == (["r1"] if normalised else [])


@pytest.mark.parametrize("passage", [LONG, LONG_ZH])
def test_a_passage_is_found_wherever_it_stands_in_training(passage: str) -> None:
    chinese = passage == LONG_ZH
    more = "，而且每年夏天都会有很多人来" if chinese else " and every summer people come to see it"
    found = measured([row(9, "x", "Ａ B. " + passage.upper() + more)], [row(1, "Is it old?", passage)])
    assert found["fields"]["context"] == {"rows": 1, "whole": 0, "ngram_rows": 1, "any": 1, "most": 1}
    assert found["fields"]["question"] == {"rows": 1, "whole": 0, "ngram_rows": 0, "any": 0, "most": 0}
    assert found["ngrams"] == {"words": 13, "characters": 20, "rows": 1, "any": 1, "most": 1}
    part = passage[:22] if chinese else " ".join(passage.split()[:14])
    found = measured([row(9, "x", part)], [row(1, "Is it old?", passage)])
    assert (found["ngrams"]["any"], found["ngrams"]["most"]) == (1, 0)


def test_a_field_as_a_whole_is_found_in_any_field_and_sources_are_told() -> None:
    train = [row(9, "别的问题", "Is it old?", group="one")]
    found = measured(train, [row(1, "is it old", "", group="one"), row(2, "...", "？", group="two")])
    assert found["fields"]["question"] == {"rows": 1, "whole": 1, "ngram_rows": 0, "any": 0, "most": 0}
    assert found["same_source"] == 1
    assert found["normalised"] == 0


WORDS = st.lists(st.sampled_from(["a", "b", "猫", "坐", "c,", "D"]), max_size=45).map(" ".join)


@given(st.lists(st.tuples(WORDS, WORDS), max_size=4), st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_the_counts_are_those_of_comparing_one_by_one(
    train: list[tuple[str, str]], test: list[tuple[str, str]]
) -> None:
    def grams(text: str) -> list[tuple[str, ...]]:
        found = tokens(text)
        spans = [GRAMS.characters if token in "猫坐" else GRAMS.words for token in found]
        return [tuple(found[at : at + span]) for at, span in enumerate(spans) if at + span <= len(found)]

    held = {gram for texts in train for text in texts for gram in grams(text)}
    wanted = {"rows": 0, "any": 0, "most": 0}
    for texts in test:
        own = [gram for text in texts for gram in grams(text)]
        seen = sum(gram in held for gram in own)
        wanted["rows"] += bool(own)
        wanted["any"] += bool(seen)
        wanted["most"] += bool(own) and seen >= MOST * len(own)
    found = measured(
        [row(n, *texts) for n, texts in enumerate(train)], [row(n, *texts) for n, texts in enumerate(test)]
    )
    assert {name: found["ngrams"][name] for name in wanted} == wanted
    assert found["exact"] == sum(texts in train for texts in test)
    bare = [tuple("".join(tokens(text)) for text in texts) for texts in train]
    # Rows without a single letter are compared as they are.
    assert found["normalised"] == sum(
        one in bare if any(one := tuple("".join(tokens(text)) for text in texts)) else texts in train for texts in test
    )


# --- In a build ---------------------------------------------------------------------------------------


def leaky(folder: Path) -> list[Source]:
    """Return training rows of which some tell of the test rows: exactly, but for marks, and by a long passage."""
    test = [
        pair(0, id="t0", premise="A cat sat.", hypothesis="An animal sat."),
        pair(1, id="t1", premise="猫坐在垫子上。", hypothesis="有动物。"),
        pair(2, id="t2", premise=LONG, hypothesis="It is old."),
        pair(3, id="t3", premise=LONG_ZH, hypothesis="桥很古老。"),
        pair(4, id="t4", premise="Nothing like it.", hypothesis="At all."),
    ]
    train = [
        pair(0, id="exact", premise="A cat sat.", hypothesis="An animal sat.", label="neutral"),
        pair(1, id="marks", premise="猫坐在垫子上", hypothesis="有动物"),
        pair(2, id="passage", premise=f"Then: {LONG.upper()}!", hypothesis="Nobody built it."),
        pair(3, id="passage-zh", premise=f"据说，{LONG_ZH}", hypothesis="没有桥。"),
        *(pair(number) for number in range(10, 40)),
    ]
    return [
        Source(write_jsonl(folder / "train.jsonl", train), split="train"),
        Source(write_jsonl(folder / "test.jsonl", test), split="test"),
    ]


def test_ledger_and_report_show_the_same_overlap(tmp_path: Path) -> None:
    result = build(pairs_forge(tmp_path), "pairs", leaky(tmp_path), tmp_path / "run")
    found = result.ledger["overlap"]["test"]
    assert (found["train"], found["test"]) == (34, 5)
    assert (found["exact"], found["normalised"], found["with_answer"]) == (1, 2, 1)
    assert (found["ngrams"]["rows"], found["ngrams"]["any"], found["ngrams"]["most"]) == (2, 2, 2)
    train, test = (InstructionSet(tmp_path / "run", split) for split in ("train", "test"))
    assert measure_overlap(train, test, PAIRS) == found
    assert any("2 of 5 test rows occur among the training rows" in line for line in result.warnings)


@pytest.mark.parametrize(
    ("kind", "gone"),
    [
        ("exact", {"exact": "t0"}),
        ("normalised", {"exact": "t0", "marks": "t1"}),
        ("ngram", {"exact": "t0", "marks": "t1", "passage": "t2", "passage-zh": "t3"}),
    ],
)
def test_training_rows_that_tell_of_test_rows_are_left_out(tmp_path: Path, kind: str, gone: dict[str, str]) -> None:
    chosen = BuildSettings(decontaminate=kind)
    result = build(pairs_forge(tmp_path), "pairs", leaky(tmp_path), tmp_path / "run", chosen)
    assert result.ledger["deduplicated"] == {"contaminated": len(gone)}
    assert result.counts == {"train": 34 - len(gone), "test": 5}
    assert adds_up(result.ledger)
    entries = [json.loads(line) for line in (tmp_path / "run/duplicates.jsonl").read_text().splitlines()]
    assert {one["id"].split(":")[1]: one["of"]["id"].split(":")[1] for one in entries} == gone
    assert all(one["reason"] == "contaminated" and one["of"]["source"] == "test.jsonl" for one in entries)
    left = result.ledger["overlap"]["test"]
    assert left["exact"] == 0
    assert kind == "exact" or left["normalised"] == 0
    assert kind != "ngram" or left["ngrams"]["any"] == 0


def test_one_file_that_is_split_here_is_cleaned_of_its_own_test_rows(tmp_path: Path) -> None:
    rows = [pair(number % 60, id=f"x{number}") for number in range(300)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    before = build(pairs_forge(tmp_path), "pairs", [Source(path)], tmp_path / "leaky").ledger
    assert before["overlap"]["test"]["exact"] > 10
    chosen = BuildSettings(decontaminate="exact", limit=200)
    result = build(pairs_forge(tmp_path), "pairs", [Source(path)], tmp_path / "clean", chosen)
    assert result.ledger["overlap"]["test"]["exact"] == result.ledger["overlap"]["validation"]["exact"] == 0
    assert adds_up(result.ledger)


def test_many_held_out_rows_are_looked_for_a_window_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = leaky(tmp_path)
    whole = build(pairs_forge(tmp_path), "pairs", sources, tmp_path / "whole").ledger["overlap"]
    monkeypatch.setattr(heldout, "_ROWS", 2)
    monkeypatch.setattr(heldout, "_PAIRS", 1)
    monkeypatch.setattr(heldout, "_BLOCK", 3)
    assert build(pairs_forge(tmp_path), "pairs", sources, tmp_path / "parts").ledger["overlap"] == whole


def test_without_training_or_held_out_rows_there_is_nothing_to_measure(tmp_path: Path) -> None:
    path = leaky(tmp_path)[1].path
    for split in ("train", "test"):
        ledger = build(pairs_forge(tmp_path), "pairs", [Source(path, split=split)], tmp_path / split).ledger
        assert ledger["overlap"] is None


def test_the_same_file_as_train_and_test_is_named_at_the_start(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", map(pair, range(20)))
    copy = write_jsonl(tmp_path / "copy.jsonl", map(pair, range(20)))
    sources, said = [Source(path, split="train"), Source(copy, split="test")], list[str]()
    result = build(pairs_forge(tmp_path), "pairs", sources, tmp_path / "run", say=said.append)
    assert len(said) == 1
    assert '"rows.jsonl" and "copy.jsonl" are the same file, byte for byte' in said[0]
    assert said[0] in result.warnings
    with pytest.raises(ConfigError, match="no training row would be left"):
        build(pairs_forge(tmp_path), "pairs", sources, tmp_path / "run", BuildSettings(decontaminate="exact"))


# --- Real data ----------------------------------------------------------------------------------------

DATA = os.environ.get("INSTRUCTFORGE_DATA", "")


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="INSTRUCTFORGE_DATA names no folder with the real data sets")
def test_passages_that_two_data_sets_share_are_found(tmp_path: Path) -> None:
    forge = Forge.discover()
    if "qa" not in forge.tasks:
        pytest.skip('no installed plugin provides the task "qa"')
    folder = Path(DATA) / "extractive_qa"
    train, test = folder / "xquad/xquad.en.json", folder / "squad_v2_dev_subset/dev-v1.1.json"
    sources = [Source(train, split="train"), Source(test, split="test")]
    found = build(forge, "qa", sources, tmp_path / "leaky", BuildSettings(limit=1500)).ledger["overlap"]["test"]
    assert found["fields"]["context"]["any"] > 50
    chosen = BuildSettings(limit=1500, decontaminate="ngram")
    ledger = build(forge, "qa", sources, tmp_path / "clean", chosen).ledger
    assert ledger["deduplicated"]["contaminated"] > 50
    assert ledger["overlap"]["test"]["ngrams"]["any"] == 0
