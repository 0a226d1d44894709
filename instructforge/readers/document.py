"""One JSON document: a list of objects, an object that holds such a list, or one object alone.

The document is cut into its records by brackets and quotes as it streams by, and each record is parsed by
itself: memory holds one record, and a bad one does not take the others with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from attrs import frozen

from instructforge.components import RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import DataError, printable
from instructforge.readers.jsonl import JsonlReader
from instructforge.readers.jsonvalue import excerpt, parse_object, too_long
from instructforge.readers.opening import Limits, file_error, open_unpacked

__all__ = ["JsonReader", "JsonStream", "Piece"]

_BLOCK_BYTES = 1 << 16
_DEEPEST = 1_000_000
_NOT_SPACE = re.compile(rb"[^ \t\r\n]")
_OUTSIDE = re.compile(rb'["\[\]{}]')
_INSIDE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SCALAR_ENDS = re.compile(rb"[,\[\]{}: \t\r\n]")


class _Broken(Exception):
    """The document's own structure is wrong, so that nothing after that place can be read."""


@frozen
class Piece:
    """The bytes of one value: None where it was longer than allowed. ``offset`` counts from the file's start."""

    raw: bytes | None
    offset: int


class JsonStream:
    """A JSON text read block by block."""

    def __init__(self, handle: BinaryIO, limit: int) -> None:
        self._handle, self._limit = handle, limit
        self._block, self._at, self._before = b"", 0, 0

    @property
    def offset(self) -> int:
        """Return the place of the next byte."""
        return self._before + self._at

    def peek(self) -> bytes:
        """Return the next byte that is no space, without taking it; nothing at the end."""
        while True:
            found = _NOT_SPACE.search(self._block, self._at)
            if found:
                self._at = found.start()
                return found[0]
            if not self._fill():
                return b""

    def second(self) -> bytes:
        """Return what ``peek`` would after one more byte is taken, without taking it."""
        self.peek()
        place = self._at
        while True:
            found = _NOT_SPACE.search(self._block, place + 1)
            if found:
                return found[0]
            more = self._handle.read(_BLOCK_BYTES)
            if not more:
                return b""
            self._block += more

    def take(self, expected: bytes) -> bytes:
        """Take the next byte that is no space, which must be one of ``expected``."""
        byte = self.peek()
        if not byte:
            raise _Broken(f"ends too early, after byte {self.offset}")
        if byte not in expected:
            wanted = " or ".join(f'"{chr(one)}"' for one in expected)
            raise _Broken(f'has "{printable(excerpt(byte))}" at byte {self.offset} where {wanted} belongs')
        self._at += 1
        return byte

    def value(self) -> Piece:
        """Take one value whole, by its brackets and quotes."""
        first = self.peek()
        start = self.offset
        if not first or first in b",:]}":
            raise _Broken(f"has no value at byte {start}")
        kept = _Kept(self._limit)
        if first in b'"[{':
            self._nested(kept, start)
        else:
            self._scalar(kept)
        return Piece(kept.bytes(), start)

    def _nested(self, kept: _Kept, start: int) -> None:
        nesting = _Nesting()
        while True:
            begin = self._at
            self._at = nesting.scan(self._block, begin)
            kept.add(self._block[begin : self._at])
            if nesting.complete:
                return
            if not self._fill():
                raise _Broken(f"ends in the middle of the value that starts at byte {start}")

    def _scalar(self, kept: _Kept) -> None:
        while True:
            found = _SCALAR_ENDS.search(self._block, self._at)
            end = found.start() if found else len(self._block)
            kept.add(self._block[self._at : end])
            self._at = end
            if found or not self._fill():
                return

    def _fill(self) -> bool:
        rest = self._block[self._at :]  # at most the backslash of an escape that straddles two blocks
        more = self._handle.read(_BLOCK_BYTES)
        if not more:
            return False
        self._before += self._at
        self._block, self._at = rest + more, 0
        return True


class _Nesting:
    """Where in a value's brackets and quotes the reading stands."""

    def __init__(self) -> None:
        self.complete = False
        self._inside = False
        self._open = bytearray()

    def scan(self, block: bytes, at: int) -> int:
        """Go on through ``block`` from ``at``; return where the value is complete, or the block used up."""
        while True:
            if self._inside:
                match = _INSIDE.match(block, at)
                at = match.end() if match else at
                if at >= len(block) or block[at] == 0x5C:  # used up, or a backslash whose letter is in the next block
                    return at
                at, self._inside = at + 1, False
            else:
                found = _OUTSIDE.search(block, at)
                if not found:
                    return len(block)
                at = found.end()
                self._take(found[0])
            if not self._open and not self._inside:
                self.complete = True
                return at

    def _take(self, mark: bytes) -> None:
        if mark == b'"':
            self._inside = True
        elif mark in b"[{":
            self._open += mark
            if len(self._open) > _DEEPEST:
                raise _Broken(f"nests deeper than {_DEEPEST} levels")
        else:
            # A bracket that was forgotten ends with the one around it, so that it spoils one record only.
            place = self._open.rfind(b"[" if mark == b"]" else b"{")
            if place >= 0:
                del self._open[place:]


