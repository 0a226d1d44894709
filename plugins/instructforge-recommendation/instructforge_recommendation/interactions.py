"""Logs of interactions: who liked what, when. Each is what somebody took next, given what they liked before.

A record of the log becomes a row, or is told why not: it is disliked, or the first of its user, or kept for another
part. So the ledger adds up to the records of the log.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any

from attrs import frozen

from instructforge.components import RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import ConfigError, DataError, SkippedError, printable
from instructforge.files import seed_of
from instructforge.readers.opening import Limits, file_error
from instructforge_recommendation.catalogue import ITEM, Catalogue, batches, rows_of, store, whole

__all__ = ["InteractionsReader"]

USER = ("user_id", "userid", "user", "reader_id", "customer_id", "reviewer_id", "reviewerid", "uid")
RATING = ("rating", "stars", "score", "overall")
TIME = ("timestamp", "time", "datetime", "date", "unixreviewtime")
PARTS = ("train", "validation", "test")
OPTIONS = ("items", "item_id", "item_text", "liked", "candidates", "history", "negatives", "part", "seed")
COLUMNS = ("user", "item", "rating", "time")

_SCHEMA = "CREATE TABLE log(line INTEGER PRIMARY KEY, user TEXT, item TEXT, rating REAL, time)"
_EVENTS = """
SELECT log.user, log.line, items.n, items.text, log.item,
       log.rating IS NULL OR log.rating >= :liked AS liked,
       count(CASE WHEN items.n IS NOT NULL AND (log.rating IS NULL OR log.rating >= :liked) THEN 1 END)
           OVER (PARTITION BY log.user ORDER BY log.time DESC, log.line DESC) AS place
FROM log LEFT JOIN items ON items.id = log.item ORDER BY log.user, log.time, log.line
"""


@frozen(kw_only=True)
class _Settings:
    """The reader's options; see ``InteractionsReader.read``."""

    items: Path | None
    item_id: str | None
    item_text: str | None
    liked: float | None
    candidates: int
    history: int
    popular: bool
    part: str | None
    seed: int
    columns: Mapping[str, str]
    inner: Mapping[str, Any]

    @classmethod
    def of(cls, path: Path, options: Mapping[str, Any]) -> _Settings:
        Limits.take(options, reader="interactions", known=(*OPTIONS, *COLUMNS, "header", "quoting"))
        part, negatives = options.get("part"), options.get("negatives", "uniform")
        if part not in (None, *PARTS):
            raise ConfigError(f'the option part is one of {", ".join(PARTS)}, not "{printable(part, 40)}"')
        if negatives not in ("uniform", "popular"):
            raise ConfigError(f'the option negatives is uniform or popular, not "{printable(negatives, 40)}"')
        return cls(
            items=_beside(path, options),
            item_id=options.get("item_id"),
            item_text=options.get("item_text"),
            liked=None if options.get("liked") is None else _number("liked", options["liked"]),
            candidates=whole("candidates", options.get("candidates", 10), 2),
            history=whole("history", options.get("history", 20), 1),
            popular=negatives == "popular",
            part=part,
            seed=whole("seed", options.get("seed", 0), 0),
            columns={name: str(options[name]) for name in COLUMNS if options.get(name) is not None},
            inner={name: value for name, value in options.items() if name not in (*OPTIONS, *COLUMNS)},
        )


def _beside(path: Path, options: Mapping[str, Any]) -> Path | None:
    return None if options.get("items") is None else path.parent / str(options["items"])


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if number != number:
        raise ConfigError(f'the option {name} is "{printable(value, 40)}", not a number')
    return number


