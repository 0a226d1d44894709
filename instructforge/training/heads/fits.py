"""Fitting a head on features of the body as it is: no step of the body, a minute where fine-tuning takes many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from attrs import frozen
from torch import Tensor
from torch.nn import functional

from instructforge.training.heads import probe
from instructforge.training.heads.body import on_device
from instructforge.training.heads.inputs import ChoiceItem, ChoiceReader, Ids
from instructforge.training.heads.modules import ContrastModel, LabelModel, MatchModel, match_prior, match_views
from instructforge.training.heads.ranking import fit_shares, ranking_figures, shares
from instructforge.training.heads.several import several_figures

__all__ = ["FittedHead", "figure_of", "figures_of", "figures_of_items", "fit_labels", "fit_matches"]

_BATCH = 64

Progress = Callable[[int, int], None]


@frozen(kw_only=True, eq=False)
class FittedHead:
    """A head fitted on features.

    Attributes:
        figures: On the validation rows, of the head fitted without them; empty where there are none.
        partial: The head's weights fitted on the training rows alone: fine-tuning starts from these.
        final: Fitted on all rows that may be trained on: kept if the body is left as it is.
        penalty: How hard the weights were held; the one that validated best.
    """

    figures: Mapping[str, float]
    partial: Mapping[str, Tensor]
    final: Mapping[str, Tensor]
    penalty: float


def figures_of(scores: Sequence[Tensor], labels: Sequence[int]) -> dict[str, float]:
    """Return accuracy, and the mean of the loss.

    >>> figures_of([torch.tensor([2.0, 2.0]), torch.tensor([9.0, 0.0])], [0, 0])["accuracy"]
    1.0
    """
    right = sum(int(row.argmax()) == label for row, label in zip(scores, labels, strict=True))
    losses = [
        float(functional.cross_entropy(row.double(), torch.tensor(label)))
        for row, label in zip(scores, labels, strict=True)
    ]
    return {"accuracy": right / len(labels), "loss": sum(losses) / len(losses)}


def figure_of(kind: str) -> str:
    """Return the name of the figure by which heads of a kind are compared."""
    return "micro_f1" if kind == "several" else "accuracy"


def figures_of_items(scores: Iterable[Tensor], items: Sequence[ChoiceItem], *, kind: str) -> dict[str, float]:
    """Return the figures of scores, one (L,) or (C,) for each item."""
    if kind == "several":
        return several_figures(list(scores), [item.marks for item in items])
    if items and items[0].grades:
        return ranking_figures(list(scores), [item.grades for item in items])
    return figures_of(list(scores), [item.label for item in items])


def fit_labels(
    model: LabelModel | ContrastModel,
    reader: ChoiceReader,
    train: Sequence[ChoiceItem],
    validation: Sequence[ChoiceItem],
    *,
    refit: bool,
    folder: Path,
    on_progress: Progress,
) -> FittedHead:
    """Fit a linear head on pooled features.

    Args:
        model: Its body makes the features; its head is left as it is.
        reader: Makes batches.
        train, validation: The rows.
        refit: Whether the validation rows may be trained on in the end.
        folder: Where features are kept, for resuming.
        on_progress: Called with texts embedded and texts in all.
    """
    items = [*train, *validation]

    def embed(places: list[int]) -> Tensor:
        batch = reader.collate([items[place] for place in places])
        batch.pop("labels")
        return _computed(model, model.features, batch)

    features = probe.cached_features(
        [item.length for item in items], embed, folder=folder, batch_size=_BATCH, on_progress=on_progress
    )
    labels = reader.targets(items)
    count, classes = len(train), model.head.out_features

    def fit(upto: int, penalty: float, start: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        found = probe.fit_linear(features[:upto], labels[:upto], classes=classes, penalty=penalty, start=start)
        return {"weight": found.weight, "bias": found.bias}

    def judge(head: Mapping[str, Tensor]) -> dict[str, float]:
        scores = functional.linear(features[count:], head["weight"], head["bias"])
        return figures_of_items(scores, items[count:], kind=reader.plan.kind)

    return _choose(
        fit,
        judge,
        probe.LINEAR_PENALTIES,
        probe.LINEAR_PENALTY,
        train=count,
        rows=len(items),
        refit=refit,
        by=figure_of(reader.plan.kind),
    )


def fit_matches(
    model: MatchModel,
    reader: ChoiceReader,
    train: Sequence[ChoiceItem],
    validation: Sequence[ChoiceItem],
    *,
    refit: bool,
    folder: Path,
    on_progress: Progress,
) -> FittedHead:
    """Fit the weights of the sides from which a choice is seen; arguments as for ``fit_labels``."""
    items = [*train, *validation]
    places: dict[Ids, int] = {}
    for item in items:
        for text in item.texts:
            places.setdefault(text, len(places))
    texts = list(places)

    def embed(chosen: list[int]) -> Tensor:
        return _computed(model, model.vectors, reader.pad_texts([texts[place] for place in chosen]))

    vectors = probe.cached_features(
        [len(text) for text in texts], embed, folder=folder, batch_size=_BATCH, on_progress=on_progress
    )
    views = [_views(vectors, item, places) for item in items]
    labels = [item.label for item in items]
    wanted = [shares(item.grades) for item in items if item.grades]
    count, prior = len(train), match_prior()

    def fit(upto: int, penalty: float, start: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        if wanted:
            return {"weights": fit_shares(views[:upto], wanted[:upto], prior=prior, penalty=penalty)}
        return {"weights": probe.fit_weights(views[:upto], labels[:upto], prior=prior, penalty=penalty)}

    def judge(head: Mapping[str, Tensor]) -> dict[str, float]:
        return figures_of_items([row @ head["weights"] for row in views[count:]], items[count:], kind="match")

    return _choose(
        fit, judge, probe.MATCH_PENALTIES, probe.MATCH_PENALTY, train=count, rows=len(items), refit=refit, by="loss"
    )


def _views(vectors: Tensor, item: ChoiceItem, places: Mapping[Ids, int]) -> Tensor:
    assert item.row is not None
    return match_views(vectors, item.row.moved([places[text] for text in item.texts]))


def _computed(
    model: LabelModel | ContrastModel | MatchModel, compute: Callable[..., Tensor], batch: Mapping[str, Tensor]
) -> Tensor:
    model.eval()
    with torch.no_grad():
        found: Tensor = compute(**on_device(batch, next(model.parameters()).device))
    return found.float().cpu()


def _choose(
    fit: Callable[[int, float, Mapping[str, Tensor] | None], dict[str, Tensor]],
    judge: Callable[[Mapping[str, Tensor]], dict[str, float]],
    penalties: Iterable[float],
    fallback: float,
    *,
    train: int,
    rows: int,
    refit: bool,
    by: str,
) -> FittedHead:
    """Fit under each penalty, keep the one that validates best, then fit once more on all that may be used.

    From the heaviest penalty on, each fit starts from the one before, and two in a row that do no better end it: the
    light ones take longest.
    """
    if rows == train:
        only = fit(train, fallback, None)
        return FittedHead(figures={}, partial=only, final=only, penalty=fallback)
    best: tuple[tuple[float, float], float, dict[str, Tensor], dict[str, float]] | None = None
    head: dict[str, Tensor] | None = None
    worse = 0
    for penalty in penalties:
        head = fit(train, penalty, head)
        figures = judge(head)
        rank = (figures["loss"] if by == "loss" else -figures[by], figures["loss"])
        if best is None or rank < best[0]:
            best, worse = (rank, penalty, head, figures), 0
        else:
            worse += 1
        if worse == 2:
            break
    assert best is not None, "there is at least one penalty to try"
    _, penalty, kept, figures = best
    final = fit(rows, penalty, kept) if refit else kept
    return FittedHead(figures=figures, partial=kept, final=final, penalty=penalty)
