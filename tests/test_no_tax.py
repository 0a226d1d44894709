"""No tax: the loop computes what a hand-written script computes, step by step, on the same batches and weights."""

from __future__ import annotations

import warnings
from pathlib import Path

import peft
import pytest
import tiny_models
import torch
import transformers

from instructforge.models import resolve
from instructforge.training.causal import CausalTrainer
from instructforge.training.job import TrainingJob
from instructforge.training.loop import BatchOrder, seed_everything, seed_for_torch

pytestmark = pytest.mark.slow  # trains real, if tiny, models

STEPS, RATE, SEED = 20, 1e-3, 42
TOLERANCE = 1e-5


def by_hand(model_folder: Path, train: list[tiny_models.Instruction], *, batch_size: int, accumulation: int) -> list:
    """Fine-tune by LoRA as transformers' and peft's manuals show it: their loss, their schedule, a plain loop."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    texts, prompts = [], []
    for one in train:
        chat = [message.to_chat() for message in one.messages]
        texts.append(tokenizer.apply_chat_template(chat, tokenize=False))
        prompts.append(tokenizer.apply_chat_template(chat[:-1], tokenize=False, add_generation_prompt=True))
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    starts = [len(tokenizer(prompt, add_special_tokens=False)["input_ids"]) for prompt in prompts]
    ends = [len(row) - row[::-1].index(tokenizer.eos_token_id) for row in ids]  # a line break follows the stop token

    model = transformers.AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    seed_everything(SEED, "adapter")
    config = peft.LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = peft.get_peft_model(model, config)
    optimizer = torch.optim.AdamW(
        [part for part in model.parameters() if part.requires_grad], lr=RATE, weight_decay=0.01
    )
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, 2, STEPS)
    order, losses, epoch = BatchOrder([len(row) for row in ids], batch_size, seed=SEED), [], 0
    transformers.set_seed(seed_for_torch(SEED, "training"))
    model.train()
    while len(losses) < STEPS:
        order.set_epoch(epoch)
        batches = list(order)
        for start in range(0, len(batches), accumulation):
            step = batches[start : start + accumulation]
            count = sum(ends[row] - starts[row] for batch in step for row in batch)
            total = 0.0
            for batch in step:
                longest = max(len(ids[row]) for row in batch)
                inputs = torch.full((len(batch), longest), tokenizer.pad_token_id)
                labels, mask = torch.full_like(inputs, -100), torch.zeros_like(inputs)
                for place, row in enumerate(batch):
                    own = torch.tensor(ids[row])
                    inputs[place, : len(own)], mask[place, : len(own)] = own, 1
                    labels[place, starts[row] : ends[row]] = own[starts[row] : ends[row]]
                loss = model(input_ids=inputs, attention_mask=mask, labels=labels, num_items_in_batch=count).loss
                loss.backward()
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(total)
            if len(losses) == STEPS:
                break
        epoch += 1
    return losses


def by_us(folder: Path, model: Path, train: list[tiny_models.Instruction], **settings: object) -> list[float]:
    job = TrainingJob(
        task=tiny_models.TASK,
        train=train,
        model=model,
        out=folder / "model",
        work=folder / "work",
        settings={"max_steps": STEPS, "learning_rate": RATE, "dtype": "float32", **settings},
        seed=SEED,
    )
    return [entry["loss"] for entry in CausalTrainer().train(job).log]


@pytest.mark.parametrize(("batch_size", "accumulation"), [(4, 1), (3, 2)])
def test_causal_lora_losses_are_those_of_a_script(batch_size: int, accumulation: int, tmp_path: Path) -> None:
    tiny_models.one_thread()
    model, train = tiny_models.llama(tmp_path / "base"), tiny_models.rows(22)
    ours = by_us(tmp_path, model, train, batch_size=batch_size, accumulation=accumulation)
    theirs = by_hand(model, train, batch_size=batch_size, accumulation=accumulation)
    assert len(ours) == STEPS
    assert max(abs(one - other) for one, other in zip(ours, theirs, strict=True)) <= TOLERANCE
    assert ours[-1] < ours[0]


@pytest.mark.bar
@pytest.mark.models
@pytest.mark.timeout(900)
def test_smollm2_lora_losses_are_those_of_a_script(tmp_path: Path) -> None:
    train = tiny_models.rows(12)
    model = resolve("smollm2-135m")
    ours = by_us(tmp_path, model, train, batch_size=2)
    theirs = by_hand(model, train, batch_size=2, accumulation=2)
    assert max(abs(one - other) for one, other in zip(ours, theirs, strict=True)) <= TOLERANCE
