"""Rows that bring their own candidates: JSON or CSV records, and what the readers of this package make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import Any

from instructforge import DataError, Example, Normalizer, Row
from instructforge.errors import printable
from instructforge.files import seed_of

__all__ = ["candidate_rows", "example_of"]

PROFILE = ("profile", "user_profile", "persona")
HISTORY = ("history", "liked", "sequence", "seen")
REQUEST = ("request", "query", "question")
WANTED = ("wanted", "top", "k")
CANDIDATES = ("candidates", "items", "choices")
NEGATIVES = ("negatives", "distractors")
RANKING = ("answer", "ranking", "order", "target", "next_item", "positives", "positive")
GRADES = ("grades", "relevance", "scores", "ratings", "labels", "clicks")
GROUP = ("user_id", "user", "reader", "session_id", "group")
NAMES = ("item", "title", "name", "text")
GRADE = ("grade", "relevance", "score", "rating", "label", "click")
UNLABELLED = ("", "-", "-1")


def candidate_rows() -> Normalizer:
    """Return the normalizer of rows with candidates."""
    return Normalizer(
        "candidate-rows",
        task="recommendation",
        function=example_of,
        accepts=_fits,
        summary="a row with candidates, what was liked before, and which of the candidates were right",
        wants=f"{' | '.join(CANDIDATES)} (or {' | '.join(RANKING[-2:])} with {NEGATIVES[0]}); {' | '.join(HISTORY)}; "
        f"{' | '.join(REQUEST)}; {' | '.join(PROFILE)}; {' | '.join(RANKING)} or {' | '.join(GRADES)}",
    )


def _fits(values: Mapping[str, Any]) -> bool:
    if _first(values, CANDIDATES) is not None:
        return any(_first(values, names) is not None for names in (HISTORY, REQUEST, PROFILE))
    return _first(values, NEGATIVES) is not None and _first(values, RANKING) is not None


def example_of(row: Row) -> Example:
    """Return the example of one row.

    The gold order is given as a list of items (or one item), as grades of the candidates, or as candidates that have
    a grade each; candidates with a grade above 0 are relevant, the highest first. Without candidates, the row has
    what was right and ``negatives``: these are shuffled by the row's content.

    Raises:
        DataError: A value has a wrong form, or what was right is not among the candidates.
    """
    values = row.values
    candidates, answer = _candidates_and_answer(values)
    inputs: dict[str, Any] = {"candidates": candidates}
    history = _first(values, HISTORY)
    if history is not None:
        inputs["history"] = _items(history, "history")
    for field, names in (("profile", PROFILE), ("request", REQUEST), ("wanted", WANTED)):
        value = _first(values, names)
        if value is not None and str(value).strip():
            inputs[field] = _text(value, field)
    if not any(inputs.get(name) for name in ("history", "profile", "request")):
        raise DataError(
            "the row says neither what was liked before, nor who it is for, nor what is asked",
            rule="nothing-to-go-by",
            field="history",
            fix="give history, profile or request",
        )
    group = _first(values, GROUP)
    return Example(
        inputs=inputs,
        answers=(answer,) if answer else (),
        id="" if values.get("id") is None else _text(values["id"], "id").strip(),
        group=None if group is None else _text(group, "user"),
        language=values.get("language") if isinstance(values.get("language"), str) else None,
    )


def _first(values: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


# --- Candidates and what was right --------------------------------------------------------------------


def _candidates_and_answer(values: Mapping[str, Any]) -> tuple[list[str], tuple[str, ...]]:
    given = _first(values, CANDIDATES)
    if given is None:
        return _shuffled(values)
    listed = _listed(given, "candidates")
    candidates = [_item(part, "candidates") for part in listed]
    order = _first(values, RANKING)
    if order is not None:
        return candidates, _order(order, candidates)
    grades = _first(values, GRADES)
    if grades is None and any(isinstance(part, Mapping) and _first(part, GRADE) is not None for part in listed):
        grades = [_first(part, GRADE) if isinstance(part, Mapping) else 0 for part in listed]
    return candidates, () if grades is None else _by_grade(candidates, grades)


def _shuffled(values: Mapping[str, Any]) -> tuple[list[str], tuple[str, ...]]:
    right, others = _first(values, RANKING), _first(values, NEGATIVES)
    if right is None or others is None:
        raise DataError(
            f"there are no candidates: none of {', '.join(CANDIDATES)} has a value",
            rule="field-missing",
            field="candidates",
            fix="give candidates; or what was right, and negatives",
        )
    answer = tuple(_items(right, "answer"))
    candidates = [*answer, *(item for item in _items(others, "negatives") if item not in answer)]
    Random(seed_of(0, *candidates)).shuffle(candidates)
    return candidates, answer


def _order(value: Any, candidates: Sequence[str]) -> tuple[str, ...]:
    """Return the gold order. A single text is one item, even if it has a separator in it."""
    if isinstance(value, str) and value.strip() in UNLABELLED:
        return ()
    if isinstance(value, str) and value in candidates:
        return (value,)
    return tuple(_items(value, "answer"))


def _by_grade(candidates: Sequence[str], grades: Any) -> tuple[str, ...]:
    """Return the candidates with a grade above 0, the highest first, equals in the row's order."""
    if isinstance(grades, Mapping):
        unknown = [name for name in grades if name not in candidates]
        if unknown:
            raise DataError(
                f'a grade is given to "{printable(unknown[0], 80)}", which is no candidate',
                rule="grade-unknown",
                field="grades",
                fix="name candidates, letter for letter",
            )
        grades = [grades.get(item, 0) for item in candidates]
    numbers = [_number(value) for value in _listed(grades, "grades")]
    if len(numbers) != len(candidates):
        raise DataError(
            f"there are {len(numbers)} grades for {len(candidates)} candidates",
            rule="grades-length",
            field="grades",
            fix="give each candidate one grade, 0 for one that is of no use",
        )
    places = sorted(range(len(numbers)), key=lambda place: -numbers[place])
    return tuple(candidates[place] for place in places if numbers[place] > 0)


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if number != number or abs(number) == float("inf"):
        what = f'a grade is "{printable(value, 40)}", not a number'
        raise DataError(what, rule="grade-type", field="grades", fix="give numbers, or true and false")
    return number


# --- Values -------------------------------------------------------------------------------------------


def _items(value: Any, field: str) -> list[str]:
    return [_item(part, field) for part in _listed(value, field)]


def _listed(value: Any, field: str) -> list[Any]:
    """Return a list; in a text cell it is written as JSON, or with ``|`` between its items."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if not isinstance(value, str):
        what = f'"{field}" is {type(value).__name__}, not a list'
        raise DataError(what, rule="field-type", field=field, fix="give a list")
    text = value.strip()
    if text.startswith("["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list):
            return found
    return [part.strip() for part in text.split("|") if part.strip()]


def _item(value: Any, field: str) -> str:
    if isinstance(value, Mapping):
        name = _first(value, NAMES)
        if name is None:
            what = f'an item of "{field}" has none of {", ".join(NAMES)}'
            raise DataError(what, rule="item-nameless", field=field, fix="give each item a name")
        return _text(name, field)
    return _text(value, field)


def _text(value: Any, field: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and value == value:
        return str(value)
    what = f'"{field}" holds {printable(value, 40)} ({type(value).__name__}), not a text'
    raise DataError(what, rule="field-type", field=field, fix="give a text or a number")
