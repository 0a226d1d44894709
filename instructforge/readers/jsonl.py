"""JSON lines, and the quarantine file that a build writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from instructforge.components import RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import DataError
from instructforge.readers.jsonvalue import excerpt, parse_object, too_long
from instructforge.readers.opening import Limits, bounded_lines, file_error, open_unpacked

__all__ = ["JsonlReader", "QuarantineReader", "stem_suffix"]

_QUARANTINE_KEYS = tuple(f'"{key}"'.encode() for key in ("source", "record", "rule", "message", "row"))
_LINES_LOOKED_AT = 50


def stem_suffix(path: Path) -> str:
    """Return a file's ending in lower case, ``.gz`` or ``.zip`` aside.

    >>> stem_suffix(Path("Train.JSONL.gz"))
    '.jsonl'
    """
    return Path(path.stem if path.suffix.lower() in (".gz", ".zip") else path.name).suffix.lower()


def _first_line(head: bytes) -> bytes:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0].strip()


class JsonlReader:
    """Reads one JSON object a line."""

    name = "jsonl"
    suffixes = (".jsonl", ".ndjson")

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell whether most lines are whole objects; where the ending says JSONL, one such line is enough."""
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if not start or start[:1] == b"[" or start[:4] == b"PAR1":
            return False
        lines = [line for line in map(bytes.strip, start.split(b"\n")[:_LINES_LOOKED_AT]) if line]
        whole = sum(line[:1] == b"{" and line[-1:] == b"}" for line in lines)
        if stem_suffix(path) in self.suffixes:
            # A first line that is damaged must not turn the file into another format.
            return whole > 0 or len(lines) == 1 or lines[0][-1:] not in b"{[,:"
        return whole >= 2 and 2 * whole >= len(lines)

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield the row of each line that is not blank; its number is the line's."""
        limits = Limits.take(options, reader=self.name)
        count = 0
        with open_unpacked(path, limits) as handle:
            for number, offset, line in bounded_lines(handle, limits.max_record_bytes):
                if line is not None and not line.strip():
                    continue
                count += 1
                yield _row(line, Origin(path.name, number), limits, offset)
        if not count:
            raise file_error(path, "holds no records", rule="no-records", fix="leave it out, or fetch it again")


def _row(line: bytes | None, origin: Origin, limits: Limits, offset: int) -> RowOrError:
    if line is None:
        return too_long(origin, limits.max_record_bytes)
    try:
        return Row(parse_object(line.strip(b" \t\r\n"), origin, limits, offset=offset), origin)
    except DataError as error:
        return error


class QuarantineReader:
    """Reads a quarantine file whose rows have been mended: each row comes back with its first origin."""

    name = "quarantine"
    suffixes = (".jsonl",)
    priority = 10

    def accepts(self, path: Path, head: bytes) -> bool:
        first = _first_line(head)
        return first.startswith(b"{") and all(key in first for key in _QUARANTINE_KEYS)

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield the ``row`` of each line."""
        for found in JsonlReader().read(path, options):
            yield found if isinstance(found, DataError) else _fed_back(found)


def _fed_back(entry: Row) -> RowOrError:
    values = entry.values.get("row")
    if not isinstance(values, dict):
        return DataError(
            'the quarantined record has no mended "row"',
            rule="quarantine-without-row",
            field="row",
            fix='put the mended record under "row", as an object',
            origin=entry.origin,
            raw=excerpt(str(entry.values.get("raw") or "").encode("utf-8", "replace")),
        )
    source, record, path = (entry.values.get(key) for key in ("source", "record", "path"))
    if not isinstance(source, str) or not isinstance(record, int | None):
        return Row(values, entry.origin)
    return Row(values, Origin(source, record, path if isinstance(path, str) else ""))
