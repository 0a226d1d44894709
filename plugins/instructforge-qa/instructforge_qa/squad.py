"""The nested JSON of SQuAD v1 and v2, CMRC and DRCD: articles, paragraphs, questions.

Source: https://rajpurkar.github.io/SQuAD-explorer/ (format of the data files).
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from instructforge.components import RowOrError
from instructforge.data import Origin, Row
from instructforge.errors import DataError, printable

__all__ = ["SquadReader"]

SHAPE = "an article has a list paragraphs, a paragraph a context and a list qas, and each of these is an object"
HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


class SquadReader:
    """Reads one question a row, holding one article in memory at a time."""

    name = "squad"
    suffixes = (".json",)

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell whether the file looks nested: an object or a list that soon comes to its paragraphs."""
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        return start in (b"{", b"[") and b'"paragraphs"' in head and (b'"qas"' in head or b'"context"' in head)

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield a ``Row`` for each question, with its passage and title."""
        numbers = count(1)
        for place, article in articles(path):
            for where, found in questions(article, place):
                origin = Origin(str(path), next(numbers), where)
                if isinstance(found, Mapping):
                    yield Row(found, origin)
                else:
                    yield DataError(found, rule="squad-structure", fix=SHAPE, origin=origin)


def articles(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield each article with its place, such as ``data[3]``.

    Raises:
        DataError: The file is not JSON, or holds no articles.
    """
    import ijson  # loaded when a file is read, not when tasks are listed

    place = ""
    try:
        parser = ijson.get_backend("python") if has_lone_surrogate(path) else ijson
        with opened(path) as stream:
            prefix, key = ("item", "") if stream.peek(1)[:1] == b"[" else ("data.item", "data")
            for number, article in enumerate(parser.items(stream, prefix)):
                place = f"{key}[{number}]"
                yield place, article
    except (ijson.JSONError, EOFError, OSError, UnicodeDecodeError, zlib.error) as error:
        after = f" after {place}" if place else ""
        raise unreadable(path, f"is broken{after}: {printable(error)}", "make it valid JSON") from error
    if not place:
        raise unreadable(path, "holds no articles", 'give a list of them, or an object with a list "data"')


def questions(article: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    """Yield each question of an article, with its passage; for a malformed piece, what is wrong with it."""
    paragraphs = article.get("paragraphs") if isinstance(article, Mapping) else None
    if not isinstance(paragraphs, list):
        yield place, f"the article {place} has no list of paragraphs"
        return
    for number, paragraph in enumerate(paragraphs):
        where = f"{place}.paragraphs[{number}]"
        asked = paragraph.get("qas") if isinstance(paragraph, Mapping) else None
        if not isinstance(asked, list):
            yield where, f"the paragraph {where} has no list of qas"
            continue
        passage = {"title": article.get("title"), "context": paragraph.get("context")}
        for index, question in enumerate(asked):
            spot = f"{where}.qas[{index}]"
            is_object = isinstance(question, Mapping)
            yield spot, question | passage if is_object else f"{spot} is {printable(question, 80)!r}, not an object"


def opened(path: Path) -> io.BufferedReader:
    """Open a file, unpacked, past its byte order mark and leading blanks."""
    file = path.open("rb")
    stream = io.BufferedReader(gzip.GzipFile(fileobj=file)) if path.suffix == ".gz" else file
    if stream.peek(3)[:3] == b"\xef\xbb\xbf":
        stream.read(3)
    while stream.peek(1)[:1].isspace():
        stream.read(1)
    return stream


def has_lone_surrogate(path: Path) -> bool:
    """Tell whether half of an escaped surrogate pair stands alone somewhere in the file.

    ijson's C parser turns it into "?" without a word. Its Python parser, ten times slower, keeps it, so that
    the row can be refused by name. A pair that straddles two blocks costs that time for nothing.
    """
    tail = b""
    with opened(path) as stream:
        while block := stream.read(1 << 20):
            if HALF.search(PAIR.sub(b"", tail + block)):
                return True
            tail = block[-5:]
    return False


def unreadable(path: Path, what: str, fix: str) -> DataError:
    """Return the error of a file that cannot be read as a whole."""
    return DataError(f'"{path}" {what}', rule="file-unreadable", fix=fix, origin=Origin(str(path)))
