"""The conformance check: what the contract promises of every plugin, tried on one.

Each check is a generator of sentences, one for each thing found wrong; all of them run, and the report
shows everything at once. The rows, outputs and answers that plugins are tried on are made here from the
samples of their tasks, and from junk.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from instructforge.components import Lazy, Normalizer
from instructforge.data import NO_ANSWER, Answer, Example, Instruction, Origin, Output, Prediction, Row
from instructforge.errors import (
    DataError,
    InstructForgeError,
    MissingDependencyError,
    PluginError,
    TemplateError,
    UnknownNameError,
    did_you_mean,
    printable,
)
from instructforge.plugincheck import KINDS, check_component
from instructforge.plugins import Forge, PluginInfo
from instructforge.roundtrip import round_trip_problems
from instructforge.tasks import Choice, Sample, Span, Task

if TYPE_CHECKING:
    from instructforge.components import Decoder
    from instructforge.templates.library import TemplateRef
    from instructforge.templates.template import Template

__all__ = ["CHECKS", "Check", "ConformanceError", "ConformanceReport", "check"]

HEAVY = ("torch", "transformers", "datasets", "numpy", "pandas", "pyarrow", "scipy", "sklearn", "tensorflow", "jax")
_LABELS_TRIED = 200
_PROBLEMS_SHOWN = 8
_IMPORT_TIMEOUT_S = 120


# --- The report ---------------------------------------------------------------------------------------


@frozen
class Check:
    """One check: what it proves, and what it found wrong."""

    name: str
    problems: tuple[str, ...] = ()
    tried: int = 0
    """How many things were put to the test; 0 where the plugin has nothing of the kind."""


@frozen
class ConformanceReport:
    """What ``check`` found."""

    plugin: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return not any(one.problems for one in self.checks)

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(problem for one in self.checks for problem in one.problems)

    def __str__(self) -> str:
        failed = sum(bool(one.problems) for one in self.checks)
        verdict = f"{failed} of {len(self.checks)} checks failed" if failed else "keeps the contract"
        lines = [f'Plugin "{self.plugin}": {verdict}']
        for one in self.checks:
            state = "failed" if one.problems else "ok" if one.tried else "none"
            lines.append(f"  {state:6}  {one.name}{f' ({one.tried})' if one.tried else ''}")
            lines += [f"            - {problem}" for problem in one.problems[:_PROBLEMS_SHOWN]]
            if len(one.problems) > _PROBLEMS_SHOWN:
                lines.append(f"            … and {len(one.problems) - _PROBLEMS_SHOWN} more (--json shows all)")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        checks = [{"name": one.name, "tried": one.tried, "problems": list(one.problems)} for one in self.checks]
        return {"plugin": self.plugin, "ok": self.ok, "checks": checks}


class ConformanceError(PluginError, AssertionError):
    """A plugin does not keep the contract; the text is the report."""

    def __init__(self, report: ConformanceReport) -> None:
        super().__init__(str(report), plugin=report.plugin)
        self.report = report


class _Tally:
    """Counts what a check has tried."""

    def __init__(self) -> None:
        self.tried = 0

    def __call__(self, more: int = 1) -> None:
        self.tried += more


@frozen
class _Subject:
    """The plugin under test, among the other installed ones."""

    forge: Forge
    info: PluginInfo
    plugin: object

    @property
    def tasks(self) -> list[Task]:
        return [self.forge.tasks.get(name) for name in self.info.provides.get("tasks", ())]

    @property
    def refs(self) -> list[TemplateRef]:
        return [ref for ref in self.forge.templates.refs() if ref.owner == self.info.name]

    def templates(self) -> Iterator[tuple[Task, Template]]:
        """Yield the plugin's own templates that compile; those that do not are the check of templates' matter."""
        for ref in self.refs:
            try:
                template = self.forge.template(ref.key)
            except InstructForgeError:
                continue
            yield self.forge.tasks.get(ref.task), template


def check(plugin: object) -> ConformanceReport:
    """Run every check on a plugin: a module, an object, the name of an installed plugin or of a module."""
    try:
        subject = _find(plugin)
    except PluginError as error:
        return ConformanceReport(_name(plugin), (Check("it can be registered", (str(error),), 1),))
    checks = [Check("it can be registered", (), 1)]
    checks += [_run(name, function, subject) for name, function in CHECKS.items()]
    return ConformanceReport(subject.info.name, tuple(checks))


def _run(name: str, function: Callable[[_Subject, _Tally], Iterator[str]], subject: _Subject) -> Check:
    tally = _Tally()
    problems: list[str] = []
    try:
        for problem in function(subject, tally):
            problems.append(problem)  # noqa: PERF402  (what was found before an exception has to be kept)
    except Exception as error:  # a plugin's code failed where it was not expected to: that is a finding too
        problems.append(f"the check broke off: {_error(error)}")
    return Check(name, tuple(dict.fromkeys(problems)), max(tally.tried, int(bool(problems))))


def _name(plugin: object) -> str:
    return plugin if isinstance(plugin, str) else str(getattr(plugin, "__name__", type(plugin).__name__))


def _find(plugin: object) -> _Subject:
    forge = Forge.discover()
    if isinstance(plugin, str):
        if plugin in {info.name for info in forge.plugins} | {failure.name for failure in forge.failures}:
            found = forge.plugin(plugin)
            return _Subject(forge, next(info for info in forge.plugins if info.name == plugin), found)
        plugin = _import(plugin, forge)
    for info in forge.plugins:
        if forge.plugin(info.name) is plugin:
            return _Subject(forge, info, plugin)
    return _Subject(forge, forge.register(plugin), plugin)


def _import(name: str, forge: Forge) -> object:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise UnknownNameError("plugin", name, [info.name for info in forge.plugins]) from None
        raise PluginError(f'"{name}" cannot be imported: {_error(error)}', plugin=name) from error
    except (Exception, SystemExit) as error:
        raise PluginError(f'"{name}" cannot be imported: {_error(error)}', plugin=name) from error


def _error(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return printable(text if isinstance(error, InstructForgeError) else f"{type(error).__name__}: {text}", 400)


# --- Import -------------------------------------------------------------------------------------------

_IMPORT_SCRIPT = """
import json, sys
from instructforge.plugins import Forge
import instructforge.builtin
before = set(sys.modules)
import importlib
module = importlib.import_module(sys.argv[1])
Forge([module])
print("\\n@@" + json.dumps(sorted(set(sys.modules) - before)))
"""


def _cheap_import(subject: _Subject, tally: _Tally) -> Iterator[str]:
    """Import and register the plugin in a process of its own, and see what came along."""
    plugin = subject.plugin
    if not isinstance(plugin, ModuleType) or plugin.__name__ == "__main__" or plugin.__spec__ is None:
        return  # made in memory: there is nothing to import
    if subject.info.name == "builtin":
        return
    tally()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", _IMPORT_SCRIPT, plugin.__name__]
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=_IMPORT_TIMEOUT_S, env=environment
    )
    printed, mark, names = result.stdout.rpartition("\n@@")
    if result.returncode or not mark:
        last = result.stderr.strip().splitlines()[-1:] or ["no message"]
        yield f"it does not import in a process of its own: {printable(last[0])}"
        return
    heavy = sorted({name.partition(".")[0] for name in json.loads(names)} & set(HEAVY))
    if heavy:
        yield (
            f"importing it imports {', '.join(heavy)}, so that every command waits for it. "
            "Import inside the function that needs it, or register a Lazy."
        )
    if printed.strip():
        yield f'it prints when it is imported: "{printable(printed.strip(), 80)}".'


# --- Names, samples -----------------------------------------------------------------------------------


def _names_resolve(subject: _Subject, tally: _Tally) -> Iterator[str]:
    for task in subject.tasks:
        tally()
        yield from subject.forge.unresolved(task)
    for name in subject.info.provides.get("normalizers", ()):
        normalizer = subject.forge.normalizers.peek(name)
        if isinstance(normalizer, Normalizer) and normalizer.task not in subject.forge.tasks:
            tally()
            yield (
                f'normalizer "{name}" is for the task "{normalizer.task}", which no plugin provides. '
                f"{did_you_mean(normalizer.task, subject.forge.tasks)}"
            )


def _lazy_parts_load(subject: _Subject, tally: _Tally) -> Iterator[str]:
    for hook, names in subject.info.provides.items():
        if hook == "templates":
            continue
        registry = getattr(subject.forge, hook)
        for name in names:
            if isinstance(registry.peek(name), Lazy):
                tally()
                yield from _load_problems(registry, name, hook, subject.info.name)
    for name in subject.info.provides.get("models", ()):
        tally()
        target = subject.forge.models.get(name).fetch
        if ":" not in target or find_spec(target.partition(":")[0]) is None:
            yield f'model "{name}" is fetched by "{printable(target)}", which is not a "module:function" that exists.'


def _load_problems(registry: Any, name: str, hook: str, plugin: str) -> Iterator[str]:
    try:
        check_component(KINDS[hook], registry.get(name), plugin)
    except MissingDependencyError:
        return  # an extra that is not installed here says nothing against the plugin
    except InstructForgeError as error:
        yield _error(error)


def _samples_are_right(subject: _Subject, tally: _Tally) -> Iterator[str]:
    for task in subject.tasks:
        if not task.samples:
            tally()
            yield f'task "{task.name}" has no samples. Give a few worked examples in each of its languages.'
        for number, sample in enumerate(task.samples):
            tally()
            try:
                task.check(sample.to_example(number))
            except DataError as error:
                yield f'sample {number} of task "{task.name}" is not well formed: {_error(error)}'
            unknown = [name for name in sample.inputs if name not in task.fields]
            if unknown:
                yield f'sample {number} of task "{task.name}" has "{unknown[0]}", which is none of its fields.'
        yield from _same_words(task)


def _same_words(task: Task) -> Iterator[str]:
    """Two labels with the same words cannot be told apart in a model's answer."""
    if not isinstance(task.target, Choice):
        return
    for language in task.languages:
        seen: dict[str, str] = {}
        for label in task.target.options:
            words = task.target.words(label, language).strip().casefold()
            if words in seen:
                yield f'labels "{seen[words]}" and "{label}" of task "{task.name}" have the same words in {language}.'
            seen[words] = label


