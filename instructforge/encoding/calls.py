"""How a chat template writes tool calls and reasoning, learnt from the template, and read back.

Each family of models writes tool calls in a form of its own: ``<tool_call>{"name": …}</tool_call>``, a bare
``{"name": …, "parameters": …}``, ``[TOOL_CALLS] [{…}, {…}]``, a name and then an object. None of them is built in
here. The template is given calls with known names and arguments; what it writes around them is the form. So what is
read from a model is the inverse of what the model was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from instructforge.chats import parse_tool_calls
from instructforge.errors import DataError, TemplateError

__all__ = ["COMMON_FORM", "CallForm", "Calls", "ReasoningForm", "learn_calls", "learn_reasoning", "tool_call"]

Write = Callable[[Mapping[str, Any]], str]
"""``write(turn)``: what the template emits for an assistant's turn, from where generation starts to the turn's end."""

PROBE_NAMES: Final = ("probe_one", "probe_two")
PROBE_ARGUMENTS: Final = ({"probe_key": "probe value"}, {"probe_other": 17})
_THOUGHT: Final = "probe thought"
_SAID: Final = "probe said"
_MAX_CALLS: Final = 1000
_MAX_PROBED: Final = 20_000
"""Characters that a template may write for a call of a few words; one that writes more has no form to learn."""

_DECODER: Final = json.JSONDecoder()


@frozen
class CallForm:
    """The form in which tool calls are written: ``opening call between call … closing``.

    Attributes:
        opening, between, closing: What stands before, between and behind the calls.
        middle: None where a call is one JSON object with its name in it; else what stands between the name and the
            object of arguments.
    """

    opening: str
    between: str | None
    closing: str
    middle: str | None = None

    def read(self, text: str) -> tuple[str, list[dict[str, Any]]] | None:
        """Return what ``text`` says before its calls, and the calls; None where it has none that can be read."""
        for start in self._openings(text):
            calls = self._calls(text, start)
            if calls:
                return text[: start - len(self.opening.strip())].rstrip() if self.opening.strip() else "", calls
        return None

    def opens(self, text: str) -> bool:
        """Tell whether ``text`` begins to call tools, whether or not it can be read."""
        return bool(self.opening.strip()) and self.opening.strip() in text

    def _openings(self, text: str) -> Iterator[int]:
        mark = self.opening.strip()
        if not mark:
            yield 0
            return
        place = text.find(mark)
        while place >= 0:
            yield place + len(mark)
            place = text.find(mark, place + 1)

    def _calls(self, text: str, position: int) -> list[dict[str, Any]]:
        """Return the calls from ``position`` to the text's end; none where something else stands there."""
        calls: list[dict[str, Any]] = []
        between, closing = (self.between or "").strip(), self.closing.strip()
        while len(calls) < _MAX_CALLS:
            found = self._call(text, position)
            if found is None:
                return []
            call, position = found
            calls.append(call)
            rest = text[position:].strip()
            if rest == closing:
                return calls
            if self.between is None or not rest.startswith(between):
                return []
            position = text.index(between, position) + len(between)
        return []

    def _call(self, text: str, position: int) -> tuple[dict[str, Any], int] | None:
        """Return the call that stands at ``position``, and where it ends."""
        position = _past_space(text, position)
        try:
            if self.middle is None:
                value, end = _DECODER.raw_decode(text, position)
                return (parse_tool_calls(value)[0], end) if _is_call(value) else None
            start = text.index(self.middle.strip(), position) if self.middle.strip() else text.index("{", position)
            inside = _past_space(text, start + len(self.middle.strip()))
            arguments, end = _DECODER.raw_decode(text, inside)
            return parse_tool_calls({"name": text[position:start].strip(), "arguments": arguments})[0], end
        except (ValueError, RecursionError, DataError):
            return None

    def to_json(self) -> dict[str, Any]:
        return {
            "opening": self.opening,
            "between": self.between,
            "closing": self.closing,
            "middle": self.middle,
        }


COMMON_FORM: Final = CallForm("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")
"""The form of Hermes and Qwen, taken where a chat template shows none."""


@frozen
class ReasoningForm:
    """The form in which reasoning is written: ``opening reasoning middle answer``."""

    opening: str
    middle: str

    def read(self, text: str) -> tuple[str, str | None]:
        """Return what ``text`` says, and the reasoning before it."""
        opening, middle = self.opening.strip(), self.middle.strip()
        head = text.lstrip()
        if not middle or not head.startswith(opening) or middle not in head:
            return text, None
        reasoning, _, said = head[len(opening) :].partition(middle)
        return said.lstrip(), reasoning.strip() or None


