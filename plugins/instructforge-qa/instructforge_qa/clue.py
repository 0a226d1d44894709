"""Readers of the file shapes of CLUE that hold choices: C3 (reading) and ChID (idioms to fill in).

Source: https://github.com/CLUEbenchmark/CLUE (descriptions of the data sets).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from instructforge import DataError, Origin, Row
from instructforge.components import RowOrError
from instructforge.errors import ConfigError, printable
from instructforge.readers.document import JsonReader
from instructforge.readers.jsonl import JsonlReader
from instructforge.readers.jsonvalue import parse_object
from instructforge.readers.opening import Limits, file_error, open_unpacked
from instructforge_qa.idioms import blanks_of

__all__ = ["C3Reader", "ChidReader"]


# --- C3: a dialogue or text, and questions on it ---------------------------------------------------------

_NESTED = re.compile(rb"\s*\[\s*\[\s*\[")
C3_SHAPE = "give a list of turns, a list of questions (each with question, choice and answer), and an id"


class C3Reader:
    """Reads one question a row from the nested lists of C3: ``[[turns, questions, id], …]``."""

    name = "c3"
    suffixes = (".json",)
    priority = 10

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell by the beginning, three lists within each other, and by what a question holds."""
        start = head.removeprefix(b"\xef\xbb\xbf")
        return bool(_NESTED.match(start)) and b'"question"' in start and b'"choice"' in start

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield a ``Row`` for each question, with its text; for a record that is malformed, why."""
        number = 0
        for index, record in enumerate(JsonReader(list_as="record").read(path, options)):
            for place, found in _questions(record, f"[{index}]"):
                number += 1
                origin = Origin(path.name, number, place)
                if isinstance(found, DataError):
                    found.origin = origin
                    yield found
                else:
                    yield Row(found, origin)


def _questions(record: RowOrError, place: str) -> Iterator[tuple[str, Mapping[str, Any] | DataError]]:
    """Yield each question of a record with its place, or what is wrong there."""
    if isinstance(record, DataError):
        yield place, record
        return
    parts = record.values.get("record")
    if not (isinstance(parts, list) and len(parts) >= 2 and _are_texts(parts[0]) and isinstance(parts[1], list)):
        yield place, _malformed(f"the record {place} is not a text with its questions", record.values)
        return
    own = parts[2] if len(parts) > 2 else None
    for number, question in enumerate(parts[1]):
        spot = f"{place}[1][{number}]"
        if not isinstance(question, dict):
            yield spot, _malformed(f"the question {spot} is no object", question)
            continue
        values: dict[str, Any] = {"context": parts[0], **question}
        if isinstance(own, (str, int)):
            values["id"] = f"{own}/{number}"
        yield spot, values


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _malformed(message: str, piece: Any) -> DataError:
    raw = json.dumps(piece, ensure_ascii=False, default=str)[:2000]
    return DataError(message, rule="c3-structure", fix=C3_SHAPE, raw=raw)


# --- ChID: answers in a file of their own ----------------------------------------------------------------

_MOST_ANSWER_BYTES = 128 << 20
"""Answers are held in memory; those of all of CLUE's training blanks take 12 MB."""


class ChidReader:
    """Reads the JSONL of CLUE's ChID, each record with the answers of its blanks: ``train.json`` has them in
    ``train_answer.json`` beside it, or in the file that the option ``answers`` names.
    """

    name = "chid"
    suffixes = (".json", ".jsonl")
    priority = 10

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell by blanks and candidates, where the file of answers is there; else it is any JSONL."""
        return b"#idiom" in head and b'"candidates"' in head and _answers_path(path, {}).is_file()

    def beside(self, path: Path, options: Mapping[str, Any]) -> Sequence[Path]:
        """Return the file of answers, so that the build's hash covers it."""
        return (_answers_path(path, options),)

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield each record with ``answers``: its blanks → places among the candidates.

        Raises:
            DataError: One of the two files cannot be read as a whole.
        """
        limits = Limits.take(options, reader=self.name, known=("answers",))
        answers = _read_answers(_answers_path(path, options), limits)
        rest = {name: value for name, value in options.items() if name != "answers"}
        for found in JsonlReader().read(path, rest):
            if isinstance(found, DataError):
                yield found
                continue
            blanks = blanks_of(found.values.get("content"))
            yield Row({**found.values, "answers": {blank: answers.get(blank) for blank in blanks}}, found.origin)


def _answers_path(path: Path, options: Mapping[str, Any]) -> Path:
    given = options.get("answers")
    if given is None:
        return path.with_name(f"{path.stem}_answer{path.suffix}")
    if not isinstance(given, str) or not given:
        raise ConfigError(f'the option answers is "{printable(given, 40)}", not a path')
    return path.parent / given


def _read_answers(path: Path, limits: Limits) -> dict[str, Any]:
    with open_unpacked(path, limits) as handle:
        raw = handle.read(_MOST_ANSWER_BYTES + 1)
    if len(raw) > _MOST_ANSWER_BYTES:
        fix = "split the data into files of which each has answers of its own"
        raise file_error(path, f"has more than {_MOST_ANSWER_BYTES} bytes of answers", rule="answers", fix=fix)
    try:
        return parse_object(raw, Origin(path.name), limits)
    except DataError as error:
        fix = "give one object: blank → place of its idiom among the candidates"
        raise file_error(path, f"holds no answers: {error}", rule="answers", fix=fix) from None