class InteractionsReader:
    """Reads a log with a user, an item, and perhaps a rating and a time, in CSV, TSV, JSON or JSON lines."""

    name = "interactions"
    suffixes = (".csv", ".tsv", ".jsonl")
    priority = 1

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell by the columns: a user and an item, and nothing but a rating and a time beside."""
        names = _columns_in(head)
        known = {*USER, *ITEM, *RATING, *TIME}
        return bool(names) and names <= known and bool(names & set(USER)) and bool(names & set(ITEM))

    def beside(self, path: Path, options: Mapping[str, Any]) -> list[Path]:
        """Return the other files that are read with ``path``: the build's hash covers them too."""
        items = _beside(path, options)
        return [] if items is None else [items]

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield, for each record, a row with history and candidates, or why there is none.

        Options: ``items``, a file of the items, from the log's folder; ``item_id`` and ``item_text``, its column of ids
        and how an item is called (``{title} by {authors}``); ``liked``, the least rating that counts as liked (80 % of
        the highest); ``candidates`` (10), of which one is right; ``history`` (20), items at most; ``negatives``,
        ``uniform`` or ``popular``; ``part``: ``test`` for each user's last liked item, ``validation`` for the one
        before, ``train`` for the rest; ``seed`` (0); ``user``, ``item``, ``rating``, ``time``: the log's columns.

        Raises:
            ConfigError: An option is unknown or wrong.
            DataError: The log or the file of items cannot be read as a whole.
        """
        settings = _Settings.of(path, options)
        with store() as database:
            catalogue = Catalogue(database)
            if settings.items is not None:
                catalogue.read(settings.items, id_column=settings.item_id, form=settings.item_text, options={})
            yield from _take_in(path, settings, database)
            if settings.items is None:
                database.execute("INSERT INTO items(id, text) SELECT DISTINCT item, item FROM log ORDER BY item")
                catalogue.close()
            yield from _Examples(path, settings, database, catalogue)


def _columns_in(head: bytes) -> set[str]:
    """Return the columns of the first record, in lower case."""
    line = head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0].decode("utf-8", "replace").strip()
    if line.startswith("{"):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return set()
        return {str(name).lower() for name in found} if isinstance(found, dict) else set()
    return {cell.strip().strip('"').lower() for cell in line.split("\t" if "\t" in line else ",")}


# --- The log, taken in --------------------------------------------------------------------------------


def _take_in(path: Path, settings: _Settings, database: sqlite3.Connection) -> Iterator[DataError]:
    """Put the log into the database; yield the errors of its bad records."""
    database.execute(_SCHEMA)
    errors: list[DataError] = []
    names: dict[str, str] = {}

    def _events() -> Iterator[tuple[Any, ...]]:
        for number, found in enumerate(rows_of(path, settings.inner), 1):
            if isinstance(found, DataError):
                errors.append(found)
                continue
            if not names:
                names.update(_named_columns(found.values, settings, path))
            try:
                yield (found.origin.record or number, *_event(found.values, names))
            except DataError as error:
                error.origin = found.origin
                errors.append(error)

    for some in batches(_events()):
        database.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", some)
        yield from errors
        errors.clear()
    yield from errors


def _named_columns(values: Mapping[str, Any], settings: _Settings, path: Path) -> dict[str, str]:
    """Return the log's column of each part.

    Raises:
        DataError: It has no column of users, or of items.
    """
    folded = {str(name).lower(): str(name) for name in values}
    names: dict[str, str] = {}
    for part, known in zip(COLUMNS, (USER, ITEM, RATING, TIME), strict=True):
        asked = settings.columns.get(part)
        found = asked if asked in values else next((folded[name] for name in known if name in folded), None)
        if asked is not None and asked not in values:
            found = None
        if found is not None:
            names[part] = found
        elif asked is not None or part in ("user", "item"):
            fix = f"name it with the option {part}; there are: {', '.join(map(str, values))}"
            what = f'has no column "{asked}"' if asked else f"has no column of {part}s"
            raise file_error(path, what, rule="column-missing", fix=fix)
    return names


def _event(values: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, str, float | None, float | str | None]:
    user, item = (_name(values.get(names[part]), part) for part in ("user", "item"))
    rating, time = (values.get(names[part]) if part in names else None for part in ("rating", "time"))
    if rating is not None and (stars := _as_number(rating)) is None:
        what = f'the rating is "{printable(rating, 40)}", not a number'
        raise DataError(what, rule="rating-type", field="rating", fix="give a number")
    moment: float | str | None = _as_number(time)
    return user, item, None if rating is None else stars, str(time) if moment is None and time is not None else moment


def _name(value: Any, part: str) -> str:
    if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
        return str(value).strip()
    raise DataError(f"the record has no {part}", rule="field-missing", field=part, fix=f"give the {part}'s id")


def _as_number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None


# --- Examples of it -----------------------------------------------------------------------------------


class _Examples:
    """What comes of each event of the log, user by user, in the order of time."""

    def __init__(self, path: Path, settings: _Settings, database: sqlite3.Connection, catalogue: Catalogue) -> None:
        self._path, self._settings, self._database, self._catalogue = path, settings, database, catalogue
        highest = database.execute("SELECT max(rating), max(line) FROM log").fetchone()
        self._liked = settings.liked if settings.liked is not None else 0.8 * (highest[0] or 0.0)
        self._last_line = highest[1] or 0

    def __iter__(self) -> Iterator[RowOrError]:
        events = self._database.execute(_EVENTS, {"liked": self._liked})
        for user, own in groupby(events, key=itemgetter(0)):
            yield from self._of_user(user, own)

    def _of_user(self, user: str, events: Iterator[Sequence[Any]]) -> Iterator[RowOrError]:
        taken = "SELECT items.n FROM log JOIN items ON items.id = log.item WHERE log.user = ?"
        own: set[int] | None = None
        liked: set[int] = set()
        history: deque[str] = deque(maxlen=self._settings.history)
        for _, line, n, text, item, is_liked, place in events:
            origin = Origin(self._path.name, line)
            reason = self._reason(n, bool(is_liked), seen=n in liked, first=not history, place=place)
            if n is None:
                fix = "add it to the file of items, or take the record out"
                what = f'the item "{printable(item, 80)}" is not among the items'
                yield DataError(what, rule="item-unknown", field="item", fix=fix, origin=origin)
            elif reason:
                yield SkippedError(f"no example is made: {reason}", rule=reason, origin=origin)
            else:
                own = own or {found for (found,) in self._database.execute(taken, (user,))}
                yield self._row(user, line, text, history, own)
            if n is not None and is_liked and n not in liked:
                liked.add(n)
                history.append(text)

    def _reason(self, n: int | None, is_liked: bool, *, seen: bool, first: bool, place: int) -> str:
        """Return why an event makes no example, or an empty text."""
        part = "train" if place > 2 else "test" if place == 1 else "validation"
        if n is None:
            return "item-unknown"
        if not is_liked:
            return "not-liked"
        if seen:
            return "seen-before"
        if first:
            return "first-of-user"
        return "other-part" if self._settings.part not in (None, part) else ""

    def _row(self, user: str, line: int, text: str, history: Sequence[str], own: set[int]) -> RowOrError:
        settings, origin = self._settings, Origin(self._path.name, line)
        draw = Random(seed_of(settings.seed, "candidates", user, str(line)))
        popular = self._popular(draw) if settings.popular else ()
        others = self._catalogue.others(
            settings.candidates - 1, draw, without=own, texts={text, *history}, popular=popular
        )
        if not others:
            what = "there is no other item to set beside the right one"
            fix = "give a larger file of items with the option items"
            return DataError(what, rule="no-negatives", field="candidates", fix=fix, origin=origin)
        candidates = [text, *others]
        draw.shuffle(candidates)
        values = {"user_id": user, "history": list(history), "candidates": candidates, "answer": [text], "wanted": "1"}
        return Row(values, origin)

    def _popular(self, draw: Random) -> Iterator[int]:
        """Yield items as often as they stand in the log."""
        found = (
            "SELECT items.n FROM log JOIN items ON items.id = log.item WHERE log.line >= ? ORDER BY log.line LIMIT 1"
        )
        while True:
            row = self._database.execute(found, (draw.randint(1, self._last_line),)).fetchone()
            if row is not None:
                yield row[0]
