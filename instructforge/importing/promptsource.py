"""The templates of promptsource: read as data, rendered to promptsource's own bytes.

``load`` reads a folder, one YAML file, or the source distribution or wheel of promptsource as it was downloaded;
nothing of it is unpacked, installed or run. A template renders a row of its data set's columns::

    from instructforge.importing import promptsource

    collection = promptsource.load("promptsource-0.2.3.tar.gz")
    template = collection.dataset("glue/mrpc")[0]
    template.render({"sentence1": "A dog barks.", "sentence2": "A dog is loud.", "label": 1})   # (prompt, target)

Source: promptsource 0.2.3, ``promptsource/templates.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from instructforge.data import Origin
from instructforge.errors import DataError, TemplateError, UnknownNameError, printable
from instructforge.importing.files import source_files
from instructforge.importing.yamlfile import Tagged, mapping_tag, read_yaml

if TYPE_CHECKING:
    from instructforge.templates.dialects import PartedText

__all__ = ["Collection", "Metadata", "PromptsourceTemplate", "load", "load_file"]

FILE = "templates.yaml"
TAGS = {"!Template": mapping_tag, "!TemplateMetadata": mapping_tag}
_ATTRIBUTES = frozenset(("id", "name", "reference", "jinja", "answer_choices", "metadata"))


@frozen(kw_only=True)
class Metadata:
    """What an author says of a template; None where nothing is said."""

    original_task: bool | None = None
    choices_in_prompt: bool | None = None
    metrics: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()


@frozen(kw_only=True, slots=False)  # a compiled text is kept
class PromptsourceTemplate:
    """One template.

    Attributes:
        dataset, subset: The data set whose rows it is for.
        jinja: Prompt, ``|||`` and target.
        answer_choices: What gives a row's answer choices, or None.
        others: Attributes beside promptsource's own, which nothing here reads.
    """

    dataset: str
    subset: str | None = None
    id: str
    name: str
    reference: str = ""
    jinja: str
    answer_choices: str | None = None
    metadata: Metadata = field(factory=Metadata)
    others: tuple[str, ...] = ()

    @property
    def dataset_name(self) -> str:
        """The data set, with its subset: ``glue/mrpc``."""
        return f"{self.dataset}/{self.subset}" if self.subset else self.dataset

    @property
    def key(self) -> str:
        """What messages call it: the data set and the template's name."""
        return f"{self.dataset_name}: {self.name}"

    @cached_property
    def text(self) -> PartedText:
        """The compiled template.

        Raises:
            TemplateError: It is not Jinja, or goes beyond its bounds.
        """
        from instructforge.templates.dialects import PROMPTSOURCE, PartedText  # jinja2, once one is compiled
        from instructforge.templates.limits import Limits

        name = printable(self.key, 200)
        return PartedText(self.jinja, self.answer_choices, name=name, environment=PROMPTSOURCE.environment(Limits()))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it asks for, whether or not rows have them."""
        return tuple(sorted(self.text.names))

    @property
    def deterministic(self) -> bool:
        """Whether it gives the same whatever the seed."""
        return not self.text.draws

    def apply(self, row: Mapping[str, Any], *, seed: int = 0) -> list[str]:
        """Return the parts that a row gives, as ``Template.apply(row, truncate=False)`` of promptsource does.

        There are two of them, prompt and target; or one that is empty, where the template passes the row over.

        Raises:
            TemplateError: It fails on the row, or goes beyond its bounds.
        """
        return [str(part).strip() for part in self.text.parts(row, seed=seed)[1]]

    def render(self, row: Mapping[str, Any], *, seed: int = 0) -> tuple[str, str] | None:
        """Return the prompt and the target that a row gives; None where the template passes the row over.

        Raises:
            TemplateError: It fails on the row, goes beyond its bounds, or gives no two parts (rule ``parts``).
        """
        parts = self.apply(row, seed=seed)
        if parts == [""]:
            return None
        if len(parts) != 2:
            raise parts_error(self.key, len(parts))
        return parts[0], parts[1]

    def choices(self, row: Mapping[str, Any], *, seed: int = 0) -> list[str] | None:
        """Return a row's answer choices, or None where the template has none.

        Raises:
            TemplateError: It fails on the row, or goes beyond its bounds.
        """
        words = self.text.parts(row, seed=seed)[0]
        return None if words is None else list(words)


def parts_error(key: str, count: int) -> TemplateError:
    """Return the error of a text that ``|||`` parts into more or fewer than two."""
    shown = printable(key, 200)
    return TemplateError(
        f'The template "{shown}" gives {count} part{"s"[: count != 1]}, not a prompt and a target.\n'
        'A template has one "|||" between the two, or gives nothing at all where it is not for a row.\n'
        "Look at the template, and at the row.",
        template=shown,
        rule="parts",
    )


@frozen
class Collection:
    """What ``load`` has found: templates in the order of their files and names; and what could not be read."""

    templates: tuple[PromptsourceTemplate, ...]
    failures: tuple[DataError, ...] = ()
    files: int = 0

    def __len__(self) -> int:
        return len(self.templates)

    def __iter__(self) -> Iterator[PromptsourceTemplate]:
        return iter(self.templates)

    @property
    def datasets(self) -> list[str]:
        """The names of the data sets, subsets included: ``glue/mrpc``."""
        return sorted({template.dataset_name for template in self.templates})

    def dataset(self, name: str) -> list[PromptsourceTemplate]:
        """Return the templates of one data set.

        Raises:
            UnknownNameError: There are none.
        """
        found = [template for template in self.templates if template.dataset_name == name]
        if not found:
            raise UnknownNameError("data set with templates", name, self.datasets)
        return found


def load(path: str | Path) -> Collection:
    """Read the templates of a YAML file, of a folder, or of promptsource's source distribution or wheel.

    A file or a template that cannot be read is among the collection's ``failures``; the rest goes on.

    Raises:
        DataError: There is nothing to read, or not one template can be.
    """
    place = Path(path)
    templates: list[PromptsourceTemplate] = []
    failures: list[DataError] = []
    files = 0
    for file in source_files(place, _is_collection):
        files += 1
        try:
            if isinstance(file.content, DataError):
                raise file.content
            found, wrong = _read(file.content, file.name)
            templates += found
            failures += wrong
        except DataError as error:
            failures.append(error)
    if not templates:
        if failures:
            raise failures[0]
        raise DataError(
            f'"{printable(place)}" holds no {FILE}.\nThe collection has one such file for each data set.\n'
            "Give promptsource's source distribution, its folder of templates, or one YAML file.",
            rule="file-missing",
            origin=Origin(str(place)),
        )
    return Collection(tuple(templates), tuple(failures), files)


def load_file(path: str | Path) -> list[PromptsourceTemplate]:
    """Return the templates of one YAML file.

    Raises:
        DataError: The file, or one of its templates, cannot be read.
    """
    collection = load(path)
    if collection.failures:
        raise collection.failures[0]
    return list(collection.templates)


def _is_collection(name: PurePosixPath) -> bool:
    return name.name == FILE


def _read(content: bytes, name: str) -> tuple[list[PromptsourceTemplate], list[DataError]]:
    document = read_yaml(content, name, tags=TAGS)
    if not isinstance(document, dict) or not isinstance(document.get("templates"), dict):
        raise _error(name, "has no mapping of templates", 'A file has "dataset", "subset" and "templates".')
    dataset, subset = document.get("dataset"), document.get("subset")
    if not isinstance(dataset, str) or not dataset.strip() or not isinstance(subset, str | None):
        raise _error(name, "does not name its data set", 'Give "dataset" as a text, and "subset" if there is one.')
    made: list[PromptsourceTemplate] = []
    wrong: list[DataError] = []
    for key, value in document["templates"].items():
        try:
            made.append(_template(dataset, subset, key, value, f"{name}: {printable(key, 60)}"))
        except DataError as error:
            wrong.append(error)
    return made, wrong


def _template(dataset: str, subset: str | None, key: Any, value: Any, place: str) -> PromptsourceTemplate:
    values = value.values if isinstance(value, Tagged) and value.tag == "!Template" else value
    if not isinstance(values, Mapping):
        raise _error(place, "is no template", "A template is a mapping with the tag !Template.")
    choices = values.get("answer_choices")
    for name, text in (("name", values.get("name")), ("jinja", values.get("jinja"))):
        if not _is_text(text):
            raise _error(place, f'has no text as its "{name}"', "A template has a name and a Jinja text.")
    if choices is not None and not isinstance(choices, str):
        raise _error(place, f'has "{printable(choices, 40)}" as its answer_choices', "Put the choices into quotes.")
    reference = values.get("reference")
    return PromptsourceTemplate(
        dataset=dataset,
        subset=subset or None,
        id=str(values.get("id") or key),
        name=values["name"],
        reference=reference if isinstance(reference, str) else "" if reference is None else str(reference),
        jinja=values["jinja"],
        answer_choices=choices,
        metadata=_metadata(values.get("metadata")),
        others=tuple(sorted(str(name) for name in values.keys() - _ATTRIBUTES)),
    )


def _metadata(value: Any) -> Metadata:
    values = value.values if isinstance(value, Tagged) else value
    if not isinstance(values, Mapping):
        return Metadata()
    return Metadata(
        original_task=_truth(values.get("original_task")),
        choices_in_prompt=_truth(values.get("choices_in_prompt")),
        metrics=_texts(values.get("metrics")),
        languages=_texts(values.get("languages")),
    )


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _texts(value: Any) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(part if isinstance(part, str) else _SAID_NO if part is False else str(part) for part in parts)


_SAID_NO = "no"
"""Norwegian: YAML 1.1 reads the language code as a truth value."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _error(place: str, what: str, fix: str) -> DataError:
    return DataError(f'"{printable(place)}" {what}.\n{fix}', rule="promptsource", fix=fix, origin=Origin(place))