class _Kept:
    """Bytes of a value, dropped once there are too many of them."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._limit:
            self._parts.append(part)
        else:
            self._parts.clear()

    def bytes(self) -> bytes | None:
        return None if self._size > self._limit else b"".join(self._parts)


class JsonReader:
    """Reads a JSON document record by record."""

    name = "json"
    suffixes = (".json",)

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell whether it is one document: a list, or an object that is not one of many lines."""
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        return start == b"[" or (start == b"{" and not JsonlReader().accepts(path, head))

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield a row for each record; ``options["key"]`` names the list where an object holds several."""
        limits = Limits.take(options, reader=self.name, known=("key",))
        count = 0
        with open_unpacked(path, limits) as handle:
            stream = JsonStream(handle, limits.max_record_bytes)
            try:
                for piece in _records(stream, options.get("key")):
                    count += 1
                    yield _row(piece, Origin(path.name, count), limits)
                if stream.peek():
                    raise _Broken(f"goes on after its end, at byte {stream.offset}")
            except _Broken as error:
                after = f", after record {count}" if count else ""
                fix = "make it valid JSON; an object a line is the format jsonl"
                raise file_error(path, f"is broken JSON: it {error}{after}", rule="json", fix=fix) from None
            except _Ambiguous as error:
                fix = 'say which one to read with the reader\'s option "key"'
                raise file_error(path, f"holds {error}", rule="json-ambiguous", fix=fix) from None
        if not count:
            raise file_error(path, "holds no records", rule="no-records", fix="leave it out, or fetch it again")


class _Ambiguous(Exception):
    """Two lists of objects stand side by side."""


def _row(piece: Piece, origin: Origin, limits: Limits) -> RowOrError:
    if piece.raw is None:
        return too_long(origin, limits.max_record_bytes)
    try:
        return Row(parse_object(piece.raw, origin, limits, offset=piece.offset), origin)
    except DataError as error:
        return error


def _records(stream: JsonStream, key: str | None) -> Iterator[Piece]:
    if stream.peek() == b"[":
        yield from _items(stream)
    elif stream.peek() == b"{":
        yield from _of_object(stream, key)
    else:
        raise _Broken("is neither a list nor an object")


def _items(stream: JsonStream) -> Iterator[Piece]:
    stream.take(b"[")
    if stream.peek() == b"]":
        stream.take(b"]")
        return
    yield stream.value()
    while stream.take(b",]") == b",":
        yield stream.value()


def _of_object(stream: JsonStream, wanted: str | None) -> Iterator[Piece]:
    """Yield the items of the list that an object holds; the object itself where it holds none."""
    passed: list[bytes] | None = []
    """The members so far, until a list turns up; None where they are too long to be one record."""
    found: list[str] = []
    start = stream.offset
    stream.take(b"{")
    empty = stream.peek() == b"}"
    while not empty:
        name_piece = _name(stream)
        name = excerpt(name_piece)[1:-1]
        if name == wanted if wanted is not None else stream.peek() == b"[" and stream.second() == b"{":
            found.append(name)
            if len(found) > 1:
                raise _Ambiguous(f'more than one list of objects: "{found[0]}" and "{printable(name, 80)}"')
            yield from _items(stream)
            passed = None
        else:
            passed = _passed(passed, name_piece, stream.value())
        if stream.take(b",}") == b"}":
            break
    else:
        stream.take(b"}")
    if found:
        return
    if wanted is not None:
        raise _Ambiguous(f'no list "{printable(wanted, 80)}"')
    yield Piece(None if passed is None else b"{" + b",".join(passed) + b"}", start)


def _name(stream: JsonStream) -> bytes:
    if stream.peek() != b'"':
        stream.take(b'"')
    raw = stream.value().raw
    stream.take(b":")
    return raw or b'""'


def _passed(members: list[bytes] | None, name: bytes, value: Piece) -> list[bytes] | None:
    """Return the members with one more, or None once they are too long together."""
    if members is None or value.raw is None:
        return None
    members.append(name + b":" + value.raw)
    return members
