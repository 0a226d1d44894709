"""MinHash: keys that documents with many n-grams in common are likely to share, and the exact check.

A signature is 80 minima, in 20 bands of 4. Two documents that share a band are candidates; with a Jaccard
similarity of 0.7 they share one with probability 1 - (1 - 0.7^4)^20 = 0.996, with 0.75 already 0.999. Whether they
are near-duplicates is then decided on their n-grams themselves.

A document has several fields (a question, a passage), and is a near-duplicate only where *every* field is: two
questions on one passage are not. So that the passage's many n-grams do not drown the question's few, minimum ``r`` is
taken over field ``r mod F``: every band then mixes the fields, and the bound above still holds, for each field has the
similarity that is asked for.

Source: Broder 1997; banding as in Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from instructforge.duplicates.shingles import Grams, Hashes, Places, Size, mixed

__all__ = ["BANDS", "ROWS", "SHINGLES", "THRESHOLD", "band_keys", "jaccard", "signatures"]

BANDS, ROWS = 20, 4
SHINGLES = Size(words=2, characters=3)
"""Length of the n-grams that documents are compared by: short ones, for instructions are short."""
THRESHOLD = 0.7

_NOTHING = np.uint32(0xFFFFFFFF)
_BLOCK = 1024
"""Documents whose minima are worked on together: they fit a core's cache."""
_STEPS = 512
"""N-grams of a document that are worked through together with others' documents; the rest one document at a time."""


def band_keys(fields: Sequence[Grams], tags: Hashes) -> Hashes:
    """Return the keys of each document's bands.

    Args:
        fields: For each field, the n-grams of every document.
        tags: For each document, what must be equal for two to be duplicates (a label).

    Shapes:
        tags: (N,); returns (N, BANDS).
    """
    minima = signatures(fields).reshape(len(tags), BANDS, ROWS).astype(np.uint64)  # (N, BANDS, ROWS)
    odd = mixed(np.arange(ROWS, dtype=np.uint64)) | np.uint64(1)
    keys = (minima * odd).sum(axis=2, dtype=np.uint64) + mixed(np.arange(BANDS, dtype=np.uint64))
    return mixed(keys ^ tags[:, None])


def signatures(fields: Sequence[Grams]) -> NDArray[np.uint32]:
    """Return the minima of each document, minimum ``r`` over the n-grams of field ``r mod F``.

    Shapes:
        returns (N, BANDS * ROWS).
    """
    found = np.full((len(fields[0].ends), BANDS * ROWS), _NOTHING, np.uint32)
    masks, multipliers = _permutations()
    for place, grams in enumerate(fields):
        own = slice(place, None, len(fields))
        found[:, own] = _minima(grams, masks[own].copy(), multipliers[own].copy())
    return found


def jaccard(one: Hashes, other: Hashes) -> float:
    """Return how much two bags of n-grams share: distinct ones in both over distinct ones in either.

    >>> jaccard(np.array([1, 2, 3], np.uint64), np.array([2, 3, 3, 4], np.uint64))
    0.5
    """
    first, second = set(one.tolist()), set(other.tolist())
    either = len(first | second)
    return len(first & second) / either if either else 1.0


# --- Parts --------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _permutations() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    drawn = mixed(np.arange(1000, 1000 + BANDS * ROWS, dtype=np.uint64))
    return (drawn >> np.uint64(32)).astype(np.uint32), drawn.astype(np.uint32) | np.uint32(1)


def _minima(grams: Grams, masks: NDArray[np.uint32], multipliers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the least of each document's n-grams under each permutation.

    Documents are worked on in the order of their lengths, a block at a time: step ``l`` takes the ``l``-th n-gram of
    all that have one, which is a beginning of the block.

    Shapes:
        masks, multipliers: (R,); returns (N, R).
    """
    hashes = (grams.hashes >> np.uint64(32)).astype(np.uint32)
    counts = grams.counts
    found = np.empty((len(counts), len(masks)), np.uint32)
    order = np.argsort(-counts, kind="stable")
    for begin in range(0, len(order), _BLOCK):
        rows = order[begin : begin + _BLOCK]
        starts = (grams.ends - counts)[rows]
        found[rows] = _block_minima(hashes, starts, counts[rows], masks[:, None], multipliers[:, None]).T
    return found


def _block_minima(
    hashes: NDArray[np.uint32],
    starts: Places,
    counts: Places,
    masks: NDArray[np.uint32],
    multipliers: NDArray[np.uint32],
) -> NDArray[np.uint32]:
    """Return the minima of some documents, longest first.

    Shapes:
        starts, counts: (N,); masks, multipliers: (R, 1); returns (R, N).
    """
    least = np.full((len(masks), len(counts)), _NOTHING, np.uint32)
    scratch = np.empty_like(least)
    steps = min(int(counts[0]), _STEPS)
    alive = np.searchsorted(-counts, -np.arange(steps)).tolist()  # documents with more than l n-grams
    for step in range(steps):
        some, own = scratch[:, : alive[step]], least[:, : alive[step]]
        np.bitwise_xor(hashes[starts[: alive[step]] + step], masks, out=some)
        np.multiply(some, multipliers, out=some)
        np.minimum(own, some, out=own)
    for place in np.flatnonzero(counts > _STEPS).tolist():
        rest = hashes[starts[place] + _STEPS : starts[place] + counts[place]]
        for begin in range(0, len(rest), _STEPS):
            some = (rest[begin : begin + _STEPS] ^ masks) * multipliers  # (R, steps)
            np.minimum(least[:, place], some.min(axis=1), out=least[:, place])
    return least
