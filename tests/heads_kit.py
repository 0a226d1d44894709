"""A tiny encoder model and rows for it, made on the spot."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from instructforge.data import Answer, Example, Instruction, Message
from instructforge.tasks import Choice, Field, Span, Task

COLOURS = ("red", "green", "blue", "black")
THINGS = ("cup", "hat", "dog", "car", "sky", "tree", "红", "绿", "茶", "猫")
WORDS = (*COLOURS, *THINGS, "the", "is", "what", "colour", "a", "not", "of", "and", "?", ".", "。", "1")

LABEL_TASK = Task(
    "colour",
    summary="Tell the colour.",
    fields={"text": "a sentence"},
    target=Choice(list(COLOURS)),
)
PAIR_TASK = Task(
    "same",
    summary="Tell whether two texts name the same colour.",
    fields={"premise": "one", "hypothesis": "the other"},
    target=Choice({"same": {"en": "same", "zh": "相同"}, "other": {"en": "other", "zh": "不同"}}),
)
MATCH_TASK = Task(
    "pick",
    summary="Pick one of the choices.",
    fields={"question": "asked", "context": Field("told", optional=True), "choices": Field("of", kind="list")},
    target=Choice(from_field="choices"),
)
SPAN_TASK = Task(
    "find",
    summary="Find the answer.",
    fields={"question": "asked", "context": "told"},
    target=Span(within="context", nullable=True),
)


def save_tiny_bert(folder: Path, *, seed: int = 0, width: int = 32, layers: int = 2) -> Path:
    """Write a random BERT with a word tokenizer that types its pairs, as an ordinary folder."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = {word: place for place, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS))}
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    for piece in [*letters, *(f"##{letter}" for letter in letters), "[", "]"]:
        vocabulary.setdefault(piece, len(vocabulary))
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=128,
        pad_token_id=0,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def instruction(
    task: Task,
    number: int,
    inputs: dict[str, Any],
    answers: Sequence[Answer] = (),
    *,
    group: str | None = None,
    labels: tuple[str, ...] | None = None,
) -> Instruction:
    """Return an instruction as a build makes it, as far as an encoder looks."""
    example = Example(inputs=inputs, answers=tuple(answers), id=f"{task.name}-{number}", group=group, language="en")
    return Instruction(
        example=example,
        task=task.name,
        language="en",
        template="plain",
        template_sha256="0" * 64,
        messages=(Message(role="user", content="?"), Message(role="assistant", content="", trained=True)),
        labels=task.target.labels(inputs) if labels is None else labels,
    )


def colour_rows(count: int, *, seed: int = 0) -> list[Instruction]:
    """Return sentences with the colour that they name."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        colour = draw.choice(COLOURS)
        words = [draw.choice(THINGS) for _ in range(draw.randint(1, 6))]
        words.insert(draw.randint(0, len(words)), colour)
        rows.append(instruction(LABEL_TASK, number, {"text": " ".join(words)}, [colour]))
    return rows


def pair_rows(count: int, *, seed: int = 0) -> list[Instruction]:
    """Return pairs of sentences, about half of them of one colour."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        one = draw.choice(COLOURS)
        other = one if draw.random() < 0.5 else draw.choice([colour for colour in COLOURS if colour != one])
        inputs = {"premise": f"the {draw.choice(THINGS)} is {one}", "hypothesis": f"a {other} {draw.choice(THINGS)}"}
        rows.append(instruction(PAIR_TASK, number, inputs, ["same" if one == other else "other"]))
    return rows


def match_rows(count: int, *, seed: int = 0) -> list[Instruction]:
    """Return questions with choices of their own: the right one shares the question's colour."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        colours = draw.sample(COLOURS, 3)
        choices = [f"{colour} {draw.choice(THINGS)}" for colour in colours]
        right = draw.randrange(3)
        context = (
            f"the {draw.choice(THINGS)} is {colours[right]} . a {draw.choice(THINGS)} is not ." if number % 2 else ""
        )
        inputs = {"question": f"what is {colours[right]} ?", "context": context, "choices": choices}
        rows.append(instruction(MATCH_TASK, number, inputs, [choices[right]]))
    return rows


def span_rows(count: int, *, seed: int = 0) -> list[Instruction]:
    """Return questions for the colour of a thing; the passage of every fourth does not say."""
    from instructforge.data import NO_ANSWER, SpanAnswer

    draw = random.Random(seed)
    rows = []
    for number in range(count):
        things = draw.sample(THINGS[:6], 3)
        told = [(thing, draw.choice(COLOURS)) for thing in things[:2]]
        context = " . ".join(f"the {thing} is {colour}" for thing, colour in told)
        if number % 4 == 3:
            rows.append(
                instruction(
                    SPAN_TASK,
                    number,
                    {"question": f"what colour is the {things[2]} ?", "context": context},
                    [NO_ANSWER],
                )
            )
            continue
        thing, colour = draw.choice(told)
        start = context.index(f"the {thing} is ") + len(f"the {thing} is ")
        inputs = {"question": f"what colour is the {thing} ?", "context": context}
        rows.append(instruction(SPAN_TASK, number, inputs, [SpanAnswer(colour, start)]))
    return rows
