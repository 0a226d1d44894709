"""``check_data_set`` proves what it says of a data set, and catches a liar."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from instructforge.building import Source
from instructforge.plugins import Forge
from instructforge.roundtrip import DataSetError, check_data_set
from instructforge.testing import check_data_set as for_authors

PAIRS = [
    {"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"},
    {"premise": "下雨了。", "hypothesis": "天很干。", "label": "矛盾"},
    {"premise": "It snows.", "hypothesis": "It is late.", "label": "perhaps"},
]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in PAIRS), encoding="utf-8")
    return path


def test_every_template_of_a_rows_language_is_tried(pairs: Path) -> None:
    report = for_authors("nli", pairs, records=3, quarantined=1)
    forge = Forge.discover()
    in_languages = sum(len(forge.templates.refs(task="nli", language=language)) for language in ("en", "zh"))
    assert report.rows == 2
    assert report.renderings + sum(report.left.values()) == in_languages


def test_a_wrong_count_is_told(pairs: Path) -> None:
    with pytest.raises(DataSetError, match="3 records were read, and the data set has 4"):
        check_data_set("nli", pairs, records=4)
    with pytest.raises(DataSetError, match="1 rows were quarantined, not 0"):
        check_data_set("nli", Source(pairs), quarantined=0)


def test_a_decoder_that_lies_is_found(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from instructforge.decoders import ChoiceDecoder
    from instructforge.decoders.base import answered, each

    monkeypatch.setattr(
        ChoiceDecoder,
        "decode",
        lambda self, outputs, instructions, task: each(outputs, instructions, lambda *_: answered("neutral")),
    )
    with pytest.raises(DataSetError, match='as "neutral", not as "entailment"'):
        check_data_set("nli", pairs)


DATA = os.environ.get("INSTRUCTFORGE_DATA", "")


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="real data: set INSTRUCTFORGE_DATA to their folder")
@pytest.mark.parametrize(
    ("task", "file", "records", "quarantined"),
    [
        ("qa", "extractive_qa/squad_v2_dev_subset/dev-v1.1.json", 1407, 0),
        ("qa", "extractive_qa/xquad/xquad.en.json", 1190, 0),
        ("qa", "extractive_qa/xquad/xquad.zh.json", 1190, 0),
        ("qa", "extractive_qa/xquad/xquad.de.json", 1190, 0),
        ("qa", "extractive_qa/cmrc2018/cmrc2018_trial.json", 1002, None),
        ("qa", "extractive_qa/cmrc2018/cmrc2018_dev.json", 3219, None),
        ("nli", "nli/counterfactual_snli/original/train.tsv", 1666, None),
        ("nli", "nli/counterfactual_snli/all_combined/dev.tsv", 1000, None),
    ],
)
def test_real_data_make_the_round_trip(task: str, file: str, records: int, quarantined: int | None) -> None:
    check_data_set(task, Path(DATA) / file, records=records, quarantined=quarantined)
