"""The JSON of the Snips benchmark: an object with a list of utterances for each intent, each cut into segments.

Source: https://github.com/sonos/nlu-benchmark (2017-06-custom-intent-engines).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from instructforge.components import RowOrError
from instructforge.readers.document import JsonReader

__all__ = ["SnipsReader"]

_BEGINNING = re.compile(rb'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\[\s*\{\s*"data"\s*:\s*\[')


class SnipsReader:
    """Reads one utterance a row: ``intent``, and ``data`` with its segments, those of slots with their ``entity``."""

    name = "snips"
    suffixes = (".json",)
    priority = 10

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell by the beginning: an object whose first member is a list of objects with ``data``."""
        return bool(_BEGINNING.match(head.removeprefix(b"\xef\xbb\xbf")))

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield a ``Row`` for each utterance, numbered through the file."""
        return JsonReader(key_as="intent").read(path, options)
