"""Duplicates and overlap: which rows are like others, in any script, with indexes on disk.

``shingles`` turns texts into numbers; ``minhash`` makes keys of them that like documents share, and checks exactly;
``runs`` and ``documents`` keep keys and documents on disk; ``near`` finds near-duplicates in the order of reading.
"""

from __future__ import annotations

from instructforge.duplicates.minhash import SHINGLES, THRESHOLD, jaccard
from instructforge.duplicates.near import NearDuplicates, near_duplicates
from instructforge.duplicates.shingles import Size, ngrams, token_counts, tokenised

__all__ = [
    "SHINGLES",
    "THRESHOLD",
    "NearDuplicates",
    "Size",
    "jaccard",
    "near_duplicates",
    "ngrams",
    "token_counts",
    "tokenised",
]
