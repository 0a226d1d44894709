"""The models that answer choices: a transformers body, pooled by the mean, and a small head on top.

Mean pooling, because that is where a sentence encoder keeps what it knows; ``[CLS]`` is nearly untrained in
such models. Extractive questions need no module of ours: they use ``AutoModelForQuestionAnswering``.

Shapes, everywhere below: B rows, T tokens, D width of the body, L labels, C choices of a whole batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional

from instructforge.training.heads.body import width_of
from instructforge.training.heads.several import label_loss

__all__ = [
    "FEATURE_SCALE",
    "VIEWS",
    "ContrastModel",
    "LabelModel",
    "MatchModel",
    "MatchRow",
    "PairModel",
    "match_prior",
    "match_views",
    "mean_pool",
]

FEATURE_SCALE = 16.0
"""Length of the features that a linear head reads: unit vectors would leave its weights too much to do."""


def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the hidden states where ``mask`` is 1; zero where it is 0 throughout.

    Shapes:
        hidden: (B, T, D). mask: (B, T). Returns: (B, D).

    >>> mean_pool(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]])).tolist()
    [[2.0]]
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def _hidden(body: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    names = ("input_ids", "attention_mask", "token_type_ids")
    return body(**{name: batch[name] for name in names if name in batch}).last_hidden_state  # type: ignore[no-any-return]


class LabelModel(nn.Module):
    """Labels of a closed set, one or several: mean of all tokens, made unit length, scaled, into a linear head."""

    kind: ClassVar[str] = "label"

    def __init__(self, body: nn.Module, *, labels: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width_of(body), labels)

    def features(self, **batch: Tensor) -> Tensor:
        """Return what the head reads. Shapes: (B, T) → (B, D)."""
        pooled = mean_pool(_hidden(self.body, batch), batch["attention_mask"])
        return functional.normalize(pooled, dim=-1) * FEATURE_SCALE

    def forward(self, labels: Tensor | None = None, **batch: Tensor) -> dict[str, Tensor]:
        """Return ``logits`` (B, L), and ``loss`` where ``labels``, (B,) or for several (B, L), are given."""
        return _with_loss(self.head(self.features(**batch)), labels)


class ContrastModel(nn.Module):
    """One label for a pair of texts, each read by itself: both vectors, their distance and their product, and a line.

    Source: the features of sentence encoders for inference, u, v, |u - v| and u * v (InferSent, Sentence-BERT).
    """

    kind: ClassVar[str] = "contrast"

    def __init__(self, body: nn.Module, *, labels: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(4 * width_of(body), labels)

    def features(self, **batch: Tensor) -> Tensor:
        """Return what the head reads. Shapes: (2B, T), all first texts and then all second ones → (B, 4D)."""
        vectors = functional.normalize(mean_pool(_hidden(self.body, batch), batch["attention_mask"]), dim=-1)
        one, two = vectors.chunk(2)
        return torch.cat([one, two, (one - two).abs(), one * two], dim=-1) * FEATURE_SCALE

    def forward(self, labels: Tensor | None = None, **batch: Tensor) -> dict[str, Tensor]:
        """Return ``logits`` (B, L), and ``loss`` where ``labels`` (B,) are given."""
        return _with_loss(self.head(self.features(**batch)), labels)


class PairModel(nn.Module):
    """One label for a pair of texts, read together: the mean of each text's tokens, side by side, into a small head.

    The two texts attend to each other in the body; ``first_mask`` and ``second_mask`` tell their tokens apart.
    """

    kind: ClassVar[str] = "pair"

    def __init__(self, body: nn.Module, *, labels: int, width: int = 384) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Sequential(nn.Linear(2 * width_of(body), width), nn.GELU(), nn.Linear(width, labels))

    def forward(
        self, first_mask: Tensor, second_mask: Tensor, labels: Tensor | None = None, **batch: Tensor
    ) -> dict[str, Tensor]:
        """Return ``logits`` (B, L), and ``loss`` where ``labels`` (B,) are given. The masks are (B, T)."""
        hidden = _hidden(self.body, batch)
        both = torch.cat([mean_pool(hidden, first_mask), mean_pool(hidden, second_mask)], dim=-1)  # (B, 2D)
        return _with_loss(self.head(both), labels)


class MatchModel(nn.Module):
    """One of the choices that each row brings itself: how near each choice stands to the row's texts.

    Every text goes through the same body, one vector each. A choice is then seen from several sides, each a
    cosine (``VIEWS``), and its score is their weighted sum. The weights start where the body's own sense of
    nearness already answers, before any training.
    """

    kind: ClassVar[str] = "match"

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = nn.ParameterDict({"weights": nn.Parameter(match_prior())})

    def vectors(self, **batch: Tensor) -> Tensor:
        """Return unit vectors of texts. Shapes: (N, T) → (N, D)."""
        return functional.normalize(mean_pool(_hidden(self.body, batch), batch["attention_mask"]), dim=-1)

    def forward(self, rows: Sequence[MatchRow], labels: Tensor | None = None, **batch: Tensor) -> dict[str, Any]:
        """Return ``logits``, one (C_i,) for each row, and ``loss`` where ``labels`` (B,) are given.

        ``rows`` says which of the batch's N texts are a row's question, choices and so on.
        """
        vectors = self.vectors(**batch)
        scores = [match_views(vectors, row) @ self.head["weights"] for row in rows]
        if labels is None:
            return {"logits": scores}
        losses = [functional.cross_entropy(row, label) for row, label in zip(scores, labels, strict=True)]
        return {"logits": scores, "loss": torch.stack(losses).mean()}


VIEWS = (
    "choice and question, in a row without a passage",
    "choice and question",
    "question with choice, and the sentence nearest to both",
    "question with choice, and the sentence nearest to the question",
    "choice and passage",
    "choice, and question with passage",
    "question with choice, and passage",
)
"""The sides from which a choice is seen, in the order of the weights; all but the first need a passage."""

_PRIOR = (1.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0)
"""With a passage, question and choice are read as one statement and looked for among the sentences."""


@frozen(kw_only=True)
class MatchRow:
    """Where a row's texts stand among the texts of a batch; the last four say nothing without a passage."""

    question: int
    choices: tuple[int, ...]
    joined: tuple[int, ...] = ()
    sentences: tuple[int, ...] = ()
    passage: int = -1
    whole: int = -1

    def moved(self, places: Sequence[int]) -> MatchRow:
        """Return the row with each of its texts at another place: text i at ``places[i]``."""
        return MatchRow(
            question=places[self.question],
            choices=tuple(places[place] for place in self.choices),
            joined=tuple(places[place] for place in self.joined),
            sentences=tuple(places[place] for place in self.sentences),
            passage=places[self.passage] if self.sentences else -1,
            whole=places[self.whole] if self.sentences else -1,
        )


