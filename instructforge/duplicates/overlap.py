"""Overlap of held-out rows with training rows, measured in one way wherever it is shown.

A held-out row is *exact* where a training row has the same inputs; *normalised* where it has the same but for case,
width, spaces and punctuation; *with answer* where that row also has the same answer; *same source* where a training
row comes from the same passage or the like. Beside whole rows, n-grams are compared: of 13 words, or of 20 characters
in scripts without spaces. ``any``: one n-gram of the row or field occurs in training; ``most``: at least half of them
do. Texts shorter than an n-gram have none and are not counted there; ``whole`` says whether a field's text stands as
a whole field in some training row, and counts short ones too.

Everything is a 64-bit hash: that two of a hundred million different texts share one has a probability below 1 in 3,000.

Source: 13-grams as in Brown et al. 2020, appendix C.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from attrs import Factory, define
from numpy.typing import NDArray

from instructforge.duplicates.examples import ANSWER, Compared, Read, hash_of, text_of
from instructforge.duplicates.shingles import Hashes, Size, mixed, ngrams, tokenised

__all__ = [
    "GRAMS",
    "MOST",
    "HeldOut",
    "Keys",
    "Marked",
    "Overlap",
    "Sought",
    "columns",
    "heads_of",
    "keys_of",
    "slots_of",
    "training_hashes",
]

GRAMS = Size(words=13, characters=20)
MOST = 0.5
"""Share of a text's n-grams from which most of it counts as seen."""

_ROW = ("exact", "normalised", "with_answer", "same_source")
_SHOWN = 5
SLOTS = 256
"""More than the hashes and fields that a row has: the row's number times this, plus the place in the row, is a slot."""
_SHIFT, _BITS = 34, 24
_MAY = np.uint64((1 << _BITS) - 1)
"""The bits of a hash by which most hashes of training rows are passed over at once."""


class Keys(NamedTuple):
    """What a row is compared by.

    Attributes:
        head: Hashes of the whole row, one for each of exact, normalised, with answer and source; then of each compared
            field as a whole; then the number of n-grams of each. 0 stands for what a row does not have.
        grams: The n-grams, field after field.
    """

    head: bytes
    grams: bytes

    @property
    def exact(self) -> int:
        return int.from_bytes(self.head[:8], "little")

    @property
    def normalised(self) -> int:
        return int.from_bytes(self.head[8:16], "little")


def keys_of(compared: Compared, read: Read) -> list[Keys]:
    """Return what examples are compared by."""
    if not read.examples:
        return []
    grams = [ngrams(tokens, GRAMS, whole_if_short=False) for tokens in read.fields]
    wholes = [_salted(tokens.bare, "whole") for tokens in read.fields]
    heads = np.stack([*_rows(compared, read), *wholes, *(part.counts.astype(np.uint64) for part in grams)], axis=1)
    size, flat = 8 * heads.shape[1], heads.tobytes()
    own = [flat[start : start + size] for start in range(0, len(flat), size)]
    long = [part for part in grams if len(part.hashes)]
    if not long:  # texts are short: none has an n-gram
        return [Keys(head, b"") for head in own]
    packed = [(part.hashes.tobytes(), [0, *(8 * part.ends).tolist()]) for part in long]
    cut = [[whole[start:end] for start, end in pairwise(ends)] for whole, ends in packed]
    return list(map(Keys, own, cut[0] if len(cut) == 1 else map(b"".join, zip(*cut, strict=True))))


def training_hashes(keys: Iterable[Keys], fields: int) -> Hashes:
    """Return everything of training rows that a held-out row may share: without zeros and counts."""
    found = list(keys)
    heads = heads_of(b"".join(one.head for one in found), fields)[:, : len(_ROW) + fields].ravel()
    return np.concatenate([heads[heads != 0], np.frombuffer(b"".join(one.grams for one in found), np.uint64)])


def columns(fields: int) -> int:
    """Return how many numbers a ``head`` has."""
    return len(_ROW) + 2 * fields


