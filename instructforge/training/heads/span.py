"""Training of a span head: which stretch of a passage answers the question, or none.

The model is transformers' own for extractive questions, so that whatever reads those reads ours.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from attrs import field, frozen
from torch import Tensor, nn
from torch.nn import functional

from instructforge.data import NO_ANSWER, Instruction, Output, SpanAnswer
from instructforge.decoders import SpanDecoder
from instructforge.encoding.fields import field_text
from instructforge.encoding.windows import SpanWindow, WindowEncoder
from instructforge.errors import ConfigError, LengthError, TrainingError
from instructforge.files import sha256_of
from instructforge.metrics import SquadExactMatch, SquadF1
from instructforge.models.loading import load_encoder, load_tokenizer
from instructforge.models.vocabulary import check_vocabulary
from instructforge.tasks import Span, Task
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
from instructforge.training.heads.spans import ScoredWindow, best_spans, null_score
from instructforge.training.job import TrainingJob
from instructforge.training.loop import LoopParts, LoopResult, run_loop, seed_everything

__all__ = ["SpanItem", "SpanReader", "TrainedSpan", "span_loss", "span_outputs", "train_span"]

_AT_ONCE = 16
"""Windows that are answered together."""

_MOST_VALIDATION = 300
"""Questions to validate on: reading passages is slow."""


@frozen(kw_only=True)
class SpanItem:
    """A question over its passage, as a span head reads it.

    Attributes:
        id: The example's id.
        passage: What the offsets of the windows count in.
        windows: At least one, unless ``problem`` says why there is none.
    """

    id: str
    passage: str
    windows: tuple[SpanWindow, ...]
    problem: str = ""


class SpanReader:
    """Turns rows into windows, and windows into batches.

    Args:
        tokenizer: The model's.
        fields: The task's fields in their order.
        within: The one among them in which the answer stands.
        max_length, stride: Of the windows, in tokens.
    """

    def __init__(self, tokenizer: Any, *, fields: Sequence[str], within: str, max_length: int, stride: int) -> None:
        self.tokenizer, self.fields, self.within = tokenizer, tuple(fields), within
        self.encoder = WindowEncoder(tokenizer, max_length=max_length, stride=stride)
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0

    def read(self, rows: Sequence[Instruction], *, labelled: bool = False) -> list[SpanItem]:
        """Return the items of rows, in order; with ``labelled``, their first answers as labels."""
        passages = [field_text(row.example.inputs.get(self.within)) for row in rows]
        answers = [_gold(row) for row in rows] if labelled else None
        found = self.encoder.encode([self._question(row) for row in rows], passages, answers)
        return [
            SpanItem(id=row.id, passage=passage, windows=(), problem=str(windows))
            if isinstance(windows, LengthError)
            else SpanItem(id=row.id, passage=passage, windows=tuple(windows))
            for row, passage, windows in zip(rows, passages, found, strict=True)
        ]

    def _question(self, row: Instruction) -> str:
        texts = (field_text(row.example.inputs.get(name)) for name in self.fields if name != self.within)
        return "\n".join(text for text in texts if text.strip())

    def collate(self, windows: Sequence[SpanWindow]) -> dict[str, Tensor]:
        """Return a batch of windows, padded to the longest, with their labels.

        Shapes:
            input_ids, attention_mask, token_type_ids: (B, T). start_positions, end_positions: (B,).
        """
        batch = pad([window.input_ids for window in windows], self._pad)
        if windows[0].token_type_ids is not None:
            types = torch.zeros_like(batch["input_ids"])
            for number, window in enumerate(windows):
                assert window.token_type_ids is not None
                types[number, : len(window.token_type_ids)] = torch.tensor(window.token_type_ids)
            batch["token_type_ids"] = types
        batch["start_positions"] = torch.tensor([window.start for window in windows])
        batch["end_positions"] = torch.tensor([window.end for window in windows])
        return batch


def _gold(row: Instruction) -> SpanAnswer | None:
    answer = row.example.answers[0] if row.example.answers else None
    return answer if isinstance(answer, SpanAnswer) else None


def span_loss(model: nn.Module, batch: Mapping[str, Tensor], count: float) -> Tensor:
    """Return the mean of start's and end's cross-entropy, summed over the batch and divided by ``count``."""
    starts, ends = batch["start_positions"], batch["end_positions"]
    found = model(**{key: value for key, value in batch.items() if not key.endswith("_positions")})
    first = functional.cross_entropy(found.start_logits, starts, reduction="sum")
    last = functional.cross_entropy(found.end_logits, ends, reduction="sum")
    return (first + last) / 2 / count


def span_outputs(
    model: nn.Module, reader: SpanReader, items: Sequence[SpanItem], *, n_best: int, max_answer_tokens: int
) -> list[Output]:
    """Return the best spans of each item, and its score for "no answer", in order."""
    windows = [(place, window) for place, item in enumerate(items) for window in item.windows]
    scored: list[list[tuple[int, ScoredWindow]]] = [[] for _ in items]
    device = next(model.parameters()).device
    with torch.inference_mode():
        for numbers in length_batches([len(window.input_ids) for _, window in windows], _AT_ONCE):
            batch = reader.collate([windows[number][1] for number in numbers])
            inputs = {key: value for key, value in batch.items() if not key.endswith("_positions")}
            found = model(**on_device(inputs, device))
            starts, ends = found.start_logits.float().cpu().numpy(), found.end_logits.float().cpu().numpy()
            for line, number in enumerate(numbers):
                place, window = windows[number]
                length = len(window.input_ids)
                scored[place].append((number, _scored(window, starts[line, :length], ends[line, :length])))
    outputs = []
    for item, found_windows in zip(items, scored, strict=True):
        own = [window for _, window in sorted(found_windows, key=lambda pair: pair[0])]
        if not own:
            outputs.append(Output(error=item.problem or "there is no passage to answer from"))
            continue
        spans = best_spans(own, item.passage, n_best=n_best, max_answer_tokens=max_answer_tokens)
        outputs.append(Output(spans=spans, null_score=null_score(own)))
    return outputs


def _scored(window: SpanWindow, start: Any, end: Any) -> ScoredWindow:
    return ScoredWindow(start=start, end=end, offsets=window.offsets, null=window.null)


@frozen(kw_only=True)
class TrainedSpan:
    """A trained span model, ready to be written; see ``TrainedChoice``."""

    model: nn.Module
    reader: SpanReader
    settings: EncoderSettings
    loop: LoopResult
    best: Mapping[str, float]
    counts: Mapping[str, int]
    notes: tuple[str, ...]
    seconds: float
    method: str = "full"
    head: Mapping[str, Tensor] = field(factory=dict)
    labels: tuple[str, ...] = ()

    @property
    def tokenizer(self) -> Any:
        return self.reader.tokenizer

    @property
    def written(self) -> nn.Module:
        return self.model

    @property
    def encoding(self) -> Mapping[str, Any]:
        settings = self.settings
        bounds = {"n_best": settings.n_best, "max_answer_tokens": settings.max_answer_tokens}
        return {**self.reader.encoder.options(), **bounds}


@frozen(kw_only=True)
class _Validation:
    """Validates as the evaluation will score: the official exact match and F1 of the decoded answers."""

    task: Task
    reader: SpanReader
    settings: EncoderSettings
    rows: Sequence[Instruction]
    items: Sequence[SpanItem]

    def __call__(self, model: nn.Module) -> dict[str, float]:
        outputs = span_outputs(
            model,
            self.reader,
            self.items,
            n_best=self.settings.n_best,
            max_answer_tokens=self.settings.max_answer_tokens,
        )
        predictions = SpanDecoder().decode(outputs, self.rows, self.task)
        examples = [row.example for row in self.rows]
        figures = {}
        for name, metric in (("f1", SquadF1()), ("em", SquadExactMatch())):
            prepared = metric.prepare(predictions, examples, self.task)
            figures[name] = float(metric.reduce(prepared, torch.arange(len(examples)).numpy()))
        return figures


def train_span(job: TrainingJob) -> TrainedSpan:
    """Train a span head on a job's rows.

    Raises:
        ConfigError: The settings or the model do not fit.
        TrainingError: The rows cannot be trained on, or training had to stop.
    """
    begun = time.monotonic()
    target = _target(job.task)
    asked = asked_settings(job.settings)
    split = split_rows(job, share=asked.validation_share, most=_MOST_VALIDATION)
    tokenizer = load_tokenizer(job.model, trust_remote_code=asked.trust_remote_code)
    texts = (field_text(row.example.inputs.get(name)) for row in split.train for name in job.task.fields)
    check_vocabulary(tokenizer, texts, limit=asked.max_unknown)
    seed_everything(job.seed, "head")
    model = load_encoder(job.model, head="span", trust_remote_code=asked.trust_remote_code).to(preferred_device())
    settings = encoder_settings(job.settings, kind="span", width=width_of(model), longest=input_limit(model, tokenizer))
    assert settings.max_length is not None
    reader = SpanReader(
        tokenizer,
        fields=tuple(job.task.fields),
        within=target.within,
        max_length=settings.max_length,
        stride=settings.stride,
    )
    items, left_out = _trainable(reader.read(split.train, labelled=True), split.train)
    windows = [(item.id, window) for item in items for window in item.windows]
    counts = _counts(reader, split, len(items), len(windows), left_out, model)
    validation = _Validation(
        task=job.task,
        reader=reader,
        settings=settings,
        rows=split.validation,
        items=reader.read(split.validation),
    )
    spent = time.monotonic() - begun
    loop = _run(job, settings, model, reader, windows, validation, spent)
    return TrainedSpan(
        model=model.to("cpu").eval(),
        reader=reader,
        settings=settings,
        loop=loop,
        best=loop.best,
        counts=counts,
        notes=(*split.notes, *_notes(left_out)),
        seconds=time.monotonic() - begun,
    )


def _target(task: Task) -> Span:
    if not isinstance(task.target, Span):
        raise ConfigError(
            f'the task "{task.name}" has {type(task.target).__name__} answers, and a span head reads spans'
        )
    return task.target


def _trainable(items: Sequence[SpanItem], rows: Sequence[Instruction]) -> tuple[list[SpanItem], dict[str, int]]:
    """Leave out what would teach something wrong: a row of which no window holds the answer."""
    kept: list[SpanItem] = []
    left_out = {"too-long": 0, "answer-in-no-window": 0, "not-a-span": 0}
    for item, row in zip(items, rows, strict=True):
        gold = _gold(row)
        if item.problem:
            left_out["too-long"] += 1
        elif gold is None:
            left_out["not-a-span"] += 1
        elif gold != NO_ANSWER and all(window.start == window.null for window in item.windows):
            left_out["answer-in-no-window"] += 1
        else:
            kept.append(item)
    if not kept:
        raise TrainingError(
            f"None of the {len(rows)} rows can be trained on: {left_out}.\n"
            "A row needs a question that leaves room for its passage, and an answer that stands in it.\n"
            "Raise max_length, or check the answers."
        )
    return kept, left_out


def _notes(left_out: Mapping[str, int]) -> list[str]:
    return [f"{number} training rows were left out: {reason}" for reason, number in left_out.items() if number]


def _counts(
    reader: SpanReader, split: RowSplit, rows: int, windows: int, left_out: Mapping[str, int], model: nn.Module
) -> dict[str, int]:
    reasons = {**split.left_out, **left_out}
    stats = reader.encoder.stats.to_json()
    return {
        "rows": len(split.train) + len(split.validation),
        "train": rows,
        "validation": len(split.validation),
        "windows": windows,
        "inexact": stats["inexact"],
        "narrowed": stats["narrowed"],
        "parameters": sum(part.numel() for part in model.parameters()),
        **{f"left_out_{reason}": number for reason, number in reasons.items() if number},
    }


def _run(
    job: TrainingJob,
    settings: EncoderSettings,
    model: nn.Module,
    reader: SpanReader,
    windows: Sequence[tuple[str, SpanWindow]],
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
        count=lambda batch: len(batch["start_positions"]),
        loss=span_loss,
        evaluate=validation if validation.rows else None,
        figure="f1",
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
            "validation": [item.id for item in validation.items],
            "windows": sha256_of([[list(window.input_ids), window.start, window.end] for _, window in windows]),
        },
    )
    return run_loop(job, settings, parts)
