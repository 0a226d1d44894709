"""What goes into a template and what comes out: a row's values marked as its own, and text put into messages.

Shared by the templates of tasks, whatever the form in which they are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from instructforge.data import Landing, Message, Reply
from instructforge.templates.drafts import LandingDraft, MessageDraft
from instructforge.templates.guard import GuardError
from instructforge.templates.traced import Mark, traced

__all__ = ["given_value", "land", "make_message"]

MAX_DEPTH = 20


def given_value(value: Any, field: str, item: int | None = None, deep: int = 0) -> Any:
    """Return a row's value as templates see it: texts marked, lists and dicts copied.

    Raises:
        GuardError: It holds something that is no JSON value, or is nested too deeply.
    """
    if isinstance(value, str):
        return traced(str(value), field, item)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if deep > MAX_DEPTH:
        raise GuardError("depth", f'the field "{field}" is nested too deeply')
    if isinstance(value, (list, tuple)):
        items = (place if deep == 0 else item for place in range(len(value)))
        return [given_value(part, field, place, deep + 1) for part, place in zip(value, items, strict=True)]
    if isinstance(value, Mapping):
        return {
            str(key): str(part) if key == "role" and isinstance(part, str) else given_value(part, field, item, deep + 1)
            for key, part in value.items()
        }
    raise GuardError("type", f'the field "{field}" holds a {type(value).__name__}, which no template can show')


def make_message(role: str, content: str, *, trained: bool = False, reply: Reply | None = None) -> Message:
    """Return a ``Message``, made quickly; ``reply`` is the answer that it gives, where that is more than text."""
    made: Any = MessageDraft()
    made.role = role
    made.content = content
    made.trained = trained
    made.reasoning = reply.reasoning if reply else None
    made.tool_calls = reply.tool_calls if reply else ()
    made.name = None
    made.tool_call_id = None
    made.weight = reply.weight if reply else None
    made.__class__ = Message
    return made  # type: ignore[no-any-return]


def land(text: str, marks: Sequence[Mark], message: int, landings: list[Landing]) -> str:
    """Return ``text`` without the space around it, and note where the marks come to stand."""
    content = text.strip()
    size = len(content)
    lead = 0 if size == len(text) else len(text) - len(text.lstrip())
    for field, item, start, end, whole in marks:
        begin, stop, exact = start - lead, end - lead, whole
        if begin < 0 or stop > size:  # the space at an end was the field's own
            begin, stop, exact = max(begin, 0), min(stop, size), False
        if begin < stop:
            made: Any = LandingDraft()
            made.field = field
            made.message = message
            made.start = begin
            made.end = stop
            made.item = item
            made.exact = exact
            made.__class__ = Landing
            landings.append(made)
    return content
