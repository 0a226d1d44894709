"""Idioms to fill in, in the forms of ChID: of CLUE, of FewCLUE, of its first authors, of the ``datasets`` library.

Source: https://github.com/CLUEbenchmark/CLUE and FewCLUE, https://github.com/chujiezheng/ChID-Dataset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from instructforge import DataError, Example, Row
from instructforge.errors import printable
from instructforge.files import sha256_of

__all__ = ["blanks_of", "idiom_cloze", "is_idiom_cloze"]

_BLANK = re.compile(r"#idiom\d*#")
_HERE, _ELSEWHERE = "（　　）", "……"
QUESTION = "括号里应当填入哪个成语？"


def idiom_cloze(row: Row) -> list[Example]:
    """Return an example for each blank of a record; the passage keeps its other blanks as dots.

    Candidates are one list for all blanks, or a list for each. The answer is the idiom or its place, given in
    ``answer`` (one blank), in ``answers`` (by blank, or as lists in the order of the blanks), or in ``groundTruth``.

    Raises:
        DataError: There is no blank, or something does not fit it. The record as a whole is told.
    """
    content = row.values.get("content")
    passages = [part for part in _as_list(content) if isinstance(part, str)]
    if len(passages) != len(_as_list(content)):
        raise _wrong("content", content, "give a text, or a list of texts")
    places = [(text, match) for text in passages for match in _BLANK.finditer(text)]
    if not places:
        raise _wrong("content", content, "mark the blank: #idiom#, or #idiom000001# where there are several")
    candidates = _candidates(row.values.get("candidates"), len(places))
    answers = _answers(row.values, [match[0] for _, match in places])
    own = row.values.get("id", row.values.get("idx"))
    return [
        Example(
            inputs={"question": QUESTION, "context": _passage(text, match), "choices": candidates[number]},
            answers=_answer(answers[number], candidates[number]),
            id="" if own is None else str(own) if len(places) == 1 else f"{own}/{number}",
            group=sha256_of(passages)[:16],
        )
        for number, (text, match) in enumerate(places)
    ]


def is_idiom_cloze(values: Mapping[str, Any]) -> bool:
    """Tell whether a row has a passage with blanks and candidates for them."""
    return "candidates" in values and bool(blanks_of(values.get("content")))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def blanks_of(content: Any) -> list[str]:
    """Return the marks of the blanks in a text, or in a list of texts."""
    return [blank for text in _as_list(content) if isinstance(text, str) for blank in _BLANK.findall(text)]


def _passage(text: str, here: re.Match[str]) -> str:
    before, after = text[: here.start()], text[here.end() :]
    return f"{_BLANK.sub(_ELSEWHERE, before)}{_HERE}{_BLANK.sub(_ELSEWHERE, after)}"


def _candidates(given: Any, blanks: int) -> list[list[str]]:
    """Return the candidates of each blank."""
    lists = given if isinstance(given, list) and given and isinstance(given[0], list) else [given] * blanks
    for one in lists:
        texts = isinstance(one, list) and all(isinstance(part, str) and part.strip() for part in one)
        if not (texts and one and len(set(one)) == len(one)):
            raise _wrong("candidates", one, "give a list of idioms, each once")
    if len(lists) != blanks:
        raise _wrong("candidates", given, f"the passage has {blanks} blanks: give as many lists, or one for all")
    return lists


def _answers(values: Mapping[str, Any], blanks: Sequence[str]) -> list[Any]:
    """Return what is given as the answer of each blank; None where a row is unlabelled."""
    given = next((values[name] for name in ("answers", "groundTruth", "answer") if values.get(name) is not None), None)
    if isinstance(given, Mapping) and not given.keys().isdisjoint(("candidate_id", "text")):
        given = given.get("candidate_id", given.get("text"))
    elif isinstance(given, Mapping):
        given = [given.get(blank) for blank in blanks]
    listed = given if isinstance(given, list) else [given]
    if given in (None, [], "", -1):
        return [None] * len(blanks)
    if len(listed) != len(blanks):
        raise _wrong("answers", given, f"the passage has {len(blanks)} blanks: give as many answers")
    return list(listed)


def _answer(given: Any, candidates: list[str]) -> tuple[str, ...]:
    if given is None or given in ("", -1):
        return ()
    if given in candidates:
        return (given,)
    if type(given) is int and 0 <= given < len(candidates):
        return (candidates[given],)
    raise _wrong("answers", given, f"give one of the candidates, or its place from 0 to {len(candidates) - 1}")


def _wrong(field: str, value: Any, fix: str) -> DataError:
    return DataError(f"{field} is {printable(repr(value), 80)}", rule="idiom-cloze", field=field, fix=fix)
