"""Catalogues with counts of stars, such as goodbooks-10k's ``books.csv``: there are no readers, so these are drawn.

Two things can be made of such a file, an example for each of its rows:

``readers``
    A reader who liked this book is *drawn*: what else they liked are books by the same author, of the same language
    and decade, or any, each as likely as it has 4 and 5 stars. The book is to be found among books drawn evenly.
    Such figures say how well a model sees that books belong together. They say nothing of real readers.
``ratings``
    The book and others drawn evenly are to be put in the order of their average rating. This order is real.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from attrs import frozen

from instructforge.components import RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import ConfigError, DataError, printable
from instructforge.files import seed_of
from instructforge.readers.delimited import CsvReader
from instructforge.readers.opening import Limits
from instructforge_recommendation.catalogue import AUTHORS, Catalogue, batches, item_text, store, whole

__all__ = ["StarCountsReader"]

STARS = tuple(f"ratings_{number}" for number in range(1, 6))
YEARS = ("original_publication_year", "year", "publication_year")
OPTIONS = ("draw", "candidates", "history", "item_text", "seed")
REQUEST = "Put these in the order of their readers' average rating, the highest first."

_SCHEMA = """
CREATE TABLE stars(n INTEGER PRIMARY KEY, line INTEGER, author TEXT, kin TEXT, liked INTEGER, upto INTEGER, mean REAL);
"""
_SAME = """
SELECT n, liked FROM stars WHERE {column} = (SELECT {column} FROM stars WHERE n = ?1) AND n <> ?1
ORDER BY liked DESC, n LIMIT 100
"""


@frozen(kw_only=True)
class _Settings:
    """The reader's options; see ``StarCountsReader.read``."""

    draw: str
    candidates: int
    history: int
    item_text: str | None
    seed: int

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> _Settings:
        Limits.take(options, reader="star-counts", known=(*OPTIONS, "quoting"))
        draw = options.get("draw", "readers")
        if draw not in ("readers", "ratings"):
            raise ConfigError(f'the option draw is readers or ratings, not "{printable(draw, 40)}"')
        return cls(
            draw=draw,
            candidates=whole("candidates", options.get("candidates", 10), 2),
            history=whole("history", options.get("history", 5), 1),
            item_text=options.get("item_text"),
            seed=whole("seed", options.get("seed", 0), 0),
        )


class StarCountsReader:
    """Reads items with how many readers gave them one to five stars."""

    name = "star-counts"
    suffixes = (".csv",)
    priority = 1

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell by the columns ``title`` and ``ratings_1`` to ``ratings_5``."""
        header = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].decode("utf-8", "replace")
        return {*STARS, "title"} <= {cell.strip().strip('"') for cell in header.split(",")}

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield a row for each item.

        Options: ``draw``, ``readers`` or ``ratings`` (see above); ``candidates`` (10); ``history`` (5), items that a
        drawn reader liked before; ``item_text``, how an item is called (``{title} by {authors}``); ``seed`` (0).

        Raises:
            ConfigError: An option is unknown or wrong.
            DataError: The file cannot be read as a whole.
        """
        settings = _Settings.of(options)
        inner = {name: value for name, value in options.items() if name not in OPTIONS}
        with store() as database:
            yield from _take_in(path, settings, database, inner)
            catalogue = Catalogue(database)
            catalogue.close()
            if catalogue.size:
                yield from _Drawn(path, settings, database, catalogue)


# --- The file, taken in -------------------------------------------------------------------------------


def _take_in(
    path: Path, settings: _Settings, database: sqlite3.Connection, inner: Mapping[str, Any]
) -> Iterator[DataError]:
    """Put the items into the database; yield the errors of the bad ones."""
    database.executescript(_SCHEMA)
    errors: list[DataError] = []
    upto = 0

    def _items() -> Iterator[tuple[Any, ...]]:
        nonlocal upto
        for n, found in enumerate(CsvReader().read(path, inner), 1):
            if isinstance(found, DataError):
                errors.append(found)
                continue
            try:
                text, author, kin, counts = _item(found.values, settings)
            except DataError as error:
                error.origin = found.origin
                errors.append(error)
                continue
            liked = counts[3] + counts[4]
            upto += liked
            mean = sum(stars * count for stars, count in enumerate(counts, 1)) / max(1, sum(counts))
            yield n, text, found.origin.record, author, kin, liked, upto, mean

    for some in batches(_items()):
        database.executemany("INSERT INTO items(n, id, text) VALUES (?, ?, ?)", [(r[0], str(r[0]), r[1]) for r in some])
        database.executemany("INSERT INTO stars VALUES (?, ?, ?, ?, ?, ?, ?)", [(r[0], *r[2:]) for r in some])
        yield from errors
        errors.clear()
    yield from errors
    database.executescript(
        "CREATE INDEX by_author ON stars(author, liked DESC, n); CREATE INDEX by_kin ON stars(kin, liked DESC, n);"
        "CREATE INDEX by_upto ON stars(upto);"
        "CREATE INDEX by_text ON items(text);"
    )


