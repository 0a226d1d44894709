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
from instructforge.duplicates.minhash import BANDS, SHINGLES, THRESHOLD, band_keys
from instructforge.duplicates.shingles import Hashes, Tokens, ngrams, tokenised

__all__ = ["Likeness", "NearDuplicates", "likenesses", "near_duplicates", "similarity"]

_AT_ONCE = 4096
_GRAMS_HELD = 200_000
"""N-grams of kept documents that are held in memory: where texts follow a pattern, the same ones are asked for."""
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


class _Sets(NamedTuple):
    """A document's distinct n-grams, of each field, ready to be compared."""

    tag: int
    grams: tuple[frozenset[int], ...]

    @classmethod
    def of(cls, one: Likeness) -> _Sets:
        return cls(one.tag, tuple(frozenset(np.frombuffer(part, np.uint64).tolist()) for part in one.shingles))


def similarity(one: Likeness, other: Likeness, least: float = 0.0) -> float:
    """Return the Jaccard similarity of the field that is least alike; 0 as soon as one is below ``least``."""
    return _alike(_Sets.of(one), _Sets.of(other), least)


def _alike(one: _Sets, other: _Sets, least: float) -> float:
    if one.tag != other.tag:
        return 0.0
    lowest = 1.0
    for first, second in zip(one.grams, other.grams, strict=True):
        fewer, more = sorted((len(first), len(second)))
        if fewer < least * more:  # it cannot be more than this share, whatever they have in common
            return 0.0
        both = len(first & second)
        lowest = min(lowest, both / (fewer + more - both) if more else 1.0)
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
        self._recent: dict[int, tuple[_Sets, bytes]] = {}
        self._held = 0
        self._begin(())

    def _begin(self, batch: Sequence[Likeness]) -> None:
        self._batch = batch
        self._own: dict[int, _Sets] = {}
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
        stored = self._stored.get(place, ())
        earlier = [number for number in self._earlier.get(place, ()) if number in self._kept]
        if not stored and not earlier:
            return None
        one = self._sets_of(place)
        for number in stored:
            other, name = self._read(number)
            alike = _alike(one, other, self._threshold)
            if alike >= self._threshold:
                return name, alike
        for number in earlier:
            alike = _alike(one, self._sets_of(number), self._threshold)
            if alike >= self._threshold:
                return self._kept[number], alike
        return None

    def _sets_of(self, place: int) -> _Sets:
        """Return the n-grams of one of the batch."""
        found = self._own.get(place)
        if found is None:
            found = self._own[place] = _Sets.of(self._batch[place])
        return found

    def _read(self, number: int) -> tuple[_Sets, bytes]:
        """Return the n-grams of a kept document, and its name; the last ones that were asked for are at hand."""
        found = self._recent.pop(number, None)
        if found is None:
            other, name = Likeness.unpack(self._index.read(number))
            found = _Sets.of(other), name
            self._held += _size(found[0])
        self._recent[number] = found
        while self._held > _GRAMS_HELD:
            self._held -= _size(self._recent.pop(next(iter(self._recent)))[0])
        return found

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


def _size(sets: _Sets) -> int:
    return 1 + sum(map(len, sets.grams))


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
    packed, shared = np.unique((owners << 32) | candidates, return_counts=True)  # numbers have 30 bits
    who, numbers = packed >> 32, packed & 0xFFFFFFFF
    found: dict[int, list[int]] = {}
    starts = np.flatnonzero(np.diff(who, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(packed)], strict=True):
        some = numbers[start:end]
        if len(some) > MOST_OF_A_KEY:
            best = np.lexsort((some, -shared[start:end]))[:MOST_OF_A_KEY]
            some = np.sort(some[best])
        found[int(who[start])] = some.tolist()
    return found
