"""What a build needs to go on after a crash, in one SQLite file: every commit of it is a checkpoint.

It holds the ids seen, the quarantined rows, the rows whose shards are not full yet, and where the reading stood.
All of it is committed at once, so that a process killed at any moment leaves the last checkpoint whole.
Indexes that grow with the data live here, on disk.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from instructforge.files import canonical_json

__all__ = ["FOLDER", "Index", "State"]

FOLDER = ".build"
_CACHE_KIB = 32_000
_ASKED_AT_ONCE = 500
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE ids (hash BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE contents (hash BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE quarantine (place INTEGER PRIMARY KEY, entry BLOB);
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

    # --- Indexes --------------------------------------------------------------------------------------

    def known(self, table: str, hashes: Sequence[bytes]) -> set[bytes]:
        """Return those among ``hashes`` that a table (``ids``, ``contents``) holds."""
        found: set[bytes] = set()
        for start in range(0, len(hashes), _ASKED_AT_ONCE):
            some = hashes[start : start + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self._connection.execute(f"SELECT hash FROM {table} WHERE hash IN ({marks})", some)
            found.update(hash for (hash,) in rows)
        return found

    def add(self, table: str, hashes: Iterable[bytes]) -> None:
        """Add new hashes to a table."""
        self._connection.executemany(f"INSERT INTO {table} VALUES (?)", ((hash,) for hash in hashes))

    # --- Rows that wait -------------------------------------------------------------------------------

    def add_quarantined(self, entry: bytes) -> None:
        self._connection.execute("INSERT INTO quarantine (entry) VALUES (?)", (entry,))

    def quarantined(self) -> Iterator[bytes]:
        """Yield the quarantined rows in their order."""
        for (entry,) in self._connection.execute("SELECT entry FROM quarantine ORDER BY place"):
            yield entry

    def add_pending(self, split: str, rows: Iterable[bytes]) -> None:
        self._connection.executemany("INSERT INTO pending (split, row) VALUES (?, ?)", ((split, row) for row in rows))

    def pending(self, split: str) -> Iterator[bytes]:
        """Yield the rows of a split that wait for their shard, in their order."""
        for (row,) in self._connection.execute("SELECT row FROM pending WHERE split = ? ORDER BY place", (split,)):
            yield row

    def clear_pending(self, split: str) -> None:
        self._connection.execute("DELETE FROM pending WHERE split = ?", (split,))


class Index:
    """Hashes seen before, and those that a batch adds: asked for and added a batch at a time."""

    def __init__(self, state: State, table: str) -> None:
        self._state, self._table = state, table
        self._seen: set[bytes] = set()
        self._new: list[bytes] = []

    def look_up(self, hashes: Sequence[bytes]) -> None:
        """Find out which of a batch's hashes were seen before it."""
        self._seen, self._new = self._state.known(self._table, hashes), []

    def __contains__(self, hash: bytes) -> bool:
        return hash in self._seen

    def add(self, hash: bytes) -> None:
        if hash not in self._seen:
            self._seen.add(hash)
            self._new.append(hash)

    def write(self) -> None:
        """Put the batch's new hashes into the state."""
        self._state.add(self._table, self._new)
        self._new = []
