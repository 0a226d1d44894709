"""CSV and TSV: a header line, then records; quoted cells may hold line ends."""

from __future__ import annotations

import csv
import io
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

from attrs import frozen

from instructforge.components import RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import ConfigError, DataError, printable
from instructforge.readers.jsonl import stem_suffix
from instructforge.readers.jsonvalue import RAW_CHARACTERS, not_text, too_long
from instructforge.readers.opening import Limits, bounded_lines, file_error, open_unpacked

__all__ = ["CsvReader", "TsvReader"]


@frozen
class _Line:
    number: int
    text: str
    problem: str = ""


class _TooLong(Exception):
    """A line, or all the lines of one record, are longer than allowed."""


@frozen(kw_only=True)
class _Delimited:
    """What CSV and TSV share."""

    name: str
    suffixes: tuple[str, ...]
    delimiter: str

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell by the ending; where header and ending disagree about the delimiter, the header is believed."""
        if stem_suffix(path) not in (".csv", ".tsv", ".tab") or head[:4] == b"PAR1":
            return False
        header = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n").partition(b"\n")[0]
        if header.lstrip()[:1] in (b"{", b"["):
            return False
        tabs, commas = header.count(b"\t"), header.count(b",")
        if bool(tabs) != bool(commas):
            return bool(tabs) == (self.delimiter == "\t")
        return stem_suffix(path) in self.suffixes

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield the row of each record; its number is the line on which it starts.

        ``options["header"]`` gives the columns of a file without a header line; ``options["quoting"]`` is
        ``standard``, or ``none`` for files in which a quotation mark means nothing.
        """
        limits = Limits.take(options, reader=self.name, known=("header", "quoting"))
        _allow_fields_of(limits.max_record_bytes)
        with open_unpacked(path, limits) as handle:
            _refuse_old_line_ends(handle, path)
            records = _Records(handle, self._dialect(options), limits)
            header = _given_header(options) or _header(path, records)
            _check_header(path, header)
            count = 0
            for found in records:
                count += 1
                yield _row(found, header, path, limits)
        if not count:
            raise file_error(path, "has a header and no rows", rule="no-records", fix="leave it out, or fetch it again")

    def _dialect(self, options: Mapping[str, Any]) -> dict[str, Any]:
        quoting = options.get("quoting", "standard")
        if quoting not in ("standard", "none"):
            raise ConfigError(f'the option quoting is standard or none, not "{printable(quoting, 40)}"')
        mode: Literal[0, 3] = csv.QUOTE_NONE if quoting == "none" else csv.QUOTE_MINIMAL
        return {"delimiter": self.delimiter, "quoting": mode, "strict": True}


class CsvReader(_Delimited):
    """Reads comma-separated values."""

    def __init__(self) -> None:
        super().__init__(name="csv", suffixes=(".csv",), delimiter=",")


class TsvReader(_Delimited):
    """Reads tab-separated values."""

    def __init__(self) -> None:
        super().__init__(name="tsv", suffixes=(".tsv", ".tab"), delimiter="\t")


def _allow_fields_of(size: int) -> None:
    """Let ``csv`` read cells up to ``size``: its own limit, one for the whole process, is 128 KiB."""
    if csv.field_size_limit() < size:
        csv.field_size_limit(size)


def _refuse_old_line_ends(handle: io.BufferedReader, path: Path) -> None:
    head = handle.peek(1 << 16)
    if b"\r" in head and b"\n" not in head:
        fix = "convert it: tr '\\r' '\\n'"
        raise file_error(path, "ends its lines with CR alone", rule="line-ends", fix=fix)


# --- Records ------------------------------------------------------------------------------------------


@frozen
class _Record:
    """The cells of one record, or what is wrong with it; ``text`` is kept for the quarantine."""

    start: int
    end: int
    cells: Sequence[str]
    problem: str = ""
    rule: str = ""
    fix: str = ""
    text: str = ""


