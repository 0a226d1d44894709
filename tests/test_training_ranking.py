"""Rankings by an encoder model: planned, read, fitted, moved, broken off and gone on with, and answered."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from heads_kit import COLOURS, THINGS, instruction, save_tiny_bert

from instructforge.contract import Contract
from instructforge.data import Prediction
from instructforge.decoders import RankingDecoder
from instructforge.engines import open_engine
from instructforge.errors import TrainingError
from instructforge.metrics.ranking import Ndcg
from instructforge.models.loading import load_tokenizer
from instructforge.tasks import Field, Ranking, Task
from instructforge.training.heads import ranking
from instructforge.training.heads.inputs import ChoiceReader
from instructforge.training.heads.plan import ChoicePlan, plan_choices, untrained_plan
from instructforge.training.heads.trainer import EncoderTrainer
from instructforge.training.job import TrainingJob

pytestmark = pytest.mark.slow  # trains real, if tiny, models

ROOT = Path(__file__).parent.parent
TASK = Task(
    "taste",
    summary="Rank what somebody likes.",
    fields={
        "history": Field("liked before", kind="list", optional=True),
        "request": Field("asked for", optional=True),
        "wanted": Field("how many", optional=True),
        "items": Field("to rank", kind="list"),
    },
    target=Ranking(from_field="items"),
)


def rows(count: int, *, seed: int = 0, order: bool = False) -> list[Any]:
    """Return people who like things of one colour, and then those of a second one."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        first, second, *others = draw.sample(COLOURS, 4)
        items = [f"{colour} {draw.choice(THINGS)}" for colour in (first, second, *others)]
        answer = tuple(items[:2]) if order else (items[0],)
        history = [f"{first} {draw.choice(THINGS)}", f"the {first} {draw.choice(THINGS)}"]
        history += [f"{second} {draw.choice(THINGS)}"] if order else []
        inputs = {"history": history, "wanted": "1", "items": draw.sample(items, 4)}
        made.append(instruction(TASK, number, inputs, [answer]))
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


def job(base: Path, folder: Path, found: Any, **options: Any) -> TrainingJob:
    return TrainingJob(task=TASK, train=found, model=base, out=folder / "model", work=folder / "work", settings=options)


def ndcg(folder: Path, found: list[Any], **options: Any) -> float:
    outputs = list(open_engine(folder, **options).outputs(found, "label_scores"))
    predictions = RankingDecoder().decode(outputs, found, TASK)
    assert all(len(prediction.scores) == 4 for prediction in predictions)
    metric = Ndcg()
    examples = [row.example for row in found]
    return metric.reduce(metric.prepare(predictions, examples, TASK), torch.arange(len(found)).numpy())


def test_the_history_is_compared_item_by_item_and_constants_are_not_read(base: Path) -> None:
    plan = plan_choices(TASK, rows(20))
    assert (plan.kind, plan.fields, plan.passage, plan.relevance) == ("match", ("history",), "history", "order")
    assert any("wanted" in note for note in plan.notes)
    assert ChoicePlan.from_json(plan.to_json()) == evolve(plan, notes=())
    assert untrained_plan(TASK).passage == "history"
    reader = ChoiceReader(load_tokenizer(base), plan, max_length=32)
    (item,) = reader.read(
        [instruction(TASK, 0, {"history": ["J. red. cup", "dog"], "items": ["a", "b", "c"]}, [("b", "a")])]
    )
    assert item.row is not None
    assert len(item.row.sentences) == 2  # a full stop inside an item does not cut it in two
    assert (item.label, item.grades) == (1, (1.0, 2.0, 0.0))
    with pytest.raises(TrainingError, match="match"):
        plan_choices(TASK, rows(20), wanted="label")


def test_shares_and_their_fit() -> None:
    views = [torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.5], [1.0, 0.0]])]
    targets = [ranking.shares([2.0, 0.0, 0.0]), ranking.shares([0.0, 1.0])]
    found = ranking.fit_shares(views, targets, prior=torch.zeros(2), penalty=1e-3)
    assert found[0] > found[1]
    assert torch.isfinite(found).all()
    figures = ranking.ranking_figures([row @ found for row in views], [[2.0, 0.0, 0.0], [0.0, 1.0]])
    assert figures["ndcg"] == figures["accuracy"] == 1.0


def test_features_learn_whom_items_suit(base: Path, tmp_path: Path) -> None:
    result = EncoderTrainer().train(job(base, tmp_path, rows(120)))
    assert result.best["ndcg"] > 0.8
    test = rows(40, seed=7)
    chance = ndcg_of_the_order_given(test)
    assert ndcg(tmp_path / "model", test) > chance + 0.2
    contract = Contract.read(tmp_path / "model")
    assert (contract.head, contract.decoder) == ("ranking", "ranking")
    assert ndcg(base, test, task=TASK) > chance  # without training, the body's own sense of nearness


def ndcg_of_the_order_given(found: list[Any]) -> float:
    metric = Ndcg()
    prepared = metric.prepare([Prediction(id=row.id, answer=()) for row in found], [row.example for row in found], TASK)
    return float(prepared.mean())


def test_a_tiny_model_overfits_orders(base: Path, tmp_path: Path) -> None:
    found = rows(24, order=True)
    options = {"max_steps": 60, "learning_rate": 3e-3, "validation_share": 0, "train_embeddings": True}
    EncoderTrainer().train(job(base, tmp_path, found, **options))
    assert ndcg(tmp_path / "model", found) > 0.93


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from test_training_ranking import EncoderTrainer, job, rows
base, folder = Path(sys.argv[3]), Path(sys.argv[4])
options = {"max_steps": 30, "learning_rate": 1e-3, "save_every": 5, "validation_share": 0}
EncoderTrainer().train(job(base, folder, rows(40, order=True), **options))
"""


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "model").glob("*.safetensors"))}


def run(base: Path, folder: Path, *, kill: bool = False) -> None:
    command = [sys.executable, "-c", SCRIPT, str(ROOT), str(ROOT / "tests"), str(base), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while kill and process.poll() is None:
            if list((folder / "work").rglob("complete.json")):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.01)
        _, said = process.communicate()
    assert process.returncode == (-signal.SIGKILL if kill else 0), said.decode()


def test_killed_and_gone_on_with_it_ends_in_the_same_bytes(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path / "whole")
    run(base, tmp_path / "broken", kill=True)
    assert not (tmp_path / "broken" / "model").exists()
    run(base, tmp_path / "broken")
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    assert len(weights(tmp_path / "whole")) == 2
