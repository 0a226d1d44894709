"""Rankings by a head: every row brings its own items, and the ``match`` way of choices scores each of them.

The scores of a row's items go through a softmax, which is to come near to the items' shares of the row's grades
(all of it for the one right item; 2/3 and 1/3 for a first and a second). With one relevant item that is the loss of a
choice.

Source: ListNet's top-one probability (Cao and others 2007), with grades as they are instead of their exponentials, so
that an item of no relevance has no share.

Shapes, everywhere below: C items of a row, V views of each (``modules.VIEWS``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from instructforge.metrics.ranking import ndcg_of
from instructforge.training.heads.probe import minimise

__all__ = ["fit_shares", "ranking_figures", "shares"]


def shares(grades: Sequence[float]) -> Tensor:
    """Return grades as shares of one. Shapes: (C,).

    >>> shares([0.0, 3.0, 1.0]).tolist()
    [0.0, 0.75, 0.25]
    """
    found = torch.tensor(grades, dtype=torch.float32)
    return found / found.sum()


def ranking_figures(scores: Sequence[Tensor], grades: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return NDCG, how often the best item comes first (accuracy), and the mean of the loss.

    >>> ranking_figures([torch.tensor([0.0, 1.0])], [[1.0, 0.0]])["ndcg"]
    0.6309...
    """
    gains, first, losses = 0.0, 0, 0.0
    for row, grade in zip(scores, grades, strict=True):
        order = torch.argsort(row, descending=True, stable=True).tolist()
        gains += ndcg_of([grade[place] for place in order])
        first += grade[order[0]] == max(grade)
        losses += float(functional.cross_entropy(row.double(), shares(grade).double()))
    count = len(grades)
    return {"ndcg": gains / count, "accuracy": first / count, "loss": losses / count}


def fit_shares(views: Sequence[Tensor], targets: Sequence[Tensor], *, prior: Tensor, penalty: float) -> Tensor:
    """Fit one weight for each view so that the softmax over a row's items comes near to their shares.

    Args:
        views: For each row, the views of each of its items.
        targets: For each row, the items' shares.
        prior: Weights to stay near to.
        penalty: How hard to stay near.

    Shapes:
        views: a (C_i, V) for each row. targets: a (C_i,) for each row. prior: (V,). Returns: (V,).
    """
    width = max(len(row) for row in views)
    padded = torch.zeros(len(views), width, prior.shape[0])
    wanted = torch.zeros(len(views), width)
    absent = torch.ones(len(views), width, dtype=torch.bool)
    for place, (row, target) in enumerate(zip(views, targets, strict=True)):
        padded[place, : len(row)] = row
        wanted[place, : len(row)] = target
        absent[place, : len(row)] = False
    weights = prior.clone().requires_grad_(True)

    def loss() -> Tensor:
        scores = (padded @ weights).masked_fill(absent, -torch.inf)
        # An absent item has a share of 0 and a logarithm of minus infinity, whose product would be no number.
        logs = functional.log_softmax(scores, dim=-1).masked_fill(absent, 0.0)
        return -(wanted * logs).sum(-1).mean() + penalty * (weights - prior).square().sum()

    minimise(loss, [weights])
    return weights.detach()
