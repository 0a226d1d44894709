"""Training of a tags head: a tag for each token of a sentence.

The model is transformers' own for token classification, so that whatever reads those reads ours.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from attrs import field, frozen
from torch import Tensor, nn
from torch.nn import functional

from instructforge.data import Instruction, Output
from instructforge.decoders import TagsDecoder
from instructforge.encoding.tokens import TokenWindow, TokenWindowEncoder
from instructforge.errors import ConfigError, TrainingError
from instructforge.files import sha256_of
from instructforge.metrics import EntityF1
from instructforge.models.loading import load_encoder, load_tokenizer
from instructforge.models.vocabulary import check_vocabulary
from instructforge.tagging import entities, join_tokens
from instructforge.tasks import Tags, Task
from instructforge.training.folder import base_fingerprint
from instructforge.training.heads.body import (
    embeddings_move,
    freeze,
    input_limit,
    on_device,
    parameter_groups,
    preferred_device,
    width_of,
)
from instructforge.training.heads.inputs import pad
from instructforge.training.heads.probe import length_batches
from instructforge.training.heads.rows import RowSplit, split_rows
from instructforge.training.heads.settings import EncoderSettings, asked_settings, encoder_settings
from instructforge.training.job import TrainingJob
from instructforge.training.loop import LoopParts, LoopResult, run_loop, seed_everything

__all__ = ["TagItem", "TagReader", "TrainedTags", "tag_outputs", "tags_loss", "train_tags"]

_AT_ONCE = 32
"""Windows that are answered together."""

_MOST_VALIDATION = 1000
"""Sentences to validate on: more would cost time, and choose no better."""

_UNTRAINED = -100
"""The label of a piece that is not trained on."""


@frozen(kw_only=True)
class TagItem:
    """A sentence as a tags head reads it.

    Attributes:
        id: The example's id.
        length: Number of its tokens.
        windows: At least one, unless ``problem`` says why there is none.
        labels: Place of each token's right tag among the head's; empty where the row is unlabelled.
    """

    id: str
    length: int = 0
    windows: tuple[TokenWindow, ...] = ()
    labels: tuple[int, ...] = ()
    problem: str = ""


@frozen
class _Trainable:
    """A window with the labels of its pieces. Shapes: ``labels``: (T,), -100 where nothing is trained."""

    input_ids: Sequence[int]
    labels: Sequence[int]


class TagReader:
    """Turns rows into windows, and windows into batches.

    Args:
        tokenizer: The model's.
        target: Where tokens and running text stand in a row.
        tags: The tags of the head's outputs, in their order.
        max_length, stride: Of the windows, in tokens of the tokenizer.
    """

    def __init__(self, tokenizer: Any, *, target: Tags, tags: Sequence[str], max_length: int, stride: int) -> None:
        self.tokenizer, self.target, self.tags = tokenizer, target, tuple(tags)
        self.encoder = TokenWindowEncoder(tokenizer, max_length=max_length, stride=stride)
        self._places = {tag: place for place, tag in enumerate(self.tags)}
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0

    def read(self, rows: Sequence[Instruction]) -> list[TagItem]:
        """Return the items of rows, in order."""
        tokens = [_tokens(row, self.target) for row in rows]
        good = [place for place, own in enumerate(tokens) if own]
        texts = [_text(rows[place], self.target) for place in good]
        found = dict(zip(good, self.encoder.encode([tokens[place] for place in good], texts), strict=True))
        return [
            TagItem(id=row.id, length=len(own), windows=tuple(found[place]), labels=self._labels(row))
            if place in found
            else TagItem(id=row.id, problem=f'the row has no tokens in "{self.target.within}"')
            for place, (row, own) in enumerate(zip(rows, tokens, strict=True))
        ]

    def _labels(self, row: Instruction) -> tuple[int, ...]:
        answer = row.example.answers[0] if row.example.answers else ()
        if not isinstance(answer, tuple) or not all(tag in self._places for tag in answer):
            return ()
        return tuple(self._places[tag] for tag in answer)

    def trainable(self, item: TagItem) -> list[_Trainable]:
        """Return the windows of an item that have something to train on."""
        found = [
            _Trainable(window.input_ids, [item.labels[token] if token >= 0 else _UNTRAINED for token in window.tokens])
            for window in item.windows
        ]
        return [window for window in found if any(label != _UNTRAINED for label in window.labels)]

    def inputs(self, windows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Return a batch of ids, padded to the longest. Shapes: each (B, T)."""
        batch = pad(windows, self._pad)
        if self.encoder.marks.types is not None:
            batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
        return batch

    def collate(self, windows: Sequence[_Trainable]) -> dict[str, Tensor]:
        """Return a batch of windows with their labels. Shapes: each (B, T)."""
        batch = self.inputs([window.input_ids for window in windows])
        labels = torch.full_like(batch["input_ids"], _UNTRAINED)
        for number, window in enumerate(windows):
            labels[number, : len(window.labels)] = torch.tensor(window.labels)
        return {**batch, "labels": labels}


