"""Finding columns by any of their usual names, regardless of case; a field's own name, as a mapping gives it, first."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from instructforge import DataError
from instructforge.errors import printable

__all__ = ["UNLABELLED", "body", "first", "folded", "has_any", "record_id", "text_of"]

UNLABELLED = ("-1", "-", "")

TEXT = ("text", "sentence", "utterance", "query", "review", "reviewbody", "review_body", "review_text", "reviewtext")
BODY = ("content", "description", "body", "abstract", "abst", "comment", "comment_text", "tweet", "message")
TITLE = ("title", "headline")


def folded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's values by the lower-case names of its columns.

    >>> folded({"Class Index": 3, "text": None})
    {'class index': 3}
    """
    return {str(name).strip().casefold(): value for name, value in values.items() if value is not None}


def first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Return the first of some columns that a folded row has; None where it has none."""
    return next((row[name] for name in names if name in row), None)


def has_any(values: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    """Tell whether a raw row has one of some columns."""
    return not set(names).isdisjoint(folded(values))


def text_of(value: Any, name: str) -> str:
    """Return a value as text.

    Raises:
        DataError: It is neither a text nor a number.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and value == value:
        return str(value)
    raise DataError(
        f'"{name}" is {printable(repr(value), 60)}, not a text', rule="field-type", field=name, fix="give a text"
    )


def body(row: Mapping[str, Any], *, more: tuple[str, ...] = ()) -> str:
    """Return the text of a folded row; a body that has a title comes with the title on a line before it.

    Raises:
        DataError: It has none.
    """
    text = first(row, (*TEXT, *more))
    if text is not None:
        return text_of(text, "text")
    text, title = first(row, BODY), first(row, TITLE)
    if text is None and title is None:
        raise DataError(
            f"there is no text: none of the columns {' | '.join((*TEXT, *more, *BODY, *TITLE))} has a value",
            rule="field-missing",
            field="text",
            fix="fill the column, or map another to it: text=COLUMN",
        )
    return "\n".join(text_of(part, "text").strip() for part in (title, text) if part not in (None, ""))


def has_text(values: Mapping[str, Any], *, more: tuple[str, ...] = ()) -> bool:
    """Tell whether a raw row has a column that ``body`` would read."""
    return has_any(values, (*TEXT, *more, *BODY, *TITLE))


def record_id(row: Mapping[str, Any], names: tuple[str, ...] = ("id", "idx")) -> str:
    """Return a folded row's own id as text; empty where it has none."""
    found = first(row, names)
    return "" if found is None else text_of(found, "id").strip()
