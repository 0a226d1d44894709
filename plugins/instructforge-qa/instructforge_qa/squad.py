"""The nested JSON of SQuAD v1 and v2, CMRC and DRCD: articles, their paragraphs, their questions.

Source: https://rajpurkar.github.io/SQuAD-explorer/ (format of the data files).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from instructforge import DataError, Origin, Row
from instructforge.components import RowOrError
from instructforge.readers.document import JsonReader
from instructforge.readers.opening import head_of

__all__ = ["SquadReader"]

SHAPE = "give an article a list paragraphs, a paragraph a context and a list qas, and write a question as an object"


class SquadReader:
    """Reads one question a row, holding one article in memory at a time."""

    name = "squad"
    suffixes = (".json",)
    priority = 10

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell whether the file looks nested: an object or a list that soon comes to its paragraphs."""
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        return start in (b"{", b"[") and b'"paragraphs"' in head and (b'"qas"' in head or b'"context"' in head)

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield a ``Row`` for each question, with its passage and title; for a piece that is malformed, why."""
        numbers = count(1)
        key = "" if head_of(path).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") else options.get("key", "data")
        for index, article in enumerate(JsonReader().read(path, options)):
            for place, found in questions(article, f"{key}[{index}]"):
                origin = Origin(path.name, next(numbers), place)
                if isinstance(found, DataError):
                    found.origin = origin
                    yield found
                else:
                    yield Row(found, origin)


def questions(article: RowOrError, place: str) -> Iterator[tuple[str, Mapping[str, Any] | DataError]]:
    """Yield each question of an article with its place, or what is wrong there."""
    if isinstance(article, DataError):
        yield place, article
        return
    paragraphs = article.values.get("paragraphs")
    if not isinstance(paragraphs, list):
        yield place, malformed(f"the article {place} has no list of paragraphs", article.values)
        return
    for number, paragraph in enumerate(paragraphs):
        yield from _of_paragraph(paragraph, article.values.get("title"), f"{place}.paragraphs[{number}]")


def _of_paragraph(paragraph: Any, title: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any] | DataError]]:
    asked = paragraph.get("qas") if isinstance(paragraph, Mapping) else None
    if not isinstance(asked, list):
        yield place, malformed(f"the paragraph {place} has no list of qas", paragraph)
        return
    for number, question in enumerate(asked):
        spot = f"{place}.qas[{number}]"
        if isinstance(question, dict):
            yield spot, {"title": title, "context": paragraph.get("context")} | question
        else:
            yield spot, malformed(f"the question {spot} is no object", question)


def malformed(message: str, piece: Any) -> DataError:
    """Return the error of a piece that is not built as it should be; the piece is kept for the quarantine file."""
    raw = json.dumps(piece, ensure_ascii=False)[:2000]
    return DataError(message, rule="squad-structure", fix=SHAPE, raw=raw)