def _tokens(row: Instruction, target: Tags) -> list[str]:
    found = row.example.inputs.get(target.within)
    if not isinstance(found, (list, tuple)) or not all(isinstance(one, str) and one.strip() for one in found):
        return []
    return list(found)


def _text(row: Instruction, target: Tags) -> str | None:
    found = row.example.inputs.get(target.text) if target.text else None
    return found if isinstance(found, str) else None


def tags_loss(model: nn.Module, batch: Mapping[str, Tensor], count: float) -> Tensor:
    """Return the cross-entropy of the labelled pieces, summed over the batch and divided by ``count``."""
    logits = model(**{key: value for key, value in batch.items() if key != "labels"}).logits  # (B, T, K)
    labels = batch["labels"]
    summed = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=_UNTRAINED, reduction="sum")
    return summed / count


def tag_outputs(
    model: nn.Module, reader: TagReader, items: Sequence[TagItem], rows: Sequence[Instruction]
) -> list[Output]:
    """Return the log-probabilities of each row's tags, for each of its tokens, in order.

    A tag that the head was not trained on cannot be chosen: its score is minus infinity. A token of which the
    tokenizer makes nothing is as likely to be one thing as another.
    """
    windows = [(place, window) for place, item in enumerate(items) for window in item.windows]
    nothing = torch.full((len(reader.tags),), -float(torch.tensor(float(len(reader.tags))).log()))
    scores = [nothing.repeat(item.length, 1) for item in items]  # (tokens, K) of each item
    device = next(model.parameters()).device
    with torch.inference_mode():
        for numbers in length_batches([len(window.input_ids) for _, window in windows], _AT_ONCE):
            batch = reader.inputs([windows[number][1].input_ids for number in numbers])
            logits = model(**on_device(batch, device)).logits.float().log_softmax(-1).cpu()
            for line, number in enumerate(numbers):
                place, window = windows[number]
                at = [position for position, token in enumerate(window.tokens) if token >= 0]
                scores[place][[window.tokens[position] for position in at]] = logits[line, at]
    return [_output(reader, *each) for each in zip(items, rows, scores, strict=True)]


def _output(reader: TagReader, item: TagItem, row: Instruction, scores: Tensor) -> Output:
    if item.problem:
        return Output(error=item.problem)
    try:
        wanted = reader.target.tags(row.example.inputs)
    except (KeyError, TypeError):
        return Output(error=f'the row has no types in "{reader.target.from_field}"')
    places = [reader.tags.index(tag) if tag in reader.tags else -1 for tag in wanted]
    if len(places) > 1 and max(places[1:]) < 0:
        shown = ", ".join(f'"{label}"' for label in reader.target.types(row.example.inputs)[:5])
        return Output(error=f"the model was trained on none of the row's types: {shown}")
    padded = torch.cat([scores, torch.full((len(scores), 1), -torch.inf)], dim=1)  # the last column is place -1
    return Output(tag_scores=tuple(map(tuple, padded[:, places].tolist())))


