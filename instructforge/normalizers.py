"""Normalizers of flat records, made from column names; and the choice of a normalizer by a file's first rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import frozen

from instructforge.components import Normalizer
from instructforge.data import Example, Row
from instructforge.errors import ConfigError, DataError, did_you_mean, printable

if TYPE_CHECKING:
    from instructforge.tasks import Task

__all__ = ["ANSWER", "ColumnsFunction", "choose", "columns", "map_columns"]

ANSWER = "answer"
"""What the answer is called in a column mapping."""

Columns: TypeAlias = "str | Iterable[str]"


def columns(
    name: str,
    *,
    task: str,
    fields: Mapping[str, Columns],
    answer: Columns = (),
    labels: Mapping[str, str] | None = None,
    unlabelled: Iterable[str] = ("-1", "-"),
    optional: Iterable[str] = (),
    language: str | None = None,
    group: Columns = (),
    id: Columns = ("id",),
    summary: str = "",
) -> Normalizer:
    """Make a normalizer for flat records.

    A row fits where it has a column for each field that is not optional. A row without any answer column, or
    with null there, is unlabelled; so is one whose answer is among ``unlabelled``. An empty answer is an error.
    Numbers become texts. Where several of the columns of one field are there, the first named counts; the
    field's own name always comes before the others.

    Args:
        name: As given to ``--normalizer``.
        task: Name of the task whose examples it makes.
        fields: Each of the task's fields → the column that holds it, or several names for that column.
        answer: The column of the answer, or several names for it. A list there holds several gold answers.
        labels: Values in the data → labels of the task, regardless of case. A label is its own value too.
        unlabelled: Values that say that a row has no answer.
        optional: Fields whose column may be missing.
        language: Language of all rows; told by the script where left out.
        group: The column whose value keeps rows together on one side of a split, or several names for it.
        id: The column of the row's id; ids are made from the origin where there is none.
        summary: One line, for listings.

    >>> nli = columns("pairs", task="nli", fields={"premise": ("premise", "sentence1")}, answer="label",
    ...               labels={"0": "entailment"})
    >>> from instructforge.data import Origin
    >>> nli.function(Row({"sentence1": "It rains.", "label": 0}, Origin("a.jsonl", 1))).answers
    ('entailment',)
    """
    function = ColumnsFunction(
        fields={part: _names(part, given) for part, given in fields.items()},
        answer=_names(ANSWER, answer) if tuple(_listed(answer)) else (),
        labels=_folded_labels(labels or {}),
        unlabelled=frozenset(value.strip().casefold() for value in unlabelled),
        optional=frozenset(optional),
        language=language,
        group=tuple(_listed(group)),
        id=tuple(_listed(id)),
    )
    return Normalizer(
        name, task=task, function=function, accepts=ColumnsFit(function), summary=summary, wants=function.wants
    )


def _listed(value: Columns) -> Iterable[str]:
    return (value,) if isinstance(value, str) else value


def _names(own: str, given: Columns) -> tuple[str, ...]:
    """Return the names of a field's column: its own name first, which is what a column mapping gives it."""
    return tuple(dict.fromkeys((own, *_listed(given))))


def _folded_labels(labels: Mapping[str, str]) -> dict[str, str]:
    own = {label.strip().casefold(): label for label in labels.values()}
    return own | {str(value).strip().casefold(): label for value, label in labels.items()}