# --- Templates ----------------------------------------------------------------------------------------


def _templates_fit(subject: _Subject, tally: _Tally) -> Iterator[str]:
    for ref in subject.refs:
        tally()
        if ref.task not in subject.forge.tasks:
            yield f'{ref.key}: there is no task "{ref.task}". {did_you_mean(ref.task, subject.forge.tasks)}'
            continue
        try:
            subject.forge.template(ref.key)
        except InstructForgeError as error:
            yield f"{ref.key}: {_error(error)}"
    yield from _strays(subject)
    for task in subject.tasks:
        languages = {ref.language for ref in subject.forge.templates.refs(task.name)}
        for language in task.languages:
            if language not in languages:
                yield f'task "{task.name}" has samples in {language} and no template in it.'
        for language in sorted(languages - set(task.languages)) if task.samples else ():
            yield f'task "{task.name}" has templates in {language} and no sample in it: they go untested.'


def _strays(subject: _Subject) -> Iterator[str]:
    """A template that does not lie at <task>/<language>/<name>.jinja is never found."""
    known = {ref.path.resolve() for ref in subject.refs}
    for owner, folder in subject.forge.template_folders:
        if owner == subject.info.name:
            for path in sorted(folder.path.rglob("*.jinja*")):
                if path.is_file() and path.resolve() not in known and not path.name.startswith((".", "_")):
                    place = path.relative_to(folder.path)
                    yield f'"{place}" is never found: templates lie at <task>/<language>/<name>.jinja.'


