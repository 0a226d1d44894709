"""Features first: embed every text once with the body as it is, and fit the head on that.

On a CPU this is worth more than many minutes of fine-tuning, and it is where fine-tuning should start from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from attrs import frozen
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional

from instructforge.files import write_atomically
from instructforge.training.heads.several import label_loss

__all__ = [
    "LINEAR_PENALTIES",
    "LINEAR_PENALTY",
    "MATCH_PENALTIES",
    "MATCH_PENALTY",
    "LinearFit",
    "cached_features",
    "fit_linear",
    "fit_weights",
    "length_batches",
    "minimise",
]

LINEAR_PENALTIES = (3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
"""Strengths of the L2 penalty, in the order in which they are tried; the one that validates best is kept."""

LINEAR_PENALTY = 3e-4
"""Taken where there are no rows to validate on."""

MATCH_PENALTIES = (1.0, 1e-3, 1e-4, 1e-5, 1e-6)
"""The same for the weights of a ``MatchModel``; the first leaves them where they start."""

MATCH_PENALTY = 1e-4

_PART = 2048
"""Texts in one file of features: what a crash can cost."""


def length_batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Return batches of indices, shortest texts first, so that hardly anything is padded.

    >>> length_batches([5, 1, 3], 2)
    [[1, 2], [0]]
    """
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    return [order[start : start + size] for start in range(0, len(order), size)]


def cached_features(
    lengths: Sequence[int],
    embed: Callable[[list[int]], Tensor],
    *,
    folder: Path,
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Embed texts, in parts that are written down, so that a run that was broken off goes on.

    Args:
        lengths: Tokens of each text; texts of like length are embedded together.
        embed: Takes places of texts and returns their features.
        folder: Where parts are kept; the caller sees to it that it belongs to these very texts and weights.
        batch_size: Texts embedded at once.
        on_progress: Called with texts done and texts in all.

    Shapes:
        Returns: (B, D), in the order of ``lengths``.
    """
    batches = length_batches(lengths, batch_size)
    in_part = max(1, _PART // batch_size)
    rows: list[int] = []
    parts: list[Tensor] = []
    for number, start in enumerate(range(0, len(batches), in_part)):
        group = batches[start : start + in_part]
        path = folder / f"features-{number:05d}.safetensors"
        if not path.is_file():
            features = torch.cat([embed(batch) for batch in group])
            with write_atomically(path, "wb") as handle:
                handle.write(save({"features": features.contiguous()}))
        parts.append(load_file(path)["features"])
        rows.extend(index for batch in group for index in batch)
        on_progress(len(rows), len(lengths))
    features = torch.cat(parts)
    ordered = torch.empty_like(features)
    ordered[torch.tensor(rows)] = features
    return ordered


@frozen(kw_only=True, eq=False)
class LinearFit:
    """A linear head: ``features @ weight.T + bias``, with the penalty that it was fitted under.

    Shapes:
        weight: (L, D). bias: (L,).
    """

    weight: Tensor
    bias: Tensor
    penalty: float

    def logits(self, features: Tensor) -> Tensor:
        return functional.linear(features, self.weight, self.bias)


def fit_linear(
    features: Tensor, labels: Tensor, *, classes: int, penalty: float, start: Mapping[str, Tensor] | None = None
) -> LinearFit:
    """Fit a softmax regression by L-BFGS, from zero or from ``start``; the same call gives the same bits.

    Where rows have several labels, it is a logistic regression for each label.

    Shapes:
        features: (B, D). labels: (B,), or (B, L) of 0.0 and 1.0. start: ``weight`` (L, D) and ``bias`` (L,).
    """
    weight = torch.zeros(classes, features.shape[1]) if start is None else start["weight"].clone()
    bias = torch.zeros(classes) if start is None else start["bias"].clone()
    weight.requires_grad_(True)
    bias.requires_grad_(True)

    def loss() -> Tensor:
        return label_loss(functional.linear(features, weight, bias), labels) + penalty * weight.square().sum()

    minimise(loss, [weight, bias])
    return LinearFit(weight=weight.detach(), bias=bias.detach(), penalty=penalty)


def fit_weights(views: Sequence[Tensor], answers: Sequence[int], *, prior: Tensor, penalty: float) -> Tensor:
    """Fit one weight for each view so that the right choice of each row scores highest.

    Args:
        views: For each row, the views of each of its choices.
        answers: For each row, the place of the right choice.
        prior: Weights to stay near to.
        penalty: How hard to stay near.

    Shapes:
        views: a (C_i, V) for each row, C_i choices. prior: (V,). Returns: (V,).
    """
    width = max(len(row) for row in views)
    padded = torch.zeros(len(views), width, prior.shape[0])
    absent = torch.ones(len(views), width, dtype=torch.bool)
    for place, row in enumerate(views):
        padded[place, : len(row)] = row
        absent[place, : len(row)] = False
    gold = torch.tensor(answers)
    weights = prior.clone().requires_grad_(True)

    def loss() -> Tensor:
        scores = (padded @ weights).masked_fill(absent, -torch.inf)
        return functional.cross_entropy(scores, gold) + penalty * (weights - prior).square().sum()

    minimise(loss, [weights])
    return weights.detach()


def minimise(loss: Callable[[], Tensor], parameters: list[Tensor]) -> None:
    """Minimise a convex loss by L-BFGS, in place; the same call gives the same bits."""
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=200,
        history_size=10,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