@frozen(kw_only=True)
class ColumnsFunction:
    """The function of a normalizer that ``columns`` has made: picklable, so that workers can be sent it."""

    fields: Mapping[str, tuple[str, ...]]
    answer: tuple[str, ...]
    labels: Mapping[str, str]
    unlabelled: frozenset[str]
    optional: frozenset[str]
    language: str | None
    group: tuple[str, ...]
    id: tuple[str, ...]

    def __call__(self, row: Row) -> Example:
        """Return the example of one row.

        Raises:
            DataError: A field is missing or no text, or the answer is none of the labels.
        """
        values = row.values
        return Example(
            inputs={name: found for name in self.fields if (found := self._field(name, values)) is not None},
            answers=self._answers(values),
            id=_id(values, self.id),
            origin=row.origin,
            group=_group(values, self.group),
            language=self.language,
        )

    @property
    def wants(self) -> str:
        """Return the columns that it reads, in words."""
        parts = [f"{' | '.join(names)}{' (optional)' * (part in self.optional)}" for part, names in self.fields.items()]
        return "; ".join([*parts, *([" | ".join(self.answer)] if self.answer else ())])

    @property
    def known_columns(self) -> set[str]:
        """Return every name under which it would read something."""
        groups = (self.group, self.id, self.answer, *self.fields.values())
        return {name for names in groups for name in names}

    def _field(self, name: str, values: Mapping[str, Any]) -> Any:
        for column in self.fields[name]:
            value = values.get(column)
            if value is not None:
                return _field_value(value, column)
        if name in self.optional:
            return None
        raise DataError(
            f'there is no "{name}": none of the columns {" | ".join(self.fields[name])} has a value',
            rule="field-missing",
            field=name,
            fix=f"fill the column, or map another to it: {name}=COLUMN",
        )

    def _answers(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        for column in self.answer:
            value = values.get(column)
            if value is None:
                continue
            several = value if isinstance(value, (list, tuple)) else (value,)
            found = [self._label(one, column) for one in several]
            return tuple(dict.fromkeys(label for label in found if label is not None))
        return ()

    def _label(self, value: Any, column: str) -> str | None:
        text = _text(value, column)
        if not text.strip():
            raise DataError(
                f'the answer in "{column}" is empty',
                rule="answer-empty",
                field=column,
                fix='give the answer; "-" says that the row has none',
            )
        key = text.strip().casefold()
        if key in self.unlabelled or key.removesuffix(".0") in self.unlabelled:
            return None
        if not self.labels:
            return text
        label = self.labels.get(key) or self.labels.get(key.removesuffix(".0"))
        if label is not None:
            return label
        raise DataError(
            f'the label "{printable(text, 80)}" is not known',
            rule="label-unknown",
            field=column,
            fix=did_you_mean(key, self.labels),
        )


@frozen
class ColumnsFit:
    """Tells whether a row has the columns that a ``ColumnsFunction`` needs."""

    function: ColumnsFunction

    def __call__(self, values: Mapping[str, Any]) -> bool:
        needed = (names for part, names in self.function.fields.items() if part not in self.function.optional)
        return all(any(values.get(name) is not None for name in names) for names in needed)


def _id(values: Mapping[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = values.get(name)
        if value is not None:
            return _text(value, name).strip()
    return ""


def _group(values: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((_text(values[name], name) for name in names if values.get(name) is not None), None)


def _field_value(value: Any, column: str) -> Any:
    """Return a field's value: a text, or a list whose numbers are texts too."""
    if isinstance(value, (list, tuple)):
        return [part if isinstance(part, Mapping) else _text(part, column) for part in value]
    return _text(value, column)


def _text(value: Any, column: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, Decimal)) and value == value and abs(value) != float("inf"):
        return str(value)
    raise DataError(
        f'"{column}" is {printable(value, 40)} ({type(value).__name__}), not a text',
        rule="field-type",
        field=column,
        fix="give a text or a number",
    )


# --- Column mapping -----------------------------------------------------------------------------------


def map_columns(values: Mapping[str, Any], mapping: Mapping[str, str]) -> Mapping[str, Any]:
    """Return ``values`` with columns renamed; ``mapping`` is field → column of the file.

    >>> map_columns({"query": "Why?", "n": 1}, {"question": "query"})
    {'n': 1, 'question': 'Why?'}
    """
    if not mapping:
        return values
    moved = set(mapping.values())
    kept = {name: value for name, value in values.items() if name not in moved}
    return kept | {part: values[column] for part, column in mapping.items() if column in values}


# --- Choosing -----------------------------------------------------------------------------------------


def choose(task: Task, candidates: Sequence[Normalizer], rows: Sequence[Row], *, source: str = "") -> Normalizer:
    """Return the one normalizer among ``candidates`` that accepts ``rows``, the first good ones of a file.

    Rows may be bad, so one that accepts some of them fits; another fits too where it accepts half as many or
    more. Where a file has no good row at all, any of them will do: it will not be asked.

    Raises:
        ConfigError: Two fit, or none does.
    """
    failed: dict[str, str] = {}
    accepted = [_accepted(one, rows, failed) for one in candidates]
    best = max(accepted, default=0)
    fitting = [one for one, count in zip(candidates, accepted, strict=True) if count and 2 * count >= best]
    if len(fitting) == 1 or (candidates and not rows):
        return (fitting or list(candidates))[0]
    where = f'"{printable(source)}"' if source else "the data"
    if fitting:
        names = " and ".join(f'"{one.name}"' for one in fitting)
        raise ConfigError(f"{where} can be read by the normalizers {names}; say which with --normalizer NAME")
    raise ConfigError(_none_fits(where, task, candidates, rows, failed))


def _accepted(normalizer: Normalizer, rows: Sequence[Row], failed: dict[str, str]) -> int:
    """Return how many of ``rows`` a normalizer accepts; ``failed`` takes why one could not say."""
    try:
        return sum(bool(normalizer.accepts(row.values)) for row in rows)
    except Exception as error:  # a plugin's code: it is no candidate, and the message says why
        failed[normalizer.name] = f"it failed with {type(error).__name__}: {printable(error, 80)}"
        return 0


def _none_fits(
    where: str, task: Task, candidates: Sequence[Normalizer], rows: Sequence[Row], failed: Mapping[str, str]
) -> str:
    names = sorted({str(name) for row in rows for name in row.values})
    shown = ", ".join(printable(name, 40) for name in names[:30])
    lines = [f'no normalizer of the task "{task.name}" fits {where}; its columns are: {shown or "none"}']
    for one in candidates:
        wants = failed.get(one.name) or one.wants or one.summary or "a form of its own"
        lines.append(f"  {one.name}: {wants}")
    example = next(iter(task.fields))
    lines.append(f"Map columns to the task's fields: --column {example}=COLUMN --column {ANSWER}=COLUMN")
    if re.search(r"\.(?:csv|tsv|tab)(?:\.gz)?\W*$", where, re.IGNORECASE):
        lines.append("A file without a header line: name its columns, --option header=FIRST,SECOND")
    return "\n".join(lines)
