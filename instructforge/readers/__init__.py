"""Readers: files → rows, record by record, in memory that does not grow with the file.

``opening`` opens and unpacks a file within bounds; ``jsonvalue`` parses one JSON record strictly;
``jsonl``, ``document``, ``delimited`` and ``columnar`` are the formats; ``sniffing`` chooses among all readers
that plugins have registered.

A record that is none is yielded as a ``DataError`` with its origin, and reading goes on. A file that cannot
be read as a whole (damaged, of another format, empty) raises one.
"""

from __future__ import annotations

from instructforge.readers.opening import Limits
from instructforge.readers.sniffing import choose_reader

__all__ = ["Limits", "choose_reader"]
