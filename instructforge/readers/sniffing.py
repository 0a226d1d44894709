"""Choosing the reader of a file: by name, or the one that accepts it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from instructforge.errors import ConfigError, MissingDependencyError, printable
from instructforge.readers.opening import file_error, head_of

if TYPE_CHECKING:
    from instructforge.components import Reader
    from instructforge.registry import Registry

__all__ = ["choose_reader"]


def choose_reader(path: Path, readers: Registry[Reader], name: str | None = None) -> Reader:
    """Return the reader called ``name``, or else the one that accepts the file.

    Among those that accept it, the ones of the highest ``priority`` count: a reader of one special form
    states a higher one than the reader of the general format.

    Raises:
        UnknownNameError: No reader is called ``name``.
        ConfigError: Two readers fit equally.
        DataError: None fits, or the file cannot be opened.
    """
    if name is not None:
        return readers.get(name)
    is_hub = str(path).startswith("hub:")
    head = b"" if is_hub else head_of(path)
    failed: list[str] = []
    fitting = _accepting(path, head, readers, failed)
    if not fitting and not is_hub and not path.is_dir() and not head.strip(b"\xef\xbb\xbf \t\r\n"):
        what, rule = ("holds no records", "no-records") if head else ("is empty", "file-empty")
        raise file_error(path, what, rule=rule, fix="leave it out, or fetch it again")
    if not fitting:
        what = "is a folder that no reader knows" if path.is_dir() else "is in no format that a reader knows"
        what = "; ".join([what, *failed])
        raise file_error(path, what, rule="file-format", fix=f"give --format NAME, one of: {', '.join(readers)}")
    best = max(getattr(reader, "priority", 0) for reader in fitting)
    chosen = [reader for reader in fitting if getattr(reader, "priority", 0) == best]
    if len(chosen) > 1:
        names = " and ".join(f'"{reader.name}"' for reader in chosen)
        raise ConfigError(f'"{printable(path)}" can be read as {names}; say which with --format NAME')
    return chosen[0]


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
