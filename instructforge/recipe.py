"""A recipe: everything a run needs to be told, as YAML, read safely into attrs classes.

All problems of a recipe are reported at once, each with its key path. Types are taken as written: the text
``"5"`` is no number, and a number is no text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
import cattrs
import yaml
from attrs import evolve, field, frozen

from instructforge.building import BuildSettings, Retrieve, Source
from instructforge.errors import ConfigError, did_you_mean, printable
from instructforge.mixing import MixSettings

__all__ = [
    "DataPlan",
    "EvaluatePlan",
    "MixPart",
    "MixRecipe",
    "PredictPlan",
    "Recipe",
    "TrainPlan",
    "load_recipe",
    "recipe_from",
    "with_overrides",
]


def _paths(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@frozen(kw_only=True)
class DataPlan:
    """The raw files, and how to read them. Whatever is left out is told from the files themselves.

    Args:
        files: Files to split here, seeded and by group.
        train, validation, test: Files that are one split each.
        format: Name of a reader.
        normalizer: Name of a normalizer.
        columns: Task field (or ``answer``) → the column of the file that holds it.
        options: Options of the reader.
        constants: Values that every row has beside its own, such as a closed set of ``choices``; a text that
            begins with ``@`` names a JSON file that holds the value.
        retrieve: The field that is filled from a corpus, in rows that lack it.
    """

    files: tuple[str, ...] = field(default=(), converter=_paths)
    train: tuple[str, ...] = field(default=(), converter=_paths)
    validation: tuple[str, ...] = field(default=(), converter=_paths)
    test: tuple[str, ...] = field(default=(), converter=_paths)
    format: str | None = None
    normalizer: str | None = None
    columns: Mapping[str, str] = field(factory=dict)
    options: Mapping[str, Any] = field(factory=dict)
    constants: Mapping[str, Any] = field(factory=dict)
    retrieve: Retrieve | None = None

    def sources(self, folder: Path) -> list[Source]:
        """Return the files as the build takes them; relative paths start from ``folder``.

        Raises:
            ConfigError: A constant's file cannot be read.
        """
        constants = {name: _constant(value, folder) for name, value in self.constants.items()}
        retrieve = self.retrieve
        if retrieve is not None:
            retrieve = evolve(retrieve, corpus=_located(str(retrieve.corpus), folder))
        splits = ((None, self.files), ("train", self.train), ("validation", self.validation), ("test", self.test))
        return [
            Source(
                path=_located(path, folder),
                split=split,
                reader=self.format,
                normalizer=self.normalizer,
                columns=self.columns,
                options=self.options,
                constants=constants,
                retrieve=retrieve,
            )
            for split, paths in splits
            for path in paths
        ]


def _constant(value: Any, folder: Path) -> Any:
    if not (isinstance(value, str) and value.startswith("@")):
        return value
    path = folder / Path(value[1:]).expanduser()
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f'the constant "{printable(value)}" cannot be read as JSON: {printable(error)}') from None


def _located(path: str, folder: Path) -> str:
    return path if path.startswith("hub:") else str(folder / Path(path).expanduser())


@frozen(kw_only=True)
class TrainPlan:
    """How to train.

    Args:
        trainer: Name of a trainer; by the model's family and the task's head where left out.
        settings: The trainer's own options, such as ``epochs`` or ``learning_rate``.
    """

    trainer: str | None = None
    settings: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class PredictPlan:
    """How to answer.

    Args:
        split: The split to answer.
        decoder: Name of a decoder; the one that fits task and model where left out.
        options: The decoder's own options.
        limit: Answer only so many rows (the report says so).
    """

    split: str = "test"
    decoder: str | None = None
    options: Mapping[str, Any] = field(factory=dict)
    limit: int | None = None


@frozen(kw_only=True)
class EvaluatePlan:
    """How to score.

    Args:
        resamples: Bootstrap resamples for the intervals.
        gates: Metric → the least value that counts as a success; missed, the run ends with exit code 1.
    """

    resamples: int = 1000
    gates: Mapping[str, float] = field(factory=dict)


@frozen(kw_only=True)
class MixPart:
    """One task of a mixture: what a recipe says of a single task.

    Args:
        task: Name of the task; the part's own name where left out.
        data: The raw files, and how to read them.
        language: Language of the rows and templates.
        build: How instructions are built; the recipe's own ``build`` where left out.
        weight: By how much more (or less) often its rows come.
        group: The group whose share of the mixture it belongs to.
        decoder: Name of a decoder; the task's own where left out.
    """

    data: DataPlan
    task: str | None = None
    language: str | None = None
    build: BuildSettings | None = None
    weight: float = 1.0
    group: str | None = None
    decoder: str | None = None

    def __attrs_post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ConfigError(f"the weight of a part of the mixture is {self.weight}, and must be 0 or more")


@frozen(kw_only=True)
class MixRecipe(MixSettings):
    """Several tasks, one model: the parts, and how often the rows of each are trained on.

    Args:
        parts: Each task under a name of its own.
        by: ``proportional`` to the parts' sizes, or by their ``weights`` alone.
        cap: Rows up to which the size of a part counts; null counts them all.
        temperature: 1 keeps the proportions; the higher, the more alike the parts become.
        shares: Group → its share of the rows. A part without a group belongs to the group of its own name.
        rows: Rows of an epoch; all rows, each part's up to the cap, where left out.
    """

    parts: Mapping[str, MixPart]

    @property
    def settings(self) -> MixSettings:
        return MixSettings(by=self.by, cap=self.cap, temperature=self.temperature, shares=self.shares, rows=self.rows)


@frozen(kw_only=True)
class Recipe:
    """One run: task, data, model, and how each stage is done. A ``mix`` stands in place of ``task`` and ``data``.

    Args:
        task: Name of the task.
        data: The raw files, and how to read them.
        mix: Several tasks to train one model on.
        model: A registered name, a folder, or a hub id.
        language: Language of the rows and templates; told by each row's script where left out.
        seed: Of splits, template choice, initial weights and data order.
        build: How instructions are built.
        train: How to train.
        predict: How to answer.
        evaluate: How to score.
    """

    task: str = ""
    data: DataPlan = field(factory=DataPlan)
    mix: MixRecipe | None = None
    model: str | None = None
    language: str | None = None
    seed: int = 42
    build: BuildSettings = field(factory=BuildSettings)
    train: TrainPlan = field(factory=TrainPlan)
    predict: PredictPlan = field(factory=PredictPlan)
    evaluate: EvaluatePlan = field(factory=EvaluatePlan)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values, defaults filled in."""
        value: dict[str, Any] = _plain(attrs.asdict(self))
        parts = (value["mix"] or {"parts": {}})["parts"].values()
        for build in (value["build"], *(part["build"] for part in parts if part["build"])):
            for name in _SAID_AT_THE_TOP:
                del build[name]
        if self.mix is not None:
            del value["task"], value["data"]
        return value

    @property
    def build_settings(self) -> BuildSettings:
        """The build's settings with the recipe's own seed and language."""
        return attrs.evolve(self.build, seed=self.seed, language=self.language)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def with_overrides(recipe: Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """Return ``recipe`` with the values at some key paths changed.

    Raises:
        ConfigError: Lists every problem with its key path.
    """
    return recipe_from(recipe.to_json(), overrides) if overrides else recipe


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe file. ``overrides`` maps key paths (``train.settings.epochs``) to values.

    Raises:
        ConfigError: Lists every problem with its key path.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'the recipe "{printable(path)}" cannot be read: {error}') from None
    try:
        value = yaml.load(text, _UniqueKeyLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"not YAML that can be read safely: {_yaml_problem(error)}", source=str(path)) from None
    if not isinstance(value, dict):
        raise ConfigError("a recipe is a mapping of keys to values, such as `task: nli`", source=str(path))
    return recipe_from(value, overrides, source=str(path))