def _examples(task: Task, language: str) -> Iterator[Example]:
    """Yield the samples of a language, then the first of them with every other answer that can be made of it."""
    samples = [(number, sample) for number, sample in enumerate(task.samples) if sample.language == language]
    for number, sample in samples:
        yield sample.to_example(number)
    for number, sample in samples[:1]:
        for place, answer in enumerate(_other_answers(task, sample)):
            yield evolve(sample.to_example(number), answers=(answer,), id=f"sample-{language}-{number}-{place}")


def _other_answers(task: Task, sample: Sample) -> list[Answer]:
    target = task.target
    if isinstance(target, Choice):
        labels = [label for label in target.labels(sample.inputs)[:_LABELS_TRIED] if label != sample.answer]
        return [(label,) for label in labels] if target.multiple else list(labels)
    return [NO_ANSWER] if isinstance(target, Span) and target.nullable else []


def _renderings(subject: _Subject) -> Iterator[tuple[Task, Template, Example, Instruction | TemplateError]]:
    for task, template in subject.templates():
        for example in _examples(task, template.language):
            try:
                yield task, template, example, template.render(example, seed=1)
            except TemplateError as error:
                yield task, template, example, error


def _templates_render(subject: _Subject, tally: _Tally) -> Iterator[str]:
    applied: dict[str, bool] = {}
    for task, template, example, instruction in _renderings(subject):
        tally()
        applied.setdefault(template.key, False)
        if isinstance(instruction, TemplateError):
            if instruction.rule != "not-applicable":
                yield f"{template.key} × {example.id}: {_error(instruction)}"
            continue
        applied[template.key] = True
        again = template.render(example, seed=1)
        if again.to_json() != instruction.to_json():
            yield f"{template.key} × {example.id}: two renderings with one seed differ."
        if not (instruction.completion.strip() or instruction.messages[-1].tool_calls):
            yield f"{template.key} × {example.id}: the completion is empty."
        if instruction.inverted is None and not _asks(instruction):
            yield f"{template.key} × {example.id}: no field of the row stands in the prompt."
        yield from _leaks(task, template, example, instruction)
    for key, once in applied.items():
        if not once:
            yield f"{key}: it applies to no sample of its language, so it goes untested."


