"""The book example: it runs on its sample by one command, and on a real catalogue by one option."""

from __future__ import annotations

import csv
import json
import os
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "books"
DATA = os.environ.get("INSTRUCTFORGE_DATA", "")

pytest.importorskip("instructforge_recommendation")


def run(*arguments: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE / "run.py"))["main"](list(arguments))  # type: ignore[no-any-return]


def test_the_sample_is_as_large_as_its_page_says() -> None:
    with (EXAMPLE / "data" / "books.csv").open(encoding="utf-8") as handle:
        books = list(csv.DictReader(handle))
    with (EXAMPLE / "data" / "readings.csv").open(encoding="utf-8") as handle:
        readings = list(csv.DictReader(handle))
    assert (len(books), len({row["user_id"] for row in readings}), len(readings)) == (42, 30, 240)
    assert sum(book["title"].isascii() for book in books) == 22
    assert {row["item_id"] for row in readings} <= {book["item_id"] for book in books}


def test_the_guesses_need_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run("--model", "none", "--out", str(tmp_path))
    assert list(found) == ["random", "popular"]
    assert found["random"].metrics["ndcg"]["n"] == 30
    said = capsys.readouterr().out
    assert "30 test rows" in said
    assert (tmp_path / "report.html").is_file()
    assert json.loads((tmp_path / "systems.json").read_text(encoding="utf-8"))["random"]["mrr"]["n"] == 30
    ledger = json.loads((tmp_path / "ledger.json").read_text(encoding="utf-8"))
    for source in ledger["sources"]:  # each part reads the whole log, and accounts for all of it
        assert source["records"] == 240
        assert source["built"] + sum(source["skipped"].values()) == 240


@pytest.mark.models
@pytest.mark.slow
def test_a_model_finds_what_somebody_likes_next(tmp_path: Path) -> None:
    found = run("--out", str(tmp_path))
    trained, chance = found["model, trained"].metrics["ndcg"], found["random"].metrics["ndcg"]
    assert trained["low"] > chance["value"]


@pytest.mark.data
@pytest.mark.slow
def test_a_real_catalogue_is_one_option(tmp_path: Path) -> None:
    books = Path(DATA) / "recommendation" / "goodbooks10k" / "books.csv"
    if not DATA or not books.is_file():
        pytest.skip("INSTRUCTFORGE_DATA names no folder with recommendation/goodbooks10k")
    found = run("--data", str(books), "--model", "none", "--out", str(tmp_path))
    assert 0.4 < found["random"].metrics["ndcg"]["value"] < 0.5  # of 10 candidates 0.454 on average
