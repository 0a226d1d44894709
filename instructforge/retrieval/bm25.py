"""BM25, by bm25s, over tokens of every script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from attrs import frozen

from instructforge.components import Hit
from instructforge.metrics.base import UNSPACED, tokens

__all__ = ["Bm25Retriever", "retrieval_tokens"]

_UNSPACED_RUN = re.compile(f"[{UNSPACED}]+")


def retrieval_tokens(text: str) -> list[str]:
    """Return words, and of scripts without spaces each character and each pair of neighbours.

    Pairs are what tells one Chinese word from another where no dictionary is asked.

    >>> retrieval_tokens("BM25 检索法")
    ['bm25', '检', '索', '法', '检索', '索法']
    """
    singles = tokens(text)
    pairs = (run[place : place + 2] for run in _UNSPACED_RUN.findall(text) for place in range(len(run) - 1))
    return [*singles, *pairs]


@frozen
class Bm25Retriever:
    """BM25 with k1 = 1.5 and b = 0.75, in Lucene's form.

    Source: bm25s (Lù 2024); the parameters are its defaults.
    """

    name: ClassVar[str] = "bm25"

    def build(self, keys: Sequence[str], folder: Path) -> None:
        """Index ``keys`` and write the index into ``folder``."""
        import bm25s

        model = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
        model.index([retrieval_tokens(key) or ["\0"] for key in keys], show_progress=False)
        model.save(str(folder), show_progress=False)

    def open(self, folder: Path) -> Bm25Index:
        """Return the index that ``build`` wrote; its arrays stay on disk."""
        import bm25s

        return Bm25Index(bm25s.BM25.load(str(folder), mmap=True, load_vocab=True))


@frozen(eq=False)
class Bm25Index:
    """An index, opened."""

    model: Any

    def search(self, query: str, count: int) -> list[Hit]:
        """Return the best ``count`` keys by number, the best first, of equals the earlier; none that shares no token.

        Shapes:
            Of the scores within: (keys,).
        """
        import numpy as np

        known = [token for token in retrieval_tokens(query) if token in self.model.vocab_dict]
        if not known:
            return []
        scores = np.asarray(self.model.get_scores(known))
        best = np.argsort(-scores, kind="stable")[:count]
        return [Hit(int(place), float(scores[place])) for place in best if scores[place] > 0]
