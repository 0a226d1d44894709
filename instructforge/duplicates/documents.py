"""Documents on disk, found by the keys that they share: bands of a MinHash, n-grams, hashes of the whole.

A key is kept by its upper 34 bits, beside the 30 bits of its document's number: what is found is a candidate, and the
document's record says whether it is one in truth. The records lie one after another in a file that only grows; a crash
leaves a tail that the next start cuts off.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from instructforge.duplicates.runs import SortedRuns
from instructforge.duplicates.shingles import Hashes, Places
from instructforge.errors import InstructForgeError

__all__ = ["DocumentIndex", "Journal"]

_NUMBER_BITS = 30
_NUMBER = np.uint64((1 << _NUMBER_BITS) - 1)
MOST_OF_A_KEY = 64
"""Documents looked at of those that share one key, the first ones: a key that all documents share tells nothing."""


class Journal:
    """A file of bytes that only grows, cut back to the length of the last checkpoint when it is opened."""

    def __init__(self, path: Path, length: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._handle, length)
        self.length = self._safe = length

    def append(self, packed: bytes) -> None:
        view = memoryview(packed)
        while view:
            written = os.pwrite(self._handle, view, self.length)
            view, self.length = view[written:], self.length + written

    def read(self, start: int, size: int) -> bytes:
        """Return a stretch of the file, shorter at its end."""
        return os.pread(self._handle, min(size, self.length - start), start)

    def save(self) -> int:
        """Put everything on disk; return the length to go on from."""
        if self.length != self._safe:
            os.fsync(self._handle)
            self._safe = self.length
        return self.length

    def close(self) -> None:
        os.close(self._handle)


class DocumentIndex:
    """Documents by their keys.

    Args:
        folder: Where it lies.
        state: What ``save`` returned at the checkpoint to go on from; None for an empty one.
    """

    def __init__(self, folder: Path, state: Mapping[str, Any] | None = None) -> None:
        state = state or {"count": 0, "records": 0, "runs": None}
        self.count: int = state["count"]
        self._keys = SortedRuns(folder, state["runs"])
        self._records = Journal(folder / "records", state["records"])
        self._ends = Journal(folder / "ends", 8 * self.count)

    def add(self, records: Sequence[bytes], keys: Hashes, owners: Places) -> None:
        """Add documents.

        Args:
            records: What ``read`` gives back for each.
            keys: All their keys.
            owners: For each key, the place of its document among ``records``.

        Raises:
            InstructForgeError: There are more documents than can be told apart.
        """
        if self.count + len(records) > int(_NUMBER):
            raise InstructForgeError(
                f"{self.count + len(records)} rows are too many to look for duplicates among.\n"
                f"The most is {int(_NUMBER)} in one build.\nBuild in parts, or without the search."
            )
        self._keys.add((keys & ~_NUMBER) | (owners + self.count).astype(np.uint64))
        ends = self._records.length + np.cumsum([len(record) for record in records], dtype=np.uint64)
        self._records.append(b"".join(records))
        self._ends.append(ends.tobytes())
        self.count += len(records)

    def find(self, keys: Hashes, owners: Places) -> tuple[Places, Places]:
        """Return candidates for the ``owners`` of keys: pairs (owner, number of a document), once for each key shared.

        Pairs come in order of owner, then number.
        """
        places, found = self._keys.find(keys & ~_NUMBER, keys | _NUMBER, MOST_OF_A_KEY)
        numbers = (found & _NUMBER).astype(np.int64)
        asked = owners[places]
        order = np.lexsort((numbers, asked))
        return asked[order], numbers[order]

    def read(self, number: int) -> bytes:
        """Return the record of a document."""
        first = 8 * (number - 1) if number else 0
        ends = np.frombuffer(self._ends.read(first, 16 if number else 8), np.uint64).tolist()
        start, end = ends if number else (0, ends[0])
        return self._records.read(start, end - start)

    def save(self) -> dict[str, Any]:
        """Put everything on disk; return what names it. Call ``settled`` once that is committed."""
        self._ends.save()
        return {"count": self.count, "records": self._records.save(), "runs": self._keys.save()}

    def settled(self) -> None:
        """Remove what the last ``save`` no longer needs."""
        self._keys.settled()

    def close(self) -> None:
        """Close all files."""
        for part in (self._keys, self._records, self._ends):
            part.close()
