"""How far a build has read, in bytes of its files: what a progress bar can promise.

A reader of text opens its file through ``readers.opening``, where the file is noted, and its place in the file is
how far it is, packed or not. A reader that knows the number of records says so (``records``), and counts by these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from instructforge.building.inputs import Input

__all__ = ["Position"]


class Position:
    """Tells how far the inputs are read.

    Args:
        inputs: The inputs, which are read one after another.
        opened: The files that their readers open, as they are opened.
        limit: Examples to build of each input.
    """

    def __init__(self, inputs: Sequence[Input], opened: list[Any], limit: int | None = None) -> None:
        self._inputs, self._opened, self._limit = inputs, opened, limit
        self._place = -1

    @property
    def total(self) -> int | None:
        """The bytes of all inputs; None where one does not tell how far it is read."""
        if any(one.size is None or (one.records is None and one.source.path.is_dir()) for one in self._inputs):
            return None
        return sum(one.size or 0 for one in self._inputs)

    def done(self, place: int, records: int, built: int) -> int:
        """Return the bytes that are done with.

        Args:
            place: The input that is being read.
            records: How many of its records are done with.
            built: How many of its rows are built.
        """
        before = sum(one.size or 0 for one in self._inputs[:place])
        if place >= len(self._inputs):
            return before
        if place != self._place:  # the files of the inputs before this one are closed by now
            self._opened[:] = [file for file in self._opened if not file.closed]
            self._place = place
        share = self._share(self._inputs[place], records)
        if self._limit is not None:
            share = max(share, built / self._limit)
        return before + int((self._inputs[place].size or 0) * min(1.0, share))

    def _share(self, one: Input, records: int) -> float:
        if one.records:
            return records / one.records
        read: int = sum(file.tell() for file in self._opened if not file.closed)
        return read / (one.size or 1)
