"""The Chinese example: its data and files without a model, and the whole of it with one."""

from __future__ import annotations

import json
import os
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from instructforge import Forge
from instructforge.building import build
from instructforge.errors import ConfigError
from instructforge.recipe import load_recipe

EXAMPLE = Path(__file__).parents[1] / "examples" / "chinese"
DATA = os.environ.get("INSTRUCTFORGE_DATA", "")

pytest.importorskip("instructforge_qa")
pytest.importorskip("instructforge_nli")


def module() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE / "run.py"))


@pytest.mark.parametrize(("stage", "train", "test"), [("nli", 42, 18), ("reading", 30, 10)])
def test_every_sample_is_built(tmp_path: Path, stage: str, train: int, test: int) -> None:
    recipe = load_recipe(EXAMPLE / f"{stage}.yaml")
    ledger = build(Forge.discover(), recipe.task, recipe.data.sources(EXAMPLE), tmp_path, recipe.build_settings).ledger
    assert {name: part["examples"] for name, part in ledger["splits"].items()} == {"train": train, "test": test}
    assert ledger["totals"]["built"] == ledger["totals"]["read"]
    assert ledger["totals"]["unlabelled"] == 0


def test_each_premise_has_one_hypothesis_of_each_label() -> None:
    lines = [(EXAMPLE / "data" / f"nli-{part}.jsonl").read_text(encoding="utf-8") for part in ("train", "test")]
    rows = [json.loads(line) for text in lines for line in text.splitlines()]
    assert set(Counter(row["sentence1"] for row in rows).values()) == {3}
    assert set(Counter(row["label"] for row in rows).values()) == {20}


def test_files_of_a_folder_are_told_by_their_names(tmp_path: Path) -> None:
    files_of = module()["files_of"]
    for name in ("cmrc2018_dev.json", "cmrc2018_trial.json", "README.md"):
        (tmp_path / name).write_text("")
    found = files_of(tmp_path, "reading")
    assert [Path(path).name for path in found.values()] == ["cmrc2018_trial.json", "cmrc2018_dev.json"]
    (tmp_path / "nli").mkdir()
    (tmp_path / "nli" / "train.50k.json").write_text("")
    with pytest.raises(ConfigError, match="no file to test nli on"):
        files_of(tmp_path, "nli")
    (tmp_path / "nli" / "dev.json").write_text("")
    assert [Path(path).name for path in files_of(tmp_path, "nli").values()] == ["train.50k.json", "dev.json"]


@pytest.mark.skipif(not DATA, reason="INSTRUCTFORGE_DATA is not set: no real data here")
@pytest.mark.data
def test_the_folder_of_cmrc_fits_one_option() -> None:
    found = module()["files_of"](Path(DATA) / "extractive_qa" / "cmrc2018", "reading")
    assert [Path(path).name for path in found.values()] == ["cmrc2018_trial.json", "cmrc2018_dev.json"]


@pytest.mark.slow
@pytest.mark.models
def test_both_are_trained_and_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports = module()["main"](["--epochs", "1", "--only", "reading", "--out", str(tmp_path)])
    reports |= module()["main"](["--only", "nli", "--out", str(tmp_path)])
    assert reports["nli"].metrics["accuracy"]["n"] == 18
    assert reports["reading"].metrics["squad-f1"]["n"] == 10
    said = capsys.readouterr().out
    assert "渔船留在港里" in said
    assert 'always "no answer": squad-f1 0.00' in said
