"""A corpus: passages, each with the text that it is found by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from instructforge.data import Row
from instructforge.errors import ConfigError, printable
from instructforge.files import sha256_of

if TYPE_CHECKING:
    from instructforge.components import Reader
    from instructforge.registry import Registry

__all__ = ["ANSWER_COLUMNS", "QUESTION_COLUMNS", "TEXT_COLUMNS", "Corpus", "read_corpus"]

ANSWER_COLUMNS = ("answer", "Answer", "答案", "回答")
QUESTION_COLUMNS = ("question", "Question", "问题", "query")
"""An entry that has one of each, and no passage, is one of a FAQ: its answer, found by its question."""

TEXT_COLUMNS = ("text", "passage", "context", "content", "document", "body", *ANSWER_COLUMNS)
"""Columns that are taken for the passage, the first of them that a row has."""


@frozen
class Corpus:
    """Passages.

    Attributes:
        passages: What is retrieved; no two are the same.
        keys: What each is found by: the passage itself, or another column such as a question's own words.
        left_out: Records without a passage, bad ones included.
        repeated: Records whose passage was there already; it is found by their keys too.
    """

    passages: tuple[str, ...]
    keys: tuple[str, ...]
    left_out: int = 0
    repeated: int = 0

    @property
    def sha256(self) -> str:
        return sha256_of([list(self.passages), list(self.keys)])


def read_corpus(
    path: Path,
    readers: Registry[Reader],
    *,
    text: Sequence[str] = (),
    key: Sequence[str] = (),
    reader: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Corpus:
    """Read the passages of a file.

    Args:
        path: A file in any format that a reader knows.
        readers: The readers.
        text: The column of the passage (several are joined by line breaks); told by its usual names where left out.
        key: The columns by which a passage is found; where left out, the question of an entry with question and
            answer, else the passage itself.
        reader, options: Of the file, where it leaves a choice.

    Raises:
        ConfigError: No row has such a column.
        DataError: The file cannot be read at all.
    """
    from instructforge.readers import choose_reader

    found = choose_reader(path, readers, reader, options or {})
    passages: dict[str, dict[str, None]] = {}
    left_out = repeated = 0
    columns: dict[str, None] = {}
    for row in found.read(path, options or {}):
        if not isinstance(row, Row):
            left_out += 1
            continue
        columns |= dict.fromkeys(map(str, row.values))
        passage = _joined(row.values, text) if text else _first(row.values, TEXT_COLUMNS)
        if not passage:
            left_out += 1
            continue
        repeated += passage in passages
        found_by = _joined(row.values, key) if key else _asked(row.values, passage)
        passages.setdefault(passage, {})[found_by or passage] = None
    if not passages:
        wanted = ", ".join(text or TEXT_COLUMNS)
        raise ConfigError(
            f'"{printable(path)}" holds no passage: no row has a text in {wanted}.\n'
            f"Its columns are: {', '.join(printable(name, 40) for name in list(columns)[:30]) or 'none'}.\n"
            "Name the column of the passages with data.retrieve.text."
        )
    return Corpus(tuple(passages), tuple("\n".join(keys) for keys in passages.values()), left_out, repeated)


def _asked(values: Mapping[str, Any], passage: str) -> str:
    """Return the question of a FAQ's entry, whose passage is its answer; nothing for any other row."""
    return _first(values, QUESTION_COLUMNS) if passage == _first(values, ANSWER_COLUMNS) else ""


def _first(values: Mapping[str, Any], names: Iterable[str]) -> str:
    return next((text for name in names if isinstance(text := values.get(name), str) and text.strip()), "")


def _joined(values: Mapping[str, Any], names: Iterable[str]) -> str:
    return "\n".join(text for name in names if isinstance(text := values.get(name), str) and text.strip())