@frozen(kw_only=True)
class TrainedTags:
    """A trained tagging model, ready to be written; see ``Trained``."""

    model: nn.Module
    reader: TagReader
    settings: EncoderSettings
    loop: LoopResult
    best: Mapping[str, float]
    counts: Mapping[str, int]
    notes: tuple[str, ...]
    seconds: float
    method: str = "full"
    head: Mapping[str, Tensor] = field(factory=dict)

    @property
    def tokenizer(self) -> Any:
        return self.reader.tokenizer

    @property
    def written(self) -> nn.Module:
        return self.model

    @property
    def encoding(self) -> Mapping[str, Any]:
        return self.reader.encoder.options()

    @property
    def labels(self) -> tuple[str, ...]:
        return self.reader.tags


@frozen(kw_only=True)
class _Validation:
    """Validates as the evaluation will score: F1 over the entities of the decoded answers."""

    task: Task
    reader: TagReader
    rows: Sequence[Instruction]
    items: Sequence[TagItem]

    def __call__(self, model: nn.Module) -> dict[str, float]:
        predictions = TagsDecoder().decode(tag_outputs(model, self.reader, self.items, self.rows), self.rows, self.task)
        examples = [row.example for row in self.rows]
        metric = EntityF1()
        figure = metric.reduce(metric.prepare(predictions, examples, self.task), torch.arange(len(examples)).numpy())
        right = sum(said.answer in example.answers for said, example in zip(predictions, examples, strict=True))
        return {"f1": figure, "sentences": right / max(1, len(examples))}

    @property
    def figure(self) -> str:
        """What chooses the best weights: F1, or where no entity is gold the share of sentences that are right."""
        return "sentences" if EntityF1().left_out([row.example for row in self.rows], self.task) else "f1"


def train_tags(job: TrainingJob) -> TrainedTags:
    """Train a tags head on a job's rows.

    Raises:
        ConfigError: The settings or the model do not fit.
        TrainingError: The rows cannot be trained on, or training had to stop.
    """
    begun = time.monotonic()
    target = _target(job.task)
    asked = asked_settings(job.settings)
    split = split_rows(job, share=asked.validation_share, most=_MOST_VALIDATION)
    tokenizer = load_tokenizer(job.model, trust_remote_code=asked.trust_remote_code)
    texts = (_text(row, target) or join_tokens(_tokens(row, target)) for row in split.train)
    check_vocabulary(tokenizer, texts, limit=asked.max_unknown)
    tags = head_tags(target, split.train)
    seed_everything(job.seed, "head")
    names = {"id2label": dict(enumerate(tags)), "label2id": {tag: place for place, tag in enumerate(tags)}}
    model = load_encoder(
        job.model, head="tags", trust_remote_code=asked.trust_remote_code, ignore_mismatched_sizes=True, **names
    ).to(preferred_device())
    settings = encoder_settings(job.settings, kind="tags", width=width_of(model), longest=input_limit(model, tokenizer))
    assert settings.max_length is not None
    reader = TagReader(tokenizer, target=target, tags=tags, max_length=settings.max_length, stride=settings.stride)
    windows, left_out = _trainable(reader, split.train)
    counts = _counts(reader, split, windows, left_out, model)
    validation = _Validation(task=job.task, reader=reader, rows=split.validation, items=reader.read(split.validation))
    loop = _run(job, settings, model, reader, windows, validation, time.monotonic() - begun)
    return TrainedTags(
        model=model.to("cpu").eval(),
        reader=reader,
        settings=settings,
        loop=loop,
        best=loop.best,
        counts=counts,
        notes=(*split.notes, *_notes(counts, left_out), *_label_notes(tags, split.train)),
        seconds=time.monotonic() - begun,
    )


def _target(task: Task) -> Tags:
    if not isinstance(task.target, Tags):
        raise ConfigError(
            f'the task "{task.name}" has {type(task.target).__name__} answers, and a tags head reads tags'
        )
    return task.target


def head_tags(target: Tags, rows: Sequence[Instruction]) -> tuple[str, ...]:
    """Return the tags of a head's outputs: those of the task's types, or of all the types that its rows may have."""
    if target.from_field is None:
        return target.tags({})
    types = dict.fromkeys(label for row in rows for label in target.types(row.example.inputs))
    return target.tags({target.from_field: list(types)})


