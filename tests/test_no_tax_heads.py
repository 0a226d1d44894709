"""No tax: step for step, the loss of our trainer is that of a script written by hand with transformers and torch.

The scripts below share no line with the project. They get the same rows in the same batches, and start from the
same weights; dropout is off, since two programs cannot be asked to draw the same random numbers.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from heads_kit import PAIR_TASK, SPAN_TASK, pair_rows, save_tiny_bert, span_rows
from torch import nn

from instructforge.data import NO_ANSWER
from instructforge.models import cache_folder
from instructforge.training.heads.trainer import EncoderTrainer
from instructforge.training.job import TrainingJob
from instructforge.training.loop import BatchOrder, seed_everything

pytestmark = pytest.mark.slow  # trains real, if tiny, models

STEPS, BATCH, RATE, HEAD_RATE, DECAY, WARMUP, SEED = 20, 8, 5e-4, 1e-3, 0.01, 2, 42
TOLERANCE = 1e-5


def without_dropout(folder: Path) -> Path:
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(
    params=["tiny", pytest.param("minilm", marks=[pytest.mark.slow, pytest.mark.models])],
)
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "tiny":
        return without_dropout(save_tiny_bert(tmp_path / "base"))
    found = cache_folder() / "minilm"
    if not (found / "config.json").is_file():
        pytest.skip("the starter model minilm is not in the cache; fetch it with: instructforge models fetch minilm")
    return without_dropout(Path(shutil.copytree(found, tmp_path / "base")))


def losses_of_trainer(base: Path, folder: Path, task: Any, rows: Any, **options: Any) -> list[float]:
    settings = {
        "max_steps": STEPS,
        "batch_size": BATCH,
        "learning_rate": RATE,
        "head_learning_rate": HEAD_RATE,
        "weight_decay": DECAY,
        "warmup": WARMUP,
        "validation_share": 0,
        **options,
    }
    job = TrainingJob(
        task=task, train=rows, model=base, out=folder / "m", work=folder / "w", settings=settings, seed=SEED
    )
    return [entry["loss"] for entry in EncoderTrainer().train(job).log]


def train_by_hand(
    model: nn.Module, head: nn.Module, batches: list[dict[str, torch.Tensor]], loss_of: Any
) -> list[float]:
    """The loop that everybody writes: AdamW, warm-up, linear decay, clipping."""
    from transformers import get_linear_schedule_with_warmup

    inner = {id(part) for part in head.parameters()}
    groups = []
    for own in (False, True):
        parts = [part for part in model.parameters() if part.requires_grad and (id(part) in inner) == own]
        rate = HEAD_RATE if own else RATE
        groups.append({"params": [part for part in parts if part.ndim > 1], "lr": rate, "weight_decay": DECAY})
        groups.append({"params": [part for part in parts if part.ndim == 1], "lr": rate, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups)
    schedule = get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS)
    model.train()
    losses = []
    for batch in batches:
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([part for group in groups for part in group["params"]], 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def batches_in_order(lengths: list[int]) -> list[list[int]]:
    order = BatchOrder(lengths, BATCH, seed=SEED)
    found: list[list[int]] = []
    for epoch in range(STEPS):
        order.set_epoch(epoch)
        found.extend(order)
    return found[:STEPS]


def test_extractive_questions_cost_nothing(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    rows = span_rows(60)
    ours = losses_of_trainer(base, tmp_path, SPAN_TASK, rows)

    tokenizer = AutoTokenizer.from_pretrained(base)
    features = []
    for row in rows:
        question, context = row.example.inputs["question"], row.example.inputs["context"]
        answer = row.example.answers[0]
        encoded = tokenizer(question, context, return_offsets_mapping=True)
        second = [which == 1 for which in encoded.sequence_ids()]
        first = last = 0
        if answer != NO_ANSWER:
            inside = [
                place
                for place, (start, end) in enumerate(encoded["offset_mapping"])
                if second[place] and start >= answer.start and end <= answer.end
            ]
            first, last = inside[0], inside[-1]
        features.append(
            {"input_ids": encoded["input_ids"], "token_type_ids": encoded["token_type_ids"], "at": (first, last)}
        )
    batches = []
    for places in batches_in_order([len(feature["input_ids"]) for feature in features]):
        chosen = [features[place] for place in places]
        batch = dict(
            tokenizer.pad(
                [{"input_ids": f["input_ids"], "token_type_ids": f["token_type_ids"]} for f in chosen],
                return_tensors="pt",
            )
        )
        batch["start_positions"] = torch.tensor([feature["at"][0] for feature in chosen])
        batch["end_positions"] = torch.tensor([feature["at"][1] for feature in chosen])
        batches.append(batch)
    seed_everything(SEED, "head")
    model = AutoModelForQuestionAnswering.from_pretrained(base, dtype=torch.float32)
    for part in model.base_model.embeddings.parameters():
        part.requires_grad_(False)
    theirs = train_by_hand(model, model.qa_outputs, batches, lambda model, batch: model(**batch).loss)

    assert len(ours) == STEPS
    assert max(abs(one - two) for one, two in zip(ours, theirs, strict=True)) < TOLERANCE
    assert ours[-1] < ours[0]


class PairByHand(nn.Module):
    """Two texts read together, the mean of each, side by side, into a small head."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel

        super().__init__()
        self.bert = AutoModel.from_pretrained(folder, dtype=torch.float32)
        width = self.bert.config.hidden_size
        self.classify = nn.Sequential(nn.Linear(2 * width, 384), nn.GELU(), nn.Linear(384, 2))

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        hidden = self.bert(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], token_type_ids=batch["token_type_ids"]
        ).last_hidden_state
        means = []
        for row, states in enumerate(hidden):
            marks = (batch["input_ids"][row] == batch["sep"]).nonzero()[:, 0].tolist()
            means.append(torch.cat([states[1 : marks[0]].mean(0), states[marks[0] + 1 : marks[1]].mean(0)]))
        return self.classify(torch.stack(means))


def test_pairs_cost_nothing(base: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    rows = pair_rows(60)
    # The rows have a Chinese character in them, which an English tokenizer does not know.
    ours = losses_of_trainer(base, tmp_path, PAIR_TASK, rows, head="pair", max_unknown=1.0)

    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = [tokenizer(row.example.inputs["premise"], row.example.inputs["hypothesis"]) for row in rows]
    labels = [("same", "other").index(str(row.example.answers[0])) for row in rows]
    batches = []
    for places in batches_in_order([len(one["input_ids"]) for one in encoded]):
        batch = dict(tokenizer.pad([encoded[place] for place in places], return_tensors="pt"))
        batch["labels"] = torch.tensor([labels[place] for place in places])
        batch["sep"] = torch.tensor(tokenizer.sep_token_id)
        batches.append(batch)
    seed_everything(SEED, "head")
    model = PairByHand(base)
    for part in model.bert.embeddings.parameters():
        part.requires_grad_(False)
    model.bert.pooler.requires_grad_(False)
    theirs = train_by_hand(
        model,
        model.classify,
        batches,
        lambda model, batch: nn.functional.cross_entropy(model(batch), batch["labels"]),
    )

    assert len(ours) == STEPS
    assert max(abs(one - two) for one, two in zip(ours, theirs, strict=True)) < TOLERANCE
    assert ours[-1] < ours[0]