@define
class Overlap:
    """How many held-out rows occur in training; parts are added up with ``add``."""

    names: tuple[str, ...]
    rows: int = 0
    whole_row: dict[str, int] = Factory(lambda: dict.fromkeys(_ROW, 0))
    grams: dict[str, int] = Factory(lambda: dict.fromkeys(("rows", "any", "most"), 0))
    fields: dict[str, dict[str, int]] = Factory(dict)
    seen: list[str] = Factory(list)
    """The ids of a few rows that are normalised."""

    def add(self, held: Marked, ids: Sequence[str]) -> None:
        """Count the rows of one portion."""
        self.rows += len(ids)
        for place, name in enumerate(_ROW):
            self.whole_row[name] += int(held.row_seen[:, place].sum())
        _add_grams(self.grams, held.counts.sum(axis=1), held.seen_counts.sum(axis=1))
        for place, name in enumerate(self.names):
            part = self.fields.setdefault(name, dict.fromkeys(("rows", "whole", "ngram_rows", "any", "most"), 0))
            part["rows"] += int(held.present[:, place].sum())
            part["whole"] += int(held.whole_seen[:, place].sum())
            own = dict.fromkeys(("rows", "any", "most"), 0)
            _add_grams(own, held.counts[:, place], held.seen_counts[:, place])
            part["ngram_rows"] += own["rows"]
            part["any"] += own["any"]
            part["most"] += own["most"]
        self.seen += [ids[place] for place in np.flatnonzero(held.row_seen[:, 1])[: _SHOWN - len(self.seen)].tolist()]

    def to_json(self, train: int) -> dict[str, Any]:
        """Return the figures, beside the number of training rows that were looked at."""
        return {
            "train": train,
            "test": self.rows,
            **self.whole_row,
            "ngrams": {"words": GRAMS.words, "characters": GRAMS.characters, **self.grams},
            "fields": self.fields,
            "examples": self.seen,
        }


class Marked:
    """Held-out rows, and what of them was seen in training.

    Args:
        heads: The ``head`` of each row, one after the other.
        fields: Number of compared fields.

    Shapes:
        N rows, F fields. hashed: (N, 4 + F); row_seen: (N, 4); present, whole_seen, counts, seen_counts: (N, F).
    """

    def __init__(self, heads: bytes, fields: int) -> None:
        table = heads_of(heads, fields)
        self.hashed = table[:, : len(_ROW) + fields]
        self.present: NDArray[np.bool_] = self.hashed[:, len(_ROW) :] != 0
        self.counts: NDArray[np.int64] = table[:, len(_ROW) + fields :].astype(np.int64)
        self._flags = np.zeros(self.hashed.shape, np.bool_)
        self.seen_counts = np.zeros(self.counts.shape, np.int64)

    @property
    def row_seen(self) -> NDArray[np.bool_]:
        """Return whether each row as a whole was seen: exact, normalised, with answer, source."""
        return self._flags[:, : len(_ROW)]

    @property
    def whole_seen(self) -> NDArray[np.bool_]:
        """Return whether each field as a whole was seen."""
        return self._flags[:, len(_ROW) :]

    def see(self, slots: Hashes) -> None:
        """Mark what was seen: of each hash its slot, as ``slots_of`` gives it."""
        wide = self.hashed.shape[1]
        rows, columns = np.divmod(slots, np.uint64(SLOTS))
        whole = columns < wide
        self._flags[rows[whole], columns[whole]] = True
        fields = self.counts.shape[1]
        places = rows[~whole] * np.uint64(fields) + columns[~whole] - np.uint64(wide)
        self.seen_counts += np.bincount(places.astype(np.int64), minlength=self.counts.size).reshape(self.counts.shape)


def slots_of(marked: Marked, first: int = 0) -> Hashes:
    """Return, for each hash of some rows (their ``hashed``, then their n-grams), which of which row it is.

    Args:
        marked: The rows.
        first: Number of the first of them.
    """
    rows, wide = marked.hashed.shape
    numbers = (first + np.arange(rows, dtype=np.uint64)) * np.uint64(SLOTS)
    whole = numbers[:, None] + np.arange(wide, dtype=np.uint64)
    grams = numbers[:, None] + np.uint64(wide) + np.arange(wide - len(_ROW), dtype=np.uint64)
    return np.concatenate([whole.ravel(), np.repeat(grams.ravel(), marked.counts.ravel())])


