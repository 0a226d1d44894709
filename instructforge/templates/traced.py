"""Text that remembers where it came from.

A field's text goes into a template as ``Traced``: a ``str`` with marks. A mark says that the characters
``start`` to ``end`` are text of a field (of its item, in a list), and whether they are the field's whole text,
unchanged. What is joined keeps its marks, shifted; what is made from a traced text by a filter, a method or a
slice is marked as inexact. So wherever the text lands, through variables, macros and loops, it is known,
and nothing has to be searched for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

__all__ = ["Mark", "Traced", "cut_traced", "follow", "follow_all", "join_traced", "traced"]

Mark: TypeAlias = "tuple[Any, int | None, int, int, bool]"
"""Field, item within a list-valued field, start, end, exact."""


MAX_SOURCES = 8
"""A text made of more items than this is marked as coming from their fields."""


class Traced(str):
    """A text with the marks of the fields that it came from."""

    __slots__ = ("marks",)

    marks: tuple[Mark, ...]


def traced(text: str, field: Any, item: int | None = None) -> Traced:
    """Return ``text`` marked as the whole text of ``field`` (or of one of its items)."""
    made = Traced(text)
    made.marks = ((field, item, 0, len(text), True),) if text else ()
    return made


def follow(source: Any, result: Any) -> Any:
    """Return ``result``, a text or a list of texts made from ``source``, marked as coming from there.

    A result equal to its source is the source: ``trim`` changes nothing where there is nothing to trim.

    >>> follow(traced("abc", "word"), "ABC").marks
    (('word', None, 0, 3, False),)
    """
    if type(source) is not Traced:
        return result
    if type(result) is str:
        return source if result == source else _inexact(result, source.marks)
    if type(result) is list or type(result) is tuple:
        return type(result)(follow(source, part) for part in result)
    return result


def follow_all(sources: Iterable[Any], result: Any) -> Any:
    """Return ``result``, a text into which texts among ``sources`` went, marked as coming from them.

    >>> follow_all([traced("abc", "word")], "<ABC>").marks
    (('word', None, 0, 5, False),)
    """
    if type(result) is not str:
        return result
    marks = list(_marks_in(sources))
    return _inexact(result, marks) if marks else result


def _marks_in(value: Any) -> Iterator[Mark]:
    """Yield the marks of the texts in a value that has been looked at: it is neither too deep nor too large."""
    if type(value) is Traced:
        yield from value.marks
    elif type(value) is dict:
        for pair in value.items():
            yield from _marks_in(pair)
    elif type(value) is list or type(value) is tuple:
        for part in value:
            yield from _marks_in(part)


def _inexact(text: str, marks: Iterable[Mark]) -> str:
    if not text:
        return text
    made = Traced(text)
    sources = dict.fromkeys((field, item) for field, item, _, _, _ in marks)
    if len(sources) > MAX_SOURCES:
        sources = dict.fromkeys((field, None) for field, _ in sources)
    made.marks = tuple((field, item, 0, len(text), False) for field, item in sources)
    return made


def join_traced(parts: Sequence[str], separator: str = "") -> str:
    """Return ``separator.join(parts)`` with the parts' marks, shifted to where they stand now.

    >>> join_traced(["<", traced("abc", "word"), ">"]).marks
    (('word', None, 1, 4, True),)
    """
    text = separator.join(parts)
    if Traced not in map(type, parts) and type(separator) is not Traced:
        return text
    marks: list[Mark] = []
    at = 0
    gap = len(separator)
    for number, part in enumerate(parts):
        if number:
            if type(separator) is Traced:
                marks.extend(shifted(separator.marks, at))
            at += gap
        if type(part) is Traced:
            marks.extend(shifted(part.marks, at))
        at += len(part)
    made = Traced(text)
    made.marks = tuple(marks)
    return made


def cut_traced(text: str, start: int, end: int) -> str:
    """Return ``text[start:end]`` with the marks that reach into it; one that is cut is no longer exact.

    >>> cut_traced(join_traced(["<", traced("abc", "word"), ">"]), 0, 3).marks
    (('word', None, 1, 3, False),)
    """
    if type(text) is not Traced:
        return text[start:end]
    made = Traced(str(text)[start:end])
    made.marks = tuple(
        (field, item, max(begin, start) - start, min(stop, end) - start, exact and start <= begin and stop <= end)
        for field, item, begin, stop, exact in text.marks
        if begin < end and stop > start
    )
    return made


def shifted(marks: Iterable[Mark], by: int) -> Iterable[Mark]:
    """Return ``marks`` moved ``by`` characters."""
    return [(field, item, start + by, end + by, exact) for field, item, start, end, exact in marks]
