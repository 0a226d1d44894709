"""Near-duplicates in the order of reading: a document that is like an earlier one is found, and the earlier one named.

Documents that are kept go into an index on disk, those that are found do not: each names one that is kept, with the
similarity that was measured, and the first of a cluster in reading order stays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from instructforge.duplicates.documents import MOST_OF_A_KEY, DocumentIndex
from instructforge.duplicates.minhash import BANDS, SHINGLES, THRESHOLD, band_keys, jaccard
from instructforge.duplicates.shingles import Hashes, Tokens, ngrams, tokenised

__all__ = ["Likeness", "NearDuplicates", "likenesses", "near_duplicates", "similarity"]

_AT_ONCE = 4096
_OWNER = np.uint64((1 << 20) - 1)
"""Bits of a batch's keys in which the owner stands while they are sorted: a batch is smaller than a million."""


class Likeness(NamedTuple):
    """What a document is compared by: a tuple, for there is one for each row of a build.

    Attributes:
        keys: Of its bands.
        tag: What must be equal.
        shingles: The n-grams of each field.
    """

    keys: bytes
    tag: int
    shingles: tuple[bytes, ...]

    def pack(self, name: bytes) -> bytes:
        """Return the record of a document that is kept."""
        head = struct.pack(f"<QI{len(self.shingles)}I", self.tag, len(self.shingles), *map(len, self.shingles))
        return b"".join([head, *self.shingles, name])

    @classmethod
    def unpack(cls, record: bytes) -> tuple[Likeness, bytes]:
        """Return what ``pack`` was given; without the keys."""
        tag, count = struct.unpack_from("<QI", record)
        sizes = struct.unpack_from(f"<{count}I", record, 12)
        shingles, at = [], 12 + 4 * count
        for size in sizes:
            shingles.append(record[at : at + size])
            at += size
        return cls(b"", tag, tuple(shingles)), record[at:]


def likenesses(fields: Sequence[Tokens], tags: Hashes) -> list[Likeness]:
    """Return what documents are compared by.

    Args:
        fields: For each field, the tokens of every document's text.
        tags: For each document, what must be equal for two to be duplicates.
    """
    grams = [ngrams(tokens, SHINGLES, whole_if_short=True) for tokens in fields]
    keys = band_keys(grams, tags).tobytes()
    packed = [(part.hashes.tobytes(), (8 * part.ends).tolist()) for part in grams]
    cut = [[whole[start:end] for start, end in pairwise([0, *ends])] for whole, ends in packed]
    size = 8 * BANDS
    own = [keys[start : start + size] for start in range(0, len(keys), size)]
    return list(map(Likeness, own, tags.tolist(), zip(*cut, strict=True)))


def similarity(one: Likeness, other: Likeness, least: float = 0.0) -> float:
    """Return the Jaccard similarity of the field that is least alike; 0 as soon as one is below ``least``."""
    if one.tag != other.tag:
        return 0.0
    lowest = 1.0
    for first, second in zip(one.shingles, other.shingles, strict=True):
        if first != second:
            lowest = min(lowest, jaccard(np.frombuffer(first, np.uint64), np.frombuffer(second, np.uint64)))
            if lowest < least:
                return 0.0
    return lowest


