"""Real data sets, whole: every record is accounted for, and every template makes the round trip on every row."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from instructforge.building import Source
from instructforge.plugins import Forge
from instructforge.testing import check_data_set

DATA = Path(os.environ.get("INSTRUCTFORGE_DATA", ""))
BANKING = DATA / "classification" / "banking77"
SNIPS = DATA / "classification" / "snips_intents"
ASAP = DATA / "sentiment" / "asap_sample"
IMDB = DATA / "sentiment" / "counterfactual_imdb"

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("INSTRUCTFORGE_DATA"), reason="real data: set INSTRUCTFORGE_DATA to their folder"
    ),
]


@pytest.fixture(scope="module")
def forge() -> Forge:
    return Forge.discover()


def checked(forge: Forge, task: str, sources: list[Source], *, records: int, rows: int | None = None) -> dict[str, Any]:
    """Return the ledger of a data set that is read whole, without a bad row."""
    report = check_data_set(task, *sources, records=records, quarantined=0, forge=forge)
    assert report.rows == (records if rows is None else rows)
    per_row = report.renderings + sum(report.left.values())
    assert per_row >= 6 * report.rows, "not every template was tried on every row"
    return dict(report.ledger)


def test_banking77_test_with_its_own_list_of_labels(forge: Forge) -> None:
    labels = json.loads((BANKING / "categories.json").read_text(encoding="utf-8"))
    ledger = checked(forge, "intent", [Source(BANKING / "test.csv", constants={"labels": labels})], records=3080)
    assert len(ledger["sources"][0]["constants"]["labels"]) == 77


@pytest.mark.bar
@pytest.mark.parametrize("name", ["classification/banking77/train.csv", "formats/banking77_train.parquet"])
def test_banking77_train_with_labels_from_the_data(forge: Forge, name: str) -> None:
    ledger = checked(forge, "intent", [Source(DATA / name)], records=10003)
    assert len(ledger["sources"][0]["constants"]["labels"]) == 77


def test_snips_by_its_fourteen_files(forge: Forge) -> None:
    files = sorted(SNIPS.glob("*.json"))
    sources = [Source(path, split="train" if path.name.startswith("train") else "test") for path in files]
    ledger = checked(forge, "intent", sources, records=2800)
    assert len(files) == 14
    assert {name: part["examples"] for name, part in ledger["splits"].items()} == {"train": 2100, "test": 700}
    assert len(ledger["sources"][0]["constants"]["labels"]) == 7


def test_asap_by_its_stars(forge: Forge) -> None:
    ledger = checked(forge, "sentiment", [Source(path) for path in sorted(ASAP.glob("*.csv"))], records=200)
    assert sum(ledger["notes"].values()) == 200
    assert ledger["languages"] == {"zh": 200}


def test_asap_by_its_eighteen_aspects(forge: Forge) -> None:
    sources = [Source(path) for path in sorted(ASAP.glob("*.csv"))]
    checked(forge, "sentiment-aspect", sources, records=200, rows=18 * 200)


def test_counterfactual_imdb(forge: Forge) -> None:
    sources = [
        Source(IMDB / part / f"{split}.tsv", split={"train": "train", "dev": "validation"}[split])
        for part in ("orig", "new")
        for split in ("train", "dev")
    ]
    ledger = checked(forge, "sentiment", sources, records=2 * (1707 + 245))
    assert examples(ledger) == {"train": 3414, "validation": 490}


def examples(ledger: Mapping[str, Any]) -> dict[str, int]:
    return {name: part["examples"] for name, part in ledger["splits"].items()}
