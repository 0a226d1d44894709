"""Models of a few thousand parameters, made on the spot: real classes, real tokenizers, no download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from instructforge import Example, Instruction, Message, Task, Text
from instructforge.models.loading import quiet
from instructforge.training.job import TrainingJob

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
    "+ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

TASK = Task("sums", summary="What comes next", fields={"q": "the question"}, target=Text(max_new_tokens=12))


def row(number: int, question: str, answer: str, **more: Any) -> Instruction:
    return Instruction(
        example=Example(inputs={"q": question}, answers=(answer,) if answer else (), id=f"row-{number}"),
        task="sums",
        language="en",
        template="plain",
        template_sha256="0" * 64,
        messages=(
            Message(role="user", content=question),
            Message(role="assistant", content=answer, trained=bool(answer)),
        ),
        **more,
    )


def rows(count: int, start: int = 0) -> list[Instruction]:
    """Rows of several lengths, English and Chinese."""
    made = []
    for number in range(start, start + count):
        question = f"What comes after {number}" if number % 3 else f"{number} 后面是什么数"
        made.append(row(number, question + " please" * (number % 4), f"It is {number + 1}."))
    return made


def facts() -> list[Instruction]:
    """Rows that a tiny model learns in seconds: each question is a word of its own."""
    answers = {"grass": "green", "snow": "white", "blood": "red", "血": "红色", "coal": "black", "雪": "白色"}
    return [row(number, f"{thing}?", f"It is {said}.") for number, (thing, said) in enumerate(answers.items())]


def tokenizer(*, pad_is_eos: bool = True) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [message.content for one in rows(60) for message in one.messages]
    backend.train_from_iterator([*texts, "user assistant system"] * 3, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        unk_token="<|endoftext|>",
        pad_token="<|im_end|>" if pad_is_eos else "<|endoftext|>",
    )
    made.chat_template = CHATML
    return made


def llama(folder: Path, *, layers: int = 2, seed: int = 0, positions: int = 256, dropout: float = 0.1) -> Path:
    """Write a tiny Llama with a ChatML tokenizer whose pad is its EOS, as SmolLM2's is."""
    made = tokenizer()
    set_seed(seed)
    config = LlamaConfig(
        vocab_size=len(made),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        attention_dropout=dropout,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    with quiet():
        LlamaForCausalLM(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def job(folder: Path, model: Path, train: Sequence[Instruction], **more: Any) -> TrainingJob:
    settings = {"epochs": 2, "batch_size": 4, "accumulation": 2, "learning_rate": 1e-2, **more.pop("settings", {})}
    return TrainingJob(
        task=more.pop("task", TASK),
        train=train,
        model=model,
        out=folder / "model",
        work=folder / "work",
        settings=settings,
        decoder="text",
        templates={"sums/en/plain": "{{ q }}"},
        **more,
    )


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def one_thread() -> None:
    """Tiny models are slower on more threads than on one."""
    torch.set_num_threads(1)
