"""Items on disk: what a log of interactions names by id, and what the other candidates are drawn from.

Both readers of this package keep what they read in one SQLite file in a temporary folder, so that memory does not
grow with the log or with the catalogue.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from instructforge.components import RowOrError
from instructforge.data import Row
from instructforge.errors import ConfigError, DataError, printable
from instructforge.readers.delimited import CsvReader, TsvReader
from instructforge.readers.document import JsonReader
from instructforge.readers.jsonl import JsonlReader
from instructforge.readers.opening import file_error, head_of

__all__ = ["AUTHORS", "BATCH", "ITEM", "TITLES", "Catalogue", "batches", "item_text", "rows_of", "store", "whole"]

ITEM = ("item_id", "itemid", "item", "book_id", "bookid", "movie_id", "movieid", "product_id", "asin", "iid")
TITLES = ("title", "name", "item_name", "text")
AUTHORS = ("authors", "author", "artist", "director", "by")
BATCH = 5000
_PLACEHOLDER = re.compile(r"\{(\w+)\}")

_log = logging.getLogger("instructforge.recommendation")


@contextmanager
def store() -> Iterator[sqlite3.Connection]:
    """Open an empty database in a temporary folder, which goes away with it."""
    with ExitStack() as opened:
        folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="instructforge-"))
        database = opened.enter_context(closing(sqlite3.connect(Path(folder) / "log.sqlite", isolation_level=None)))
        database.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA temp_store=FILE; PRAGMA cache_size=-65536;"
            "CREATE TABLE items(n INTEGER PRIMARY KEY, id TEXT UNIQUE, text TEXT);"
        )
        yield database


def batches(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield ``rows`` in lists that are worth a statement each."""
    stream = iter(rows)
    while some := list(islice(stream, BATCH)):
        yield some


def rows_of(path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
    """Yield the rows of a CSV, TSV, JSON or JSON-lines file, whichever it is; ``options`` are that reader's own.

    Raises:
        DataError: It is none of these, or cannot be read.
    """
    head = head_of(path)
    for reader in (JsonlReader(), JsonReader(), CsvReader(), TsvReader()):
        if reader.accepts(path, head):
            delimited = isinstance(reader, (CsvReader, TsvReader))
            own = {name: value for name, value in options.items() if delimited or name not in ("header", "quoting")}
            yield from reader.read(path, own)
            return
    fix = "give a file that ends in .csv, .tsv, .jsonl or .json"
    raise file_error(path, "is neither CSV, TSV, JSON nor JSON lines", rule="file-format", fix=fix)


def whole(name: str, value: Any, least: int) -> int:
    """Return an option that is a whole number.

    Raises:
        ConfigError: It is none, or is less than ``least``.
    """
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ConfigError(f'the option {name} is "{printable(value, 40)}", not a whole number from {least} on')
    return number


def item_text(values: Mapping[str, Any], form: str | None) -> str:
    """Return how an item is called in prompts: by ``form``, else its title and, behind a slash, who it is by.

    >>> item_text({"title": "Emma", "authors": "Jane Austen"}, None)
    'Emma / Jane Austen'
    >>> item_text({"title": "Emma", "year": 1815}, "{title} ({year})")
    'Emma (1815)'
    """
    if form is not None:
        text = _PLACEHOLDER.sub(lambda found: _shown(values.get(found[1])), form)
    else:
        folded = {str(name).lower(): value for name, value in values.items()}
        title, author = (_first(folded, names) for names in (TITLES, AUTHORS))
        text = f"{title} / {author}" if title and author else title
    return " ".join(text.split())


def _first(values: Mapping[str, Any], names: Sequence[str]) -> str:
    return next((shown for name in names if (shown := _shown(values.get(name)))), "")


def _shown(value: Any) -> str:
    """Return a cell in words; a list, as JSON has it, with commas."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    return "" if value is None or isinstance(value, Mapping) else str(value).strip()


class Catalogue:
    """The items of a database: numbered from 1 in the order of their file.

    Args:
        database: As ``store`` opens it.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.size = 0

    def read(self, path: Path, *, id_column: str | None, form: str | None, options: Mapping[str, Any]) -> None:
        """Take in the items of a file; what cannot be taken in is logged with its number.

        Raises:
            DataError: The file cannot be read, or no row of it has an id and a title.
            ConfigError: ``form`` names a column that the file does not have.
        """
        bad = 0

        def _pairs() -> Iterator[tuple[str, str]]:
            nonlocal bad
            for number, found in enumerate(rows_of(path, options)):
                if isinstance(found, DataError):
                    bad += 1
                    continue
                if number == 0:
                    _check_form(form, found, path)
                id, text = _id(found.values, id_column), item_text(found.values, form)
                if id and text:
                    yield id, text
                else:
                    bad += 1

        for some in batches(_pairs()):
            before = self._count()
            self._database.executemany("INSERT OR IGNORE INTO items(id, text) VALUES (?, ?)", some)
            bad += len(some) - (self._count() - before)
        self.close()
        if not self.size:
            fix = "name its columns with the options item_id and item_text"
            raise file_error(path, "has no row with an id and a title", rule="catalogue-empty", fix=fix)
        if bad:
            _log.warning("%s: %d of %d items are bad or come twice, and are left out", path.name, bad, bad + self.size)

    def close(self) -> None:
        """Count the items: no more are to come."""
        self.size = self._count()

    def _count(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM items").fetchone()[0])

    def text(self, n: int) -> str:
        """Return what the item numbered ``n`` is called; an empty text where there is none."""
        found = self._database.execute("SELECT text FROM items WHERE n = ?", (n,)).fetchone()
        return str(found[0]) if found else ""

    def others(
        self, count: int, draw: Random, *, without: set[int], texts: set[str], popular: Iterable[int] = ()
    ) -> list[str]:
        """Draw the names of ``count`` items, each once; fewer where there are no more.

        Args:
            draw: Decides which.
            without: Numbers of items that are not to be drawn.
            texts: Names that are taken.
            popular: Numbers to take before any are drawn; an endless stream is looked at as far as it is of use.
        """
        found: dict[str, None] = {}
        drawn = (draw.randint(1, self.size) for _ in range(20 * count))
        start = draw.randint(1, self.size)
        rest = ((start + step) % self.size + 1 for step in range(min(self.size, 100 * count)))
        for source in (islice(popular, 20 * count), drawn, rest):
            for n in source:
                if len(found) == count:
                    return list(found)
                if n not in without and (text := self.text(n)) and text not in texts:
                    found[text] = None
        return list(found)


def _check_form(form: str | None, row: Row, path: Path) -> None:
    missing = [name for name in _PLACEHOLDER.findall(form or "") if name not in row.values]
    if missing:
        known = ", ".join(map(str, row.values))
        raise ConfigError(f'item_text names "{missing[0]}", and "{printable(path.name)}" has: {printable(known)}')


def _id(values: Mapping[str, Any], column: str | None) -> str:
    if column is not None:
        return _shown(values.get(column))
    return _first({str(name).lower(): value for name, value in values.items()}, (*ITEM, "id"))
