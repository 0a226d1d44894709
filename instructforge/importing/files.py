"""The files of a collection: one file, a folder, or an archive (sdist, wheel), read within bounds, never unpacked."""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from attrs import frozen

from instructforge.errors import DataError, printable
from instructforge.readers.opening import Limits, file_error, open_regular, open_unpacked

__all__ = ["FileLimits", "SourceFile", "source_files"]


@frozen(kw_only=True)
class FileLimits:
    """Bounds of what is read.

    Attributes:
        file_bytes: Length of one file; a longer one is a ``DataError`` in its place.
        total_bytes: Length of all of them.
        entries: Files looked at, wanted or not.
        depth: Nesting of folders.
    """

    file_bytes: int = 8 << 20
    total_bytes: int = 512 << 20
    entries: int = 200_000
    depth: int = 20


@frozen
class SourceFile:
    """A file: where it lies below what was given, with ``/``, and what it holds, or why it cannot be read."""

    name: str
    content: bytes | DataError


def source_files(
    path: Path, wanted: Callable[[PurePosixPath], bool], *, limits: FileLimits | None = None
) -> Iterator[SourceFile]:
    """Yield the wanted files below ``path`` in the order of their names; a single file is wanted whatever its name.

    Raises:
        DataError: ``path`` does not exist, is no file, folder or archive, or holds more than is read.
    """
    limits = limits or FileLimits()
    if path.is_dir():
        found = _folder(path, wanted, limits)
    elif path.name.lower().endswith((".tar.gz", ".tgz", ".tar")):
        found = iter(sorted(_tar(path, wanted, limits), key=lambda one: one.name))
    elif path.suffix.lower() in (".whl", ".zip"):
        found = _zip(path, wanted, limits)
    else:
        found = iter([SourceFile(path.name, _read(path, limits))])
    total = 0
    for one in found:
        total += len(one.content) if isinstance(one.content, bytes) else 0
        if total > limits.total_bytes:
            what = f"holds more than {limits.total_bytes:,} bytes of such files"
            raise file_error(path, what, rule="archive-too-large", fix="give a part of it")
        yield one


def _read(path: Path, limits: FileLimits) -> bytes:
    with open_regular(path) as handle:
        content = handle.read(limits.file_bytes + 1)
    if len(content) > limits.file_bytes:
        raise _too_long(path.name, limits)
    return content


def _too_long(name: str, limits: FileLimits) -> DataError:
    what = f"is longer than {limits.file_bytes:,} bytes"
    return file_error(Path(name), what, rule="file-too-large", fix="split it")


def _too_many(path: Path, limits: FileLimits) -> DataError:
    what = f"holds more than {limits.entries:,} files"
    return file_error(path, what, rule="archive-too-large", fix="give a part of it")


# --- Folders ------------------------------------------------------------------------------------------


def _folder(path: Path, wanted: Callable[[PurePosixPath], bool], limits: FileLimits) -> Iterator[SourceFile]:
    for name in sorted(_names(path, limits)):
        if wanted(name):
            place = path / name
            try:
                yield SourceFile(str(name), _read(place, limits))
            except DataError as error:
                yield SourceFile(str(name), error)


def _names(path: Path, limits: FileLimits) -> Iterator[PurePosixPath]:
    """Yield the files below a folder. Links are not followed: they could lead outside, or round in a circle."""
    waiting = [PurePosixPath()]
    count = 0
    while waiting:
        below = waiting.pop()
        with os.scandir(path / below) as entries:
            for entry in entries:
                count += 1
                if count > limits.entries:
                    raise _too_many(path, limits)
                if entry.is_dir(follow_symlinks=False):
                    if len(below.parts) >= limits.depth:
                        what = f"has folders nested more than {limits.depth} deep"
                        raise file_error(path, what, rule="folder-depth", fix="give a part of it")
                    waiting.append(below / entry.name)
                elif entry.is_file(follow_symlinks=False):
                    yield below / entry.name


# --- Archives -----------------------------------------------------------------------------------------


def _tar(path: Path, wanted: Callable[[PurePosixPath], bool], limits: FileLimits) -> Iterator[SourceFile]:
    with open_unpacked(path, Limits()) as handle:
        try:
            with tarfile.open(fileobj=handle, mode="r|") as archive:
                for count, entry in enumerate(archive):
                    if count >= limits.entries:
                        raise _too_many(path, limits)
                    if not entry.isreg() or not wanted(PurePosixPath(entry.name)):
                        continue
                    if entry.size > limits.file_bytes:
                        yield SourceFile(entry.name, _too_long(entry.name, limits))
                        continue
                    member = archive.extractfile(entry)
                    yield SourceFile(entry.name, b"" if member is None else member.read(limits.file_bytes))
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            if isinstance(error, DataError):
                raise
            what = f"is no whole tar archive: {printable(error)}"
            raise file_error(path, what, rule="archive-damaged", fix="fetch it again") from None


def _zip(path: Path, wanted: Callable[[PurePosixPath], bool], limits: FileLimits) -> Iterator[SourceFile]:
    with open_regular(path) as handle:
        try:
            with zipfile.ZipFile(handle) as archive:
                entries = archive.infolist()
                if len(entries) > limits.entries:
                    raise _too_many(path, limits)
                for entry in sorted(entries, key=lambda one: one.filename):
                    if not entry.is_dir() and wanted(PurePosixPath(entry.filename)):
                        yield SourceFile(entry.filename, _entry(archive, entry, limits))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            what = f"is no whole zip archive: {printable(error)}"
            raise file_error(path, what, rule="archive-damaged", fix="fetch it again") from None


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: FileLimits) -> bytes | DataError:
    with archive.open(entry) as member:
        content = member.read(limits.file_bytes + 1)  # whatever size the entry claims
    return content if len(content) <= limits.file_bytes else _too_long(entry.filename, limits)
