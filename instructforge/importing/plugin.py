"""What an imported plugin provides, read from its ``tasks.json``: tasks, normalizers and decoders.

Listing them imports nothing: Jinja comes when the first row is read, as with any other template.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from instructforge.components import Normalizer
from instructforge.data import Example, Row
from instructforge.errors import DataError, PluginError, TemplateError, printable
from instructforge.tasks import Choice, Field, Task, Text, read_samples

if TYPE_CHECKING:
    from instructforge.components import Decoder
    from instructforge.importing.lm_eval_rows import RowReader

__all__ = ["SCHEMA", "ImportedPlugin", "LmEvalRows", "Rows"]

SCHEMA = "instructforge.imported/1"


class ImportedPlugin:
    """The parts of an imported plugin.

    Args:
        folder: The package's folder, which holds ``tasks.json`` and ``templates``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def _entries(self) -> list[Mapping[str, Any]]:
        path = self.folder / "tasks.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document.get("schema") != SCHEMA:
                raise ValueError(f'its schema is "{printable(document.get("schema"), 60)}", not "{SCHEMA}"')
            return list(document["tasks"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise PluginError(
                f'"{printable(path)}" cannot be read: {printable(error)}.\nIt lists the tasks that were imported.\n'
                "Import them again."
            ) from None

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks."""
        for entry in self._entries:
            samples = self.folder / "samples" / f"{entry['name']}.jsonl"
            yield Task(
                entry["name"],
                summary=entry["summary"],
                fields={name: Field(text, kind="value", optional=True) for name, text in entry["fields"].items()},
                target=_target(entry["target"]),
                normalizers=[entry["name"]],
                metrics=entry.get("metrics", ()),
                samples=read_samples(samples) if samples.is_file() else (),
            )

    def normalizers(self) -> Iterator[Normalizer]:
        """Yield the normalizers: one for each task, which takes rows with the columns of its data set."""
        for entry in self._entries:
            columns = tuple(name for name in entry["fields"] if name != entry["target"].get("from_field"))
            rows = Rows(columns, entry.get("language"))
            function = LmEvalRows(rows, **entry["answers"]) if "answers" in entry else rows
            yield Normalizer(
                entry["name"],
                task=entry["name"],
                function=function,
                accepts=rows.fits,
                summary=f"rows of {entry['dataset']}",
                wants="; ".join(columns),
            )

    def decoders(self) -> Iterator[Decoder]:
        """Yield the decoders: the filters of lm-eval's tasks."""
        from instructforge.importing.filters import FilterDecoder

        for entry in self._entries:
            for decoder in entry.get("decoders", ()):
                yield FilterDecoder(decoder["name"], tuple(decoder["steps"]), tuple(decoder["until"]))


def _target(value: Mapping[str, Any]) -> Text | Choice:
    if value["kind"] == "text":
        return Text(max_new_tokens=value.get("max_new_tokens", 256))
    if "from_field" in value:
        return Choice(from_field=value["from_field"], multiple=value.get("multiple", False))
    return Choice(value["options"], multiple=value.get("multiple", False))


@frozen
class Rows:
    """Takes the columns of a row as they stand; the answer is left to the templates."""

    columns: tuple[str, ...]
    language: str | None = None

    def __call__(self, row: Row) -> Example:
        """Return the example of a row.

        Raises:
            DataError: It has none of the columns.
        """
        inputs = {name: row.values[name] for name in self.columns if name in row.values}
        if not inputs:
            raise DataError(
                f"it has none of the columns {', '.join(self.columns[:20])}",
                rule="field-missing",
                fix="give rows of the data set that the templates are for, or map columns: FIELD=COLUMN",
            )
        return Example(inputs=inputs, answers=(), id="", origin=row.origin, language=self.language)

    def fits(self, values: Mapping[str, Any]) -> bool:
        """Tell whether a row has the columns: all that it could, or nearly."""
        return 2 * sum(name in values for name in self.columns) >= len(self.columns)


@frozen
class LmEvalRows:
    """Takes a row's columns, and what lm-eval's ``doc_to_target`` and ``doc_to_choice`` make of them.

    Args:
        target: ``doc_to_target``.
        choice: ``doc_to_choice``, or None.
        labels: Whether the answer is one of the choices.
        into: The field that takes each row's choices, where they differ from row to row.
    """

    rows: Rows
    target: Any
    choice: Any = None
    labels: bool = False
    into: str | None = None
    _reader: list[RowReader] = field(factory=list, init=False, eq=False, repr=False)

    def __getstate__(self) -> tuple[Any, ...]:
        return self.rows, self.target, self.choice, self.labels, self.into

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def __call__(self, row: Row) -> Example:
        """Return the example of a row.

        Raises:
            DataError: Its target or its choices cannot be made.
        """
        if not self._reader:
            from instructforge.importing.lm_eval_rows import RowReader  # jinja2, when the first row is read

            self._reader.append(RowReader(self.target, self.choice))
        reader = self._reader[0]
        made = self.rows(row)
        try:
            choices = reader.choices(row.values) if self.labels or self.choice is not None else None
            answers = reader.answers(row.values, choices)
        except TemplateError as error:
            raise DataError(str(error).partition("\n")[0], rule=error.rule, fix="mend the row") from None
        inputs = {**made.inputs, self.into: choices} if self.into else made.inputs
        return Example(inputs=inputs, answers=answers, id="", origin=row.origin, language=made.language)
