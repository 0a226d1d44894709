"""Opening files: regular ones only, unpacked (gzip, zip) within bounds, without their byte order mark."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

from attrs import fields, frozen

from instructforge.data import Origin
from instructforge.errors import ConfigError, DataError, did_you_mean, printable

__all__ = [
    "HEAD_BYTES",
    "RATIO_COUNTS_FROM",
    "Limits",
    "bounded_lines",
    "file_error",
    "head_of",
    "name_in",
    "noting_opened",
    "open_regular",
    "open_unpacked",
]

HEAD_BYTES = 1 << 16
RATIO_COUNTS_FROM = 64 << 20
"""Unpacked bytes from which the ratio is looked at: a small file of repeated rows may well pack 300 to 1."""

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_OTHER_ENCODINGS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_FOREIGN = {
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ\x00": "packed by xz",
    b"(\xb5/\xfd": "packed by zstd",
}


@frozen(kw_only=True)
class Limits:
    """Bounds that hold for every reader, and what to read of an archive; each is also a reader option of that name.

    Args:
        max_record_bytes: A longer record is quarantined unread.
        max_depth: Deepest nesting of a JSON record.
        max_ratio: Unpacked size over packed size above which a file counts as a bomb. Texts pack 3 to 30 to 1,
            zeros 1,030 to 1.
        member: Name of the file to read in a zip archive, where it holds several.
    """

    max_record_bytes: int = 16 << 20
    max_depth: int = 100
    max_ratio: int = 200
    member: str | None = None

    @classmethod
    def take(cls, options: Mapping[str, Any], *, reader: str, known: tuple[str, ...] = ()) -> Limits:
        """Read the limits among a reader's options; ``known`` are the reader's other options.

        Raises:
            ConfigError: An option is unknown, a limit is no positive whole number, or the member no name.
        """
        names = {part.name for part in fields(cls)}
        chosen: dict[str, Any] = {}
        for name, value in options.items():
            if name == "member":
                chosen[name] = _member(value)
            elif name in names:
                chosen[name] = _positive(name, value)
            elif name not in known:
                raise ConfigError(
                    f'the reader "{reader}" has no option "{printable(name, 80)}". '
                    f"{did_you_mean(str(name), (*names, *known))}"
                )
        return cls(**chosen)


def _positive(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1 or isinstance(value, bool):
        raise ConfigError(f'the option {name} is "{printable(value, 40)}", not a positive whole number')
    return number


def _member(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(f'the option member is "{printable(value, 40)}", not the name of a file in a zip archive')
    return value


def file_error(path: Path, what: str, *, rule: str, fix: str = "", record: int | None = None) -> DataError:
    """Return the error of a file that cannot be read as a whole."""
    lines = [f'"{printable(path)}" {what}', fix and f"{fix[:1].upper()}{fix[1:]}."]
    return DataError("\n".join(filter(None, lines)), rule=rule, fix=fix, origin=Origin(path.name, record))


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file (a symlink to one is followed).

    Raises:
        DataError: There is none, it may not be read, or it is a folder, a pipe, a socket or a device.
    """
    try:
        # Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        what = "is a symlink to nothing" if path.is_symlink() else "does not exist"
        raise file_error(path, what, rule="file-missing", fix="check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise file_error(path, f"cannot be opened: {reason}", rule="file-unreadable", fix="check the path") from None
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        what = "a folder" if stat.S_ISDIR(kind) else "a pipe" if stat.S_ISFIFO(kind) else "a device or socket"
        raise file_error(path, f"is {what}, not a file", rule="file-not-regular", fix="give the files themselves")
    handle = os.fdopen(descriptor, "rb")
    opened = _opened.get()
    if opened is not None:
        opened.append(handle.raw)
    return handle


_opened: ContextVar[list[Any] | None] = ContextVar("opened", default=None)
"""Where opened files are noted: of one reading, not of the program."""


@contextmanager
def noting_opened() -> Iterator[list[Any]]:
    """Note every file that is opened within the block: their positions tell how far the reading is."""
    opened: list[Any] = []
    token = _opened.set(opened)
    try:
        yield opened
    finally:
        _opened.reset(token)


class _Unpacked(io.RawIOBase):
    """A gzip file as it unpacks, watched: damage and bombs are a ``DataError``."""

    def __init__(self, packed: io.BufferedReader, path: Path, limits: Limits) -> None:
        self._packed, self._path, self._limits = packed, path, limits
        self._gzip = gzip.GzipFile(fileobj=packed)
        self._out = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._gzip.read1(len(buffer))
        except EOFError:
            raise file_error(
                self._path, "is a gzip file that ends too early", rule="gzip-truncated", fix="fetch or pack it again"
            ) from None
        except (gzip.BadGzipFile, zlib.error, OSError) as error:
            raise file_error(
                self._path, f"is a damaged gzip file: {printable(error)}", rule="gzip-damaged", fix="pack it again"
            ) from None
        self._out += len(block)
        self._watch()
        buffer[: len(block)] = block
        return len(block)

    def _watch(self) -> None:
        if self._out < RATIO_COUNTS_FROM:
            return
        packed = max(1, self._packed.tell())
        if self._out / packed > self._limits.max_ratio:
            raise file_error(
                self._path,
                f"unpacks to more than {self._limits.max_ratio} times its size",
                rule="gzip-bomb",
                fix="if it is meant to, unpack it first, or raise the reader's option max_ratio",
            )

    def close(self) -> None:
        if not self.closed:
            self._gzip.close()
            self._packed.close()
        super().close()


def open_unpacked(path: Path, limits: Limits) -> io.BufferedReader[Any]:
    """Open a text file as bytes: unpacked where it is gzip or zip (told by its first bytes), past a UTF-8 mark.

    Raises:
        DataError: It is no regular file, is empty, damaged, or in another encoding than UTF-8; or a zip archive of
            which no one file can be read.
    """
    handle, kind = _unpacked(path, limits)
    try:
        start = handle.peek(8)[:8]
        if not start:
            raise file_error(path, "is empty", rule="file-empty", fix="leave it out, or fetch it again")
        _refuse_foreign(path, start, kind)
        if start.startswith(_BOM):
            handle.read(len(_BOM))
    except BaseException:
        handle.close()
        raise
    return handle


def _unpacked(path: Path, limits: Limits) -> tuple[io.BufferedReader[Any], str]:
    """Open a file, unpacked; return it with how it was packed: gzip, zip or not at all."""
    packed = open_regular(path)
    start = packed.peek(4)[:4]
    if start[:2] == b"PK":
        from instructforge.readers.zipped import ZipMember, is_zip  # built on this module

        if is_zip(start):
            packed.close()
            return io.BufferedReader(ZipMember(path, limits), 1 << 17), "zip"
    if limits.member is not None:
        packed.close()
        what = f'is no zip archive, and the option member asks for "{printable(limits.member, 80)}" in it'
        raise file_error(path, what, rule="zip-member", fix="leave the option out")
    if start[:2] == _GZIP:
        return io.BufferedReader(_Unpacked(packed, path, limits), 1 << 17), "gzip"
    return packed, ""


def _refuse_foreign(path: Path, start: bytes, kind: str) -> None:
    if kind and start[:2] in (_GZIP, b"PK"):
        what, fix = f"is a {kind} file of a packed file", "unpack it first; only one layer of packing is read"
        raise file_error(path, what, rule="file-format", fix=fix)
    for mark, name in _OTHER_ENCODINGS.items():
        if start.startswith(mark):
            fix = f"convert it: iconv -f {name} -t UTF-8"
            raise file_error(path, f"is {name}, not UTF-8", rule="encoding", fix=fix)
    for mark, name in _FOREIGN.items():
        if start.startswith(mark):
            fix = "unpack it first; only gzip and zip are read as they are"
            raise file_error(path, f"is {name}", rule="file-format", fix=fix)


def head_of(path: Path, limits: Limits | None = None) -> bytes:
    """Return the first 64 KiB of a file, unpacked; nothing for a folder or an empty file.

    Raises:
        DataError: It is neither a regular file nor a folder, or a zip archive of which no one file can be read.
    """
    if path.is_dir():
        return b""
    handle, kind = _unpacked(path, limits or Limits())
    with handle:
        head = handle.read(HEAD_BYTES)
    if kind and head.startswith(b"PAR1"):
        raise file_error(path, f"is a {kind} file of a Parquet file", rule="file-format", fix="unpack it first")
    return head


def name_in(path: Path, limits: Limits | None = None) -> str | None:
    """Return the name of the file in a zip archive; None where the path is none.

    Raises:
        DataError: As ``head_of``.
    """
    if path.is_dir():
        return None
    with open_regular(path) as packed:
        start = packed.peek(4)[:4]
    if start[:2] != b"PK":
        return None
    from instructforge.readers.zipped import ZipMember, is_zip  # built on this module

    if not is_zip(start):
        return None
    with ZipMember(path, limits or Limits()) as member:
        return member.name


def bounded_lines(handle: BinaryIO, limit: int, *, offset: int = 0) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield (line number, byte offset, line with its end) for each line; None for one longer than ``limit``.

    A line that is too long is passed over in blocks, never held.
    """
    number = 0
    while line := handle.readline(limit + 1):
        number += 1
        start, offset = offset, offset + len(line)
        if len(line) <= limit or line.endswith(b"\n"):
            yield number, start, line
            continue
        while rest := handle.readline(1 << 20):
            offset += len(rest)
            if rest.endswith(b"\n"):
                break
        yield number, start, None
