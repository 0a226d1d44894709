"""Figures with intervals: every metric over any part of the rows, by one seeded bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from instructforge.data import Example, Instruction, Prediction
from instructforge.evaluation.document import Figures
from instructforge.files import seed_of
from instructforge.tasks import Task

if TYPE_CHECKING:
    from typing import Self

    from instructforge.components import Metric
    from instructforge.plugins import Forge

__all__ = ["LEVEL", "Pair", "Rows", "Table", "figure"]

LEVEL = 0.95

Rows: TypeAlias = NDArray[np.intp]
Pair: TypeAlias = tuple[Instruction, Prediction]


@frozen(eq=False)
class _Undecoded:
    """The share of outputs that could not be decoded: a metric like the others, always reported."""

    name: str = "undecoded"
    higher_is_better: bool = False

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Any:
        return np.array([float(prediction.answer is None) for prediction in predictions])

    def reduce(self, prepared: Any, rows: Any) -> float:
        return float(prepared[rows].mean()) if len(rows) else math.nan


@frozen(eq=False)
class Table:
    """The scored rows, each metric's scores of them, and how to sum up any part of them."""

    pairs: Sequence[Pair]
    task: Task
    metrics: tuple[Metric, ...]
    prepared: dict[str, Any]
    groups: Rows
    left_out: dict[str, str]
    seed: int
    resamples: int
    _drawn: dict[str, dict[str, NDArray[np.float64]]] = field(factory=dict, init=False)

    @classmethod
    def of(cls, pairs: Sequence[Pair], task: Task, forge: Forge, *, seed: int, resamples: int) -> Self:
        examples = [instruction.example for instruction, _ in pairs]
        predictions = [prediction for _, prediction in pairs]
        metrics, left_out = _metrics(task, examples, forge)
        keys = [example.group or example.id or str(at) for at, example in enumerate(examples)]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        prepared = {metric.name: metric.prepare(predictions, examples, task) for metric in metrics} if pairs else {}
        groups = np.array([numbers[key] for key in keys], dtype=np.intp)
        return cls(pairs, task, metrics, prepared, groups, left_out, seed, resamples)

    @property
    def all_rows(self) -> Rows:
        return np.arange(len(self.pairs), dtype=np.intp)

    def rows_where(self, holds: Callable[[Instruction], bool]) -> Rows:
        return np.array([at for at, (instruction, _) in enumerate(self.pairs) if holds(instruction)], dtype=np.intp)

    def figures(self, part: str, rows: Rows) -> Figures:
        """Return each metric's figure over ``rows``, with the interval of that part's own random stream."""
        drawn = self.drawn(part, rows) if len(rows) else {}
        return {
            metric.name: figure(
                metric.reduce(self.prepared[metric.name], rows) if len(rows) else math.nan,
                drawn.get(metric.name, ()),
                n=len(rows),
                groups=len(np.unique(self.groups[rows])),
                higher_is_better=metric.higher_is_better,
            )
            for metric in self.metrics
        }

    def drawn(self, part: str, rows: Rows) -> dict[str, NDArray[np.float64]]:
        """Return each metric's values over the bootstrap resamples of ``rows``; none where there is one group."""
        if part not in self._drawn:
            self._drawn[part] = self._draw(part, _Resampler.of(rows, self.groups))
        return self._drawn[part]

    def _draw(self, part: str, draw: _Resampler) -> dict[str, NDArray[np.float64]]:
        if draw.size < 2:
            return {}
        rng = np.random.default_rng(seed_of(self.seed, "bootstrap", part))
        values = {metric.name: np.empty(self.resamples) for metric in self.metrics}
        for turn in range(self.resamples):
            again = draw(rng)
            for metric in self.metrics:
                values[metric.name][turn] = metric.reduce(self.prepared[metric.name], again)
        return values


def _metrics(task: Task, examples: Sequence[Example], forge: Forge) -> tuple[tuple[Metric, ...], dict[str, str]]:
    found: list[Metric] = []
    left_out: dict[str, str] = {}
    for name in task.metric_names:
        metric = forge.metrics.get(name)
        why: Callable[[Sequence[Example], Task], str] | None = getattr(metric, "left_out", None)
        reason = why(examples, task) if why else ""
        if reason:
            left_out[name] = reason
        else:
            found.append(metric)
    return (*found, _Undecoded()), left_out


@frozen(eq=False)
class _Resampler:
    """Draws whole groups with replacement and returns their rows."""

    ordered: Rows
    starts: Rows
    lengths: Rows

    @classmethod
    def of(cls, rows: Rows, groups: Rows) -> Self:
        order = np.argsort(groups[rows], kind="stable")
        _, starts, lengths = np.unique(groups[rows][order], return_index=True, return_counts=True)
        return cls(rows[order], starts, lengths)

    @property
    def size(self) -> int:
        return len(self.starts)

    def __call__(self, rng: np.random.Generator) -> Rows:
        chosen = rng.integers(self.size, size=self.size)
        lengths = self.lengths[chosen]
        before = np.cumsum(lengths) - lengths
        within = np.arange(lengths.sum()) - np.repeat(before, lengths)
        again: Rows = self.ordered[np.repeat(self.starts[chosen], lengths) + within]
        return again


def figure(
    value: float, drawn: Sequence[float] | NDArray[np.float64], *, n: int, groups: int, higher_is_better: bool
) -> dict[str, Any]:
    """Return a figure with its interval.

    Where every row scores 0, or every row 1, resampling shows no spread at all; the exact binomial bound for
    as many rows as there are groups stands in, and ``method`` says so.

    Source: Clopper and Pearson (1934) for the bound.
    """
    low: float | None = None
    high: float | None = None
    method = "none"
    if len(drawn):
        method = "bootstrap"
        low, high = (float(bound) for bound in np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
        if low == high == value and value in (0.0, 1.0):
            method = "exact"
            bound = ((1 - LEVEL) / 2) ** (1 / groups)
            low, high = (bound, 1.0) if value == 1.0 else (0.0, 1.0 - bound)
    return {
        "value": None if math.isnan(value) else value,
        "n": n,
        "groups": groups,
        "low": low,
        "high": high,
        "method": method,
        "higher_is_better": higher_is_better,
    }
