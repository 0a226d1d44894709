"""The tasks of lm-evaluation-harness: their declarative part, read as data.

``load`` reads a folder of task files, or one file. A task's templates render a row to the harness's own bytes::

    from instructforge.importing import lm_eval

    tasks = lm_eval.load("lm_eval/tasks")
    task = tasks.task("arc_easy")
    task.doc_to_text(row), task.doc_to_target(row), task.doc_to_choice(row)

``!function`` names Python. It is never looked up: a task whose rows or texts are made by Python is not converted, and
the reason is told.

Source: lm-evaluation-harness 0.4.13, ``lm_eval/tasks/_yaml_loader.py`` and ``lm_eval/api/task.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from instructforge.data import Origin
from instructforge.errors import DataError, UnknownNameError, printable
from instructforge.importing.files import source_files
from instructforge.importing.yamlfile import Function, function_tag, read_yaml

if TYPE_CHECKING:
    from instructforge.importing.lm_eval_rows import RowReader, Template

__all__ = ["LmEvalTask", "LmEvalTasks", "load"]

TAGS = {"!function": function_tag}
MAX_INCLUDES = 50
_PARTS = ("doc_to_text", "description", "gen_prefix")


@frozen(slots=False)  # compiled templates are kept
class LmEvalTask:
    """A task, with what it includes merged in.

    Attributes:
        name: As the harness calls it; ``group::name`` where it is defined within a group.
        file: Where it stands below what was given.
        config: Its keys; Python functions are ``Function``.
    """

    name: str
    file: str
    config: Mapping[str, Any]

    @property
    def dataset(self) -> str:
        """The data set, with its configuration."""
        path, name = self.config.get("dataset_path"), self.config.get("dataset_name")
        return "/".join(str(part) for part in (path, name) if part)

    @property
    def output_type(self) -> str:
        return str(self.config.get("output_type") or "generate_until")

    @cached_property
    def _templates(self) -> Mapping[str, Template]:
        from instructforge.importing.lm_eval_rows import Template  # jinja2, once a row is rendered

        given = {name: self.config.get(name) for name in _PARTS}
        return {name: Template(text, f"{self.name}, {name}") for name, text in given.items() if isinstance(text, str)}

    @cached_property
    def _reader(self) -> RowReader:
        from instructforge.importing.lm_eval_rows import RowReader

        return RowReader(self._declared("doc_to_target"), self._declared("doc_to_choice"))

    def _declared(self, key: str) -> Any:
        value = self.config.get(key)
        if isinstance(value, Function):
            raise DataError(
                f'{key} of "{printable(self.name, 80)}" is Python ({printable(value.name, 80)}), which is not run',
                rule="lm-eval-python",
                fix="use the task in the harness itself",
                origin=Origin(self.file),
            )
        return value

    def doc_to_text(self, row: Mapping[str, Any]) -> Any:
        """Return the prompt of a row, or the place of a choice where the harness takes the text for one.

        Raises:
            TemplateError: It fails on the row, or goes beyond its bounds.
            DataError: It is Python, or not there.
        """
        from instructforge.importing.lm_eval_rows import literal

        template = self._template("doc_to_text")
        if template.source in row:
            return row[template.source]
        text = template.rendered(row)
        return literal(text, "doc_to_text") if text.isdigit() and self.config.get("doc_to_choice") is not None else text

    def doc_to_target(self, row: Mapping[str, Any]) -> Any:
        """Return the target of a row: a text, a place among the choices, or a list.

        Raises:
            TemplateError: It fails on the row, or goes beyond its bounds.
            DataError: It is Python.
        """
        return self._reader.target(row)

    def doc_to_choice(self, row: Mapping[str, Any]) -> list[str]:
        """Return the choices of a row.

        Raises:
            TemplateError: It fails on the row, or goes beyond its bounds.
            DataError: It is Python, not there, or gives no list.
        """
        return self._reader.choices(row)

    def description(self, row: Mapping[str, Any]) -> str:
        """Return what the harness puts before everything else."""
        return self._templates["description"].rendered(row) if self.config.get("description") else ""

    def gen_prefix(self, row: Mapping[str, Any]) -> str | None:
        """Return what the harness lets the answer begin with."""
        return str(self._template("gen_prefix").value(row)) if self.config.get("gen_prefix") is not None else None

    def _template(self, key: str) -> Template:
        self._declared(key)
        if key not in self._templates:
            raise DataError(f'"{printable(self.name, 80)}" has no {key}', rule="lm-eval", origin=Origin(self.file))
        return self._templates[key]


@frozen
class LmEvalTasks:
    """What ``load`` has found.

    Attributes:
        tasks: In the order of their files.
        failures: Files that could not be read, and entries that are no tasks.
        groups: The members of each group and tag.
        files: How many files there were; those that are only included by others among them.
        overridden: Members of groups for which the group changes keys of the task.
    """

    tasks: tuple[LmEvalTask, ...]
    failures: tuple[DataError, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(factory=dict)
    files: int = 0
    overridden: Mapping[str, tuple[str, ...]] = field(factory=dict)

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[LmEvalTask]:
        return iter(self.tasks)

    def task(self, name: str) -> LmEvalTask:
        """Return the task of a name.

        Raises:
            UnknownNameError: There is none.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        raise UnknownNameError("task of lm-eval", name, (task.name for task in self.tasks))


