"""Retrieval: the passages of a corpus that a question is about.

``corpus`` reads passages out of any file that a reader knows; ``bm25`` is the retriever that comes along, by words and,
in scripts without spaces, by characters and pairs of them. A plugin provides others by ``instructforge_retrievers``.
"""

from __future__ import annotations

from instructforge.retrieval.corpus import Corpus, read_corpus

__all__ = ["Corpus", "read_corpus"]