def _asks(instruction: Instruction) -> bool:
    """Tell whether any field of the row landed before the answer."""
    return len(instruction.prompt) > 2 or any(one.message < len(instruction.prompt) for one in instruction.landings)


def _leaks(task: Task, template: Template, example: Example, instruction: Instruction) -> Iterator[str]:
    """A prompt that changes with the answer gives it away."""
    others = _other_answers(task, Sample(template.language, example.inputs, example.answers[0]))
    if not others or instruction.inverted:
        return
    try:
        other = template.render(evolve(example, answers=(others[0],)), seed=1)
    except TemplateError:
        return
    if other.prompt != instruction.prompt:
        yield f"{template.key}: the prompt changes with the answer, and so gives it away."


# --- Round trips --------------------------------------------------------------------------------------


def _round_trips(subject: _Subject, tally: _Tally) -> Iterator[str]:
    for task, template, example, instruction in _renderings(subject):
        if not isinstance(instruction, TemplateError):
            tally()
            for problem in round_trip_problems(subject.forge, task, instruction):
                yield f"{template.key} × {example.id}: {problem}"


_JUNK_TEXTS = ("", " ", "\n\n", "\x00\x1b[31m", "?" * 5000, "これは答えではない", "A B C D", "{{ answer }}", "\ud800")


def _decoders_survive(subject: _Subject, tally: _Tally) -> Iterator[str]:
    """Whatever a model writes, a decoder gives one prediction for each output, and says why it cannot read one."""
    tried: set[tuple[str, str]] = set()
    for task, _, example, instruction in _renderings(subject):
        if isinstance(instruction, TemplateError) or instruction.inverted or (task.name, task.decoder_name) in tried:
            continue
        tried.add((task.name, task.decoder_name))
        if task.decoder_name in subject.forge.decoders:
            decoder = subject.forge.decoders.get(task.decoder_name)
            if decoder.needs == "text":
                tally(len(_JUNK_TEXTS))
                yield from _junk_problems(decoder, task, instruction, example)


def _junk_problems(decoder: Decoder, task: Task, instruction: Instruction, example: Example) -> Iterator[str]:
    outputs = [Output(text=text, finished=False) for text in _JUNK_TEXTS]
    try:
        predictions = decoder.decode(outputs, [instruction] * len(outputs), task)
    except Exception as error:
        yield f'decoder "{decoder.name}" raises on junk, task "{task.name}": {_error(error)}'
        return
    if len(predictions) != len(outputs):
        yield f'decoder "{decoder.name}" gave {len(predictions)} predictions for {len(outputs)} outputs.'
    for prediction in predictions:
        if prediction.id != example.id:
            yield f'decoder "{decoder.name}" gave a prediction without the id of its example.'
        if (prediction.answer is None) == (prediction.error is None):
            yield f'decoder "{decoder.name}" gave neither an answer nor a reason, or both, for junk.'