def recipe_from(value: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, *, source: str = "") -> Recipe:
    """Make a recipe of plain values.

    Raises:
        ConfigError: Lists every problem with its key path.
    """
    merged = dict(_plain(value))
    for key_path, part in (overrides or {}).items():
        _set(merged, key_path, part)
    problems = [*_problems(merged, Recipe, ""), *_tasks_missing(merged), *_misplaced(merged)]
    if problems:
        raise ConfigError(problems, source=source)
    try:
        return _converter.structure(merged, Recipe)
    except cattrs.errors.BaseValidationError as error:
        raise ConfigError(list(_values_refused(error)), source=source) from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader; a key that stands twice is an error, and so are aliases (they can be bombs)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not supported; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.YAMLError(f'line {key.start_mark.line + 1}: the key "{name}" stands twice')
            seen.add(name)
        return super().construct_mapping(node, deep)


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {said}" if mark else printable(said)


def _set(value: dict[str, Any], key_path: str, part: Any) -> None:
    *parents, last = key_path.split(".")
    for name in parents:
        inner = value.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f'"{key_path}" cannot be set: "{name}" is not a mapping')
        value = inner
    value[last] = part


# --- Checking, before anything is made: every problem, with its key path -------------------------------


def _values_refused(error: BaseException) -> Iterator[str]:
    """Yield what a class said of the values that it was given, out of cattrs' nested errors."""
    if isinstance(error, ConfigError):
        yield from error.problems
    elif isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _values_refused(part)
    else:
        yield printable(error)


