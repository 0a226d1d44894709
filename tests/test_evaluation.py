"""Evaluation: counts that add up, intervals that cover, groups drawn together, and the same bytes each time."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve

from instructforge.data import NO_ANSWER, Example, Instruction, Message, Origin, Prediction, SpanAnswer
from instructforge.errors import ConfigError
from instructforge.evaluation import Report, evaluate, measure_overlap
from instructforge.plugins import Forge
from instructforge.tasks import Choice, Span, Task, Text

LABELS = ("good", "bad", "so-so")
TASK = Task("mood", summary="What mood?", fields={"text": "a sentence"}, target=Choice(LABELS))
FORGE = Forge()


def row(
    number: int, gold: str | None, *, text: str = "", group: str | None = None, template: str = "plain", **more: Any
) -> Instruction:
    example = Example(
        inputs={"text": text or f"sentence {number}"},
        answers=() if gold is None else (gold,),
        id=f"row-{number}",
        origin=Origin("test.jsonl", number),
        group=group,
    )
    messages = (Message(role="user", content=f"Mood of: {text}"), Message(role="assistant", content=gold or ""))
    instruction = Instruction(
        example=example,
        task="mood",
        language="en",
        template=template,
        template_sha256="0" * 64,
        messages=messages,
        labels=LABELS,
        choices=LABELS,
    )
    return evolve(instruction, **more)


def said(instruction: Instruction, answer: Any, **more: Any) -> Prediction:
    raw = answer if isinstance(answer, str) else "?"
    error = None if answer is not None else f'"{raw}" names none of the choices: good, bad'
    return Prediction(id=instruction.id, answer=answer, raw=raw, error=error, **more)


def many(
    count: int, *, right: float, seed: int = 0, groups: int | None = None
) -> tuple[list[Instruction], list[Prediction]]:
    lot = random.Random(seed)
    rows = [
        row(at, lot.choice(LABELS), group=f"g{at % groups}" if groups else None, template=f"t{at % 3}")
        for at in range(count)
    ]
    wrong = {label: [other for other in LABELS if other != label] for label in LABELS}
    answers = [said(one, one.completion if lot.random() < right else lot.choice(wrong[one.completion])) for one in rows]
    return rows, answers


def report_of(rows: Sequence[Instruction], answers: Sequence[Prediction], **more: Any) -> Report:
    return evaluate(answers, rows, task=more.pop("task", TASK), forge=FORGE, **more)


# --- Counts -------------------------------------------------------------------------------------------


def test_every_row_is_counted_once() -> None:
    rows = [row(1, "good"), row(2, "bad"), row(3, None), row(4, "good"), row(5, "good", inverted="text")]
    answers = [said(rows[0], "good"), said(rows[1], None), said(rows[2], "bad"), said(rows[3], "bad")]
    answers.append(said(rows[4], "sentence 5", notes=("unfinished",)))
    report = report_of(rows, answers)
    assert report.counts == {
        "predictions": 5,
        "scored": 3,
        "inverted": 1,
        "unlabelled": 1,
        "undecoded": 1,
        "unfinished": 1,
    }
    assert report.metrics["accuracy"]["value"] == pytest.approx(1 / 3)
    assert report.metrics["accuracy"]["n"] == 3
    assert report.metrics["undecoded"]["value"] == pytest.approx(1 / 3)
    assert report.undecoded["reasons"] == [
        {"reason": "names none of the choices", "count": 1, "example": {"id": "row-2", "raw": "?"}}
    ]
    assert report.inverted["metrics"]["exact-match"]["value"] == 1.0


def test_predictions_that_belong_elsewhere_are_refused() -> None:
    rows, answers = many(4, right=1)
    with pytest.raises(ConfigError, match="3 predictions do not belong to 4"):
        report_of(rows, answers[:3])
    with pytest.raises(ConfigError, match='prediction 1 is of "row-1"'):
        report_of(rows, [answers[1], answers[0], *answers[2:]])
    with pytest.raises(ConfigError, match="too few"):
        report_of(rows, answers, resamples=10)


def test_nothing_to_score_is_a_report_without_figures() -> None:
    rows = [row(1, None)]
    report = report_of(rows, [said(rows[0], "good")])
    assert report.metrics["accuracy"]["value"] is None
    assert report.counts["unlabelled"] == 1
    assert report_of([], []).counts["predictions"] == 0
    json.dumps(report.to_json(), allow_nan=False)


def test_slices_share_out_all_rows() -> None:
    rows, answers = many(90, right=0.7)
    report = report_of(rows, answers)
    assert [part["name"] for part in report.by["template"]] == ["en/t0", "en/t1", "en/t2"]
    assert sum(part["n"] for part in report.by["template"]) == 90
    mean = sum(part["n"] * part["metrics"]["accuracy"]["value"] for part in report.by["template"]) / 90
    assert mean == pytest.approx(report.metrics["accuracy"]["value"])


# --- Intervals ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """95 of 100 nominal; a percentile bootstrap of 80 rows covers a little less. Fewer than 88 is broken."""
    covered = 0
    for seed in range(100):
        rows, answers = many(80, right=0.7, seed=seed)
        figure = report_of(rows, answers, resamples=200, seed=seed).metrics["accuracy"]
        assert figure["low"] <= figure["value"] <= figure["high"]
        covered += figure["low"] <= 0.7 <= figure["high"]
    assert 88 <= covered <= 100


def test_rows_of_a_group_are_drawn_together() -> None:
    """Ten groups that are all right or all wrong say as little as ten rows, and the interval shows it."""
    rows = [row(at, "good", group=f"g{at % 10}") for at in range(200)]
    answers = [said(one, "good" if at % 10 < 5 else "bad") for at, one in enumerate(rows)]
    apart = [evolve(one, example=evolve(one.example, group=None)) for one in rows]
    grouped, single = (report_of(some, answers).metrics["accuracy"] for some in (rows, apart))
    assert (grouped["groups"], single["groups"]) == (10, 200)
    ratio = (grouped["high"] - grouped["low"]) / (single["high"] - single["low"])
    assert ratio == pytest.approx(20**0.5, rel=0.25)


def test_one_example_under_several_templates_is_one_group() -> None:
    rows = [row(at, "good", template=name) for at in range(5) for name in ("a", "b")]
    report = report_of(rows, [said(one, "good") for one in rows])
    assert report.metrics["accuracy"]["groups"] == 5
    assert report.provenance["interval"]["rows"] == 10


def test_where_every_row_scores_alike_the_bound_is_exact() -> None:
    rows, answers = many(20, right=1)
    figure = report_of(rows, answers).metrics["accuracy"]
    assert (figure["method"], figure["high"]) == ("exact", 1.0)
    assert figure["low"] == pytest.approx(0.8316, abs=1e-4)  # Clopper-Pearson for 20 of 20
    one = report_of(rows[:1], answers[:1]).metrics["accuracy"]
    assert (one["low"], one["high"], one["method"]) == (None, None, "none")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_draw() -> None:
    rows, answers = many(50, right=0.6)
    first, again, other = (json.dumps(report_of(rows, answers, seed=seed).to_json()) for seed in (1, 1, 2))
    assert first == again
    assert json.loads(first)["metrics"]["accuracy"]["value"] == json.loads(other)["metrics"]["accuracy"]["value"]
    assert json.loads(first)["metrics"] != json.loads(other)["metrics"]


def test_a_slice_has_its_own_stream_whatever_else_there_is() -> None:
    rows, answers = many(60, right=0.6)
    alone = [at for at, one in enumerate(rows) if one.template == "t1"]
    whole = report_of(rows, answers).by["template"][1]
    part = report_of([rows[at] for at in alone], [answers[at] for at in alone]).by["template"][0]
    assert whole == part


# --- Baselines ----------------------------------------------------------------------------------------


def test_the_commonest_training_answer_is_the_baseline() -> None:
    rows = [row(at, label) for at, label in enumerate(["good"] * 6 + ["bad"] * 4)]
    train = [row(100 + at, "bad") for at in range(3)]
    report = report_of(rows, [said(one, one.completion) for one in rows], train=train)
    assert (report.baseline["answer"], report.baseline["counted_in"]) == ("bad", "train")
    assert report.baseline["metrics"]["accuracy"]["value"] == pytest.approx(0.4)
    assert report.baseline["gain"]["accuracy"]["value"] == pytest.approx(0.6)
    assert report.baseline["chance"] == pytest.approx(1 / 3)
    without = report_of(rows, [said(one, one.completion) for one in rows])
    assert (without.baseline["answer"], without.baseline["counted_in"]) == ("good", "test")


def test_choices_of_their_own_have_a_place_as_baseline() -> None:
    task = Task("pick", summary="p", fields={"options": "o"}, target=Choice(from_field="options"))
    rows = []
    for at in range(8):
        options = [f"{at}-{name}" for name in "wxyz"]
        example = Example(inputs={"options": options}, answers=(options[0 if at < 6 else 2],), id=f"row-{at}")
        rows.append(evolve(row(at, "good"), example=example, labels=tuple(options)))
    answers = [said(one, one.labels[0]) for one in rows]
    report = report_of(rows, answers, task=task)
    assert report.baseline["answer"] == "choice 1"
    assert report.baseline["metrics"]["accuracy"]["value"] == pytest.approx(0.75)
    assert report.left_out == {"macro-f1": "each row has choices of its own"}
    assert report.confusion["of"] == "places"
    assert report.confusion["matrix"] == [{"gold": "A", "counts": [6, 0]}, {"gold": "C", "counts": [2, 0]}]


def test_a_set_of_labels_that_all_rows_share_is_told_by_name() -> None:
    task = Task("pick", summary="p", fields={"options": "o"}, target=Choice(from_field="options"))
    rows = []
    for at in range(8):
        options = ["card", "loan"] if at % 2 else ["loan", "card"]  # a set: the order is the row's own
        example = Example(inputs={"options": options}, answers=("card",), id=f"row-{at}")
        rows.append(evolve(row(at, "good"), example=example, labels=tuple(options)))
    report = report_of(rows, [said(one, "loan" if at == 0 else "card") for at, one in enumerate(rows)], task=task)
    assert report.confusion["of"] == "labels"
    assert report.confusion["pairs"] == [{"gold": "card", "predicted": "loan", "count": 1, "of": 8}]
    assert [one["label"] for one in report.labels] == ["card", "loan"]


def test_saying_that_there_is_no_answer_is_the_baseline_of_nullable_spans() -> None:
    task = Task("qa", summary="q", fields={"text": "t"}, target=Span(within="text", nullable=True))
    golds = [NO_ANSWER, SpanAnswer("sentence", 0), NO_ANSWER]
    rows = [
        evolve(row(at, "x"), example=evolve(row(at, "x").example, answers=(gold,))) for at, gold in enumerate(golds)
    ]
    report = report_of(rows, [said(one, gold) for one, gold in zip(rows, golds, strict=True)], task=task)
    assert report.baseline["metrics"]["squad-em"]["value"] == pytest.approx(2 / 3)
    assert report.metrics["squad-f1"]["value"] == 1.0


# --- Labels -------------------------------------------------------------------------------------------


def test_the_matrix_adds_up_to_the_rows() -> None:
    rows, answers = many(120, right=0.6)
    answers[0] = said(rows[0], None)
    report = report_of(rows, answers)
    assert report.confusion["columns"] == [*LABELS, None]
    assert sum(sum(line["counts"]) for line in report.confusion["matrix"]) == 120
    diagonal = sum(line["counts"][at] for at, line in enumerate(report.confusion["matrix"]))
    assert diagonal / 120 == pytest.approx(report.metrics["accuracy"]["value"])
    assert {one["label"]: one["n"] for one in report.labels} == {
        label: sum(one.completion == label for one in rows) for label in LABELS
    }


def test_many_labels_are_shown_as_their_commonest_confusions() -> None:
    labels = tuple(f"label {at}" for at in range(77))
    task = Task("mood", summary="m", fields={"text": "t"}, target=Choice(labels))
    rows = [row(at, labels[at % 77]) for at in range(231)]
    answers = [said(one, "label 1" if one.completion == "label 0" else one.completion) for one in rows]
    report = report_of(rows, answers, task=task)
    assert "matrix" not in report.confusion
    assert report.confusion["pairs"] == [{"gold": "label 0", "predicted": "label 1", "count": 3, "of": 3}]


# --- Overlap ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "train", "exact", "normalised"),
    [
        ("The cat sat.", "The cat sat.", 1, 1),
        ("The cat sat.", "the  CAT sat", 0, 1),
        ("猫坐在垫子上。", "猫坐在垫子上", 0, 1),
        ("ＡＢＣ，１２３", "abc123", 0, 1),
        ("The cat sat.", "The dog sat.", 0, 0),
        ("猫坐着", "狗坐着", 0, 0),
    ],
)
def test_overlap_is_measured_in_both_scripts(test: str, train: str, exact: int, normalised: int) -> None:
    rows = [row(1, "good", text=test), row(2, "good", text="something else 别的")]
    report = report_of(rows, [said(one, "good") for one in rows], train=[row(9, "bad", text=train)])
    assert report.overlap is not None
    assert (report.overlap["exact"], report.overlap["normalised"], report.overlap["test"]) == (exact, normalised, 2)
    assert ("seen" in report.by) == bool(normalised)


def test_shared_sources_are_counted_and_unknown_is_said() -> None:
    rows = [row(1, "good", group="passage 1"), row(2, "good", group="passage 2")]
    overlap = measure_overlap([row(9, "bad", group="passage 1")], rows, TASK)
    assert overlap is not None
    assert overlap["same_source"] == 1
    assert report_of(rows, [said(one, "good") for one in rows]).overlap is None


# --- The document -------------------------------------------------------------------------------------


def test_a_report_comes_back_from_its_json() -> None:
    rows, answers = many(40, right=0.5)
    report = report_of(rows, answers, train=rows[:4], ledger={"read": 40, "built": 40})
    text = json.dumps(report.to_json(), allow_nan=False)
    assert Report.from_json(json.loads(text)) == report
    with pytest.raises(ConfigError, match="is of schema"):
        Report.from_json({"schema": "instructforge.report/9"})


def test_times_and_rates_stay_out() -> None:
    rows, answers = many(10, right=0.5)
    training = {
        "steps": 3,
        "seconds": 1.5,
        "log": [{"step": 1, "loss": float("nan"), "train_runtime": 2.0, "steps_per_second": 3.0}],
    }
    assert report_of(rows, answers, training=training).training == {"steps": 3, "log": [{"step": 1, "loss": None}]}


def test_lone_surrogates_do_not_stop_the_report() -> None:
    rows = [row(1, "good", text="half \ud83d")]
    report = report_of(rows, [evolve(said(rows[0], "bad"), raw="\udc00")])
    json.dumps(report.to_json(), ensure_ascii=False).encode("utf-8")


def test_a_text_task_is_scored_without_labels() -> None:
    task = Task("sum", summary="s", fields={"text": "t"}, target=Text())
    rows = [row(at, "the cat") for at in range(6)]
    report = report_of(rows, [said(one, "a cat") for one in rows], task=task)
    assert report.metrics["token-f1"]["value"] == pytest.approx(0.5)
    assert (report.confusion, report.labels, report.baseline) == ({}, [], {})


@pytest.mark.parametrize("several", [("good",), ("good", "bad"), ()])
def test_several_labels_are_scored(several: tuple[str, ...]) -> None:
    task = Task("tags", summary="t", fields={"text": "t"}, target=Choice(LABELS, multiple=True))
    rows = [evolve(row(1, "x"), example=evolve(row(1, "x").example, answers=(("bad", "good"),)))]
    report = report_of(rows, [said(rows[0], several)], task=task)
    assert report.metrics["accuracy"]["value"] == float(set(several) == {"good", "bad"})
    assert sum(one["n"] for one in report.labels) == 2


def test_a_thousand_resamples_of_many_rows_are_quick() -> None:
    """Each resample is a sum over arrays; work for each row in Python would take minutes here."""
    import time

    rows, answers = many(3000, right=0.7, groups=1000)
    before = time.process_time()
    report_of(rows, answers)
    assert time.process_time() - before < 30
