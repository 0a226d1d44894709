"""What a build needs to go on after a crash: one SQLite file, every commit of which is a checkpoint.

It holds the quarantined rows, the duplicates, the rows whose shards are not full yet, and where the reading stood.
All of it is committed at once, so that a process killed at any moment leaves the last checkpoint whole. Indexes that
grow with the data lie beside it, in files that are never changed or only grow: a checkpoint says which of them, and
how much of each, belongs to it.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from instructforge.files import canonical_json

__all__ = ["FOLDER", "Ids", "State"]

FOLDER = ".build"
_CACHE_KIB = 32_000
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE quarantine (place INTEGER PRIMARY KEY, entry BLOB);
CREATE TABLE duplicates (place INTEGER PRIMARY KEY, entry BLOB);
CREATE TABLE pending (place INTEGER PRIMARY KEY, split TEXT, row BLOB);
CREATE INDEX pending_split ON pending (split, place);
"""


class State:
    """The state of one build.

    Args:
        out: The run folder.
        fingerprint: Of everything that decides the output. State of another fingerprint is thrown away.
    """

    def __init__(self, out: Path, fingerprint: str) -> None:
        self.folder = out / FOLDER
        self.fingerprint = fingerprint
        self.stale = False
        """Whether state of another build was found, and thrown away."""
        try:
            self._open()
            known = self._meta("fingerprint")
        except sqlite3.DatabaseError:  # not a database, or a damaged one
            known = "damaged"
        if known != fingerprint:
            self.stale = known is not None
            self._begin()
        self._connection.execute("BEGIN")

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(self.folder / "state.sqlite", isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")

    def _begin(self) -> None:
        self._connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._open()
        self._connection.execute("BEGIN")
        for statement in filter(str.strip, _TABLES.split(";")):
            self._connection.execute(statement)
        self._set_meta("fingerprint", self.fingerprint)
        self._connection.execute("COMMIT")

    def _meta(self, key: str) -> str | None:
        if not self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            return None
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def _set_meta(self, key: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # --- Checkpoints ----------------------------------------------------------------------------------

    def checkpoint(self) -> dict[str, Any] | None:
        """Return what was last committed; None at the beginning."""
        found = self._meta("checkpoint")
        return json.loads(found) if found else None

    def commit(self, checkpoint: Mapping[str, Any]) -> None:
        """Commit everything since the last time, with ``checkpoint``, in one step."""
        self._set_meta("checkpoint", canonical_json(checkpoint))
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN")

    def close(self) -> None:
        """Close the file; what was not committed is lost, as in a crash."""
        self._connection.close()

    def remove(self) -> None:
        """Remove the state: the build has come to its end."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- Rows that wait -------------------------------------------------------------------------------

    def add_quarantined(self, entry: bytes) -> None:
        self._connection.execute("INSERT INTO quarantine (entry) VALUES (?)", (entry,))

    def add_duplicate(self, entry: bytes) -> None:
        self._connection.execute("INSERT INTO duplicates (entry) VALUES (?)", (entry,))

    def entries(self, table: str) -> Iterator[bytes]:
        """Yield the rows of ``quarantine`` or ``duplicates`` in their order."""
        for (entry,) in self._connection.execute(f"SELECT entry FROM {table} ORDER BY place"):
            yield entry

    def add_pending(self, split: str, rows: Iterable[bytes]) -> None:
        self._connection.executemany("INSERT INTO pending (split, row) VALUES (?, ?)", ((split, row) for row in rows))

    def pending(self, split: str) -> Iterator[bytes]:
        """Yield the rows of a split that wait for their shard, in their order."""
        for (row,) in self._connection.execute("SELECT row FROM pending WHERE split = ? ORDER BY place", (split,)):
            yield row

    def clear_pending(self, split: str) -> None:
        self._connection.execute("DELETE FROM pending WHERE split = ?", (split,))


class Ids:
    """Hashes of ids seen before, and those that a batch adds: asked for and added a batch at a time.

    They are kept by 64 bits: among ten million ids the chance that two different ones meet is 1 in 400,000.

    Args:
        folder: For the index, which lies on disk.
        state: What ``save`` returned at the checkpoint to go on from; None at the beginning.
    """

    def __init__(self, folder: Path, state: Mapping[str, Any] | None) -> None:
        from instructforge.duplicates.runs import SortedRuns  # numpy comes with it

        self._runs = SortedRuns(folder, state)
        self.save, self.settled, self.close = self._runs.save, self._runs.settled, self._runs.close
        self._seen: set[int] = set()
        self._new: list[int] = []

    def look_up(self, hashes: Sequence[int]) -> None:
        """Find out which of a batch's hashes were seen before it."""
        import numpy as np

        asked = np.array(hashes, np.uint64)
        self._seen, self._new = set(self._runs.find(asked, asked, 1)[1].tolist()), []

    def __contains__(self, hash: int) -> bool:
        return hash in self._seen

    def add(self, hash: int) -> None:
        if hash not in self._seen:
            self._seen.add(hash)
            self._new.append(hash)

    def write(self) -> None:
        """Put the batch's new hashes into the index."""
        import numpy as np

        self._runs.add(np.array(self._new, np.uint64))
        self._new = []
