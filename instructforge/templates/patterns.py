"""Regular expressions from strangers: those that could take for ever are refused before they are tried.

Python's ``re`` tries every way in which a pattern may match. How many ways there are at most can be told from the
pattern and from the length of the text: each repeat multiplies them by the lengths that it may have. A repeat
within a repeat, or alternatives within one, multiply them without end.
"""

from __future__ import annotations

import re
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

from instructforge.templates.guard import GuardError

if TYPE_CHECKING:
    from instructforge.templates.guard import Guard

__all__ = ["MAX_REGEX_CHARS", "bounded_pattern", "ways"]

MAX_REGEX_CHARS = 2_000
MAX_WAYS = 60_000_000
"""About a second of matching."""

_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)


def bounded_pattern(guard: Guard, pattern: str, size: int) -> re.Pattern[str]:
    """Return ``pattern`` compiled, for a text of ``size`` characters.

    Raises:
        GuardError: It could take too long on such a text, or is no regular expression.
    """
    try:
        cost = (size + 1) * ways(pattern, size)
        if cost > MAX_WAYS:
            raise GuardError("time", f"its regular expression could take too long on a text of {size:,} characters")
        guard.spend(1_000 + cost // 8)
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise GuardError("template", f"its regular expression is none: {error}") from None


def ways(pattern: str, size: int) -> int:
    """Return in how many ways at most a pattern may match from one place of a text of ``size`` characters.

    >>> ways("a[0-9]b", 100), ways(r"[0-9]+", 100), ways(r"a?[0-9]{2,5}", 100)
    (1, 100, 8)
    >>> ways("(a+)+", 100)
    Traceback (most recent call last):
    instructforge.templates.guard.GuardError: its regular expression has a repeat or a choice within a repeat
    """
    return _ways(_parser.parse(pattern), size, inside=False)


def _ways(parts: Any, size: int, *, inside: bool) -> int:
    total = 1
    for code, value in parts:
        total *= _ways_of(code, value, size, inside=inside)
        if total > MAX_WAYS:
            return total
    return total


def _ways_of(code: Any, value: Any, size: int, *, inside: bool) -> int:
    if code in _REPEATS:
        low, high, part = value
        lengths = min(int(high), size) - int(low) + 1
        if lengths <= 1:
            return _ways(part, size, inside=inside)
        if inside:
            raise GuardError("time", "its regular expression has a repeat or a choice within a repeat")
        return lengths * _ways(part, size, inside=True)
    if code is codes.BRANCH:
        if inside:
            raise GuardError("time", "its regular expression has a repeat or a choice within a repeat")
        return sum(_ways(branch, size, inside=inside) for branch in value[1])
    if code is codes.SUBPATTERN:
        return _ways(value[3], size, inside=inside)
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return _ways(value[1], size, inside=inside)
    if code is codes.ATOMIC_GROUP:
        return _ways(value, size, inside=inside)
    if code in (codes.GROUPREF, codes.GROUPREF_IGNORE, codes.GROUPREF_EXISTS):
        raise GuardError("time", "its regular expression refers back to what it has matched")
    return 1
