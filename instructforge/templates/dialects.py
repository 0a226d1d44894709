"""Jinja texts of other projects, rendered on a row's columns to the bytes that those projects give, within bounds.

``RowText`` is one such text. ``PartedText`` is a template of promptsource: prompt and target in one text with
``|||`` between them, and the row's answer choices in another.

Source: promptsource 0.2.3 (``Template.apply``), but for two things: it cuts every text that it shows at 2,048
characters, and it parts a text at a ``|||`` that came from within a list or a dict of the row, or from a choice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from threading import RLock
from typing import Any
from uuid import UUID

from attrs import field, frozen
from jinja2 import nodes
from jinja2.runtime import Context

from instructforge.errors import TemplateError
from instructforge.templates.filters import REGEX_FILTERS, STOCK_FILTERS
from instructforge.templates.guard import GuardError
from instructforge.templates.landing import given_value
from instructforge.templates.limits import Limits
from instructforge.templates.sandbox import BoundedEnvironment, Code
from instructforge.templates.traced import Traced, cut_traced, join_traced, traced

__all__ = ["CHOICES", "LM_EVAL", "PROMPTSOURCE", "SEPARATOR", "Dialect", "PartedText", "RowText"]

SEPARATOR = "|||"
CHOICES = "answer_choices"
DRAWING = frozenset({"choice", "random", "shuffle"})
_PROTECTED = "3ed2dface8203c4c9dfb1a5dc58e41e0"  # promptsource's own: templates may print how long a text is
_SHOWN = (date, time, timedelta, Decimal, UUID, bytes)


@frozen(kw_only=True)
class Dialect:
    """How a project sets Jinja up.

    Attributes:
        strict: Whether a name that is not there is an error; it is empty otherwise.
        final_newline: Whether a line break at a text's end is kept.
        filters: Filters beside Jinja's.
    """

    name: str
    strict: bool
    final_newline: bool
    filters: Mapping[str, Callable[..., Any]] = field(factory=dict, repr=False)

    def environment(self, limits: Limits) -> BoundedEnvironment:
        """Return an environment of this dialect."""
        return BoundedEnvironment(
            limits,
            strict=self.strict,
            trim=False,
            final_newline=self.final_newline,
            extended=False,
            filters=self.filters,
        )


PROMPTSOURCE = Dialect(name="promptsource", strict=False, final_newline=False, filters=STOCK_FILTERS)
LM_EVAL = Dialect(name="lm-eval", strict=True, final_newline=True, filters={**STOCK_FILTERS, **REGEX_FILTERS})


class RowText:
    """A Jinja text that is rendered on a row's columns.

    Args:
        source: The text, or its syntax tree.
        name: What messages call it.
        environment: Of the dialect; several texts may share one, and are then rendered one after the other.

    Attributes:
        names: The columns that it asks for, whether or not rows have them.
        draws: Whether it draws at random.

    Raises:
        TemplateError: It is not Jinja, or goes beyond its bounds.
    """

    def __init__(self, source: str | nodes.Template, *, name: str, environment: BoundedEnvironment) -> None:
        tree = environment.checked_tree(source, name) if isinstance(source, str) else source
        self.draws = any(node.name in DRAWING for node in tree.find_all(nodes.Filter))
        environment.resolved.clear()
        self.code: Code = environment.code_of(tree, name)
        self.names = frozenset(name for _, name in environment.resolved) - frozenset(environment.globals)
        self._environment = environment
        self._lock = RLock()

    def render(self, row: Mapping[str, Any], *, seed: int = 0, id: str = "") -> str:
        """Return the text that a row gives, with the marks of the columns that it came from.

        Raises:
            TemplateError: It fails on the row, or goes beyond its bounds.
        """
        guard = self._environment.guard
        with self._lock:
            try:
                guard.reset()
                guard.seed = (seed, id)
                return self.write({name: given_value(_plain(row[name]), name) for name in self.names & row.keys()})
            except TemplateError:
                raise
            except Exception as error:
                raise self.code.error_of(error) from None

    def write(self, values: Mapping[str, Any]) -> str:
        """Return the text for ``values``, with the marks that they carry; the guard has been set by the caller."""
        environment = self._environment
        guard, limit = environment.guard, environment.limits.output_chars
        context = Context(environment, {**environment.globals, **values}, self.code.name, self.code.blocks)
        pieces: list[str] = []
        size = 0
        for piece in self.code.root(context):
            text = guard.text(piece)
            pieces.append(text)
            size += len(text)
            if size > limit:
                guard.room(size)
        return join_traced(pieces)


class PartedText:
    """A template of promptsource.

    Args:
        jinja: Prompt, ``|||`` and target, as one text.
        choices: What gives the row's answer choices, with ``|||`` between them; None where there are none.
        name: What messages call it.

    Attributes:
        names: The columns that it asks for, whether or not rows have them.
        draws: Whether it draws at random.

    Raises:
        TemplateError: One of the two is not Jinja, or goes beyond its bounds.
    """

    def __init__(
        self, jinja: str | nodes.Template, choices: str | None, *, name: str, environment: BoundedEnvironment
    ) -> None:
        self.body = RowText(jinja, name=name, environment=environment)
        self.choices = None if choices is None else RowText(choices, name=f"{name}, {CHOICES}", environment=environment)
        self.names = (self.body.names | (self.choices.names if self.choices else frozenset())) - {CHOICES}
        self.draws = self.body.draws or bool(self.choices and self.choices.draws)
        self._environment = environment
        self._lock = RLock()

    def parts(self, row: Mapping[str, Any], *, seed: int = 0, id: str = "") -> tuple[tuple[str, ...] | None, list[str]]:
        """Return the row's answer choices, and the parts of the text: with their marks, space around them kept.

        Raises:
            TemplateError: It fails on the row, or goes beyond its bounds.
        """
        guard = self._environment.guard
        with self._lock:
            at = self.body
            try:
                if CHOICES in row:
                    raise GuardError("field-name", f'the row has a column "{CHOICES}", a name that templates give')
                guard.reset()
                guard.seed = (seed, id)
                values = {name: given_value(_shown(row[name]), name) for name in self.names & row.keys()}
                doubtful = {name for name, value in values.items() if _holds_separator(value)}
                words: list[str] | None = None
                if self.choices is not None:
                    at = self.choices
                    words = [_unprotected(part).strip() for part in _split(at.write(values), doubtful)]
                    at = self.body
                values[CHOICES] = None if words is None else _choices(words, doubtful)
                parts = [_unprotected(part) for part in _split(at.write(values), doubtful)]
                return None if words is None else tuple(map(str, words)), parts
            except TemplateError:
                raise
            except Exception as error:
                raise at.code.error_of(error) from None


def _shown(value: Any) -> Any:
    """Return a column's value with ``|||`` replaced if it is a text, and dates and the like as their texts."""
    if isinstance(value, str):
        return value.replace(SEPARATOR, _PROTECTED) if SEPARATOR in value else value
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, _SHOWN):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value