# --- Metrics ------------------------------------------------------------------------------------------


def _metrics_order(subject: _Subject, tally: _Tally) -> Iterator[str]:
    """Gold answers score best, junk worst, and one wrong answer among right ones lies between."""
    own = set(subject.info.provides.get("metrics", ()))
    for task in (subject.forge.tasks.get(name) for name in subject.forge.tasks):
        mine = subject.forge.tasks.owner(task.name) == subject.info.name
        examples = [sample.to_example(number) for number, sample in enumerate(task.samples)]
        for name in task.metric_names:
            if (mine or name in own) and name in subject.forge.metrics and examples:
                tally()
                yield from _metric_problems(subject, task, name, examples)


def _metric_problems(subject: _Subject, task: Task, name: str, examples: Sequence[Example]) -> Iterator[str]:
    metric = subject.forge.metrics.get(name)
    sign = 1 if metric.higher_is_better else -1
    gold = [Prediction(id=example.id, answer=example.answers[0]) for example in examples]
    junk = [Prediction(id=example.id, answer=None, raw="?", error="junk") for example in examples]

    def score(predictions: Sequence[Prediction]) -> float:
        import numpy as np  # metrics bring it along

        return sign * float(metric.reduce(metric.prepare(predictions, examples, task), np.arange(len(examples))))

    best, worst = score(gold), score(junk)
    if not best > worst:
        yield f'metric "{name}" gives gold answers {sign * best:g} and junk {sign * worst:g}, task "{task.name}".'
    if len(examples) > 1 and not worst <= score([junk[0], *gold[1:]]) <= best:
        yield f'metric "{name}" gives one wrong answer among right ones more than gold or less than junk.'
    if score(gold) != best:
        yield f'metric "{name}" gives two figures for the same predictions.'


# --- Normalizers --------------------------------------------------------------------------------------


class _Asked(dict[str, Any]):
    """A raw row that notes which columns are asked for, so that they can be filled with junk."""

    def __init__(self, values: Mapping[str, Any], asked: dict[str, None]) -> None:
        super().__init__(values)
        self._asked = asked

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self._note(key)
        return super().__contains__(key)

    def _note(self, key: object) -> None:
        if isinstance(key, str) and len(self._asked) < 40:
            self._asked[key] = None


_JUNK_VALUES: tuple[Any, ...] = (
    None,
    "",
    " ",
    "text",
    "\x00\ud800",
    -1,
    3.5,
    float("nan"),
    10**30,
    True,
    [],
    [None],
    [[]],
    ["text"],
    [{}],
    {},
    {"text": None},
    {"text": ["a"], "answer_start": [-5]},
    b"bytes",
)


def _normalizers_tell(subject: _Subject, tally: _Tally) -> Iterator[str]:
    """Whatever the row, a normalizer gives examples or raises ``DataError``."""
    for name in subject.info.provides.get("normalizers", ()):
        try:
            normalizer = subject.forge.normalizers.get(name)
        except InstructForgeError:
            continue  # the check of lazy parts has told
        asked: dict[str, None] = {}
        for values in _rows(subject, normalizer, asked):
            tally()
            yield from _row_problems(normalizer, values, asked)


def _rows(subject: _Subject, normalizer: Normalizer, asked: dict[str, None]) -> Iterator[dict[str, Any]]:
    """Yield raw rows: the samples of the task, then junk in every column that has been asked for so far."""
    yield {}
    good: dict[str, Any] = {}
    if normalizer.task in subject.forge.tasks:
        task = subject.forge.tasks.get(normalizer.task)
        for sample in task.samples:
            words = task.target.words(sample.answer, sample.language)
            good = {**sample.inputs, "answer": words, "label": words}
            yield good
    done: set[str] = set()
    for _ in range(5):  # a column may be asked for only once another is there
        for column in [name for name in asked if name not in done]:
            done.add(column)
            for value in _JUNK_VALUES:
                yield {**dict.fromkeys(asked, "text"), **good, column: value}
    for value in _JUNK_VALUES:
        yield dict.fromkeys(asked, value)


