"""Checkpoints that survive a kill and hold no pickle: safetensors for tensors, JSON for the rest.

A checkpoint counts only with its marker, ``complete.json``, which is written last and lists the sha256 of every
other file. A torn one is passed over, and said so. What is read back is input like any other: nothing in it can
run code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from instructforge.files import write_json

__all__ = ["Found", "is_complete", "newest", "remove_all_but", "write_checkpoint"]

MARKER = "complete.json"
_BLOCK = 1 << 20


@frozen
class Found:
    """A complete checkpoint, and what was passed over on the way to it."""

    path: Path | None
    notices: tuple[str, ...] = ()


def write_checkpoint(path: Path, fill: Callable[[Path], None], *, about: Mapping[str, Any]) -> None:
    """Write a checkpoint folder: ``fill`` writes its files, the marker comes last, all is flushed to disk."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    fill(path)
    digests = {}
    for file in sorted(path.iterdir()):
        digests[file.name] = _flushed_sha256(file)
    write_json(path / MARKER, {"files": digests, "about": dict(about)})


def _flushed_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def about(path: Path) -> dict[str, Any]:
    """Return what ``write_checkpoint`` was told; empty where the marker cannot be read."""
    try:
        value = json.loads((path / MARKER).read_text(encoding="utf-8"))["about"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return value if isinstance(value, dict) else {}


def is_complete(path: Path) -> bool:
    """Tell whether the folder has its marker and every file is the one that the marker lists."""
    try:
        digests = json.loads((path / MARKER).read_text(encoding="utf-8"))["files"]
        if {file.name for file in path.iterdir()} != {*digests, MARKER}:
            return False
        return all(_flushed_sha256(path / name) == digest for name, digest in digests.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def newest(folder: Path, *, prefix: str, fingerprint: str) -> Found:
    """Return the newest complete checkpoint in ``folder`` that belongs to the run with this fingerprint."""
    notices = []
    for path in sorted(_numbered(folder, prefix), key=_number, reverse=True):
        if not is_complete(path):
            notices.append(f"{path.name} is incomplete, as a crash leaves it; it was passed over")
        elif about(path).get("fingerprint") != fingerprint:
            notices.append(f"{path.name} belongs to a run with other data, model or options; it was passed over")
        else:
            return Found(path, tuple(notices))
    return Found(None, tuple(notices))


def remove_all_but(folder: Path, keep: set[Path], *, prefix: str) -> None:
    """Delete the numbered folders with ``prefix`` that are not in ``keep``."""
    for path in _numbered(folder, prefix):
        if path not in keep:
            (path / MARKER).unlink(missing_ok=True)  # first, so that a kill here leaves no half that counts
            shutil.rmtree(path, ignore_errors=True)


def _numbered(folder: Path, prefix: str) -> list[Path]:
    return [path for path in folder.glob(f"{prefix}-*") if path.is_dir() and path.name[len(prefix) + 1 :].isdigit()]


def _number(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[1])
