"""One JSON document: a list of objects, an object that holds such a list or its records by their keys, or one object.

The document is cut into its records by brackets and quotes as it streams by, and each record is parsed by
itself: memory holds one record, and a bad one does not take the others with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from attrs import evolve, frozen

from instructforge.components import RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import ConfigError, DataError, printable
from instructforge.readers.jsonl import JsonlReader
from instructforge.readers.jsonvalue import excerpt, parse_object, too_long
from instructforge.readers.opening import Limits, file_error, open_unpacked

__all__ = ["JsonReader", "JsonStream", "Piece", "read_members"]

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
    name: bytes | None = None
    """The record's key as it is written, quotes and all, where the document is an object of records."""


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
    """Reads a JSON document record by record.

    Args:
        list_as: For readers of special forms, in which a record is a list: the name under which it stands in its row.
        key_as: For readers of special forms: an object whose members are lists of records. All of them are read, and
            the name of its list stands in each row under this name.
    """

    name = "json"
    suffixes = (".json",)

    def __init__(self, *, list_as: str = "", key_as: str = "") -> None:
        self._list_as, self._key_as = list_as, key_as

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell whether it is one document: a list, or an object that is not one of many lines."""
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        return start == b"[" or (start == b"{" and not JsonlReader().accepts(path, head))

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield a row for each record.

        ``options["key"]`` names the list where an object holds several. An object whose members are objects of one
        shape is taken for records by their keys (``{"d1": {…}, "d2": {…}}``); each key becomes the record's ``id``,
        or its ``key`` where it has an ``id`` of its own. ``options["keyed"]`` says so of any object, and names the
        column.
        """
        limits = Limits.take(options, reader=self.name, known=("key", "keyed"))
        wanted, keyed = _text_option(options, "key"), _text_option(options, "keyed")
        if wanted is not None and keyed is not None:
            raise ConfigError("key names a list of records, keyed an object of them: give one of the two options")
        columns = (self._key_as,) if self._key_as else (keyed,) if keyed else ("id", "key")
        count = 0
        with open_unpacked(path, limits) as handle:
            stream = JsonStream(handle, limits.max_record_bytes)
            try:
                for piece in self._pieces(stream, wanted, limits, always_keyed=keyed is not None):
                    count += 1
                    yield _row(self._as_object(piece), Origin(path.name, count), limits, columns)
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

    def _pieces(self, stream: JsonStream, wanted: str | None, limits: Limits, *, always_keyed: bool) -> Iterator[Piece]:
        if self._key_as and stream.peek() == b"{":
            yield from _lists_by_key(stream)
        else:
            yield from _records(stream, wanted, limits, always_keyed=always_keyed)

    def _as_object(self, piece: Piece) -> Piece:
        """Return a record that is a list as an object with that list as its member."""
        if not self._list_as or piece.raw is None or piece.raw[:1] != b"[":
            return piece
        start = b"{" + json.dumps(self._list_as).encode() + b":"
        return evolve(piece, raw=start + piece.raw + b"}", offset=piece.offset - len(start))


def read_members(path: Path, limits: Limits, *, but: str) -> dict[str, Any]:
    """Return the members of the object that a document is, but one, which is passed over however long it is.

    For readers of special forms, in which what stands beside a list of records belongs to each of them.

    Raises:
        DataError: The document is no object, is broken, or a member is no JSON value.
    """
    parts: list[bytes] = []
    with open_unpacked(path, limits) as handle:
        stream = JsonStream(handle, limits.max_record_bytes)
        try:
            stream.take(b"{")
            while stream.peek() != b"}":
                name, piece = _name(stream), stream.value()
                if excerpt(name)[1:-1] != but and piece.raw is not None:
                    parts.append(name + b":" + piece.raw)
                if stream.take(b",}") == b"}":
                    break
        except _Broken as error:
            raise file_error(path, f"is broken JSON: it {error}", rule="json", fix="make it valid JSON") from None
    whole = b"{" + b",".join(parts) + b"}"
    if len(whole) > limits.max_record_bytes:
        raise too_long(Origin(path.name), limits.max_record_bytes)
    return parse_object(whole, Origin(path.name), limits)


class _Ambiguous(Exception):
    """There is more than one way to see records in the document."""


def _text_option(options: Mapping[str, Any], name: str) -> str | None:
    value = options.get(name)
    if value is not None and not (isinstance(value, str) and value):
        raise ConfigError(f'the option {name} is "{printable(value, 40)}", not a name')
    return value


def _row(piece: Piece, origin: Origin, limits: Limits, columns: Sequence[str]) -> RowOrError:
    if piece.raw is None:
        return too_long(origin, limits.max_record_bytes)
    try:
        values = parse_object(piece.raw, origin, limits, offset=piece.offset)
        return Row(values if piece.name is None else _with_key(values, piece, origin, limits, columns), origin)
    except DataError as error:
        return error


def _with_key(
    values: dict[str, Any], piece: Piece, origin: Origin, limits: Limits, columns: Sequence[str]
) -> dict[str, Any]:
    """Return a record with its key in the first of ``columns`` that it has not filled itself."""
    key = parse_object(b'{"key":' + (piece.name or b'""') + b"}", origin, limits, offset=piece.offset)["key"]
    for column in columns:
        own = values.get(column)
        if own is None:
            return {column: key, **{name: value for name, value in values.items() if name != column}}
        if str(own) == key:
            return values
    raise DataError(
        f'the record "{printable(key, 80)}" has a "{columns[-1]}" of its own, "{printable(values[columns[-1]], 80)}"',
        rule="key-taken",
        field=columns[-1],
        fix="name another column for the keys with the reader's option keyed",
        origin=origin,
        raw=excerpt(piece.raw or b""),
    )


