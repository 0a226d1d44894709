"""A zip archive, read as the one data file in it: streamed from where it lies, never unpacked to disk.

What an archive says of itself is believed only as far as it costs nothing: the table of contents is read up to
``CONTENTS_BYTES``, the sizes of a member are held against the archive's own, and names serve to choose a member and
for nothing else.
"""

from __future__ import annotations

import io
import os
import stat
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from instructforge.errors import DataError, did_you_mean, printable
from instructforge.readers.opening import RATIO_COUNTS_FROM, Limits, file_error, open_regular

__all__ = ["CONTENTS_BYTES", "ZipMember", "is_zip"]

CONTENTS_BYTES = 4 << 20
"""Bytes of an archive's table of contents that are read at most: some ten thousand members."""

_MARKS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_UNPACK = "unpack it, and give the data file itself"
_NAMES_SHOWN = 8
_ENCRYPTED = 0x1 | 0x40 | 0x2000


def is_zip(start: bytes) -> bool:
    """Tell from the first bytes of a file whether it is a zip archive."""
    return start[:4] in _MARKS


class ZipMember(io.RawIOBase):
    """The data file in an archive, as it unpacks.

    Args:
        path: The archive.
        limits: ``member`` names the file where there are several; ``max_ratio`` bounds what it unpacks to.

    Attributes:
        name: The file's name in the archive, without its folders.

    Raises:
        DataError: The archive is damaged or a bomb, holds no file or several, or one that is encrypted, a symlink
            or packed in an uncommon way, or whose name leads out of the archive.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._packed = _Packed(open_regular(path).detach())
        try:
            self._size = os.fstat(self._packed.fileno()).st_size
            self._archive = _opened(self._packed, path)
            info = _chosen(self._archive.infolist(), path, limits.member)
            self._check(info, limits)
            self.name = PurePosixPath(info.filename).name
            self._member = self._archive.open(info)
        except DataError:
            self._packed.close()
            raise
        except Exception as error:  # headers that contradict each other fail in many ways
            self._packed.close()
            raise _damaged(path, error) from None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._member.read(len(buffer))
        except (BadZipFile, EOFError, OSError, ValueError, zlib.error) as error:
            raise _damaged(self._path, error) from None
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._packed.close()
        super().close()

    def _check(self, info: ZipInfo, limits: Limits) -> None:
        what, rule = _odd(info)
        if what:
            raise _of_member(self._path, info, what, rule, _UNPACK)
        # ``zipfile`` gives out at most ``file_size`` bytes, so that what the member says can be held against it.
        packed = max(1, min(info.compress_size, self._size))
        if info.file_size > RATIO_COUNTS_FROM and info.file_size / packed > limits.max_ratio:
            raise _of_member(
                self._path,
                info,
                f"unpacks to more than {limits.max_ratio} times its size",
                "zip-bomb",
                "if it is meant to, unpack it first, or raise the reader's option max_ratio",
            )


class _Packed(io.BufferedReader):
    """The archive as bytes; a table of contents of gigabytes is not read into memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = max(0, os.fstat(self.fileno()).st_size - self.tell())
        if size > CONTENTS_BYTES:
            raise _TooMany
        return super().read(size)


class _TooMany(Exception):
    """The table of contents is longer than is read."""


def _opened(packed: _Packed, path: Path) -> ZipFile:
    try:
        return ZipFile(packed)
    except _TooMany:
        what = f"has a table of contents of more than {CONTENTS_BYTES >> 20} MiB"
        raise file_error(path, what, rule="zip-contents", fix=_UNPACK) from None


def _chosen(infos: Sequence[ZipInfo], path: Path, wanted: str | None) -> ZipInfo:
    """Return the member called ``wanted``, or the only file there is."""
    files = [info for info in infos if not info.is_dir() and not _is_litter(info.filename)]
    if wanted is not None:
        named = [info for info in infos if not info.is_dir() and info.filename == wanted]
        if len(named) == 1:
            return named[0]
        if named:
            what = f'is a zip archive with {len(named)} members called "{printable(wanted, 80)}"'
            raise file_error(path, what, rule="zip-member", fix=_UNPACK)
        what = f'is a zip archive without a member called "{printable(wanted, 80)}"'
        fix = printable(did_you_mean(wanted, (info.filename for info in files)), 400).removesuffix(".")
        raise file_error(path, what, rule="zip-member", fix=fix)
    if not files:
        raise file_error(path, "is a zip archive without a file in it", rule="zip-empty", fix="give another file")
    if len(files) > 1:
        shown = ", ".join(printable(info.filename, 60) for info in files[:_NAMES_SHOWN])
        more = ", …" if len(files) > _NAMES_SHOWN else ""
        what = f"is a zip archive of {len(files)} files: {shown}{more}"
        raise file_error(path, what, rule="zip-members", fix="name one with the reader's option member=NAME")
    return files[0]


def _is_litter(name: str) -> bool:
    """Tell what desktops add to an archive unasked: ``__MACOSX/._a.json``, ``.DS_Store``, ``Thumbs.db``."""
    parts = PurePosixPath(name).parts
    last = parts[-1] if parts else ""
    return "__MACOSX" in parts[:1] or last.startswith(("._", ".DS_Store")) or last in ("Thumbs.db", "desktop.ini")


def _odd(info: ZipInfo) -> tuple[str, str]:
    """Say what forbids a member to be read, and the rule; empty where nothing does."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    given = info.orig_filename
    parts = PurePosixPath(given).parts
    if given.startswith("/") or "\\" in given or "\0" in given or ".." in parts or given[1:2] == ":":
        return "has a name that leads out of the archive", "zip-name"
    if kind and not stat.S_ISREG(kind):
        what = "a symlink" if stat.S_ISLNK(kind) else "no regular file"
        return f"is {what}", "zip-not-regular"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted", "zip-encrypted"
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return "is packed in another way than deflate", "zip-method"
    return "", ""


def _of_member(path: Path, info: ZipInfo, what: str, rule: str, fix: str) -> DataError:
    shown = printable(info.orig_filename, 80)
    return file_error(path, f'is a zip archive whose member "{shown}" {what}', rule=rule, fix=fix)


def _damaged(path: Path, error: Exception) -> DataError:
    what = f"is a damaged zip archive: {printable(error) or type(error).__name__}"
    return file_error(path, what, rule="zip-damaged", fix="fetch or pack it again")
