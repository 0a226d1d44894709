"""Training of a choice head: features first where that serves, then the body; what validates best is kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from attrs import define, field, frozen
from torch import Tensor, nn
from torch.nn import functional

from instructforge.encoding.fields import field_text
from instructforge.errors import TrainingError
from instructforge.files import sha256_of
from instructforge.models.loading import load_encoder, load_tokenizer
from instructforge.models.vocabulary import check_vocabulary
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
from instructforge.training.heads.fits import FittedHead, figure_of, figures_of_items, fit_labels, fit_matches
from instructforge.training.heads.inputs import ChoiceItem, ChoiceReader, Ids
from instructforge.training.heads.modules import ContrastModel, LabelModel, MatchModel, PairModel, match_views
from instructforge.training.heads.plan import ChoicePlan, plan_choices
from instructforge.training.heads.probe import length_batches
from instructforge.training.heads.rows import RowSplit, split_rows
from instructforge.training.heads.settings import EncoderSettings, asked_settings, encoder_settings
from instructforge.training.heads.several import label_loss
from instructforge.training.job import TrainingJob
from instructforge.training.loop import LoopParts, LoopResult, run_loop, seed_everything

__all__ = ["ChoiceModel", "TrainedChoice", "build_model", "choice_loss", "choice_scores", "train_choice"]

ChoiceModel = LabelModel | PairModel | ContrastModel | MatchModel

_AT_ONCE = {"label": 64, "pair": 64, "contrast": 64, "match": 8, "several": 64}
"""Rows that are answered together."""

_MOST_VALIDATION = 2000
"""Rows to validate on: more would cost time, and choose no better."""


def build_model(kind: str, body: nn.Module, *, labels: int) -> ChoiceModel:
    """Return a new model of a kind; the head's weights are drawn from torch's generator."""
    if kind == "match":
        return MatchModel(body)
    if kind == "contrast":
        return ContrastModel(body, labels=labels)
    return PairModel(body, labels=labels) if kind == "pair" else LabelModel(body, labels=labels)


def choice_scores(model: ChoiceModel, reader: ChoiceReader, items: Sequence[ChoiceItem]) -> list[Tensor]:
    """Return the logits of each item, in order; items of like length are read together.

    Shapes:
        Returns: for each item (L,), or (C,) for ``match``; on the CPU.
    """
    if isinstance(model, MatchModel):
        return _match_scores(model, reader, items)
    device = next(model.parameters()).device
    scores: list[Tensor] = [torch.empty(0)] * len(items)
    with torch.inference_mode():
        for places in length_batches([item.length for item in items], _AT_ONCE[reader.plan.kind]):
            batch = reader.collate([items[place] for place in places])
            del batch["labels"]
            logits = model(**on_device(batch, device))["logits"]
            for place, row in zip(places, logits, strict=True):
                scores[place] = row.float().cpu()
    return scores


def _match_scores(model: MatchModel, reader: ChoiceReader, items: Sequence[ChoiceItem]) -> list[Tensor]:
    """Read every different text once, with others of its length: rows share texts, and a passage is long."""
    places: dict[Ids, int] = {}
    for item in items:
        for text in item.texts:
            places.setdefault(text, len(places))
    texts, device = list(places), next(model.parameters()).device
    scores: list[Tensor] = []
    with torch.inference_mode():
        vectors = torch.empty(len(texts), width_of(model.body), device=device)
        for some in length_batches([len(text) for text in texts], _AT_ONCE["label"]):
            vectors[some] = model.vectors(
                **on_device(reader.pad_texts([texts[place] for place in some]), device)
            ).float()
        for item in items:
            assert item.row is not None
            views = match_views(vectors, item.row.moved([places[text] for text in item.texts]))
            scores.append((views @ model.head["weights"]).float().cpu())
    return scores


def choice_loss(model: nn.Module, batch: Mapping[str, Any], count: float) -> Tensor:
    """Return the loss summed over the batch, divided by ``count``."""
    labels = batch["labels"]
    logits = model(**{key: value for key, value in batch.items() if key != "labels"})["logits"]
    if isinstance(logits, Tensor):
        return label_loss(logits, labels, reduction="sum") / count
    losses = [functional.cross_entropy(row, label.to(row.device)) for row, label in zip(logits, labels, strict=True)]
    return torch.stack(losses).sum() / count


@frozen(kw_only=True)
class TrainedChoice:
    """A trained choice model, ready to be written.

    Attributes:
        model: With the weights that were kept, on the CPU, in evaluation mode.
        reader: The reader that its rows have to come through.
        method: ``features`` (the body is the base model's own), ``features+full`` or ``full``.
        settings: As resolved.
        loop: What the loop did, if it ran.
        best: Validation figures of what was kept, with the step.
        counts: Rows and parameters.
        notes: What the user should know.
        seconds: Time it took, features included.
    """

    model: ChoiceModel
    reader: ChoiceReader
    method: str
    settings: EncoderSettings
    loop: LoopResult | None
    best: Mapping[str, float]
    counts: Mapping[str, int]
    notes: tuple[str, ...]
    seconds: float

    @property
    def tokenizer(self) -> Any:
        return self.reader.tokenizer

    @property
    def written(self) -> nn.Module:
        return self.model.body

    @property
    def head(self) -> Mapping[str, Tensor]:
        return self.model.head.state_dict()

    @property
    def encoding(self) -> Mapping[str, Any]:
        return {"max_length": self.reader.max_length, "choices": self.reader.plan.to_json()}

    @property
    def labels(self) -> tuple[str, ...]:
        return self.reader.plan.labels


@define(kw_only=True)
class _Work:
    """What the stages hand to each other."""

    job: TrainingJob
    plan: ChoicePlan
    reader: ChoiceReader
    settings: EncoderSettings
    model: ChoiceModel
    train: list[ChoiceItem]
    validation: list[ChoiceItem]
    own_validation: bool
    base_sha256: str
    started: float
    notes: list[str] = field(factory=list)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return figures of the validation items: accuracy and loss, micro F1 of several labels, NDCG of rankings."""
        assert isinstance(model, ChoiceModel)
        scores = choice_scores(model, self.reader, self.validation)
        return figures_of_items(scores, self.validation, kind=self.plan.kind)

    @property
    def figure(self) -> str:
        """Return the name of the figure to choose by."""
        return "ndcg" if self.plan.relevance else figure_of(self.plan.kind)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


def train_choice(job: TrainingJob) -> TrainedChoice:
    """Train a choice head on a job's rows.

    Raises:
        ConfigError: The settings or the model do not fit.
        TrainingError: The rows cannot be trained on, or training had to stop.
    """
    work, counts = _prepare(job)
    fitted = None if work.plan.kind == "pair" else _fit_features(work)
    loop = _move_body(work, fitted) if _body_moves(work) else None
    moved = loop is not None and _worth_keeping(work, fitted, loop)
    best: Mapping[str, float] = {"step": 0}
    if fitted is not None and not moved:
        _install(work.model, fitted.final)
        best = {"step": 0, **fitted.figures}
    elif loop is not None:
        best = loop.best
    model = work.model.to("cpu").eval()
    return TrainedChoice(
        model=model,
        reader=work.reader,
        method="full" if fitted is None else "features+full" if moved else "features",
        settings=work.settings,
        loop=loop,
        best=best,
        counts=counts,
        notes=tuple(work.notes),
        seconds=work.seconds,
    )


# --- What is trained -----------------------------------------------------------------------------------


def _prepare(job: TrainingJob) -> tuple[_Work, dict[str, int]]:
    started = time.monotonic()
    asked = asked_settings(job.settings)
    split = split_rows(job, share=asked.validation_share, most=_MOST_VALIDATION)
    plan = plan_choices(job.task, split.train, wanted=asked.head)
    tokenizer = load_tokenizer(job.model, trust_remote_code=asked.trust_remote_code)
    texts = (field_text(row.example.inputs.get(name)) for row in split.train for name in plan.fields)
    check_vocabulary(tokenizer, texts, limit=asked.max_unknown)
    seed_everything(job.seed, "head")
    body = load_encoder(job.model, trust_remote_code=asked.trust_remote_code)
    settings = encoder_settings(
        job.settings, kind=plan.kind, width=width_of(body), longest=input_limit(body, tokenizer)
    )
    assert settings.max_length is not None
    reader = ChoiceReader(tokenizer, plan, max_length=settings.max_length)
    train, validation = reader.read(split.train), reader.read(split.validation)
    work = _Work(
        job=job,
        plan=plan,
        reader=reader,
        settings=settings,
        model=build_model(plan.kind, body, labels=len(plan.labels)).to(preferred_device()),
        train=[item for item in train if item.label >= 0],
        validation=[item for item in validation if item.label >= 0],
        own_validation=split.own,
        base_sha256=base_fingerprint(job.model),
        started=started,
        notes=[f'choices are answered by the head "{plan.kind}": {plan.reason}', *plan.notes, *split.notes],
    )
    if not work.train:
        raise TrainingError(
            "No row's answer is among its choices.\nAn answer has to be one of the labels, letter for letter.\n"
            "Compare the answers with the labels of the task or with the field that holds the choices."
        )
    left_out = {**split.left_out, "answer-not-a-choice": len(train) + len(validation) - _count(work)}
    return work, _counts(work, split, left_out)


def _count(work: _Work) -> int:
    return len(work.train) + len(work.validation)


def _counts(work: _Work, split: RowSplit, left_out: Mapping[str, int]) -> dict[str, int]:
    items = [*work.train, *work.validation]
    cut = [item.cut for item in items if item.cut]
    if cut:
        work.notes.append(
            f"{len(cut)} of {len(items)} rows are longer than {work.reader.max_length} tokens; "
            f"{sum(cut)} tokens at the ends of their longest texts are not read"
        )
    counts = {f"left_out_{reason}": number for reason, number in left_out.items() if number}
    return {
        "rows": len(split.train) + len(split.validation),
        "train": len(work.train),
        "validation": len(work.validation),
        "rows_cut": len(cut),
        "tokens_cut": sum(cut),
        "labels": len(work.plan.labels),
        "parameters": sum(part.numel() for part in work.model.parameters()),
        **counts,
    }


# --- Features ------------------------------------------------------------------------------------------


def _fit_features(work: _Work) -> FittedHead:
    facts = [
        work.base_sha256,
        work.plan.to_json(),
        work.reader.max_length,
        [item.texts for item in (*work.train, *work.validation)],
    ]
    folder = work.job.work / f"features-{sha256_of(facts)[:16]}"
    options: dict[str, Any] = {
        "refit": work.own_validation,
        "folder": folder,
        "on_progress": lambda done, total: work.job.on_log(0, {"embedded": done, "texts": total}),
    }
    if isinstance(work.model, MatchModel):
        return fit_matches(work.model, work.reader, work.train, work.validation, **options)
    assert isinstance(work.model, (LabelModel, ContrastModel))
    return fit_labels(work.model, work.reader, work.train, work.validation, **options)


def _install(model: ChoiceModel, head: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, part in model.head.named_parameters():
            part.copy_(head[name])


# --- The body ------------------------------------------------------------------------------------------


def _body_moves(work: _Work) -> bool:
    """Tell whether the body is trained at all."""
    asked = work.job.settings
    if work.plan.kind == "pair" or work.settings.fine_tune is not None:
        return work.plan.kind == "pair" or bool(work.settings.fine_tune)
    if any(asked.get(name) is not None for name in ("epochs", "max_steps", "max_seconds")):
        return True
    if preferred_device().type != "cpu":
        return True
    work.notes.append("the body was left as it is; set fine_tune: true to train it too and keep what validates better")
    return False


def _move_body(work: _Work, fitted: FittedHead | None) -> LoopResult | None:
    """Train head and body together; None where the features have used up the time."""
    settings = _remaining(work)
    if settings is None:
        return None
    if fitted is not None:
        _install(work.model, fitted.partial)
    freeze(work.model.body, embeddings=not embeddings_move(settings.train_embeddings))
    head_rate = settings.head_learning_rate if fitted is None else settings.learning_rate
    items = work.train
    parts = LoopParts(
        model=work.model,
        rows=items,
        lengths=[item.length for item in items],
        ids=[item.id for item in items],
        collate=work.reader.collate,
        count=lambda batch: len(batch["labels"]),
        loss=choice_loss,
        evaluate=work.evaluate if work.validation else None,
        figure=work.figure,
        higher_is_better=True,
        groups=lambda model: parameter_groups(
            model,
            body=work.model.body,
            rate=settings.learning_rate,
            head_rate=head_rate,
            decay=settings.weight_decay,
        ),
        fingerprint={
            "base": work.base_sha256,
            "plan": work.plan.to_json(),
            "validation": [item.id for item in work.validation],
            "labels": sha256_of([item.marks if work.plan.kind == "several" else item.label for item in items]),
            **({"grades": sha256_of([item.grades for item in items])} if work.plan.relevance else {}),
            "texts": sha256_of([item.texts for item in items]),
        },
    )
    return run_loop(attrs.evolve(work.job, train=()), settings, parts)


def _remaining(work: _Work) -> EncoderSettings | None:
    """Return the settings with the time that is left for steps: less what is spent, and less a last validation."""
    if work.settings.max_seconds is None:
        return work.settings
    left = work.settings.max_seconds - work.seconds - _validation_seconds(work)
    if left < 1.0:
        work.notes.append(f"max_seconds ({work.settings.max_seconds:g}) was used up before the body could move")
        return None
    return attrs.evolve(work.settings, max_seconds=left)


def _validation_seconds(work: _Work) -> float:
    """Estimate how long one validation takes, from a few of its rows."""
    if not work.validation:
        return 0.0
    step = max(1, len(work.validation) // 64)
    sample = sorted(work.validation, key=lambda item: item.length)[::step]
    begun = time.monotonic()
    choice_scores(work.model.eval(), work.reader, sample)
    return (time.monotonic() - begun) * len(work.validation) / len(sample)


def _worth_keeping(work: _Work, fitted: FittedHead | None, loop: LoopResult) -> bool:
    """Tell whether the moved body beats the features; if not, put the base model's body back."""
    if fitted is None:
        return True
    if not fitted.figures:
        return True
    before, after = fitted.figures[work.figure], loop.best.get(work.figure, -1.0)
    name = work.figure.replace("_", " ")
    if after > before:
        work.notes.append(f"fine-tuning raised the validation {name} from {before:.4f} to {after:.4f}")
        return True
    work.notes.append(f"fine-tuning gave a validation {name} of {after:.4f}, features alone {before:.4f}: kept these")
    trust = work.settings.trust_remote_code
    work.model.body.load_state_dict(load_encoder(work.job.model, trust_remote_code=trust).state_dict())
    return False
