"""What a plugin can provide, beside tasks: the protocol of each kind of component.

A component has a ``name``; a registry finds it by that. One that needs a heavy library is registered as
``Lazy``: its name is known at once, its module is imported when it is first fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from attrs import field, frozen

from instructforge.errors import MissingDependencyError, PluginContractError

if TYPE_CHECKING:
    from instructforge.data import Example, Instruction, Output, Prediction, Row
    from instructforge.errors import DataError, InstructForgeError
    from instructforge.exporting.records import Companion, ExportPlan, Record
    from instructforge.tasks import Task
    from instructforge.training.job import TrainingJob, TrainingResult

__all__ = [
    "Component",
    "Decoder",
    "Exporter",
    "Hit",
    "Lazy",
    "Metric",
    "ModelSource",
    "Normalizer",
    "PassageIndex",
    "Reader",
    "Retriever",
    "TemplateFolder",
    "Trainer",
]


class Component(Protocol):
    """Anything a registry can hold."""

    @property
    def name(self) -> str: ...


@frozen
class Lazy:
    """A component known by name whose code is imported when it is first fetched.

    Args:
        name: The component's name.
        target: ``module:attribute``; a class there is called without arguments.
        summary: One line, for listings.
        extra: The extra of InstructForge that brings what the module imports, if it is not in the core.
    """

    name: str
    target: str
    summary: str = field(default="", kw_only=True)
    extra: str = field(default="", kw_only=True)

    def load(self) -> Any:
        """Import and return the component.

        Raises:
            MissingDependencyError: Something that the module imports is not installed.
            PluginContractError: The module has no such attribute.
        """
        module_name, _, attribute = self.target.partition(":")
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            own = f"{module_name}.".startswith(f"{error.name}.")  # the module itself, or a package it lies in
            if self.extra and error.name and not own:
                raise MissingDependencyError(f'"{error.name}", which "{self.name}" needs,', extra=self.extra) from error
            raise
        try:
            found = getattr(module, attribute)
        except AttributeError:
            raise PluginContractError(f'"{self.name}" points to "{self.target}", which does not exist') from None
        return found() if isinstance(found, type) else found


RowOrError: TypeAlias = "Row | DataError"


class Reader(Protocol):
    """Reads one file format, record by record, in memory that does not grow with the file.

    Attributes:
        name: As given to ``--format``.
        suffixes: File endings it answers to, ``.gz`` aside: ``(".jsonl", ".ndjson")``.
        priority: Optional, 0 where a reader has none. A reader of one special form of a general format
            (nested SQuAD within JSON) states a higher one, and is chosen where both accept a file.
        records: Optional method: the number of records of a path, where the file tells without being read. A build
            shows by it how far it is; else by the place in the file.
        beside: Optional, a method ``(path, options)`` of a reader that reads other files with the one it is given:
            it returns them, so that the build's hash covers them.
    """

    name: str
    suffixes: tuple[str, ...]

    def accepts(self, path: Path, head: bytes) -> bool:
        """Tell whether the file (or folder) looks like this format; ``head`` is its first 64 KiB, unpacked.

        Of a file in a zip archive, ``path`` ends in the name that it has there: look at its name, not behind it.
        """

    def read(self, path: Path, options: Mapping[str, Any]) -> Iterator[RowOrError]:
        """Yield a ``Row`` for each record, or the ``DataError`` (with its origin) that says why it is none.

        Raises:
            DataError: The file as a whole cannot be read.
        """


@frozen
class Normalizer:
    """Turns a raw row into examples of a task.

    ``function`` takes one ``Row`` and returns or yields ``Example``s, or raises ``DataError``; it never
    drops a row. Ids may be left empty: the build makes them from the origin.

    Args:
        name: As given to ``--normalizer``.
        task: Name of the task whose examples it makes.
        function: Row → Example or iterable of them; importable by name, so that workers can be sent it.
        accepts: Tells from a raw row's values whether the row is of its form. Sniffing takes the one
            normalizer that accepts the first rows, and refuses to choose where two do.
        summary: One line, for listings.
        wants: The columns or form that it reads, in words, for messages where none fits.
        collects: Constants that come with the data, such as a closed set of ``labels``: name → function of a raw
            row's values that yields what the row adds to it. Where neither a source nor its rows give such a constant,
            the build reads all sources once before it begins, and every row gets the sorted list as that constant.
    """

    name: str
    task: str = field(kw_only=True)
    function: Callable[[Row], Example | Iterable[Example]] = field(kw_only=True)
    accepts: Callable[[Mapping[str, Any]], bool] = field(kw_only=True)
    summary: str = field(default="", kw_only=True)
    wants: str = field(default="", kw_only=True)
    collects: Mapping[str, Callable[[Mapping[str, Any]], Iterable[str]]] = field(factory=dict, kw_only=True)


@frozen
class TemplateFolder:
    """A folder of templates laid out as ``<task>/<language>/<name>.jinja``."""

    path: Path = field(converter=Path)

    @classmethod
    def beside(cls, module_file: str) -> TemplateFolder:
        """Return the folder ``templates`` beside a module: ``TemplateFolder.beside(__file__)``."""
        return cls(Path(module_file).parent / "templates")


class Decoder(Protocol):
    """Reads answers out of a model's output, a whole batch at a time.

    Attributes:
        name: As given to ``--decoder``.
        needs: What an engine has to fill in each ``Output``: ``text``, ``choice_logprobs``,
            ``label_scores``, ``tag_scores`` or ``spans``.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> str: ...

    def decode(self, outputs: Sequence[Output], instructions: Sequence[Instruction], task: Task) -> list[Prediction]:
        """Return one prediction for each output; an output that cannot be read gets ``error``, never dropped."""


