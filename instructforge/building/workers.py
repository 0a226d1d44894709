"""Sends batches to processes and hands the results back in order."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, TypeAlias

from attrs import frozen

from instructforge.building.making import Maker, Outcome
from instructforge.components import RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import ConfigError, DataError, InstructForgeError, printable

__all__ = ["Batch", "Done", "outcomes"]

_COLLECT = 50_000, 20, 50


@frozen
class Batch:
    """Some records of one source, in order."""

    source: int
    rows: Sequence[RowOrError]
    last: bool
    """Whether the source ends with it."""


@frozen
class Done:
    """A batch with what became of each of its records."""

    batch: Batch
    outcomes: Sequence[Sequence[Outcome]]


def outcomes(
    maker: Maker, batches: Iterable[Batch], workers: int, *, work: str = "make"
) -> Generator[Done, None, None]:
    """Yield every batch with its outcomes, in the order of ``batches``, whatever the workers.

    Args:
        maker: Makes the outcomes.
        batches: What of.
        workers: Processes.
        work: The maker's method that is called for each batch.

    Raises:
        ConfigError: The task, a normalizer or a template cannot be sent to workers.
        InstructForgeError: A worker has died.
    """
    if workers == 1:
        with _seldom_collected():
            for batch in batches:
                yield Done(batch, getattr(maker, work)(batch.source, batch.rows))
        return
    yield from _in_processes(_packed(maker), batches, workers, work)


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Have Python look for cycles less often: a build makes many objects, hardly ever in cycles.

    Templates see to the large cycles that they make; at its usual rate the search takes a sixth of a build's time.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECT)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _packed(maker: Maker) -> bytes:
    try:
        return pickle.dumps(maker)
    except Exception as error:  # pickle raises whatever the object's own methods raise
        raise ConfigError(
            f"this build cannot be shared among workers: {printable(error)}.\n"
            "Functions of normalizers have to be importable by name: not lambdas, nor functions within functions.\n"
            "Move them to the top of a module, or build with one worker."
        ) from error


def _in_processes(packed: bytes, batches: Iterable[Batch], workers: int, work: str) -> Iterator[Done]:
    # "spawn": a forked child would inherit locks that threads of pyarrow or torch hold at that moment.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(packed,))
    running: deque[tuple[Batch, Future[list[list[Outcome]]]]] = deque()
    try:
        for batch in batches:
            running.append((batch, pool.submit(_make, work, batch.source, _flat(batch.rows))))
            if len(running) >= 2 * workers:
                yield _result(running)
        while running:
            yield _result(running)
    except BrokenProcessPool:
        raise InstructForgeError(
            "A worker has died while building: killed from outside, out of memory, or unable to start.\n"
            'A script that builds with workers keeps its own start under `if __name__ == "__main__":`.\n'
            "Run the same command again to go on from the last checkpoint, or build with one worker."
        ) from None
    finally:
        # On an error or an interrupt nothing waits for work that nobody will use.
        pool.shutdown(wait=False, cancel_futures=True)


_Flat: TypeAlias = "tuple[Mapping[str, Any], str, int | None, str] | DataError"
"""A row as it is sent: plain parts are packed and unpacked several times faster than rows."""


def _flat(rows: Sequence[RowOrError]) -> list[_Flat]:
    return [
        (row.values, row.origin.source, row.origin.record, row.origin.path) if isinstance(row, Row) else row
        for row in rows
    ]


def _result(running: deque[tuple[Batch, Future[list[list[Outcome]]]]]) -> Done:
    batch, future = running.popleft()
    return Done(batch, future.result())


# --- In the worker ------------------------------------------------------------------------------------

_maker: Maker | None = None
"""The worker's own maker: unpacked once, for templates are compiled as they are unpacked."""


def _start(packed: bytes) -> None:
    global _maker
    gc.set_threshold(*_COLLECT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    _end_with_parent()
    _maker = pickle.loads(packed)


def _make(work: str, source: int, rows: Sequence[_Flat]) -> list[list[Outcome]]:
    assert _maker is not None
    whole = [Row(row[0], Origin(*row[1:])) if isinstance(row, tuple) else row for row in rows]
    made: list[list[Outcome]] = getattr(_maker, work)(source, whole)
    return made


def _end_with_parent() -> None:
    """End this process when its parent does: after a kill -9 of the parent nobody else would."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        sys.stderr.flush()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
