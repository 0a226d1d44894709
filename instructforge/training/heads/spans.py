"""Reading spans out of start and end scores, over all windows of a question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from instructforge.data import SpanScore

__all__ = ["ScoredWindow", "best_spans", "null_score"]


@frozen(kw_only=True, eq=False)
class ScoredWindow:
    """What a model says of one window.

    Attributes:
        start, end: Scores of each token as the first and the last of the answer.
        offsets: Where each token stands in the passage, in characters; None for what is no passage.
        null: The token that stands for "no answer".

    Shapes:
        start, end, offsets: (T,).
    """

    start: NDArray[np.floating]
    end: NDArray[np.floating]
    offsets: Sequence[tuple[int, int] | None]
    null: int = 0


def null_score(windows: Sequence[ScoredWindow]) -> float:
    """Return the score of "no answer": the least of any window, since one window that answers is enough.

    Source: the evaluation of BERT on SQuAD 2.0, as published by its authors.
    """
    return min(float(window.start[window.null]) + float(window.end[window.null]) for window in windows)


def best_spans(
    windows: Sequence[ScoredWindow], passage: str, *, n_best: int = 20, max_answer_tokens: int = 30
) -> tuple[SpanScore, ...]:
    """Return the best spans of a passage, best first; each stretch of text once, with its best score.

    A span starts no later than it ends, has at most ``max_answer_tokens`` tokens and stands within one
    window. Spaces at its ends are left off. Equal scores are ordered by where they stand.
    """
    best: dict[tuple[int, int], float] = {}
    for window in windows:
        for start, end, score in _window_spans(window, n_best, max_answer_tokens):
            place = _trimmed(passage, start, end)
            if place is not None and score > best.get(place, -np.inf):
                best[place] = score
    ordered = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    return tuple(SpanScore(start, end, score) for (start, end), score in ordered[:n_best])


def _window_spans(window: ScoredWindow, n_best: int, longest: int) -> list[tuple[int, int, float]]:
    inside = np.array([place for place, offset in enumerate(window.offsets) if offset is not None], dtype=np.intp)
    if not len(inside):
        return []
    starts = np.asarray(window.start, dtype=np.float64)[inside]
    ends = np.asarray(window.end, dtype=np.float64)[inside]
    count, longest = len(inside), min(longest, len(inside))
    last = np.arange(count)[:, None] + np.arange(longest)[None, :]  # (P, longest): the last token of each span
    scores = np.where(last < count, starts[:, None] + ends[np.minimum(last, count - 1)], -np.inf)
    flat = scores.ravel()
    # Some more than asked for: spans that differ by spaces only fall together later.
    keep = min(2 * n_best, len(flat))
    top = np.argpartition(-flat, keep - 1)[:keep]
    found = []
    for index in top[np.isfinite(flat[top])]:
        first, length = divmod(int(index), longest)
        begin, finish = window.offsets[inside[first]], window.offsets[inside[first + length]]
        assert begin is not None
        assert finish is not None
        found.append((begin[0], finish[1], float(flat[index])))
    return found


def _trimmed(passage: str, start: int, end: int) -> tuple[int, int] | None:
    text = passage[start:end]
    bare = text.strip()
    if not bare:
        return None
    start += len(text) - len(text.lstrip())
    return start, start + len(bare)