def match_prior() -> Tensor:
    """Return the weights that a ``MatchModel`` starts from. Shapes: (V,), one for each of ``VIEWS``."""
    return torch.tensor(_PRIOR) * FEATURE_SCALE


def match_views(vectors: Tensor, row: MatchRow) -> Tensor:
    """Return the cosines from which each choice of a row is judged; 0 where the row has no such side.

    Shapes:
        vectors: (N, D), unit length. Returns: (C, V).
    """
    choices = vectors[list(row.choices)]  # (C, D)
    near = choices @ vectors[row.question]
    nothing = torch.zeros_like(near)
    if not row.sentences:
        return torch.stack([near, *[nothing] * (len(VIEWS) - 1)], dim=-1)
    joined = vectors[list(row.joined)]  # (C, D)
    sentences = vectors[list(row.sentences)]  # (S, D)
    nearest = sentences[(sentences @ vectors[row.question]).argmax()]
    sides = (
        nothing,
        near,
        (joined @ sentences.T).amax(-1),
        joined @ nearest,
        choices @ vectors[row.passage],
        choices @ vectors[row.whole],
        joined @ vectors[row.passage],
    )
    return torch.stack(sides, dim=-1)


def _with_loss(logits: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
    if labels is None:
        return {"logits": logits}
    return {"logits": logits, "loss": label_loss(logits, labels)}