class _Records:
    """Puts lines together to records.

    Where a record breaks off (a quotation mark that is never closed swallows all that follows), only its first
    line is bad: the lines after it are read anew.
    """

    def __init__(self, handle: BinaryIO, dialect: dict[str, Any], limits: Limits) -> None:
        self._lines = bounded_lines(handle, limits.max_record_bytes)
        self._dialect, self._limit = dialect, limits.max_record_bytes
        self._again: deque[_Line] = deque()
        self._taken: list[_Line] = []
        self._size = 0

    def __iter__(self) -> Iterator[_Record]:
        parser = csv.reader(self._feed(), **self._dialect)
        while True:
            self._taken, self._size = [], 0
            try:
                cells = next(parser)
            except StopIteration:
                return
            except _TooLong:
                yield self._unread("record-too-long", "", "")
            except csv.Error as error:
                yield self._unread("csv", *_explained(error, len(self._taken)))
            else:
                if cells:
                    yield self._read(cells)
                continue
            parser = csv.reader(self._feed(), **self._dialect)

    def _feed(self) -> Iterator[str]:
        while True:
            line = self._again.popleft() if self._again else self._next_line()
            if line is None:
                return
            self._taken.append(line)
            self._size += len(line.text)
            if line.problem == "record-too-long" or self._size > self._limit:
                raise _TooLong
            yield line.text

    def _next_line(self) -> _Line | None:
        for number, offset, raw in self._lines:
            if raw is None:
                return _Line(number, "", "record-too-long")
            try:
                text, problem = raw.decode("utf-8"), ""
            except UnicodeDecodeError as error:
                text = raw.decode("utf-8", "backslashreplace")
                problem = f"byte {offset + error.start} of the file (0x{raw[error.start]:02x}) is not UTF-8"
            return _Line(number, text, problem or ("NUL" if "\0" in text else ""))
        return None

    def _read(self, cells: list[str]) -> _Record:
        taken = self._taken
        problem = next((line.problem for line in taken if line.problem), "")
        text = "".join(line.text for line in taken)[:RAW_CHARACTERS]
        if problem == "NUL":
            return _Record(taken[0].number, taken[-1].number, cells, not_text(cells), "not-text", "take it out", text)
        fix = "save the file as UTF-8 (from GBK: iconv -f GB18030 -t UTF-8)" if problem else ""
        return _Record(taken[0].number, taken[-1].number, cells, problem, "encoding" if problem else "", fix, text)

    def _unread(self, rule: str, problem: str, fix: str) -> _Record:
        taken = self._taken
        self._again.extendleft(reversed(taken[1:]))
        text = taken[0].text[:RAW_CHARACTERS]
        return _Record(taken[0].number, taken[0].number, (), problem or rule, rule, fix, text)


def _explained(error: csv.Error, lines: int) -> tuple[str, str]:
    fix = 'double the marks inside a quoted cell (""), or read with the option quoting=none'
    if "unexpected end of data" in str(error):
        return "a quotation mark is opened here and never closed", fix
    where = f", {lines - 1} lines further on" if lines > 1 else ""
    return f"the quotation marks are not as CSV has them: {error}{where}", fix


# --- Rows ---------------------------------------------------------------------------------------------


def _given_header(options: Mapping[str, Any]) -> list[str] | None:
    given = options.get("header")
    if given is None:
        return None
    return [part.strip() for part in given.split(",")] if isinstance(given, str) else [str(part) for part in given]


def _header(path: Path, records: _Records) -> list[str]:
    first = next(iter(records), None)
    if first is None:
        raise file_error(path, "holds no records", rule="no-records", fix="leave it out, or fetch it again")
    if first.problem:
        raise file_error(path, f"has a header that cannot be read: {first.problem}", rule="header", fix=first.fix)
    return [cell.strip() for cell in first.cells]


def _check_header(path: Path, header: list[str]) -> None:
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        what = f'has more than one column called "{printable(twice[0], 80)}"'
        raise file_error(path, what, rule="header-duplicate", fix="give each column a name of its own")


def _row(found: _Record, header: list[str], path: Path, limits: Limits) -> RowOrError:
    origin = Origin(path.name, found.start)
    if found.rule == "record-too-long":
        return too_long(origin, limits.max_record_bytes)
    if found.rule:
        return DataError(found.problem, rule=found.rule, fix=found.fix, origin=origin, raw=found.text)
    if len(found.cells) == len(header):
        return Row(dict(zip(header, found.cells, strict=True)), origin)
    few = len(found.cells) < len(header)
    lines = f" (lines {found.start} to {found.end})" if found.end > found.start else ""
    return DataError(
        f"the record has {len(found.cells)} cells{lines}, and the header {len(header)}",
        rule="cells-too-few" if few else "cells-too-many",
        fix="give it as many cells; a cell with a delimiter in it is put in quotation marks",
        origin=origin,
        raw=found.text,
    )
