"""P8: every figure carries its n, an interval, seed, versions and templates; overlap is measured and shown."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instructforge import report as reporting
from instructforge.building import BuildSettings, InstructionSet, Source, build, read_ledger, split_names
from instructforge.data import Prediction
from instructforge.evaluation import Report, evaluate
from instructforge.plugins import Forge
from instructforge.report.table import lines
from instructforge.report.wording import percent

FORGE = Forge.discover()
PAIRS = [
    ("A man is sleeping in the park", "A man is awake", "contradiction"),
    ("Two dogs run over the grass", "Animals are outside", "entailment"),
    ("A woman reads by the window", "She reads a letter from home", "neutral"),
    ("孩子们在河边放风筝", "孩子们在室外", "entailment"),
    ("老人坐在长椅上看报", "老人在游泳", "contradiction"),
    ("一位厨师正在切菜", "厨师在准备晚餐", "neutral"),
]


def row(number: int, premise: str, hypothesis: str, label: str | None) -> str:
    return json.dumps({"premise": f"{premise} {number}", "hypothesis": hypothesis, "label": label}, ensure_ascii=False)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Build real rows of the nli plugin, with a bad one, an unlabelled one and one that stands in both splits."""
    if "nli" not in FORGE.tasks:
        pytest.skip("the plugin instructforge-nli is not installed")
    folder = tmp_path_factory.mktemp("run")
    train = [row(at, *PAIRS[at % 6]) for at in range(60)]
    test = [row(100 + at, *PAIRS[at % 6]) for at in range(60)]
    test += [
        train[0].replace("sleeping", "SLEEPING"),
        row(300, *PAIRS[0][:2], None),
        row(301, *PAIRS[0][:2], "perhaps"),
    ]
    for name, rows in (("train", train), ("test", test)):
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    task = FORGE.tasks.get("nli")
    sources = [Source(path=str(folder / f"{name}.jsonl"), split=name) for name in ("train", "test")]
    build(FORGE, task, sources, folder / "out", BuildSettings())
    assert {"train", "test"} <= set(split_names(folder / "out"))
    instructions = InstructionSet(folder / "out", "test")
    labels = [one.example.answers[0] if one.example.answers else "neutral" for one in instructions]
    answers = [
        Prediction(id=one.id, answer=None, raw="hm", error='"hm" names none of the choices: yes')
        if at % 20 == 3
        else Prediction(id=one.id, answer="entailment" if at % 4 == 0 else label, raw=str(label), score=0.9)
        for at, (one, label) in enumerate(zip(instructions, labels, strict=True))
    ]
    return evaluate(
        answers,
        instructions,
        task=task,
        forge=FORGE,
        seed=7,
        resamples=200,
        train=InstructionSet(folder / "out", "train"),
        ledger=read_ledger(folder / "out"),
        fingerprints={"contract": "c" * 64},
    )


def figures(value: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield everything in a report that claims to be a figure."""
    if isinstance(value, dict):
        if "value" in value and "higher_is_better" in value:
            yield where, value
        for name, part in value.items():
            yield from figures(part, f"{where}/{name}")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from figures(part, f"{where}/{number}")


def test_every_figure_has_its_n_and_its_interval(report: Report) -> None:
    found = dict(figures(report.to_json()))
    assert {"/metrics/accuracy", "/metrics/macro-f1", "/metrics/undecoded", "/baseline/gain/accuracy"} <= set(found)
    assert any(where.startswith("/by/template/") for where in found)
    for where, figure in found.items():
        assert figure["n"] >= figure["groups"] >= 1, where
        if figure["groups"] > 1:
            assert figure["low"] <= figure["value"] <= figure["high"], where
            assert figure["method"] in ("bootstrap", "exact"), where
        else:
            assert (figure["low"], figure["high"], figure["method"]) == (None, None, "none"), where


def test_nothing_is_left_out_of_the_count(report: Report) -> None:
    counts = report.counts
    assert counts["predictions"] == counts["scored"] + counts["inverted"] + counts["unlabelled"]
    assert counts["unlabelled"] == 1
    assert counts["undecoded"] == report.undecoded["count"] > 0
    assert report.metrics["undecoded"]["value"] == pytest.approx(counts["undecoded"] / counts["scored"])
    assert sum(reason["count"] for reason in report.undecoded["reasons"]) == counts["undecoded"]
    totals = report.ledger["totals"]
    assert totals["read"] == totals["built"] + totals["skipped"] + totals["quarantined"] + totals["deduplicated"]
    assert totals["quarantined"] == 1


def test_an_undecoded_prediction_counts_as_wrong(report: Report) -> None:
    matrix = report.confusion["matrix"]
    assert report.confusion["columns"][-1] is None
    assert sum(line["counts"][-1] for line in matrix) == report.counts["undecoded"]
    right = sum(line["counts"][at] for at, line in enumerate(matrix))
    assert report.metrics["accuracy"]["value"] == pytest.approx(right / report.counts["scored"])


def test_it_says_what_it_was_made_with(report: Report) -> None:
    provenance = report.provenance
    assert provenance["seed"] == 7
    assert provenance["interval"] == provenance["interval"] | {"resamples": 200, "level": 0.95}
    assert provenance["versions"]["python"] == platform.python_version()
    assert "instructforge" in provenance["versions"]
    assert provenance["fingerprints"] == {"contract": "c" * 64}
    used = {part["name"] for part in report.by["template"]}
    assert used <= {key.partition("/")[2] for key in provenance["templates"]}
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in provenance["templates"].values())


def test_a_row_that_was_seen_in_training_is_found_and_shown(report: Report) -> None:
    assert report.overlap is not None
    assert (report.overlap["exact"], report.overlap["normalised"]) == (0, 1)
    parts = {part["name"]: part["n"] for part in report.by["seen"]}
    assert parts["seen"] == 1
    assert parts["seen"] + parts["unseen"] == report.counts["scored"]


def test_the_baseline_stands_beside_the_figure(report: Report) -> None:
    base = report.baseline
    assert base["counted_in"] == "train"
    gain = report.metrics["accuracy"]["value"] - base["metrics"]["accuracy"]["value"]
    assert base["gain"]["accuracy"]["value"] == pytest.approx(gain)
    assert base["chance"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_people_see_what_machines_see(report: Report, language: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    reporting.write(report, tmp_path, language=language)
    assert Report.from_json(json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))) == report
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for name, figure in report.metrics.items():
        for key in ("value", "low", "high"):
            assert percent(figure[key]) in page, (name, key)
    for part in report.by["template"]:
        assert part["name"] in page
        assert percent(part["metrics"]["accuracy"]["value"]) in page
    for shown in (f"n = {report.metrics['accuracy']['n']}", "c" * 64, platform.python_version()):
        assert shown in page
    for key in report.provenance["templates"]:
        assert key in page


def test_the_terminal_says_it_too(report: Report) -> None:
    text = "\n".join(lines(report))
    figure = report.metrics["accuracy"]
    assert percent(figure["value"]) in text
    assert f"{100 * figure['low']:.1f} – {100 * figure['high']:.1f}" in text
    for shown in ("overlap: 1 of", "undecoded:", "unlabelled: 1 rows", "seed 7", "200 resamples"):
        assert shown in text
