"""Progress of long work: a bar with rate and time left on a terminal, now and then a line in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from instructforge.cli.output import say_error

if TYPE_CHECKING:
    from rich.progress import TaskID

    from instructforge.pipeline import Progress

__all__ = ["showing_progress"]

_SECONDS_BETWEEN_LINES = 15.0
_IN_BYTES = frozenset({"build", "held-out rows", "overlap"})
"""Stages that tell how many bytes are done, where they know of how many."""


@contextmanager
def showing_progress() -> Iterator[Progress]:
    """Give a callback ``(stage, done, total)`` that shows how far the work has come, on standard error."""
    if sys.stderr.isatty():
        with _bars() as callback:
            yield callback
    else:
        yield _Lines()


class _Lines:
    """Writes a plain line for a stage every so often."""

    def __init__(self) -> None:
        self._stage = ""
        self._begun = self._said = time.monotonic()
        self._first = 0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._begun, self._said, self._first = stage, now, now, done
        elif now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            in_bytes = stage in _IN_BYTES and total is not None
            say_error(f"{stage}: {_how_far(done, total, done - self._first, now - self._begun, in_bytes=in_bytes)}")


def _how_far(done: int, total: int | None, lately: int, seconds: float, *, in_bytes: bool = False) -> str:
    """Say how far a stage is.

    >>> _how_far(50, 200, 50, 10.0)
    '50 of 200 (25 %), 5.0 a second, 30 s left'
    >>> _how_far(500_000_000, 2_000_000_000, 500_000_000, 100.0, in_bytes=True)
    '500.0 MB of 2.0 GB (25 %), 5.0 MB a second, 300 s left'
    """
    rate = lately / seconds if seconds else 0.0
    if total is None:
        return f"{done}, {rate:.1f} a second"
    left = f", {(total - done) / rate:.0f} s left" if rate else ""
    shown = _bytes if in_bytes else str
    speed = _bytes(rate) if in_bytes else f"{rate:.1f}"
    return f"{shown(done)} of {shown(total)} ({100 * done // max(total, 1)} %), {speed} a second{left}"


def _bytes(count: float) -> str:
    """Return a number of bytes as people read it.

    >>> _bytes(512), _bytes(12_345_678)
    ('512 B', '12.3 MB')
    """
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}"))
    with Bars(
        *columns, TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bars:
        stages: dict[str, tuple[TaskID, float, int]] = {}

        def callback(stage: str, done: int, total: int | None) -> None:
            if stage not in stages:
                stages[stage] = (bars.add_task(stage, total=total, rate="", done=""), time.monotonic(), done)
            number, begun, first = stages[stage]
            seconds = time.monotonic() - begun
            speed = (done - first) / max(seconds, 1e-9)
            in_bytes = stage in _IN_BYTES and total is not None
            shown = _bytes if in_bytes else str
            rate = (f"{_bytes(speed)}/s" if in_bytes else f"{speed:.1f}/s") if seconds > 0.5 else ""
            of = f"{shown(done)} of {shown(total)}" if total is not None else str(done)
            bars.update(number, completed=done, total=total, rate=rate, done=of)

        yield callback
