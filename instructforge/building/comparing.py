"""Rows compared with each other while they are built: duplicates, near-duplicates, test rows found in training.

Workers make each row's marks (``Marker``); the driver, in the order of reading, asks for each row whether it is like
an earlier one or a held-out one (``Comparisons``). All that grows with the data is on disk, beside the build's state,
and is part of its checkpoints.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from attrs import frozen

from instructforge.building.settings import BuildSettings
from instructforge.duplicates.documents import DocumentIndex
from instructforge.duplicates.examples import Compared
from instructforge.duplicates.heldout import OverlapJournals
from instructforge.duplicates.near import Likeness, NearDuplicates, likenesses
from instructforge.duplicates.overlap import Keys, keys_of
from instructforge.duplicates.shingles import token_counts

if TYPE_CHECKING:
    from instructforge.building.making import Outcome
    from instructforge.data import Example, Origin

__all__ = ["Comparisons", "Marker", "Marks", "Verdict", "name_of"]

TRAIN = "train"


class Marks(NamedTuple):
    """What a row is compared by; parts that nobody asks for are None."""

    near: Likeness | None = None
    keys: Keys | None = None
    lengths: tuple[int, ...] = ()
    """Tokens of each compared text."""


@frozen
class Marker:
    """Makes the marks of rows; what workers run.

    Attributes:
        compared: What of an example is compared.
        near: Whether near-duplicates are looked for.
        overlap: Whether held-out rows are looked for in training.
    """

    compared: Compared
    near: bool
    overlap: bool

    def marks(self, examples: Sequence[Example]) -> list[Marks]:
        """Return the marks of examples."""
        if not examples:
            return []
        if not (self.near or self.overlap):
            lengths = [token_counts(texts) for texts in self.compared.texts(examples)]
            return [Marks(None, None, own) for own in zip(*(part.tolist() for part in lengths), strict=True)]
        read = self.compared.read(examples)
        nothing = [None] * len(examples)
        near = likenesses(read.fields, read.tags) if self.near else nothing
        keys = keys_of(self.compared, read) if self.overlap else nothing
        lengths = [np.diff(tokens.ends, prepend=0) for tokens in read.fields]
        return list(map(Marks, near, keys, zip(*(part.tolist() for part in lengths), strict=True)))


@frozen
class Verdict:
    """Why a row is left out.

    Attributes:
        reason: ``same-content``, ``near-duplicate`` or ``contaminated``.
        of: The JSON of the row that it is like.
        similarity: How much, for a near-duplicate.
    """

    reason: str
    of: bytes
    similarity: float | None = None

    def entry(self, id: str, origin: Origin, split: str) -> bytes:
        """Return the line of the file of duplicates, without its line end."""
        own = {"id": id, **origin.to_json(), "split": split}
        alike = None if self.similarity is None else round(self.similarity, 4)
        return orjson.dumps(
            {**own, "reason": self.reason, "similarity": alike, "of": orjson.Fragment(self.of)},
            option=orjson.OPT_SORT_KEYS,
        )


def name_of(id: str, origin: Origin, split: str) -> bytes:
    """Return a row's name in the file of duplicates."""
    return orjson.dumps({"id": id, **origin.to_json(), "split": split}, option=orjson.OPT_SORT_KEYS)


class Comparisons:
    """Compares rows in the order of reading. A batch is looked up, its rows are judged one by one, then it is written.

    Args:
        folder: For the indexes.
        compared: What of an example is compared.
        settings: The build's settings.
        held_out: The splits whose rows are looked for in training; none where that is not asked for.
        state: What ``save`` returned at the checkpoint to go on from; None at the beginning.
    """

    def __init__(
        self,
        folder: Path,
        compared: Compared,
        settings: BuildSettings,
        held_out: Sequence[str],
        state: Mapping[str, Any] | None,
    ) -> None:
        state = state or {}
        self._contents = _Contents(folder / "contents", state.get("contents")) if settings.dedup else None
        self._near: NearDuplicates | None = None
        if settings.dedup == "near":
            self._near = NearDuplicates(folder / "near", state.get("near"), threshold=settings.dedup_threshold)
        self._clean: _Clean | None = None
        if settings.decontaminate:
            self._clean = _Clean(folder / "clean", settings.decontaminate, state.get("clean"))
        self._seen: OverlapJournals | None = None
        if held_out:
            self._seen = OverlapJournals(folder / "overlap", compared.names, held_out, state.get("overlap"))
        self._parts: dict[str, Any] = {
            name: part
            for name, part in (
                ("contents", self._contents),
                ("near", self._near),
                ("clean", self._clean),
                ("overlap", self._seen),
            )
            if part is not None
        }
        self._places: dict[int, int] = {}

    # --- A batch --------------------------------------------------------------------------------------

    def look_up(self, batch: Sequence[Outcome]) -> None:
        """Look a batch of built rows up in what was read before."""
        self._places = {id(outcome): place for place, outcome in enumerate(batch)}
        marks = [outcome.marks or Marks() for outcome in batch]
        if self._contents is not None:
            self._contents.look_up([outcome.content for outcome in batch])
        if self._near is not None:
            self._near.look_up([one.near for one in marks if one.near is not None])
        if self._clean is not None:
            self._clean.look_up(
                [None if _split(one) != TRAIN else mark.keys for one, mark in zip(batch, marks, strict=True)]
            )

    def verdict(self, outcome: Outcome) -> Verdict | None:
        """Return why a row of the batch is left out, or None."""
        if self._contents is None and self._clean is None:
            return None
        place = self._places[id(outcome)]
        if self._contents is not None and (name := self._contents.name(outcome.content)):
            return Verdict("same-content", name)
        if self._near is not None and (found := self._near.first_like(place)):
            return Verdict("near-duplicate", found[0], found[1])
        if self._clean is not None and (name := self._clean.name(place)):
            return Verdict("contaminated", name)
        return None

    def keep(self, outcome: Outcome, origin: Origin) -> None:
        """Say that a row of the batch stays."""
        if self._contents is not None:
            name = name_of(outcome.id, origin, _split(outcome))
            self._contents.keep(outcome.content, name)
            if self._near is not None:
                self._near.keep(self._places[id(outcome)], name)
        if self._seen is not None and outcome.marks is not None and outcome.marks.keys is not None:
            self._seen.keep(_split(outcome), outcome.id, outcome.marks.keys)

    def hold_out(self, names: Sequence[bytes], keys: Sequence[Keys]) -> None:
        """Take in rows that training must not hold."""
        assert self._clean is not None
        self._clean.add(names, keys)

    def write(self) -> None:
        """Put the rows of the batch that stay into the indexes."""
        for part in (self._contents, self._near, self._seen):
            if part is not None:
                part.write()
        self._places = {}

    # --- Checkpoints and the end ----------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Put everything on disk; return what names it. Call ``settled`` once that is committed."""
        return {name: part.save() for name, part in self._parts.items()}

    def settled(self) -> None:
        """Remove what the last ``save`` no longer needs."""
        for part in self._parts.values():
            part.settled()

    def close(self) -> None:
        """Close all files."""
        for part in self._parts.values():
            part.close()

    def overlap(self, train: int, tell: Callable[[int, int], None]) -> dict[str, Any] | None:
        """Return for each held-out split how many of its rows occur in training."""
        return None if self._seen is None or not train else self._seen.measure(train, tell)