def _row_problems(normalizer: Normalizer, values: dict[str, Any], asked: dict[str, None]) -> Iterator[str]:
    name, shown = normalizer.name, printable(values, 120)
    try:
        normalizer.accepts(_Asked(values, asked))
    except Exception as error:
        yield f'accepts() of normalizer "{name}" raises: {_error(error)}, for the row {shown}'
    row = Row(_Asked(values, asked), Origin("junk", 1))
    try:
        made = normalizer.function(row)
        examples = [made] if isinstance(made, Example) else list(made) if isinstance(made, Iterable) else None
    except DataError:
        return
    except Exception as error:
        yield f'normalizer "{name}" raises {_error(error)} instead of a DataError, for the row {shown}'
        return
    if examples is None or not all(isinstance(example, Example) for example in examples):
        yield f'normalizer "{name}" gave {printable(type(made).__name__)}, not examples, for the row {shown}'
    elif not examples:
        yield f'normalizer "{name}" drops a row without a DataError: {shown}'


# --- Readers, pickling --------------------------------------------------------------------------------


def _readers_tell(subject: _Subject, tally: _Tally) -> Iterator[str]:
    """Whatever the file, a reader yields rows or ``DataError``s, or raises ``DataError``."""
    with tempfile.TemporaryDirectory() as folder:
        for name in subject.info.provides.get("readers", ()):
            try:
                reader = subject.forge.readers.get(name)
            except InstructForgeError:
                continue  # the check of lazy parts has told
            for suffix in reader.suffixes or ("",):
                for number, content in enumerate((b"", b"\x00\xff\xfe junk", b"[{]\n\n,\t\n", b"\xef\xbb\xbf{}\r\n")):
                    tally()
                    path = Path(folder) / f"junk{number}{suffix}"
                    path.write_bytes(content)
                    yield from _file_problems(reader, path, content)


def _file_problems(reader: Any, path: Path, content: bytes) -> Iterator[str]:
    try:
        if reader.accepts(path, content):
            for row in reader.read(path, {}):
                if not isinstance(row, (Row, DataError)):
                    yield f'reader "{reader.name}" yields {printable(type(row).__name__)}, not Row or DataError.'
    except DataError:
        return
    except Exception as error:
        yield f'reader "{reader.name}" raises {_error(error)} on the file {printable(content)}'


def _picklable(subject: _Subject, tally: _Tally) -> Iterator[str]:
    """Workers are sent tasks, normalizers and templates."""
    things: list[tuple[str, Any]] = [(f'task "{task.name}"', task) for task in subject.tasks]
    for name in subject.info.provides.get("normalizers", ()):
        normalizer = subject.forge.normalizers.peek(name)
        if isinstance(normalizer, Normalizer):
            things.append((f'normalizer "{name}"', normalizer))
    things += [(f"template {template.key}", template) for _, template in subject.templates()]
    for what, thing in things:
        tally()
        try:
            pickle.loads(pickle.dumps(thing))
        except Exception as error:
            yield f"{what} cannot be sent to a worker: {_error(error)} Use functions that can be imported by name."


CHECKS: dict[str, Callable[[_Subject, _Tally], Iterator[str]]] = {
    "it imports fast and in silence": _cheap_import,
    "names of parts resolve": _names_resolve,
    "lazy parts load": _lazy_parts_load,
    "samples are well formed": _samples_are_right,
    "templates compile, fit their task, and are found": _templates_fit,
    "templates render, the same each time": _templates_render,
    "completions decode to the answer": _round_trips,
    "decoders survive junk": _decoders_survive,
    "gold scores best, junk worst": _metrics_order,
    "normalizers keep every row or say why": _normalizers_tell,
    "readers yield rows or say why": _readers_tell,
    "tasks, normalizers and templates reach workers": _picklable,
}
"""Every check by what it proves."""
