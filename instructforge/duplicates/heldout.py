"""The overlap of a build: hashes of all rows on disk, by buckets, until those of training are held against the rest.

Hashes fall into buckets by their upper bits as they are written. At the end each bucket of held-out hashes is looked
for in the bucket of training hashes that belongs to it, so that everything is read once, and a few megabytes at a time
are in memory, however many rows there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from instructforge.duplicates.documents import Journal
from instructforge.duplicates.overlap import SLOTS, Keys, Marked, Overlap, Sought, columns, slots_of, training_hashes
from instructforge.duplicates.shingles import Hashes, Places

__all__ = ["OverlapJournals"]

TRAIN = "train"
_BUCKETS = 16
_SHIFT = np.uint64(60)
_ROWS = 1 << 18
"""Held-out rows whose marks are in memory at once."""
_PAIRS = 1 << 19
"""Held-out hashes that are looked for at once."""
_BLOCK = 1 << 19
"""Training hashes that are read at once."""


class OverlapJournals:
    """Takes in training and held-out rows, and measures at the end.

    Args:
        folder: For the journals.
        names: The compared fields.
        held_out: The splits whose rows are looked for in training.
        state: What ``save`` returned at the checkpoint to go on from; None at the beginning.
    """

    def __init__(
        self, folder: Path, names: tuple[str, ...], held_out: Sequence[str], state: Mapping[str, Any] | None
    ) -> None:
        lengths = dict(state or {})
        self._names, self._held_out = names, tuple(held_out)
        self._rows: dict[str, int] = {split: lengths.pop(f"{split} rows", 0) for split in held_out}
        files = [f"{side}-{bucket:02d}" for side in (TRAIN, *held_out) for bucket in range(_BUCKETS)]
        files += [f"{split}.{part}" for split in held_out for part in ("heads", "ids")]
        self._files = {name: Journal(folder / name, lengths.get(name, 0)) for name in files}
        self._waiting: dict[str, list[tuple[str, Keys]]] = {}

    def keep(self, split: str, id: str, keys: Keys) -> None:
        """Take in a row."""
        self._waiting.setdefault(split, []).append((id, keys))

    def write(self) -> None:
        """Put the rows that were taken in on disk."""
        for split, rows in self._waiting.items():
            if split == TRAIN:
                hashes = training_hashes([keys for _, keys in rows], len(self._names))
                self._append(TRAIN, hashes, hashes)
            else:
                self._write_held_out(split, rows)
        self._waiting = {}

    def _write_held_out(self, split: str, rows: Sequence[tuple[str, Keys]]) -> None:
        heads, grams = (b"".join(part) for part in zip(*(keys for _, keys in rows), strict=True))
        marked = Marked(heads, len(self._names))
        hashes = np.concatenate([marked.hashed.ravel(), np.frombuffer(grams, np.uint64)])
        pairs = np.stack([hashes, slots_of(marked, self._rows[split])], axis=1)[hashes != 0]
        pairs = pairs[np.argsort(pairs[:, 1])]  # rows in their order, also within a bucket
        self._append(split, pairs[:, 0], pairs)
        names = [id.encode("utf-8", "surrogatepass") for id, _ in rows]
        sizes = np.array([len(name) for name in names], np.uint64)
        table = np.frombuffer(heads, np.uint64).reshape(len(rows), -1)
        self._files[f"{split}.heads"].append(np.concatenate([sizes[:, None], table], axis=1).tobytes())
        self._files[f"{split}.ids"].append(b"".join(names))
        self._rows[split] += len(rows)

    def _append(self, side: str, hashes: Hashes, what: Hashes) -> None:
        """Put each hash, or what goes with it, into its bucket; within a bucket the order stays."""
        buckets = (hashes >> _SHIFT).astype(np.int64)
        ordered = what[np.argsort(buckets, kind="stable")]
        ends = np.cumsum(np.bincount(buckets, minlength=_BUCKETS)).tolist()
        for bucket, (start, end) in enumerate(pairwise([0, *ends])):
            if end > start:
                self._files[f"{side}-{bucket:02d}"].append(ordered[start:end].tobytes())

    def save(self) -> dict[str, int]:
        """Put everything on disk; return the lengths to go on from."""
        rows = {f"{split} rows": count for split, count in self._rows.items()}
        return {name: file.save() for name, file in self._files.items()} | rows

    def settled(self) -> None:
        """Nothing is left over: the files only grow."""

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()

    # --- The end --------------------------------------------------------------------------------------

    def measure(self, train: int, tell: Callable[[int, int], None]) -> dict[str, Any]:
        """Return the overlap of each held-out split with the training rows.

        Args:
            train: How many training rows there are.
            tell: Told how many bytes are done with, and of how many.
        """
        total = sum(file.length for name, file in self._files.items() if not name.startswith(TRAIN))
        done, found = 0, {}
        for split in self._held_out:
            counts = Overlap(self._names)
            at = [0] * _BUCKETS
            for first, marked, ids, size in self._windows(split):
                done += size
                for bucket in range(_BUCKETS):
                    read = self._look_for(split, bucket, at[bucket], first, marked)
                    at[bucket], done = at[bucket] + read, done + read
                    tell(done, total)
                counts.add(marked, ids)
            found[split] = counts.to_json(train)
        return found

    def _look_for(self, split: str, bucket: int, at: int, first: int, marked: Marked) -> int:
        """Look for the hashes of some rows in a bucket; return how many bytes of the bucket these are."""
        file, start = self._files[f"{split}-{bucket:02d}"], at
        last = np.uint64((first + len(marked.hashed)) * SLOTS)
        while block := file.read(at, 16 * _PAIRS):
            pairs = np.frombuffer(block, np.uint64).reshape(-1, 2)
            pairs = pairs[: int(np.searchsorted(pairs[:, 1] >= last, True))]
            if not len(pairs):
                break
            sought = Sought(pairs[:, 0])
            for hashes in self._training(bucket):
                sought.look_at(hashes)
            marked.see(pairs[sought.found, 1] - np.uint64(first * SLOTS))
            at += pairs.nbytes
        return at - start

    def _training(self, bucket: int) -> Iterator[Hashes]:
        file = self._files[f"{TRAIN}-{bucket:02d}"]
        for start in range(0, file.length, 8 * _BLOCK):
            yield np.frombuffer(file.read(start, 8 * _BLOCK), np.uint64)

    def _windows(self, split: str) -> Iterator[tuple[int, Marked, list[str], int]]:
        """Yield the held-out rows by portions: number of the first, marks, ids, and the bytes read."""
        heads, ids = self._files[f"{split}.heads"], self._files[f"{split}.ids"]
        width = 1 + columns(len(self._names))
        at = at_ids = first = 0
        while block := heads.read(at, 8 * width * _ROWS):
            table: Hashes = np.frombuffer(block, np.uint64).reshape(-1, width)
            sizes: Places = np.cumsum(table[:, 0]).astype(np.int64)
            names = ids.read(at_ids, int(sizes[-1]))
            texts = [names[s:e].decode("utf-8", "surrogatepass") for s, e in pairwise([0, *sizes.tolist()])]
            yield first, Marked(table[:, 1:].tobytes(), len(self._names)), texts, len(block) + len(names)
            at, at_ids, first = at + len(block), at_ids + len(names), first + len(table)