class NearDuplicates:
    """Finds out which documents are like an earlier one, a batch at a time.

    Args:
        folder: For the index.
        state: What ``save`` returned at the checkpoint to go on from; None at the beginning.
        threshold: Similarity from which two documents are near-duplicates.
    """

    def __init__(self, folder: Path, state: Mapping[str, Any] | None = None, *, threshold: float = THRESHOLD) -> None:
        self._index = DocumentIndex(folder, state)
        self._threshold = threshold
        self._begin(())

    def _begin(self, batch: Sequence[Likeness]) -> None:
        self._batch = batch
        self._kept: dict[int, bytes] = {}
        self._stored: dict[int, list[int]] = {}
        self._earlier: dict[int, list[int]] = {}

    def look_up(self, batch: Sequence[Likeness]) -> None:
        """Find the candidates of a batch, among what was kept before and within the batch."""
        self._begin(batch)
        keys = np.frombuffer(b"".join(one.keys for one in batch), np.uint64)
        owners = np.repeat(np.arange(len(batch)), BANDS)
        self._stored = _by_owner(*self._index.find(keys, owners))
        self._earlier = _by_owner(*_within(keys, owners))

    def first_like(self, place: int) -> tuple[bytes, float] | None:
        """Return the name of the first kept document that one of the batch is like, and how much; None if none is."""
        one = self._batch[place]
        for number in self._stored.get(place, ()):
            other, name = Likeness.unpack(self._index.read(number))
            alike = similarity(one, other, self._threshold)
            if alike >= self._threshold:
                return name, alike
        for earlier in self._earlier.get(place, ()):
            if earlier in self._kept:
                alike = similarity(one, self._batch[earlier], self._threshold)
                if alike >= self._threshold:
                    return self._kept[earlier], alike
        return None

    def keep(self, place: int, name: bytes) -> None:
        """Say that a document of the batch stays, and what it is called."""
        self._kept[place] = name

    def write(self) -> None:
        """Put the batch's kept documents into the index."""
        if self._kept:
            kept = [self._batch[place] for place in self._kept]
            keys = np.frombuffer(b"".join(one.keys for one in kept), np.uint64)
            records = [one.pack(name) for one, name in zip(kept, self._kept.values(), strict=True)]
            self._index.add(records, keys, np.repeat(np.arange(len(kept)), BANDS))
        self._begin(())

    def save(self) -> dict[str, Any]:
        """Put the index on disk; return what names it. Call ``settled`` once that is committed."""
        return self._index.save()

    def settled(self) -> None:
        """Remove what the last ``save`` no longer needs."""
        self._index.settled()

    def close(self) -> None:
        """Close all files."""
        self._index.close()


def near_duplicates(
    texts: Iterable[str], *, threshold: float = THRESHOLD, folder: Path | None = None
) -> Iterator[tuple[int, int, float]]:
    """Yield each text that is like an earlier one: its place, the earlier one's, and their similarity.

    Args:
        texts: The texts; they are read a portion at a time.
        threshold: Jaccard similarity of n-grams from which two texts are near-duplicates.
        folder: For the index; a temporary one where left out.

    >>> rows = ["The quick brown fox jumps over the lazy dog near the old stone bridge today",
    ...         "敏捷的棕色狐狸跳过了懒狗", "The quick brown fox jumps over the lazy dog near the old stone bridge"]
    >>> [(place, of, round(alike, 2)) for place, of, alike in near_duplicates(rows)]
    [(2, 0, 0.93)]
    """
    with TemporaryDirectory() as own:
        index = NearDuplicates(folder or Path(own), threshold=threshold)
        try:
            yield from _found(index, iter(texts))
        finally:
            index.close()


# --- Parts --------------------------------------------------------------------------------------------


def _found(index: NearDuplicates, texts: Iterator[str]) -> Iterator[tuple[int, int, float]]:
    start = 0
    while portion := list(islice(texts, _AT_ONCE)):
        index.look_up(likenesses([tokenised(portion)], np.zeros(len(portion), np.uint64)))
        for place in range(len(portion)):
            found = index.first_like(place)
            if found is None:
                index.keep(place, str(start + place).encode())
            else:
                yield start + place, int(found[0]), found[1]
        index.write()
        start += len(portion)


def _within(keys: Hashes, owners: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[Any, Any]:
    """Return the pairs of a batch that share a key: (owner, an earlier owner), once for each key shared.

    Of those that share one key, each is paired with the first ones only.
    """
    ordered = np.sort((keys & ~_OWNER) | owners.astype(np.uint64))
    who, ordered = (ordered & _OWNER).astype(np.int64), ordered & ~_OWNER
    first = np.ones(len(ordered), np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    places = np.arange(len(ordered))
    starts = np.maximum.accumulate(np.where(first, places, 0))
    places = places[~first]
    later, earlier = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for offset in range(MOST_OF_A_KEY):
        places = places[starts[places] + offset < places]
        if not len(places):
            break
        later.append(who[places])
        earlier.append(who[starts[places] + offset])
    return np.concatenate(later), np.concatenate(earlier)


def _by_owner(owners: Any, candidates: Any) -> dict[int, list[int]]:
    """Return the candidates of each owner in reading order: of more than a bound, those that share most keys."""
    if not len(owners):
        return {}
    pairs, shared = np.unique(np.stack([owners, candidates], axis=1), axis=0, return_counts=True)
    found: dict[int, list[int]] = {}
    starts = np.flatnonzero(np.diff(pairs[:, 0], prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(pairs)], strict=True):
        some = pairs[start:end, 1]
        if len(some) > MOST_OF_A_KEY:
            best = np.lexsort((some, -shared[start:end]))[:MOST_OF_A_KEY]
            some = np.sort(some[best])
        found[int(pairs[start, 0])] = some.tolist()
    return found