def _holds_separator(value: Any) -> bool:
    if isinstance(value, str):
        return SEPARATOR in value
    if isinstance(value, dict):
        return any(_holds_separator(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(map(_holds_separator, value))


def _choices(words: Sequence[str], doubtful: set[str]) -> list[str]:
    """Return the answer choices as the template sees them, such as hold a ``|||`` marked as a field of their own."""
    if any(SEPARATOR in word for word in words):
        doubtful.add(CHOICES)
    return [traced(str(word), CHOICES, place) if SEPARATOR in word else str(word) for place, word in enumerate(words)]


def _split(text: str, doubtful: set[str]) -> list[str]:
    """Return ``text.split("|||")``, each part with its marks; what came from a doubtful field is not parted."""
    marks = text.marks if doubtful and type(text) is Traced else ()
    within = [(start, end) for name, _, start, end, _ in marks if name in doubtful]
    plain = str(text)
    parts = []
    begin = at = 0
    while (at := plain.find(SEPARATOR, at)) >= 0:
        end = at + len(SEPARATOR)
        if any(start < end and at < stop for start, stop in within):
            at += 1
            continue
        parts.append(cut_traced(text, begin, at))
        begin = at = end
    return [*parts, cut_traced(text, begin, len(plain))]


def _unprotected(text: str) -> str:
    """Return ``text`` with the ``|||`` that came from the row put back, its marks moved to where they stand now."""
    if _PROTECTED not in text:
        return text
    pieces = str(text).split(_PROTECTED)
    made = Traced(SEPARATOR.join(pieces))
    made.marks = ()
    if type(text) is Traced:
        shrunk = len(_PROTECTED) - len(SEPARATOR)
        ends: list[int] = []  # where each of them ended
        for piece in pieces[:-1]:
            ends.append((ends[-1] if ends else 0) + len(piece) + len(_PROTECTED))

        def moved(at: int) -> int:
            return at - shrunk * bisect_right(ends, at)

        made.marks = tuple(
            (name, item, moved(start), moved(end), exact)
            for name, item, start, end, exact in text.marks
            if moved(start) < moved(end)
        )
    return made
