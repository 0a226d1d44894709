"""Several labels a row: one linear head, a yes or no of its own for each label.

What differs from one label is kept here: the plan, the marks of a row, the loss and the figures. Features, penalties,
steps and checkpoints are those of the head ``label``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from instructforge.data import Instruction

__all__ = ["label_counts", "label_loss", "marks_of", "several_figures", "several_notes"]


def label_loss(logits: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return the loss of labels: cross-entropy of one a row, or the binary one summed over labels for several a row.

    Shapes:
        logits: (B, L). labels: (B,) of places, or (B, L) of 0.0 and 1.0. Returns: ().

    >>> round(float(label_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))), 4)  # twice log 2
    1.3863
    """
    if not labels.is_floating_point():
        return functional.cross_entropy(logits, labels, reduction=reduction)
    total = functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="sum")
    return total / len(labels) if reduction == "mean" else total


def marks_of(places: Iterable[Sequence[int]], labels: int) -> Tensor:
    """Return 1.0 where a label is right and 0.0 elsewhere. Shapes: (B, L).

    >>> marks_of([(0, 2), ()], 3).tolist()
    [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    rows = list(places)
    marks = torch.zeros(len(rows), labels)
    for number, row in enumerate(rows):
        marks[number, list(row)] = 1.0
    return marks


def several_figures(scores: Sequence[Tensor], places: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return micro F1 of the labels whose score is above 0, the share of rows that are wholly right, and the loss.

    >>> figures = several_figures([torch.tensor([2.0, -2.0]), torch.tensor([1.0, 1.0])], [(0,), (0,)])
    >>> figures["micro_f1"], figures["accuracy"]
    (0.8, 0.5)
    """
    logits = torch.stack(list(scores)).double()
    marks = marks_of(places, logits.shape[1]).double()
    chosen = (logits > 0).double()
    total = float(chosen.sum() + marks.sum())
    return {
        "micro_f1": 2 * float((chosen * marks).sum()) / total if total else 1.0,
        "accuracy": float((chosen == marks).all(dim=1).double().mean()),
        "loss": float(label_loss(logits, marks)),
    }


def label_counts(rows: Iterable[Instruction]) -> Counter[str]:
    """Return how often each label is right."""
    answers = (row.example.answers[0] for row in rows)
    return Counter(label for answer in answers if isinstance(answer, tuple) for label in answer)


def several_notes(labels: Sequence[str], answers: Counter[str], rows: int) -> tuple[str, ...]:
    """Return what the owner of the data should know of labels of which a row has several."""
    notes = [f"a row has {answers.total() / rows:.1f} of the {len(labels)} labels on average"]
    missing = [label for label in labels if not answers[label]]
    if missing:
        shown = ", ".join(f'"{label}"' for label in missing[:10]) + (", …" if len(missing) > 10 else "")
        notes.append(f"{len(missing)} labels have no training row and will hardly ever be answered: {shown}")
    return tuple(notes)
