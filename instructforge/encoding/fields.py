"""The fields of a row as an encoder model reads them: as they are, in the task's order, without prose around."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from instructforge.tasks import Task

__all__ = ["field_text", "field_texts", "question_and_passage"]


def field_text(value: Any) -> str:
    """Return a field's value as one text: items a line each, chat turns as ``role: content``.

    >>> field_text([{"role": "user", "content": "Hi"}, "你好"])
    'user: Hi\\n你好'
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return f"{value.get('role', '')}: {value.get('content', '')}"
    if isinstance(value, (list, tuple)):
        return "\n".join(map(field_text, value))
    return str(value)


def field_texts(task: Task, inputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of each of the task's fields, in their declared order; one that is lacking is empty."""
    return {name: field_text(inputs.get(name)) for name in task.fields}


def question_and_passage(task: Task, inputs: Mapping[str, Any], within: str) -> tuple[str, str]:
    """Return the two texts of a span task: the other fields, a line each, and the passage ``within``.

    The passage is returned as it is, since answers are counted in its characters.
    """
    texts = field_texts(task, inputs)
    passage = texts.pop(within)
    return "\n".join(text for text in texts.values() if text.strip()), passage