def _records(stream: JsonStream, key: str | None, limits: Limits, *, always_keyed: bool) -> Iterator[Piece]:
    if stream.peek() == b"[":
        yield from _items(stream)
    elif stream.peek() != b"{":
        raise _Broken("is neither a list nor an object")
    elif always_keyed:
        stream.take(b"{")
        if stream.peek() == b"}":
            stream.take(b"}")
        else:
            yield from _by_key(stream)
    else:
        yield from _of_object(stream, key, limits)


def _items(stream: JsonStream) -> Iterator[Piece]:
    stream.take(b"[")
    if stream.peek() == b"]":
        stream.take(b"]")
        return
    yield stream.value()
    while stream.take(b",]") == b",":
        yield stream.value()


def _of_object(stream: JsonStream, wanted: str | None, limits: Limits) -> Iterator[Piece]:
    """Yield the records of an object: the items of its list, its members by their keys, or itself."""
    members = _Members(limits)
    found = ""
    start = stream.offset
    stream.take(b"{")
    empty = stream.peek() == b"}"
    while not empty:
        name = _name(stream)
        shown = excerpt(name)[1:-1]
        if shown == wanted if wanted is not None else _begins_list(stream):
            if found:
                raise _Ambiguous(f'more than one list of objects: "{found}" and "{printable(shown, 80)}"')
            found = shown or '""'
            yield from _items(stream)
        else:
            members.add(evolve(stream.value(), name=name))
            if wanted is None and not found and members.are_records:
                yield from members.pieces
                if stream.take(b",}") == b",":
                    yield from _by_key(stream)
                return
        if stream.take(b",}") == b"}":
            break
    else:
        stream.take(b"}")
    if wanted is not None and not found:
        raise _Ambiguous(f'no list "{printable(wanted, 80)}"')
    if not found:
        yield members.whole(start)


def _begins_list(stream: JsonStream) -> bool:
    return stream.peek() == b"[" and stream.second() == b"{"


def _by_key(stream: JsonStream) -> Iterator[Piece]:
    """Yield the members of an object from the next one on, each with its key."""
    while True:
        name = _name(stream)
        if _begins_list(stream):
            shown = printable(excerpt(name)[1:-1], 80)
            raise _Ambiguous(f'records by their keys, and among them a list of objects, "{shown}"')
        yield evolve(stream.value(), name=name)
        if stream.take(b",}") == b"}":
            return


class _Members:
    """The members of an object up to now, kept until it shows what the object is.

    They are kept as far as one record may be long. Members that are all objects, of which the first two that can be
    read have most of their keys in common, are records; so are objects that are too long together for one record.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._size = 0
        self._objects = True
        self._keys: list[frozenset[str]] = []
        self.pieces: list[Piece] = []

    @property
    def are_records(self) -> bool:
        if not self._objects or len(self.pieces) < 2:
            return False
        return self._too_long or (len(self._keys) == 2 and _alike(*self._keys))

    @property
    def _too_long(self) -> bool:
        return self._size > self._limits.max_record_bytes

    def add(self, piece: Piece) -> None:
        """Take one more member."""
        raw = piece.raw
        self._size += len(piece.name or b"") + (self._limits.max_record_bytes if raw is None else len(raw)) + 1
        self._objects &= raw is None or raw.startswith(b"{")
        if self._too_long and not self._objects:
            self.pieces.clear()
            return
        self.pieces.append(piece)
        if self._objects and len(self._keys) < 2:
            self._keys += self._keys_of(piece)

    def _keys_of(self, piece: Piece) -> list[frozenset[str]]:
        """Return the keys of an object, in a list; an empty one where it cannot be read."""
        if piece.raw is None:
            return []
        try:
            return [frozenset(parse_object(piece.raw, Origin(""), self._limits))]
        except DataError:
            return []

    def whole(self, start: int) -> Piece:
        """Return all of them as one record, without its bytes where they are too many."""
        if self._too_long:
            return Piece(None, start)
        parts = ((piece.name or b'""') + b":" + (piece.raw or b"") for piece in self.pieces)
        return Piece(b"{" + b",".join(parts) + b"}", start)


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """Tell whether two records have at least half of their keys in common."""
    return bool(one & other) and 2 * len(one & other) >= len(one | other)


def _lists_by_key(stream: JsonStream) -> Iterator[Piece]:
    """Yield each record of each list that an object holds, with the name of its list."""
    stream.take(b"{")
    if stream.peek() == b"}":
        stream.take(b"}")
        return
    while True:
        name = _name(stream)
        if stream.peek() != b"[":
            raise _Broken(f'has no list under "{printable(excerpt(name)[1:-1], 80)}"')
        yield from (evolve(piece, name=name) for piece in _items(stream))
        if stream.take(b",}") == b"}":
            return


def _name(stream: JsonStream) -> bytes:
    if stream.peek() != b'"':
        stream.take(b'"')
    raw = stream.value().raw
    stream.take(b":")
    return raw or b'""'