class Sought:
    """Hashes that are looked for among those of training rows, which come by portions.

    Args:
        hashes: What is looked for, in any order.
    """

    def __init__(self, hashes: Hashes) -> None:
        self._distinct, self._places = np.unique(hashes, return_inverse=True)
        self._found = np.zeros(len(self._distinct), np.bool_)
        self._may = np.zeros(1 << _BITS, np.bool_)
        self._may[self._distinct >> np.uint64(_SHIFT) & _MAY] = True

    def look_at(self, hashes: Hashes) -> None:
        """Mark what occurs among the hashes of training rows."""
        if not len(self._distinct):
            return
        some = hashes[self._may[hashes >> np.uint64(_SHIFT) & _MAY]]
        places = np.minimum(np.searchsorted(self._distinct, some), len(self._distinct) - 1)
        self._found[places[self._distinct[places] == some]] = True

    @property
    def found(self) -> NDArray[np.bool_]:
        """Return for each hash, in the order given, whether it occurs."""
        return self._found[self._places]


class HeldOut(Marked):
    """Held-out rows that are looked for in training, all in memory.

    Args:
        heads: The ``head`` of each row, one after the other.
        grams: Their ``grams``, likewise.
        fields: Number of compared fields.
    """

    def __init__(self, heads: bytes, grams: bytes, fields: int) -> None:
        super().__init__(heads, fields)
        self._hashes = np.concatenate([self.hashed.ravel(), np.frombuffer(grams, np.uint64)])
        self._sought = Sought(self._hashes)

    def look_at(self, hashes: Hashes) -> None:
        """Look at the hashes of training rows."""
        self._sought.look_at(hashes)

    def settle(self) -> None:
        """Work out for each row what of it was seen, once all of training was looked at."""
        self.see(slots_of(self)[self._sought.found & (self._hashes != 0)])


# --- Parts --------------------------------------------------------------------------------------------


def heads_of(packed: bytes, fields: int) -> Hashes:
    """Return packed heads as a table, a row for each."""
    return np.frombuffer(packed, np.uint64).reshape(-1, columns(fields))


def _rows(compared: Compared, read: Read) -> list[Hashes]:
    """Return the hashes of whole rows: exact, normalised, with answer, source."""
    exact = np.array([hash_of(dict(one.inputs)) for one in read.examples], np.uint64)
    bare = {name: tokens.bare for name, tokens in zip(compared.names, read.fields, strict=True)}
    for name in compared.others:
        bare[name] = tokenised([text_of(one.inputs.get(name)) for one in read.examples]).bare
    normalised = np.zeros(len(exact), np.uint64)
    for name in sorted(bare.keys() - {ANSWER}):
        normalised = mixed(normalised ^ _salted(bare[name], name))
    answers = read.tags if compared.closed else bare.pop(ANSWER)
    nothing = np.all([hashes == 0 for hashes in bare.values()], axis=0)  # punctuation alone, such as "?!" and "..."
    normalised = np.where(nothing, exact, normalised)
    groups = np.array([hash_of(["group", one.group]) if one.group else 0 for one in read.examples], np.uint64)
    return [_salted(exact, "exact"), _salted(normalised, "normalised"), mixed(normalised ^ mixed(answers)), groups]


def _salted(hashes: Hashes, kind: str) -> Hashes:
    """Return hashes of one kind, which are equal to none of another kind; 0 stays 0."""
    return np.where(hashes == 0, hashes, mixed(hashes ^ np.uint64(hash_of(kind))))


def _add_grams(counts: dict[str, int], grams: NDArray[np.int64], seen: NDArray[np.int64]) -> None:
    counts["rows"] += int((grams > 0).sum())
    counts["any"] += int((seen > 0).sum())
    counts["most"] += int(((seen >= MOST * grams) & (grams > 0)).sum())