@frozen
class Calls:
    """What a chat template makes of tool calls.

    Attributes:
        written: Whether it writes them at all.
        form: Their form, where it could be learnt.
        as_text: Whether it wants the arguments as JSON texts, not as objects.
    """

    written: bool = False
    form: CallForm | None = None
    as_text: bool = False

    def given(self, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return calls as the template is given them."""
        if not self.as_text:
            return [dict(call) for call in calls]
        return [
            {**call, "function": {**call["function"], "arguments": _dumped(call["function"]["arguments"])}}
            for call in calls
        ]

    def holds(self, emitted: str, calls: Sequence[tuple[str, Any]]) -> bool:
        """Tell whether a text that the template wrote has just these calls (names and arguments) in it.

        Where the form is not known, every name and every text or number of the arguments has to stand there.
        """
        if self.form is not None:
            found = self.form.read(emitted)
            return found is not None and _names_and_arguments(found[1]) == list(calls)
        return all(name in emitted and all(leaf in emitted for leaf in _leaves(given)) for name, given in calls)


def learn_calls(write: Write) -> Calls:
    """Find out how a template writes tool calls, by calls that are known."""
    for as_text in (False, True):
        calls = Calls(as_text=as_text)
        single = _attempt(write, calls, 1)
        if single is not None and PROBE_NAMES[0] in single and "probe value" in single:
            double = _attempt(write, calls, 2)
            form = _form(single, double if double and PROBE_NAMES[1] in double else None)
            if form is not None and not _reads(form, single, double):
                form = None
            return Calls(written=True, form=form, as_text=as_text)
    return Calls()


def learn_reasoning(write: Write) -> ReasoningForm | None:
    """Find out how a template writes reasoning; None where it does not write it before the answer."""
    try:
        text = write({"role": "assistant", "content": _SAID, "reasoning_content": _THOUGHT})
    except TemplateError:
        return None
    opening, found, rest = text.partition(_THOUGHT)
    middle, said, _ = rest.partition(_SAID)
    return ReasoningForm(opening, middle) if found and said else None


def tool_call(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": "callprobe", "type": "function", "function": {"name": name, "arguments": dict(arguments)}}


def _attempt(write: Write, calls: Calls, count: int) -> str | None:
    probes = [tool_call(*pair) for pair in zip(PROBE_NAMES[:count], PROBE_ARGUMENTS[:count], strict=True)]
    try:
        return write({"role": "assistant", "content": "", "tool_calls": calls.given(probes)})
    except TemplateError:
        return None


def _form(single: str, double: str | None) -> CallForm | None:
    """Work out the form from a turn with one call and one with two."""
    first = _place(single, 0)
    if first is None:
        return None
    start, end, middle = first
    opening, closing = single[:start], single[end:]
    between = None
    if double is not None:
        one, other = _place(double, 0), _place(double, 1)
        if one is not None and other is not None:
            between = double[one[1] : other[0]]
    return CallForm(opening, between, closing, middle)


def _place(text: str, number: int) -> tuple[int, int, str | None] | None:
    """Return where a probe's call starts and ends in ``text``, and what stands between its name and arguments."""
    name, arguments = PROBE_NAMES[number], PROBE_ARGUMENTS[number]
    if len(text) > _MAX_PROBED:
        return None
    for start in (place for place, char in enumerate(text) if char == "{"):
        value, end = _object(text, start)
        if _is_call(value) and _as_pair(value) == (name, arguments):
            return start, end, None
        if value == arguments:
            named = text.rfind(name, 0, start)
            return (named, end, text[named + len(name) : start]) if named >= 0 else None
    return None


def _object(text: str, start: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, start


def _is_call(value: Any) -> bool:
    """Tell whether a JSON value is a call: an object with a name and with arguments."""
    function = value.get("function", value) if isinstance(value, dict) else None
    return isinstance(function, dict) and "name" in function and bool({"arguments", "parameters"} & function.keys())


def _as_pair(value: Any) -> tuple[str, Any] | None:
    try:
        return _names_and_arguments(parse_tool_calls(value))[0]
    except DataError:
        return None


def _reads(form: CallForm, single: str, double: str | None) -> bool:
    """Tell whether the form reads back what it was learnt from."""
    pairs = list(zip(PROBE_NAMES, PROBE_ARGUMENTS, strict=True))
    texts = [(single, pairs[:1]), *([(double, pairs)] if double is not None and form.between is not None else [])]
    found = [(form.read(text), wanted) for text, wanted in texts]
    return all(made is not None and _names_and_arguments(made[1]) == wanted for made, wanted in found)


def _names_and_arguments(calls: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in calls]


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield str(key)
            yield from _leaves(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _leaves(part)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)


def _dumped(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _past_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position