class Metric(Protocol):
    """Scores predictions.

    Attributes:
        name: As listed in reports.
        higher_is_better: Direction of improvement.
    """

    @property
    def name(self) -> str: ...

    @property
    def higher_is_better(self) -> bool: ...

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Any:
        """Return what ``reduce`` needs, computed once: scores for each prediction, as a rule an array of them.

        A prediction that could not be decoded counts as wrong; examples here all have answers. A metric may
        also have ``left_out(examples, task) -> str``: why it would mean nothing here, or an empty text; and
        ``signature(examples) -> str``: how its figure was computed, for the report.
        """

    def reduce(self, prepared: Any, rows: Any) -> float:
        """Return the figure over ``rows`` (an integer array; rows repeat in a bootstrap resample)."""


class Trainer(Protocol):
    """Fine-tunes one family of models for one or more heads.

    Attributes:
        name: As given to ``--trainer``.
        heads: Target heads that it serves: ``text``, ``choice``, ``span`` …
        families: Model families that it serves: ``causal``, ``encoder``.
    """

    name: str
    heads: tuple[str, ...]
    families: tuple[str, ...]

    def train(self, job: TrainingJob) -> TrainingResult:
        """Train, write the model folder with its contract, and return what happened."""


def _as_texts(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@frozen
class ModelSource:
    """A model known by a short name.

    Args:
        name: As given to ``--model``.
        fetch: ``module:attribute`` of a function ``(cache: Path) -> Path`` that returns an ordinary model
            folder, made on first use.
        family: ``causal`` or ``encoder``.
        languages: Languages that it reads.
        summary: One line: size, licence, source.
    """

    name: str
    fetch: str = field(kw_only=True)
    family: str = field(kw_only=True)
    languages: tuple[str, ...] = field(kw_only=True, converter=_as_texts)
    summary: str = field(default="", kw_only=True)


@frozen
class Hit:
    """One of a corpus's passages, by its number, with the retriever's score for it."""

    place: int
    score: float


class PassageIndex(Protocol):
    """An index of passages, opened."""

    def search(self, query: str, count: int) -> list[Hit]:
        """Return the best passages, the best first; the same for the same query."""


class Retriever(Protocol):
    """Finds the passages of a corpus that a question is about.

    Attributes:
        name: As given to ``data.retrieve.retriever``.
    """

    @property
    def name(self) -> str: ...

    def build(self, keys: Sequence[str], folder: Path) -> None:
        """Index the texts that passages are found by, and write the index into ``folder``."""

    def open(self, folder: Path) -> PassageIndex:
        """Return the index that ``build`` wrote; called in every worker."""


class Exporter(Protocol):
    """Writes one format.

    Attributes:
        name: As given to ``--export``.
        summary: One line, for listings.
        suffix: Of its files: ``.jsonl`` (a record a line), ``.json`` (one list) or ``.parquet``.
        losses: Short name of each thing that the format has no place for → what that means, in words.
    """

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str: ...

    @property
    def suffix(self) -> str: ...

    @property
    def losses(self) -> Mapping[str, str]: ...

    def records(self, instructions: Sequence[Instruction], train: str) -> list[Record | InstructForgeError]:
        """Return the record of each instruction, or the error that says why there is none.

        Args:
            train: ``last`` or ``all``, as in ``ExportPlan``.
        """

    def companions(self, plan: ExportPlan) -> Sequence[Companion]:
        """Return the files that go with the data."""
