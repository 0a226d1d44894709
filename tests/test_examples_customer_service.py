"""The example of customer service: its data without a model, and the whole of it with one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from instructforge import Forge
from instructforge.building import build
from instructforge.recipe import load_recipe

EXAMPLE = Path(__file__).parents[1] / "examples" / "customer_service"
LANGUAGES = ("en", "zh")

for package in ("qa", "classification", "dialogue"):
    pytest.importorskip(f"instructforge_{package}")


def rows(language: str, name: str) -> list[dict[str, Any]]:
    path = EXAMPLE / "data" / language / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_samples_are_as_many_as_the_page_says(language: str) -> None:
    names = (
        "intents-train",
        "intents-test",
        "faq",
        "asked-train",
        "asked-test",
        "passages",
        "dialogues",
        "conversation",
    )
    counts = [len(rows(language, name)) for name in names]
    assert (counts[:3], counts[4:]) == ([56, 24, 25], [25, 10, 12, 4])
    intents = Counter(row["intent"] for name in names[:2] for row in rows(language, name))
    assert set(intents.values()) == {10}
    assert len(intents) == 8
    answers = {row["answer"] for row in rows(language, "faq")}
    assert len(answers) == 25
    assert {row["answer"] for name in ("asked-train", "asked-test") for row in rows(language, name)} == answers
    asked = [row["question"] for name in ("faq", "asked-train", "asked-test") for row in rows(language, name)]
    assert len(set(asked)) == len(asked)


@pytest.mark.parametrize(("stage", "built"), [("intent", 80), ("faq", 50), ("reply", 12)])
def test_every_recipe_builds_all_its_rows(tmp_path: Path, stage: str, built: int) -> None:
    recipe = load_recipe(EXAMPLE / f"{stage}.yaml")
    forge = Forge.discover()
    ledger = build(forge, recipe.task, recipe.data.sources(EXAMPLE), tmp_path, recipe.build_settings).ledger
    assert ledger["totals"]["built"] == ledger["totals"]["read"] == built
    if stage == "faq":
        figures = [source["retrieval"] for source in ledger["sources"]]
        assert [one["asked"] for one in figures] == [25, 25]
        assert all(one["found"] > 12 for one in figures)


@pytest.mark.slow
@pytest.mark.models
def test_the_whole_example_goes_from_intent_to_prompt(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "run.py"), "--language", "en", "--out", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    assert "intent:  change_address" in done.stdout
    assert "FAQ:     Leave the bike in its box" in done.stdout
    assert "the gold answer is among the first 15" in done.stdout
    prompt = done.stdout.partition("the last chat prompt")[2]
    assert "How long until the money is back on my card then?" in prompt.splitlines()[-1]
    assert "The answer of the FAQ: We pay back within five working days" in prompt
    assert "What you know about the matter:" in prompt