def _trainable(reader: TagReader, rows: Sequence[Instruction]) -> tuple[list[tuple[str, _Trainable]], dict[str, int]]:
    """Return the windows to train on, each with its row's id, and how many rows are left out, by reason."""
    windows: list[tuple[str, _Trainable]] = []
    left_out = {"not-tags": 0, "no-piece": 0}
    for item in reader.read(rows):
        if item.problem or len(item.labels) != item.length:
            left_out["not-tags"] += 1
            continue
        own = reader.trainable(item)
        left_out["no-piece"] += not own
        windows += [(item.id, window) for window in own]
    if not windows:
        raise TrainingError(
            f"None of the {len(rows)} rows can be trained on: {left_out}.\n"
            "A row needs tokens, and a tag for each of them.\nCheck the data, and the ledger of the build."
        )
    return windows, left_out


def _counts(
    reader: TagReader,
    split: RowSplit,
    windows: Sequence[tuple[str, _Trainable]],
    left_out: Mapping[str, int],
    model: nn.Module,
) -> dict[str, int]:
    stats = reader.encoder.stats.to_json()
    reasons = {**split.left_out, **left_out}
    return {
        "rows": len(split.train) + len(split.validation),
        "train": len(split.train) - sum(left_out.values()),
        "validation": len(split.validation),
        "windows": len(windows),
        "long_rows": stats["long"],
        "shared_pieces": stats["shared"],
        "tokens_without_piece": stats["without_piece"],
        "parameters": sum(part.numel() for part in model.parameters()),
        **{f"left_out_{reason}": number for reason, number in reasons.items() if number},
    }


def _notes(counts: Mapping[str, int], left_out: Mapping[str, int]) -> list[str]:
    told = {
        "long_rows": "sentences are longer than a window, and are read in several that overlap",
        "shared_pieces": "pieces of the tokenizer covered more than one token; these tokens are read one by one",
        "tokens_without_piece": "tokens are nothing to this tokenizer, and cannot be learnt from",
    }
    notes = [f"{counts[name]} {what}" for name, what in told.items() if counts[name]]
    return notes + [f"{number} training rows were left out: {reason}" for reason, number in left_out.items() if number]


def _label_notes(tags: Sequence[str], rows: Sequence[Instruction]) -> list[str]:
    seen = Counter(one.label for row in rows for one in entities(row.example.answers[0]))  # type: ignore[arg-type]
    missing = [tag[2:] for tag in tags if tag[:2] == "B-" and not seen[tag[2:]]]
    if not missing:
        return []
    shown = ", ".join(f'"{label}"' for label in missing[:10])
    return [f"{len(missing)} types have no entity in the training rows and will hardly ever be found: {shown}"]


def _run(
    job: TrainingJob,
    settings: EncoderSettings,
    model: nn.Module,
    reader: TagReader,
    windows: Sequence[tuple[str, _Trainable]],
    validation: _Validation,
    spent: float,
) -> LoopResult:
    body: nn.Module = model.base_model  # type: ignore[assignment]
    freeze(body, embeddings=not embeddings_move(settings.train_embeddings))
    if settings.max_seconds is not None:
        settings = attrs.evolve(settings, max_seconds=max(1.0, settings.max_seconds - spent))
    parts = LoopParts(
        model=model,
        rows=[window for _, window in windows],
        lengths=[len(window.input_ids) for _, window in windows],
        ids=[name for name, _ in windows],
        collate=reader.collate,
        count=lambda batch: int((batch["labels"] != _UNTRAINED).sum()),
        loss=tags_loss,
        evaluate=validation if validation.rows else None,
        figure=validation.figure,
        higher_is_better=True,
        groups=lambda model: parameter_groups(
            model,
            body=body,
            rate=settings.learning_rate,
            head_rate=settings.head_learning_rate,
            decay=settings.weight_decay,
        ),
        fingerprint={
            "base": base_fingerprint(job.model),
            "tags": list(reader.tags),
            "validation": [item.id for item in validation.items],
            "windows": sha256_of([[list(window.input_ids), list(window.labels)] for _, window in windows]),
        },
    )
    return run_loop(job, settings, parts)
