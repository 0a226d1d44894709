"""The data that come along: complete, balanced, without copies between train and test, and they build."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from difflib import SequenceMatcher
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import instructforge_nli
import instructforge_qa
from instructforge.building import BuildSettings, Source, build
from instructforge.plugins import Forge
from instructforge.recipe import load_recipe

DATA = Path(str(files("instructforge"))) / "quickstart_data"
NEAR_COPY = 0.75
LANGUAGES = ["en", "zh"]


def rows(language: str, task: str, split: str) -> list[dict[str, str]]:
    (path,) = (DATA / language).glob(f"{task}.{split}.*")
    with path.open(encoding="utf-8", newline="") as lines:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in lines]
        return list(csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ","))


def near_copies(ones: list[str], others: list[str], limit: float) -> list[tuple[str, str]]:
    found = []
    matcher = SequenceMatcher(autojunk=False)
    for one in ones:
        matcher.set_seq2(one.casefold())
        for other in others:
            matcher.set_seq1(other.casefold())
            if all(ratio() >= limit for ratio in (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)):
                found.append((one, other))
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_questions_are_balanced_over_the_closed_set(language: str) -> None:
    answers = json.loads((DATA / language / "qa-choice.answers.json").read_text(encoding="utf-8"))
    assert 12 <= len(answers) == len(set(answers)) <= 15
    for split, least in (("train", 20), ("test", 6)):
        counts = Counter(row["answer"] for row in rows(language, "qa-choice", split))
        assert set(counts) == set(answers)
        assert min(counts.values()) >= least
        assert max(counts.values()) == min(counts.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_question_stands_twice_and_none_of_test_is_near_one_of_train(language: str) -> None:
    train = [row["question"] for row in rows(language, "qa-choice", "train")]
    test = [row["question"] for row in rows(language, "qa-choice", "test")]
    whole = [text.strip().casefold() for text in train + test]
    assert len(set(whole)) == len(whole)
    assert near_copies(test, train, NEAR_COPY) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_pairs_are_balanced_and_premises_keep_to_one_split(language: str) -> None:
    premises: dict[str, set[str]] = {}
    for split in ("train", "test"):
        pairs = rows(language, "nli", split)
        labels = Counter(row.get("gold_label") or row["label"] for row in pairs)
        assert len(labels) == 3
        assert len(set(labels.values())) == 1
        assert len({(row["sentence1"], row["sentence2"]) for row in pairs}) == len(pairs)
        by_premise = Counter(row["sentence1"] for row in pairs)
        assert set(by_premise.values()) == {3}
        premises[split] = set(by_premise)
    assert near_copies(sorted(premises["test"]), sorted(premises["train"]), NEAR_COPY) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_length_of_a_hypothesis_hardly_tells_its_label(language: str) -> None:
    pairs = rows(language, "nli", "train")
    lengths: dict[str, list[int]] = {}
    for row in pairs:
        lengths.setdefault(row.get("gold_label") or row["label"], []).append(len(row["sentence2"]))
    means = [sum(values) / len(values) for values in lengths.values()]
    assert max(means) < 1.35 * min(means)


@pytest.mark.parametrize("language", LANGUAGES)
def test_passages_are_short_squad_files_with_unanswerable_questions(language: str) -> None:
    value = json.loads((DATA / language / "qa.json").read_text(encoding="utf-8"))
    passages = [passage for article in value["data"] for passage in article["paragraphs"]]
    questions = [(passage["context"], question) for passage in passages for question in passage["qas"]]
    assert len(passages) >= 5
    assert len({question["id"] for _, question in questions}) == len(questions) >= 25
    assert sum(question["is_impossible"] for _, question in questions) >= 5
    for context, question in questions:
        assert bool(question["answers"]) != question["is_impossible"]
        for answer in question["answers"]:
            assert context.startswith(answer["text"], answer["answer_start"])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", ["qa-choice", "nli"])
def test_the_recipe_builds_every_row(language: str, task: str, tmp_path: Path) -> None:
    forge = Forge([instructforge_nli, instructforge_qa])
    recipe = load_recipe(DATA / language / f"{task}.yaml")
    sources = recipe.data.sources(DATA / language)
    result = build(forge, forge.tasks.get(task), sources, tmp_path, recipe.build_settings)
    expected = {split: len(rows(language, task, split)) for split in ("train", "test")}
    assert totals(result.ledger) == (sum(expected.values()), sum(expected.values()), 0)
    assert {split: result.counts[split] for split in expected} == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_passages_build(language: str, tmp_path: Path) -> None:
    forge = Forge([instructforge_nli, instructforge_qa])
    result = build(forge, forge.tasks.get("qa"), [Source(DATA / language / "qa.json")], tmp_path, BuildSettings())
    assert totals(result.ledger) == (26, 26, 0)


def totals(ledger: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return what a ledger says was read, built and quarantined."""
    total = ledger["totals"]
    return total["read"], total["built"], total["quarantined"]
