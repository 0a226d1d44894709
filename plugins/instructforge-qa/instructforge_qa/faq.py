"""Questions to a FAQ, and the entries of a FAQ with the ways in which each is asked, as examples of ``qa-faq``.

The candidates are answers of the FAQ. Rows seldom hold them: a build finds them in the FAQ itself, by retrieval.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from instructforge import DataError, Example, Normalizer, Row, columns
from instructforge.errors import printable

__all__ = ["ALL", "faq_entry"]

ASKED = ("question", "query", "Question", "text", "问题")
REPLY = ("answer", "Answer", "response", "reply", "答案", "回答")
WAYS = ("questions", "similar", "similar_questions", "paraphrases", "variants", "相似问题", "相似问")
CANDIDATES = ("candidates", "choices", "options")

_ROWS = columns(
    "faq-questions",
    task="qa-faq",
    fields={"question": ASKED, "candidates": CANDIDATES},
    optional=["candidates"],
    answer=REPLY,
    unlabelled=(),
    summary="a question, and the FAQ's answer to it",
)


def faq_entry(row: Row) -> list[Example]:
    """Return an example for each way in which an entry of a FAQ is asked: its own question, then the others.

    Raises:
        DataError: The entry has no question or no answer, or the other ways are neither a list nor a text.
    """
    values = row.values
    answer = _text(values, REPLY)
    if not answer:
        raise DataError("the entry has no answer", rule="field-missing", field="answer", fix="fill the column answer")
    asked = list(dict.fromkeys([*filter(None, [_text(values, ASKED)]), *_ways(values)]))
    if not asked:
        fix = f"fill the column question, or one of {', '.join(WAYS)}"
        raise DataError("the entry has no question", rule="field-missing", field="question", fix=fix)
    own = values.get("id")
    return [
        Example(inputs={"question": question}, answers=(answer,), id="" if own is None else f"{own}/{number}")
        for number, question in enumerate(asked)
    ]


def _text(values: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((text for name in names if isinstance(text := values.get(name), str) and text.strip()), "")


def _ways(values: Mapping[str, Any]) -> list[str]:
    """Return the other ways to ask: a list, or a text with ``|`` or line breaks between them."""
    given: Any = next((values[name] for name in WAYS if values.get(name) is not None), [])
    if isinstance(given, str):
        given = _parsed(given) if given.lstrip().startswith("[") else re.split(r"[|\n]", given)
    if not isinstance(given, (list, tuple)) or not all(isinstance(one, str) for one in given):
        raise DataError(
            f"the other ways to ask are {printable(repr(given), 80)}",
            rule="field-type",
            field="questions",
            fix="give a list of texts, or one text with | between them",
        )
    return [one.strip() for one in given if one.strip()]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _is_entry(values: Mapping[str, Any]) -> bool:
    return any(values.get(name) is not None for name in WAYS) and bool(_text(values, REPLY))


def _is_question(values: Mapping[str, Any]) -> bool:
    return bool(_text(values, ASKED)) and not _is_entry(values)


ALL = (
    evolve(_ROWS, accepts=_is_question),
    Normalizer(
        "faq-entries",
        task="qa-faq",
        function=faq_entry,
        accepts=_is_entry,
        wants=f"{' | '.join(ASKED)}; {' | '.join(WAYS)}; {' | '.join(REPLY)}",
        summary="entries of a FAQ, each with the ways in which it is asked",
    ),
)