_SAID_AT_THE_TOP = ("seed", "language")


def _tasks_missing(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with which task is meant: one with its data, or a mixture of several."""
    if value.get("mix") is None:
        yield from (f"{name}: missing" for name in ("task", "data") if not value.get(name) and name not in value)
    else:
        yield from (f"{name}: a recipe with `mix` has it for each part" for name in ("task", "data") if value.get(name))
        parts = value["mix"].get("parts") if isinstance(value["mix"], dict) else None
        for name in parts if isinstance(parts, dict) else ():
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,60}", str(name)):
                yield f'mix.parts: "{printable(name, 60)}" is no name of a part: small letters, digits, - and _'


def _misplaced(value: Mapping[str, Any]) -> Iterator[str]:
    mix = value.get("mix")
    parts = mix.get("parts") if isinstance(mix, dict) else None
    builds = {
        f"mix.parts.{name}.build": part.get("build") for name, part in (parts or {}).items() if isinstance(part, dict)
    }
    for path, build in ({"build": value.get("build")} | builds).items():
        for name in _SAID_AT_THE_TOP:
            if isinstance(build, dict) and name in build:
                where = (
                    "at the top of the recipe; it holds for every stage"
                    if path == "build"
                    else "for the part, or at the top"
                )
                yield f"{path}.{name}: say `{name}` {where}"


_PLAIN = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def _problems(value: Any, kind: Any, path: str) -> Iterator[str]:
    """Yield what is wrong with ``value`` as a ``kind``, each problem led by its key path."""
    if attrs.has(kind):
        yield from _class_problems(value, kind, path)
    elif get_origin(kind) in (Union, UnionType):
        tried = [list(_problems(value, part, path)) for part in get_args(kind) if part is not type(None)]
        if value is not None and all(tried):
            yield from tried[0]
    elif _is_mapping(kind):
        inner = get_args(kind)[1] if get_args(kind) else Any
        if not isinstance(value, dict):
            yield f"{path}: {_shown(value)} is not a mapping"
        else:
            for name, part in value.items():
                yield from _problems(part, inner, f"{path}.{name}")
    elif get_origin(kind) is tuple:
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list):
            yield f"{path}: {_shown(value)} is not a list"
        else:
            for number, part in enumerate(values):
                yield from _problems(part, get_args(kind)[0], f"{path}[{number}]")
    elif kind in _PLAIN and not _fits(value, kind):
        yield f"{path}: {_shown(value)} is not {_PLAIN[kind]}"


def _class_problems(value: Any, kind: type, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path or 'recipe'}: {_shown(value)} is not a mapping"
        return
    hints = get_type_hints(kind)
    known = {part.name: part for part in attrs.fields(kind)}
    lead = f"{path}." if path else ""
    for name in value:
        if name not in known:
            yield f"{lead}{name}: no such key. {did_you_mean(name, known)}"
    for name, part in known.items():
        if name in value:
            yield from _problems(value[name], hints[name], f"{lead}{name}")
        elif part.default is attrs.NOTHING:
            yield f"{lead}{name}: missing"


def _is_mapping(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _fits(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _shown(value: Any) -> str:
    # A text such as 1e-4 is a number to its writer, and a text to YAML 1.1.
    hint = " (write 1.0e-4, with a point)" if isinstance(value, str) and re.fullmatch(r"\d+e-?\d+", value) else ""
    return f'"{printable(value, 60)}"{hint}'


_converter = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(str | bool, lambda value, kind: value)
_converter.register_structure_hook_func(
    lambda kind: getattr(kind, "__origin__", None) is tuple,
    lambda value, kind: (value,) if isinstance(value, str) else tuple(value),  # one file needs no list
)
