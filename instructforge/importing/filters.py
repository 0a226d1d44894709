"""The filters of lm-eval's tasks, as decoders: what is taken for the answer in the text that a model wrote.

Source: lm-evaluation-harness 0.4.13, ``lm_eval/filters``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from instructforge.data import Instruction, Output, Prediction
from instructforge.errors import DecodingError, printable

if TYPE_CHECKING:
    from instructforge.tasks import Task

__all__ = ["FilterDecoder", "problem_of"]

LONGEST = 8_000
"""Characters of a text that regular expressions are tried on; they are refused if they could take long on these."""

_INVALID = "[invalid]"
_NOTHING = ("take_first",)


@frozen(slots=False)  # the compiled steps are kept
class FilterDecoder:
    """Cuts a text at the first of ``until``, then carries it through the filters.

    Args:
        steps: The filters, as lm-eval's ``filter`` list has them.
        until: Texts at which a generation ends.
    """

    name: str
    steps: tuple[Mapping[str, Any], ...]
    until: tuple[str, ...] = ()
    needs: ClassVar[str] = "text"

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return what the filters find in each text; nothing found is an error."""
        from instructforge.decoders import per_text

        return per_text(self.name, self.read).decode(outputs, instructions, task)

    def read(self, text: str) -> str:
        """Return what the filters find.

        >>> last = {"function": "regex", "regex_pattern": "[0-9]+", "group_select": -1}
        >>> FilterDecoder("last", (last,)).read("1 or 2")
        '2'

        Raises:
            DecodingError: They find nothing.
        """
        for stop in self.until:
            if stop:
                text = text.partition(stop)[0]
        for step in self._steps:
            text = step(text)
        if not text.strip():
            raise DecodingError("nothing is left of the text")
        return text.strip()

    @cached_property
    def _steps(self) -> list[Callable[[str], str]]:
        return [_step(step) for step in self.steps if step["function"] not in _NOTHING]


def problem_of(step: Any) -> str | None:
    """Return why a filter cannot be carried over, or None if it can.

    >>> problem_of({"function": "majority_vote"})
    'majority_vote is not known'
    """
    if not isinstance(step, Mapping) or not isinstance(step.get("function"), str):
        return "it is Python, which is not run"
    if step["function"] in _NOTHING:
        return None
    try:
        _step(step)
    except (DecodingError, ValueError, TypeError, KeyError) as error:
        return printable(error)
    return None


def _step(step: Mapping[str, Any]) -> Callable[[str], str]:
    options = {name: value for name, value in step.items() if name != "function"}
    if step["function"] not in _STEPS:
        raise DecodingError(f"{printable(step['function'], 40)} is not known")
    made: Callable[[str], str] = _STEPS[step["function"]](**options)
    return made


def _regex(
    regex_pattern: str = r"#### (\-?[0-9\.\,]+)", group_select: int = 0, fallback: str = _INVALID
) -> Callable[[str], str]:
    pattern = _pattern(regex_pattern)

    def read(text: str) -> str:
        found = pattern.findall(text[:LONGEST])
        if not found:
            return _fallen(fallback)
        if not -len(found) <= group_select < len(found):
            raise DecodingError(f"it matches {len(found)} times, not {group_select + 1}")
        one = found[group_select]
        one = next(filter(None, one), None) if isinstance(one, tuple) else one
        return _fallen(fallback) if one is None else str(one).strip()

    return read


def _fallen(fallback: str) -> str:
    if fallback == _INVALID:
        raise DecodingError("the pattern matches nothing")
    return fallback


def _pattern(text: str) -> re.Pattern[str]:
    from instructforge.templates.guard import GuardError
    from instructforge.templates.patterns import MAX_REGEX_CHARS, MAX_WAYS, ways

    if len(text) > MAX_REGEX_CHARS:
        raise DecodingError("its regular expression is too long")
    try:
        if LONGEST * ways(text, LONGEST) > 10 * MAX_WAYS:
            raise DecodingError("its regular expression could take too long")
        return re.compile(text)
    except (GuardError, re.error, RecursionError, OverflowError) as error:
        raise DecodingError(str(error)) from None


def _map(mapping_dict: Mapping[Any, Any] | None = None, default_value: Any = None) -> Callable[[str], str]:
    known = dict(mapping_dict or {})

    def read(text: str) -> str:
        found = known.get(text, default_value)
        if found is None:
            raise DecodingError(f'"{printable(text, 60)}" is not among what is mapped')
        return str(found)

    return read


_STEPS: Mapping[str, Callable[..., Callable[[str], str]]] = {
    "regex": _regex,
    "remove_whitespace": lambda: str.strip,
    "lowercase": lambda: str.lower,
    "uppercase": lambda: str.upper,
    "map": _map,
}