def _split(outcome: Outcome) -> str:
    return outcome.built[0].split


# --- The same content ---------------------------------------------------------------------------------


class _Contents:
    """Rows by the hash of their content."""

    def __init__(self, folder: Path, state: Mapping[str, Any] | None) -> None:
        self._index = DocumentIndex(folder, state)
        self.save, self.settled, self.close = self._index.save, self._index.settled, self._index.close
        self._known: dict[bytes, bytes] = {}
        self._new: dict[bytes, bytes] = {}

    def look_up(self, contents: Sequence[bytes]) -> None:
        self._known, self._new = {}, {}
        keys = np.array([int.from_bytes(one[:8], "little") for one in contents], np.uint64)
        for place, number in zip(*self._index.find(keys, np.arange(len(keys))), strict=True):
            record = self._index.read(int(number))
            if record[:16] == contents[place]:
                self._known.setdefault(contents[place], record[16:])

    def name(self, content: bytes) -> bytes | None:
        return self._known.get(content) or self._new.get(content)

    def keep(self, content: bytes, name: bytes) -> None:
        self._new[content] = name

    def write(self) -> None:
        if self._new:
            keys = np.array([int.from_bytes(one[:8], "little") for one in self._new], np.uint64)
            self._index.add([content + name for content, name in self._new.items()], keys, np.arange(len(keys)))
        self._known, self._new = {}, {}


# --- Rows that training must not hold -----------------------------------------------------------------


class _Clean:
    """Held-out rows by what a training row must not share with them.

    Args:
        folder: For the index.
        kind: ``exact``, ``normalised`` or ``ngram``.
        state: What ``save`` returned.
    """

    def __init__(self, folder: Path, kind: str, state: Mapping[str, Any] | None) -> None:
        self._kind, self._index = kind, DocumentIndex(folder, state)
        self.save, self.settled, self.close = self._index.save, self._index.settled, self._index.close
        self._names: dict[int, bytes] = {}

    def _hashes(self, keys: Keys) -> bytes:
        if self._kind == "exact":
            return keys.head[:8]
        return keys.head[8:16] if self._kind == "normalised" else keys.head[8:16] + keys.grams

    def add(self, names: Sequence[bytes], keys: Sequence[Keys]) -> None:
        hashes = [np.unique(np.frombuffer(self._hashes(one), np.uint64)) for one in keys]
        records = [struct.pack("<I", len(own)) + own.tobytes() + name for own, name in zip(hashes, names, strict=True)]
        owners = np.repeat(np.arange(len(records)), [len(own) for own in hashes])
        if records:
            self._index.add(records, np.concatenate(hashes), owners)

    def look_up(self, batch: Sequence[Keys | None]) -> None:
        """Find for each training row of a batch the first held-out row with which it shares something."""
        self._names = {}
        hashes = {place: self._hashes(keys) for place, keys in enumerate(batch) if keys is not None}
        owners = np.repeat(list(hashes), [len(own) // 8 for own in hashes.values()]).astype(np.int64)
        asked = np.frombuffer(b"".join(hashes.values()), np.uint64)
        for place, number in _once(*self._index.find(asked, owners)):
            if place not in self._names and (name := self._shared(hashes[place], self._index.read(number))):
                self._names[place] = name

    def _shared(self, hashes: bytes, record: bytes) -> bytes:
        (count,) = struct.unpack_from("<I", record)
        held = np.frombuffer(record, np.uint64, count, 4)
        return record[4 + 8 * count :] if np.isin(np.frombuffer(hashes, np.uint64), held).any() else b""

    def name(self, place: int) -> bytes | None:
        return self._names.get(place)


def _once(owners: Any, numbers: Any) -> Iterator[tuple[int, int]]:
    """Yield ordered pairs, each once."""
    before = None
    for pair in zip(owners.tolist(), numbers.tolist(), strict=True):
        if pair != before:
            yield pair
        before = pair