def load(path: str | Path) -> LmEvalTasks:
    """Read the task files of a folder, or one file with what it includes from its own folder.

    Raises:
        DataError: There is nothing to read, or not one task.
    """
    place = Path(path)
    if place.is_dir() or _is_archive(place):
        found = {PurePosixPath(file.name): file.content for file in source_files(place, _may_be_task)}
        return _Loading(found).tasks(None, str(place))
    return _Loading(_Beside(place.parent)).tasks(PurePosixPath(place.name), str(place))


def _is_archive(path: Path) -> bool:
    return path.name.lower().endswith((".tar.gz", ".tgz", ".tar", ".whl", ".zip"))


def _may_be_task(name: PurePosixPath) -> bool:
    """Tell whether a file may be a task, or included by one: those have no suffix, as a rule."""
    return name.suffix.lower() == ".yml" or "yaml" in name.name.lower() or "." not in name.name


class _Beside(Mapping[PurePosixPath, "bytes | DataError"]):
    """The files of a folder, each read when another one includes it; links that lead outside are none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[PurePosixPath, bytes | DataError] = {}

    def __getitem__(self, name: PurePosixPath) -> bytes | DataError:
        if name not in self._found:
            place = self._folder / name
            try:
                inside = place.resolve().is_relative_to(self._folder.resolve()) and place.is_file()
            except (OSError, ValueError):  # a name that no file can have
                inside = False
            if not inside:
                raise KeyError(name)
            (one,) = source_files(place, _may_be_task)
            self._found[name] = one.content
        return self._found[name]

    def __iter__(self) -> Iterator[PurePosixPath]:
        return iter(list(self._found))

    def __len__(self) -> int:
        return len(self._found)


@define
class _Loading:
    """Reads files, each once, and merges what they include."""

    files: Mapping[PurePosixPath, bytes | DataError]
    _raw: dict[PurePosixPath, dict[str, Any] | DataError] = field(factory=dict, init=False)
    _whole: dict[PurePosixPath, dict[str, Any]] = field(factory=dict, init=False)
    found: dict[str, LmEvalTask] = field(factory=dict, init=False)
    failures: list[DataError] = field(factory=list, init=False)
    groups: dict[str, tuple[str, ...]] = field(factory=dict, init=False)
    tags: dict[str, list[str]] = field(factory=dict, init=False)
    inline: list[tuple[str, str, Mapping[str, Any]]] = field(factory=list, init=False)
    overridden: dict[str, tuple[str, ...]] = field(factory=dict, init=False)

    def tasks(self, only: PurePosixPath | None, source: str) -> LmEvalTasks:
        for name in sorted(self.files) if only is None else [only]:
            if name.suffix.lower() in (".yaml", ".yml") or name == only:
                try:
                    self._take(name)
                except DataError as error:
                    self.failures.append(error)
        for group, file, entry in self.inline:
            try:
                self._take_inline(group, PurePosixPath(file), entry)
            except DataError as error:
                self.failures.append(error)
        if not self.found:
            raise self.failures[0] if self.failures else _error(source, "holds no task of lm-eval")
        groups = self.groups | {tag: tuple(names) for tag, names in self.tags.items()}
        return LmEvalTasks(tuple(self.found.values()), tuple(self.failures), groups, len(self.files), self.overridden)

    def _take(self, name: PurePosixPath) -> None:
        """Take the task, or the group, of a file; a file that has neither is there to be included."""
        own = self._read(name)
        task, group = own.get("task"), own.get("group")
        if isinstance(task, str):
            self._add(task, str(name), self._merged(name, ()))
        elif isinstance(group, str) or isinstance(task, list):
            self._take_group(group if isinstance(group, str) else str(name), str(name), task)

    def _add(self, task: str, file: str, config: Mapping[str, Any]) -> None:
        if task in self.found:
            other = self.found[task].file
            raise _error(file, f'has the task "{printable(task, 80)}", which {printable(other)} has already')
        self.found[task] = LmEvalTask(task, file, config)
        tags = config.get("tag")
        for tag in tags if isinstance(tags, list) else [tags]:
            if isinstance(tag, str):
                self.tags.setdefault(tag, []).append(task)

    def _take_group(self, group: str, file: str, members: Any) -> None:
        names: list[str] = []
        for member in members if isinstance(members, list) else ():
            if isinstance(member, str):
                names.append(member)
            elif isinstance(member, Mapping) and isinstance(member.get("group"), str):
                self._take_group(f"{group}::{member['group']}", file, member.get("task"))
                names.append(f"{group}::{member['group']}")
            elif isinstance(member, Mapping):
                self.inline.append((group, file, member))
                names.append(str(member.get("task") or member.get("dataset_name") or member.get("dataset_path")))
            else:
                self.failures.append(_error(file, f"has {printable(member, 40)} among its members, which is no task"))
        self.groups[group] = tuple(names)

    def _take_inline(self, group: str, file: PurePosixPath, entry: Mapping[str, Any]) -> None:
        """Take a task that a group defines; or note what a group changes of a task that there is."""
        name = entry.get("task")
        changed = tuple(sorted(str(key) for key in entry if key != "task"))
        if isinstance(name, str) and (name in self.found or name in self.groups or name in self.tags):
            if changed:
                self.overridden[f"{group}::{name}"] = changed
            return
        told = name or "-".join(str(entry[key]) for key in ("dataset_path", "dataset_name") if entry.get(key))
        if not told:
            raise _error(str(file), f'has a member of the group "{printable(group, 60)}" without a name')
        full, number = f"{group}::{told}", 1
        while full in self.found:
            number += 1
            full = f"{group}::{told}#{number}"
        self.found[full] = LmEvalTask(full, str(file), {**self._with_includes(file, entry, (file,)), "task": full})

    # --- Files ------------------------------------------------------------------------------------------

    def _read(self, name: PurePosixPath) -> dict[str, Any]:
        """Return the keys of a file.

        Raises:
            DataError: It cannot be read.
        """
        if name not in self._raw:
            try:
                self._raw[name] = self._parsed(name)
            except DataError as error:
                self._raw[name] = error
        found = self._raw[name]
        if isinstance(found, DataError):
            raise found
        return found

    def _parsed(self, name: PurePosixPath) -> dict[str, Any]:
        content = self.files.get(name) or _error(str(name), "does not exist, or is no file below the folder")
        if isinstance(content, DataError):
            raise content
        document = read_yaml(content, str(name), tags=TAGS)
        if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
            raise _error(str(name), "is no mapping of keys")
        return document

    def _merged(self, name: PurePosixPath, above: tuple[PurePosixPath, ...]) -> dict[str, Any]:
        """Return the keys of a file over those of what it includes.

        Raises:
            DataError: What it includes is not there, lies outside, or includes the file itself.
        """
        if name in above or len(above) > MAX_INCLUDES:
            raise _error(str(above[0]), f'includes "{name}", which leads back to it')
        if name not in self._whole:
            self._whole[name] = self._with_includes(name, self._read(name), (*above, name))
        return dict(self._whole[name])

    def _with_includes(
        self, name: PurePosixPath, keys: Mapping[str, Any], above: tuple[PurePosixPath, ...]
    ) -> dict[str, Any]:
        own = dict(keys)
        includes = own.pop("include", None)
        merged: dict[str, Any] = {}
        for include in includes if isinstance(includes, list) else [] if includes is None else [includes]:
            merged |= self._merged(self._place(name, include), above)
            merged.pop("task_list", None)
        return merged | own

    def _place(self, name: PurePosixPath, include: Any) -> PurePosixPath:
        if not isinstance(include, str) or PurePosixPath(include).is_absolute():
            raise _error(str(name), f'includes "{printable(include, 80)}", which is no file below the folder')
        parts: list[str] = []
        for part in (name.parent / include).parts:
            if part == "..":
                if not parts:
                    what = f'includes "{printable(include, 80)}", which lies outside of what was given'
                    raise _error(str(name), what, "Give the folder that holds both.")
                parts.pop()
            elif part != ".":
                parts.append(part)
        place = PurePosixPath(*parts)
        if place not in self.files:
            raise _error(str(name), f'includes "{printable(include, 80)}", which is not there')
        return place


def _error(file: str, what: str, fix: str = "Look at the file.") -> DataError:
    return DataError(
        f'"{printable(file)}" {what}.\nA task of lm-eval is a YAML mapping with "task".\n{fix}',
        rule="lm-eval",
        fix=fix,
        origin=Origin(file),
    )
