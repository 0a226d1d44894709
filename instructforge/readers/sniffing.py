"""Choosing the reader of a file: by name, or the one that accepts it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructforge.errors import ConfigError, MissingDependencyError, printable
from instructforge.readers.opening import Limits, file_error, head_of, name_in

if TYPE_CHECKING:
    from instructforge.components import Reader
    from instructforge.registry import Registry

__all__ = ["choose_reader"]


_OPENING = ("member", "max_ratio")
"""Options that have a say in how a file is opened, whatever its reader."""

_NAMES_SHOWN = 5


def choose_reader(
    path: Path, readers: Registry[Reader], name: str | None = None, options: Mapping[str, Any] | None = None
) -> Reader:
    """Return the reader called ``name``, or else the one that accepts the file.

    Among those that accept it, the ones of the highest ``priority`` count: a reader of one special form
    states a higher one than the reader of the general format. Of a zip archive, the file in it is looked at.

    Args:
        options: The reader's options, of which ``member`` and ``max_ratio`` are heeded here too.

    Raises:
        UnknownNameError: No reader is called ``name``.
        ConfigError: Two readers fit equally.
        DataError: None fits, or the file cannot be opened.
    """
    if name is not None:
        return readers.get(name)
    is_hub = str(path).startswith("hub:")
    limits = Limits.take({key: value for key, value in (options or {}).items() if key in _OPENING}, reader="any")
    head = b"" if is_hub else head_of(path, limits)
    failed: list[str] = []
    inner = None if is_hub else name_in(path, limits)
    fitting = _accepting(path if inner is None else path.with_name(inner), head, readers, failed)
    if not fitting and not is_hub and not path.is_dir() and not head.strip(b"\xef\xbb\xbf \t\r\n"):
        what, rule = ("holds no records", "no-records") if head else ("is empty", "file-empty")
        raise file_error(path, what, rule=rule, fix="leave it out, or fetch it again")
    if not fitting and path.is_dir():
        fix = f"give the data files in it themselves{_such_as(path, readers)}"
        raise file_error(path, "; ".join(["is a folder that no reader knows", *failed]), rule="file-format", fix=fix)
    if not fitting:
        what = "; ".join(["is in no format that a reader knows", *failed])
        raise file_error(path, what, rule="file-format", fix=f"give --format NAME, one of: {', '.join(readers)}")
    best = max(getattr(reader, "priority", 0) for reader in fitting)
    chosen = [reader for reader in fitting if getattr(reader, "priority", 0) == best]
    if len(chosen) > 1:
        names = " and ".join(f'"{reader.name}"' for reader in chosen)
        raise ConfigError(f'"{printable(path)}" can be read as {names}; say which with --format NAME')
    return chosen[0]


def _such_as(folder: Path, readers: Registry[Reader]) -> str:
    """Return a few of a folder's files that look like data by their endings, in words."""
    endings = {ending for name in readers for ending in _endings(readers, name)} | {".gz", ".zip"}
    names = sorted(part.name for part in folder.iterdir() if part.is_file() and part.suffix.lower() in endings)
    shown = ", ".join(printable(name, 60) for name in names[:_NAMES_SHOWN])
    return f", such as {shown}" if shown else ""


def _endings(readers: Registry[Reader], name: str) -> tuple[str, ...]:
    try:
        return readers.get(name).suffixes
    except Exception:  # a plugin's reader that cannot be loaded has no endings to show
        return ()


def _accepting(path: Path, head: bytes, readers: Registry[Reader], failed: list[str]) -> list[Reader]:
    """Return the readers that accept the file; ``failed`` takes a sentence for each that could not say."""
    found = []
    for name in readers:
        try:
            reader = readers.get(name)
            if reader.accepts(path, head):
                found.append(reader)
        except MissingDependencyError:
            continue  # a reader that cannot be loaded is no candidate; by name it says what it lacks
        except Exception as error:  # a plugin's reader: whatever it raises must not hide the others
            failed.append(f'the reader "{name}" failed on it with {type(error).__name__}: {printable(error, 80)}')
    return found
