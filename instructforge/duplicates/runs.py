"""A set of 64-bit numbers on disk that grows by batches and is looked up by batches.

Numbers lie in sorted runs. New ones make a small run in memory; whenever a few runs of about one size stand side by
side, they are merged into one, on disk once it is large. So each number is rewritten a few times only, a look-up
searches a few runs, and memory stays the same however many there are. Runs are never changed: what is on disk at a
checkpoint is named by ``save``, and files that it does not name are left-overs of a crash.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from instructforge.duplicates.shingles import Hashes, Places

__all__ = ["SortedRuns"]

_WIDTH = 2, 4
"""Runs of about one size that are merged into one: in memory, and on disk."""
_IN_MEMORY = 1 << 20
"""Numbers of a run above which it lies on disk."""
_ASKED_AT_ONCE = 1 << 10
_MERGED_AT_ONCE = 1 << 20


@define
class _Run:
    values: Hashes
    name: str = ""
    mapped: mmap.mmap | None = field(default=None, repr=False)

    @property
    def kind(self) -> tuple[bool, int]:
        """Return where it lies, and the class of its length."""
        return bool(self.name), len(self.values).bit_length() // (2 if self.name else 1)

    def rest(self) -> None:
        """Give back the memory of pages that were read: they stay in the system's cache."""
        if self.mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.mapped.madvise(mmap.MADV_DONTNEED)


class SortedRuns:
    """The set.

    Args:
        folder: For the runs on disk; made where it is missing.
        state: What ``save`` returned at the checkpoint to go on from; None for an empty set.
    """

    def __init__(self, folder: Path, state: Mapping[str, Any] | None = None) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        state = state or {"runs": [], "next": 0}
        self._next: int = state["next"]
        kept = set(state["runs"])
        for path in folder.glob("run-*"):
            if path.name not in kept:
                path.unlink()
        self._runs = [self._opened(name) for name in state["runs"]]
        self._replaced: list[_Run] = []

    def add(self, values: Hashes) -> None:
        """Add numbers, in any order."""
        if len(values):
            self._runs.append(_Run(np.sort(values)))
            self._merge()

    def find(self, least: Hashes, most: Hashes, limit: int) -> tuple[Places, Hashes]:
        """Return the numbers from ``least[i]`` to ``most[i]``: for each the place ``i``, and the number.

        Of each range come at most ``limit``, the lowest. Places come in order, and numbers within a place.
        """
        order = np.argsort(least)
        found = [self._find_in(run, least[order], most[order], limit) for run in self._runs]
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.uint64)
        places = order[np.concatenate([part[0] for part in found])]
        numbers = np.concatenate([part[1] for part in found])
        order = np.lexsort((numbers, places))
        places, numbers = places[order], numbers[order]
        within = np.arange(len(places)) - np.searchsorted(places, places)
        return places[within < limit], numbers[within < limit]

    def save(self) -> dict[str, Any]:
        """Put everything on disk; return what names it. Call ``settled`` once that is committed."""
        small = [run for run in self._runs if not run.name]
        if small:
            self._runs = [run for run in self._runs if run.name]
            self._runs.append(self._written(small))
            self._merge(keep_on_disk=True)
        return {"runs": [run.name for run in self._runs], "next": self._next}

    def settled(self) -> None:
        """Remove the files that the last ``save`` no longer names."""
        for run in self._replaced:
            self._closed(run)
            (self._folder / run.name).unlink(missing_ok=True)
        self._replaced = []

    def close(self) -> None:
        """Close all files."""
        for run in (*self._runs, *self._replaced):
            self._closed(run)
        self._runs, self._replaced = [], []

    # --- Parts ----------------------------------------------------------------------------------------

    def _find_in(self, run: _Run, least: Hashes, most: Hashes, limit: int) -> tuple[Places, Hashes]:
        places, numbers = [], []
        step = _ASKED_AT_ONCE if run.name else len(least)
        for start in range(0, len(least), step or 1):
            low = np.searchsorted(run.values, least[start : start + step])
            bound = most[start : start + step]
            hit = np.flatnonzero(run.values[np.minimum(low, len(run.values) - 1)] <= bound)
            hit = hit[low[hit] < len(run.values)]
            low = low[hit]
            counts = np.minimum(np.searchsorted(run.values, bound[hit], side="right") - low, limit)
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            places.append(np.repeat(hit + start, counts))
            numbers.append(run.values[np.repeat(low, counts) + within])
            run.rest()
        if not places:
            return np.zeros(0, np.int64), np.zeros(0, np.uint64)
        return np.concatenate(places), np.concatenate(numbers)

    def _merge(self, *, keep_on_disk: bool = False) -> None:
        """Merge runs of about one size until there are fewer than ``_WIDTH`` of each."""
        while True:
            by_kind: dict[tuple[bool, int], list[_Run]] = {}
            for run in self._runs:
                by_kind.setdefault(run.kind, []).append(run)
            full = next((runs for kind, runs in by_kind.items() if len(runs) >= _WIDTH[kind[0]]), None)
            if full is None:
                return
            total = sum(len(run.values) for run in full)
            on_disk = keep_on_disk or total > _IN_MEMORY
            merged = self._written(full) if on_disk else _Run(np.sort(np.concatenate([run.values for run in full])))
            self._replaced += [run for run in full if run.name]
            self._runs = [run for run in self._runs if all(run is not one for one in full)]
            self._runs.append(merged)

    def _written(self, runs: Sequence[_Run]) -> _Run:
        """Merge runs into one on disk, a stretch of the numbers at a time."""
        name = f"run-{self._next:06d}"
        self._next += 1
        with (self._folder / name).open("wb") as handle:
            for stretch in _stretches(runs):
                handle.write(stretch.tobytes())
            handle.flush()
            os.fsync(handle.fileno())
        return self._opened(name)

    def _opened(self, name: str) -> _Run:
        with (self._folder / name).open("rb") as handle:
            mapped = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        return _Run(np.frombuffer(mapped, np.uint64), name, mapped)

    def _closed(self, run: _Run) -> None:
        run.values = np.zeros(0, np.uint64)
        if run.mapped is not None:
            run.mapped.close()


def _stretches(runs: Sequence[_Run]) -> Iterator[NDArray[np.uint64]]:
    """Yield the numbers of all runs in order. They are hashes, so that equal stretches hold about equally many."""
    total = sum(len(run.values) for run in runs)
    parts = max(1, -(-total // _MERGED_AT_ONCE))
    bounds = [number * ((1 << 64) // parts) for number in range(1, parts)]
    places = [[0, *np.searchsorted(run.values, np.array(bounds, np.uint64)).tolist(), len(run.values)] for run in runs]
    for part in range(parts):
        slices = [run.values[at[part] : at[part + 1]] for run, at in zip(runs, places, strict=True)]
        yield np.sort(np.concatenate(slices))
        for run in runs:
            run.rest()
