"""Several labels a row: planned, trained, answered and scored."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from heads_kit import COLOURS, LABEL_TASK, THINGS, colour_rows, instruction, save_tiny_bert

from instructforge.data import Instruction
from instructforge.decoders import ChoiceScoresDecoder
from instructforge.engines import open_engine
from instructforge.errors import ConfigError, TrainingError
from instructforge.plugins import Forge
from instructforge.tasks import Choice, Field, Task
from instructforge.training.heads.plan import plan_choices
from instructforge.training.heads.several import label_loss, marks_of, several_figures
from instructforge.training.heads.trainer import EncoderTrainer
from instructforge.training.job import TrainingJob

SEVERAL = Task(
    "colours",
    summary="Name all colours.",
    fields={"text": "a sentence", "choices": Field("of", kind="list")},
    target=Choice(from_field="choices", multiple=True),
    metrics=["accuracy", "micro-f1", "macro-f1"],
)


def rows_of(count: int, *, seed: int = 0) -> list[Instruction]:
    """Return sentences with all the colours that they name, or none."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        colours = draw.sample(COLOURS, draw.randint(0, 3))
        words = [*colours, *(draw.choice(THINGS) for _ in range(2))]
        draw.shuffle(words)
        inputs = {"text": " ".join(words), "choices": list(COLOURS)}
        rows.append(instruction(SEVERAL, number, inputs, [tuple(sorted(colours))]))
    return rows


def job_of(tmp_path: Path, base: Path, rows: list[Instruction], **settings: object) -> TrainingJob:
    return TrainingJob(
        task=SEVERAL, train=rows, model=base, out=tmp_path / "model", work=tmp_path / "work", settings=settings
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


def test_the_plan_says_that_a_row_may_have_several() -> None:
    plan = plan_choices(SEVERAL, rows_of(50))
    assert (plan.kind, plan.fields, plan.labels) == ("several", ("text",), tuple(sorted(COLOURS)))
    assert "of the 4 labels on average" in plan.notes[0]


@pytest.mark.parametrize(("task", "head"), [(SEVERAL, "label"), (LABEL_TASK, "several")])
def test_a_head_that_does_not_fit_is_refused(task: Task, head: str) -> None:
    rows = rows_of(10) if task is SEVERAL else colour_rows(10)
    with pytest.raises(TrainingError, match="does not fit"):
        plan_choices(task, rows, wanted=head)


def test_labels_without_a_row_are_named() -> None:
    rows = [instruction(SEVERAL, 0, {"text": "red", "choices": ["red", "pink"]}, [("red",)])]
    assert any('"pink"' in note for note in plan_choices(SEVERAL, rows).notes)


def test_the_loss_is_that_of_each_label_by_itself() -> None:
    logits, marks = torch.tensor([[1.0, -2.0], [0.5, 0.0]]), marks_of([(0,), (0, 1)], 2)
    alone = [
        torch.nn.functional.binary_cross_entropy_with_logits(logits[:, label], marks[:, label]) for label in (0, 1)
    ]
    assert float(label_loss(logits, marks)) == pytest.approx(float(sum(alone)))
    assert float(label_loss(logits, marks, reduction="sum")) == pytest.approx(2 * float(sum(alone)))


def test_figures_where_nothing_is_gold_and_nothing_is_chosen() -> None:
    assert several_figures([torch.tensor([-1.0])], [()])["micro_f1"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"epochs": 2.0, "learning_rate": 1e-3}])
def test_it_learns_and_answers_in_the_rows_own_order(tmp_path: Path, base: Path, settings: dict[str, float]) -> None:
    result = EncoderTrainer().train(job_of(tmp_path, base, rows_of(400), **settings))
    assert result.best["micro_f1"] > 0.8
    test = [
        instruction(SEVERAL, at, {**row.example.inputs, "choices": ["pink", *reversed(COLOURS)]}, row.example.answers)
        for at, row in enumerate(rows_of(60, seed=1))
    ]
    decoder, metric = ChoiceScoresDecoder(), Forge().metrics.get("micro-f1")
    found = decoder.decode(list(open_engine(tmp_path / "model").outputs(test, decoder.needs)), test, SEVERAL)
    prepared = metric.prepare(found, [row.example for row in test], SEVERAL)
    assert metric.reduce(prepared, np.arange(len(test))) > 0.8
    assert any(one.answer == () for one in found)
    assert {one.scores["pink"] for one in found} == {0.0}, "a label that the head was not trained on is not chosen"


@pytest.mark.slow
def test_an_untrained_encoder_is_not_asked(base: Path) -> None:
    with pytest.raises(ConfigError, match="one of some labels"):
        open_engine(base, task=SEVERAL)


def test_the_metrics_are_registered() -> None:
    forge = Forge()
    assert [forge.metrics.get(name).name for name in SEVERAL.metric_names] == list(SEVERAL.metric_names)
