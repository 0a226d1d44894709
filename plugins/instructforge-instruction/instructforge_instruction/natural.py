"""The JSON of Natural Instructions: a task's definition and examples, and a list of its instances.

Source: https://github.com/allenai/natural-instructions (the task schema in its README).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from instructforge import DataError, Origin, Row
from instructforge.components import RowOrError
from instructforge.readers.document import JsonReader, read_members
from instructforge.readers.opening import Limits

__all__ = ["NaturalInstructionsReader"]

INSTANCES = "Instances"
KEPT = ("Definition", "Positive Examples", "Input_language", "Output_language", "Instruction_language")
"""What of a task goes into the row of each of its instances."""


class NaturalInstructionsReader:
    """Reads one instance a row, with the task's definition in it; instances are streamed, however many there are."""

    name = "natural-instructions"
    suffixes = (".json",)
    priority = 10

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell whether the file is an object with a definition, and instances or examples."""
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        listed = b'"Instances"' in head or b'"Positive Examples"' in head
        return start == b"{" and b'"Definition"' in head and listed

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield a ``Row`` for each instance.

        Raises:
            DataError: The file is broken, has no instances, or what stands beside them is too long.
        """
        limits = Limits.take(options, reader=self.name)
        members = read_members(path, limits, but=INSTANCES)
        shared = {name: members[name] for name in KEPT if members.get(name) is not None}
        for number, row in enumerate(JsonReader().read(path, {**options, "key": INSTANCES})):
            place = f"{INSTANCES}[{number}]"
            if isinstance(row, DataError):
                row.origin = evolve(row.origin or Origin(path.name, number + 1), path=place)
                yield row
            else:
                yield Row(shared | dict(row.values), evolve(row.origin, path=place))