def _item(values: Mapping[str, Any], settings: _Settings) -> tuple[str, str | None, str | None, list[int]]:
    """Return an item's name, its author, its language with its decade, and its counts of stars; None is unknown."""
    text = item_text(values, settings.item_text)
    if not text:
        what, fix = "the item has no title", "give it one"
        raise DataError(what, rule="field-missing", field="title", fix=fix)
    author = next((str(values[name]).partition(",")[0].strip() for name in AUTHORS if values.get(name)), "")
    language = str(values.get("language_code") or "").partition("-")[0][:2]
    year = next((str(values[name]) for name in YEARS if values.get(name)), "")
    decade = year.partition(".")[0][:-1]
    kin = f"{language} {decade}" if language and decade else None
    return text, author or None, kin, [_count(values.get(name), name) for name in STARS]


def _count(value: Any, name: str) -> int:
    text = str(value).strip()
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return int(text)
    what = f'"{name}" is "{printable(value, 40)}", not a count'
    raise DataError(what, rule="count-type", field=name, fix="give a whole number")


# --- Readers and orders, drawn ------------------------------------------------------------------------


class _Drawn:
    """A row for each item, drawn by the seed and the item's place alone."""

    def __init__(self, path: Path, settings: _Settings, database: sqlite3.Connection, catalogue: Catalogue) -> None:
        self._path, self._settings, self._database, self._catalogue = path, settings, database, catalogue
        # Bad records leave gaps between the numbers, and draws go from 1 to the highest.
        self._numbers = database.execute("SELECT max(n), max(upto) FROM stars").fetchone()
        catalogue.size = self._numbers[0]

    def __iter__(self) -> Iterator[RowOrError]:
        items = self._database.execute("SELECT items.n, text, line FROM items JOIN stars USING (n) ORDER BY n")
        make = self._reader if self._settings.draw == "readers" else self._ratings
        for n, text, line in items:
            draw = Random(seed_of(self._settings.seed, self._settings.draw, str(n)))
            origin = Origin(self._path.name, line)
            values = make(n, text, draw)
            if isinstance(values, str):
                fix = "give a larger file"
                yield DataError(values, rule="no-negatives", field="candidates", fix=fix, origin=origin)
            else:
                yield Row(values, origin)

    def _reader(self, n: int, text: str, draw: Random) -> Mapping[str, Any] | str:
        """Return a reader who liked the item, and what else they liked."""
        liked: dict[int, str] = {}
        for _ in range(4 * self._settings.history):
            other = self._other(n, draw)
            if other is not None and other not in liked and other != n:
                name = self._catalogue.text(other)
                if name != text and name not in liked.values():
                    liked[other] = name
            if len(liked) == self._settings.history:
                break
        if not liked:
            return "no other item has 4 or 5 stars, so no reader can be drawn"
        others = self._others({n, *liked}, {text, *liked.values()}, draw)
        if not others:
            return "there is no other item to set beside this one"
        candidates = [text, *others]
        draw.shuffle(candidates)
        return {"history": list(liked.values()), "candidates": candidates, "answer": [text], "wanted": "1"}

    def _other(self, n: int, draw: Random) -> int | None:
        """Draw an item that a reader of the item ``n`` likes: half of them by its author, a quarter near in time."""
        chance = draw.random()
        column = "author" if chance < 0.5 else "kin" if chance < 0.75 else None
        if column is not None:
            found = self._database.execute(_SAME.format(column=column), (n,)).fetchall()
            found = [(number, weight) for number, weight in found if weight]
            if found:
                numbers, weights = zip(*found, strict=True)
                return int(draw.choices(numbers, weights)[0])
        if not self._numbers[1]:
            return None
        place = draw.randint(1, self._numbers[1])
        row = self._database.execute("SELECT n FROM stars WHERE upto >= ? ORDER BY upto LIMIT 1", (place,)).fetchone()
        return int(row[0])

    def _ratings(self, n: int, text: str, draw: Random) -> Mapping[str, Any] | str:
        """Return the item and others, and their order by average rating; of equal ones the better known comes first."""
        others = self._others({n}, {text}, draw)
        if not others:
            return "there is no other item to set beside this one"
        candidates = [text, *others]
        marks = ",".join("?" * len(candidates))
        order = self._database.execute(
            f"SELECT text FROM items JOIN stars USING (n) WHERE text IN ({marks}) GROUP BY text "
            "ORDER BY max(mean) DESC, max(liked) DESC, text",
            candidates,
        ).fetchall()
        draw.shuffle(candidates)
        return {"request": REQUEST, "candidates": candidates, "answer": [name for (name,) in order]}

    def _others(self, without: set[int], texts: set[str], draw: Random) -> list[str]:
        return self._catalogue.others(self._settings.candidates - 1, draw, without=without, texts=texts)
