"""What the templates of an lm-eval task make of a row: its text, its target, its choices.

A template is the name of a column, where rows have one of that name, or else Jinja.

Source: lm-evaluation-harness 0.4.13, ``ConfigurableTask`` in ``lm_eval/api/task.py``.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from instructforge.data import Answer
from instructforge.errors import DataError, printable
from instructforge.templates.dialects import LM_EVAL, RowText
from instructforge.templates.limits import Limits

__all__ = ["RowReader", "Template", "literal"]

MAX_LITERAL_CHARS = 200_000
_MAX_DEPTH = 50


class Template:
    """One template of a task: ``doc_to_text``, ``description`` …

    Raises:
        TemplateError: It is not Jinja.
    """

    def __init__(self, source: str, name: str) -> None:
        self.source = source
        self.text = RowText(source, name=name, environment=LM_EVAL.environment(Limits()))

    def value(self, row: Mapping[str, Any]) -> Any:
        """Return the column's value, or the rendered text.

        Raises:
            TemplateError: It fails on the row.
        """
        return row[self.source] if self.source in row else self.rendered(row)

    def rendered(self, row: Mapping[str, Any]) -> str:
        """Return the text that it gives as Jinja, whether or not there is a column of its name."""
        return str(self.text.render(row))


class RowReader:
    """Reads targets and choices.

    Args:
        target: ``doc_to_target``: a template, a place among the choices, or a list.
        choice: ``doc_to_choice``: a template, a list, a mapping, or None.
    """

    def __init__(self, target: Any, choice: Any = None) -> None:
        self._target = Template(target, "doc_to_target") if isinstance(target, str) else target
        self._choice = Template(choice, "doc_to_choice") if isinstance(choice, str) else choice

    def target(self, row: Mapping[str, Any]) -> Any:
        """Return what lm-eval's ``doc_to_target`` returns: a text, a place among the choices, or a list of those.

        Raises:
            TemplateError: It fails on the row.
            DataError: It gives a number that is none.
        """
        if not isinstance(self._target, Template):
            return self._target
        if self._target.source in row:
            return row[self._target.source]
        return target_of(self._target.rendered(row), has_choices=self._choice is not None)

    def choices(self, row: Mapping[str, Any]) -> list[str]:
        """Return a row's choices.

        Raises:
            TemplateError: It fails on the row.
            DataError: It gives no list of texts.
        """
        found = self._choice
        if isinstance(found, Template):
            found = row[found.source] if found.source in row else literal(found.rendered(row), "doc_to_choice")
        if isinstance(found, Mapping):
            found = list(found.values())
        if not isinstance(found, (list, tuple)) or not found:
            raise _error(f"doc_to_choice gives {printable(found, 60)}, not a list of choices", "choices")
        return [part if isinstance(part, str) else str(part) for part in found]

    def answers(self, row: Mapping[str, Any], choices: Sequence[str] | None) -> tuple[Answer, ...]:
        """Return a row's answers; none where its target is empty or -1.

        Raises:
            TemplateError: It fails on the row.
            DataError: The target is none of the choices.
        """
        target = self.target(row)
        several = target if isinstance(target, (list, tuple)) else [target]
        if choices is None:
            texts = [part if isinstance(part, str) else str(part) for part in several if part is not None]
            return tuple(dict.fromkeys(text for text in texts if text.strip()))
        labels = [_label(part, choices) for part in several]
        return tuple(dict.fromkeys(label for label in labels if label is not None))


def target_of(text: str, *, has_choices: bool) -> Any:
    """Return what a rendered target stands for: a place among choices, a list, or itself.

    >>> target_of("2", has_choices=True), target_of("2", has_choices=False), target_of("['a']", has_choices=False)
    (2, '2', ['a'])
    """
    if text.isdigit() and has_choices:
        return literal(text, "doc_to_target")
    if len(text) >= 2 and text[0] == "[" and text[-1] == "]":
        try:
            return literal(text, "doc_to_target")
        except DataError:
            return text
    return text


def literal(text: str, name: str) -> Any:
    """Return the Python literal that a text is; nothing of it is run.

    >>> literal("['a', 'b']", "doc_to_choice")
    ['a', 'b']

    Raises:
        DataError: It is none, or too large.
    """
    if len(text) > MAX_LITERAL_CHARS or _depth(text) > _MAX_DEPTH:
        raise _error(f"{name} gives a literal that is too large", "literal")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        what = f"{name} gives {printable(text, 60)!r}, which is no literal: {printable(error, 80)}"
        raise _error(what, "literal") from None


def _depth(text: str) -> int:
    deep = most = 0
    for char in text:
        deep += (char in "([{") - (char in ")]}")
        most = max(most, deep)
    return most


def _label(value: Any, choices: Sequence[str]) -> str | None:
    if value is None or value == "" or (isinstance(value, int) and value == -1):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(choices):
        return choices[value]
    if isinstance(value, bool) and int(value) < len(choices):
        return choices[int(value)]
    if isinstance(value, str) and value in choices:
        return value
    raise _error(f"the target {printable(value, 60)!r} is none of the {len(choices)} choices", "label-unknown")


def _error(what: str, rule: str) -> DataError:
    return DataError(what, rule=rule, field="answer", fix="mend the row, or the task")
