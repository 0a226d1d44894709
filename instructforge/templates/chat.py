"""The chat template of a model folder, rendered as transformers renders it, but within bounds.

A chat template comes with a model that a stranger has uploaded: it is untrusted. It gets the same environment
as task templates, set up so that its text is byte for byte what ``tokenizer.apply_chat_template`` gives, with
one difference: the date is the one that it is given, so that training and serving show the same.

Source: ``_cached_compile_jinja_template`` and ``render_jinja_template`` of transformers 5
(transformers/utils/chat_template_utils.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from threading import RLock
from typing import Any

from attrs import frozen
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.runtime import Context

from instructforge.data import Message
from instructforge.errors import TemplateError
from instructforge.templates.guard import Guard, GuardError
from instructforge.templates.limits import Limits
from instructforge.templates.methods import Function
from instructforge.templates.sandbox import BoundedEnvironment
from instructforge.templates.traced import Mark, Traced, join_traced, traced

__all__ = ["ChatTemplate", "Place", "compile_chat_template"]

GENERATION = "generation"
MAX_FORMAT_CHARS = 200
_FORMAT = re.compile(r"(?:[^%]|%[-_0^#]?[A-Za-z%])*\Z")
_REASONING = ("reasoning_content", "thinking", "reasoning")


@frozen
class Place:
    """Where a message's content stands in the rendered chat: its characters ``start`` to ``end``.

    ``exact`` is False where the template changed the text on its way; ``part`` counts within a list of parts.
    """

    message: int
    start: int
    end: int
    exact: bool
    part: int | None = None


@frozen
class RenderedChat:
    """A rendered chat.

    Attributes:
        text: The whole text.
        contents: Where the contents of the messages stand in it, in order of appearance.
        generations: Start and end of each ``generation`` tag's body.
    """

    text: str
    contents: tuple[Place, ...]
    generations: tuple[tuple[int, int], ...]


def compile_chat_template(source: str, *, now: datetime | None = None, limits: Limits | None = None) -> ChatTemplate:
    """Compile a chat template.

    Args:
        now: What ``strftime_now`` tells; without it, a template that asks for the date is refused when it does.

    Raises:
        TemplateError: It is not a template, or goes beyond its bounds.
    """
    return ChatTemplate(source, now=now, limits=limits or Limits())


class ChatTemplate:
    """A compiled chat template; picklable."""

    def __init__(self, source: str, *, now: datetime | None, limits: Limits) -> None:
        self.source = source
        self.now = now
        self.limits = limits
        self._environment = BoundedEnvironment(limits, strict=False, mutable=False)
        self._environment.globals |= {
            "raise_exception": Function(_raise_exception),
            "strftime_now": Function(self._strftime),
        }
        tree = self._environment.checked_tree(source, "chat template")
        self._code = self._environment.code_of(tree, "chat template")
        self._lock = RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.source, self.now, self.limits)

    def render(
        self, messages: Sequence[Mapping[str, Any] | Message], *, add_generation_prompt: bool = False, **variables: Any
    ) -> str:
        """Return the text that the template makes of a chat.

        Args:
            variables: What else it may ask for: ``bos_token``, ``tools``, ``documents`` …

        Raises:
            TemplateError: It raises an error itself, or goes beyond its bounds.
        """
        return self.trace(messages, add_generation_prompt=add_generation_prompt, **variables).text

    def trace(
        self, messages: Sequence[Mapping[str, Any] | Message], *, add_generation_prompt: bool = False, **variables: Any
    ) -> RenderedChat:
        """Return the text that the template makes of a chat, and where each message's content stands in it.

        Raises:
            TemplateError: It raises an error itself, or goes beyond its bounds.
        """
        given = {"tools": None, "documents": None} | {name: _plain(value) for name, value in variables.items()}
        given["messages"] = [_chat_message(number, message) for number, message in enumerate(messages)]
        given["add_generation_prompt"] = add_generation_prompt
        with self._lock:
            try:
                text = self._render(given)
            except TemplateError:
                raise
            except Exception as error:
                raise self._code.error_of(error) from None
        marks: tuple[Mark, ...] = text.marks if type(text) is Traced else ()
        return RenderedChat(
            text=str(text),
            contents=tuple(
                Place(field, start, end, exact, item)
                for field, item, start, end, exact in marks
                if field != GENERATION and end > start
            ),
            generations=tuple((start, end) for field, _, start, end, _ in marks if field == GENERATION),
        )

    def _render(self, values: dict[str, Any]) -> str:
        guard = self._environment.guard
        guard.reset()
        values = {**self._environment.globals, **values}
        context = Context(self._environment, values, "chat template", self._code.blocks)
        pieces: list[str] = []
        size = 0
        for piece in self._code.root(context):
            text = guard.text(piece)
            pieces.append(text)
            size += len(text)
            if size > self.limits.output_chars:
                guard.room(size)
        return join_traced(pieces)

    def _strftime(self, guard: Guard, pattern: Any, /) -> str:
        if self.now is None:
            raise GuardError("date", "it asks for the date, and none is pinned")
        if not isinstance(pattern, str) or len(pattern) > MAX_FORMAT_CHARS or not _FORMAT.match(pattern):
            raise GuardError("date", "the date's format is not one that is allowed")
        return self.now.strftime(str(pattern))


def _rebuilt(source: str, now: datetime | None, limits: Limits) -> ChatTemplate:
    return ChatTemplate(source, now=now, limits=limits)


def _raise_exception(guard: Guard, message: Any = "", /) -> None:
    raise JinjaError(str(guard.text(message)))


def _chat_message(number: int, message: Mapping[str, Any] | Message) -> dict[str, Any]:
    plain: dict[str, Any] = _plain(message.to_chat() if isinstance(message, Message) else message)
    reasoning = next((plain[key] for key in _REASONING if plain.get(key) is not None), None)
    if reasoning is not None:
        plain = {"thinking": reasoning, **plain, "reasoning_content": reasoning}
    if "content" in plain:
        plain["content"] = _traced_content(plain["content"], number)
    return plain


def _traced_content(content: Any, number: int) -> Any:
    """Return a message's content, a text or a list of parts, with its texts marked as the message's."""
    if isinstance(content, str):
        return traced(content, number)
    if isinstance(content, list):
        return [
            {**part, "text": traced(part["text"], number, place)}
            if isinstance(part, dict) and isinstance(part.get("text"), str)
            else part
            for place, part in enumerate(content)
        ]
    return content


def _plain(value: Any) -> Any:
    """Return ``value`` made of JSON types anew, so that a template cannot reach the caller's objects."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    return f"<{type(value).__name__}>"
