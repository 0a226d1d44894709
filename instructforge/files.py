"""Canonical JSON, hashes, and files that survive a crash.

Finished files are written beside their place, flushed and renamed, so that a reader sees all of a file
or none of it. Journals are appended line by line; a torn last line is cut off before the next write.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from instructforge.errors import RunLockedError

__all__ = [
    "append_line",
    "canonical_json",
    "exclusive_lock",
    "repair_tail",
    "seed_of",
    "sha256_of",
    "write_atomically",
    "write_json",
]


def canonical_json(value: Any) -> str:
    """Return the one JSON text of ``value``: keys sorted, no spaces, Unicode kept, no NaN.

    >>> canonical_json({"b": 1, "a": "中"})
    '{"a":"中","b":1}'
    """
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(value: Any) -> str:
    """Return the sha256 (hex) of bytes, of a text's UTF-8, or of a value's canonical JSON."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    elif not isinstance(value, bytes):
        value = canonical_json(value).encode("utf-8", "surrogatepass")
    import hashlib  # here, and tempfile below: listing tasks hashes and writes nothing

    return hashlib.sha256(value).hexdigest()


def seed_of(run_seed: int, *names: str) -> int:
    """Return the 64-bit seed that belongs to ``names`` (a row's id, a purpose) under ``run_seed``.

    Seeds depend on what a row is, never on which worker sees it or when.
    """
    import hashlib

    text = "\x1f".join((str(run_seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


@contextmanager
def write_atomically(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that takes the place of ``path`` once the block ends without an error."""
    import tempfile

    path.parent.mkdir(parents=True, exist_ok=True)
    text = None if "b" in mode else "utf-8"
    handle = tempfile.NamedTemporaryFile(  # noqa: SIM115  (closed below, on both ways out)
        mode, encoding=text, dir=path.parent, prefix=f".{path.name}.", suffix=".partial", delete=False
    )
    try:
        with handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        beside = Path(handle.name)
        beside.chmod(0o644)
        beside.replace(path)
    except BaseException:
        Path(handle.name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically."""
    with write_atomically(path) as handle:
        json.dump(value, handle, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False)
        handle.write("\n")


def append_line(path: Path, text: str) -> None:
    """Append one line to a journal and flush it to disk, after cutting off a torn last line."""
    repair_tail(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as handle:
        handle.write(text + "\n")
        handle.flush()
        os.fsync(handle.fileno())


def repair_tail(path: Path) -> int:
    """Cut off the last line of a journal if a crash left it without its newline; return the bytes cut."""
    try:
        handle = path.open("r+b")
    except FileNotFoundError:
        return 0
    with handle:
        size = handle.seek(0, os.SEEK_END)
        end, block = size, 1 << 16
        while end > 0:
            start = max(0, end - block)
            handle.seek(start)
            newline = handle.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            handle.truncate(end)
            handle.flush()
            os.fsync(handle.fileno())
        return size - end


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process.

    Raises:
        RunLockedError: Another live process holds it; the message names its process id.
    """
    import fcntl  # POSIX only, as the project is

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise RunLockedError(
                f'"{folder}" is in use by process {holder}.\n'
                "One run folder takes one process at a time.\n"
                "Wait for it to end, or choose another folder."
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
