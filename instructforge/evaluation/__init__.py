"""Scoring: predictions against gold answers, with everything that a reader needs to believe a figure.

Each figure carries its n and a 95 % interval from a seeded percentile bootstrap. Rows that hang together
(all questions of one passage, one example under several templates) are drawn together. Beside the figures
stand what always guessing the commonest answer would reach, how many outputs could not be decoded and why,
what was left out, and how many test rows were seen in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from instructforge.data import Instruction, Prediction
from instructforge.errors import ConfigError, printable
from instructforge.evaluation.baseline import baseline
from instructforge.evaluation.describing import lengths, provenance, samples, storable, undecoded, without_times
from instructforge.evaluation.document import SCHEMA, Report
from instructforge.evaluation.figures import Pair, Table
from instructforge.evaluation.labels import confusion, label_figures
from instructforge.evaluation.overlap import TrainingSide, measure_overlap
from instructforge.tasks import Choice, Task, Text

if TYPE_CHECKING:
    from instructforge.plugins import Forge

__all__ = ["SCHEMA", "Report", "TrainingSide", "evaluate", "measure_overlap"]


def evaluate(
    predictions: Sequence[Prediction],
    instructions: Sequence[Instruction],
    *,
    task: Task,
    forge: Forge,
    seed: int = 42,
    resamples: int = 1000,
    train: Iterable[Instruction] = (),
    overlap: Mapping[str, Any] | None = None,
    ledger: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    fingerprints: Mapping[str, Any] | None = None,
    reads: Sequence[str] = (),
) -> Report:
    """Score predictions, one for each instruction and in their order.

    Args:
        task: The task that the instructions are of.
        forge: Where the task's metrics are found.
        seed: Of the bootstrap and of the choice of samples.
        resamples: Bootstrap resamples for each interval.
        train: The training instructions: for the overlap, and for the commonest answer.
        overlap: The overlap, where it was measured before (``measure_overlap``).
        ledger: The build's ledger, shown as it is.
        training: The training's result, shown without times and rates.
        fingerprints: Hashes of data, recipe and contract.
        reads: The fields that an encoder model reads, in their order. Such a model sees no template, so nothing
            is said by template.

    Raises:
        ConfigError: Predictions and instructions do not belong together, or ``resamples`` is too small.
    """
    if resamples < 100:
        raise ConfigError(f"{resamples} resamples are too few for an interval; use 1000, or at least 100")
    pairs = _paired(predictions, instructions)
    scored = [pair for pair in pairs if pair[0].example.answers and not pair[0].inverted]
    inverted = [pair for pair in pairs if pair[0].inverted and _asked_text(pair[0])]
    side = TrainingSide.of(train, [one for one, _ in scored + inverted], task)
    table = Table.of(scored, task, forge, seed=seed, resamples=resamples)
    measured = side.overlap if overlap is None else overlap
    report = Report(
        task=_task_json(task),
        counts=_counts(pairs, scored, inverted),
        metrics=table.figures("all", table.all_rows),
        left_out=table.left_out,
        baseline=baseline(table, side.answers),
        undecoded=undecoded(table),
        by=_slices(table, side, by_template=not reads),
        labels=label_figures(scored, task),
        confusion=confusion(scored, task),
        inverted=_inverted(inverted, task, forge, seed=seed, resamples=resamples),
        overlap=None if measured is None else dict(measured),
        ledger=dict(ledger or {}),
        lengths=lengths(pairs),
        samples=samples(scored, task, seed),
        training=without_times(training or {}),
        provenance=provenance(pairs, table, fingerprints or {}, reads),
    )
    return Report.from_json(storable(report.to_json()))


def _paired(predictions: Sequence[Prediction], instructions: Sequence[Instruction]) -> list[Pair]:
    if len(predictions) != len(instructions):
        raise ConfigError(
            f"{len(predictions)} predictions do not belong to {len(instructions)} instructions.\n"
            "Each instruction needs one prediction, in the same order.\n"
            "Run the prediction again on the split that is evaluated."
        )
    pairs = list(zip(instructions, predictions, strict=True))
    for place, (instruction, prediction) in enumerate(pairs):
        if instruction.id != prediction.id:
            raise ConfigError(
                f'prediction {place + 1} is of "{printable(prediction.id, 80)}", its instruction of '
                f'"{printable(instruction.id, 80)}".\nPredictions stand in the order of the instructions.\n'
                "Run the prediction again on the split that is evaluated."
            )
    return pairs


def _asked_text(instruction: Instruction) -> str:
    value = instruction.example.inputs.get(instruction.inverted or "")
    return value if isinstance(value, str) else ""


def _task_json(task: Task) -> dict[str, Any]:
    target = task.target
    several = isinstance(target, Choice) and target.multiple
    return {"name": task.name, "summary": task.summary, "answers": target.head, "multiple": several}


def _counts(pairs: Sequence[Pair], scored: Sequence[Pair], inverted: Sequence[Pair]) -> dict[str, int]:
    return {
        "predictions": len(pairs),
        "scored": len(scored),
        "inverted": len(inverted),
        "unlabelled": len(pairs) - len(scored) - len(inverted),
        "undecoded": sum(prediction.answer is None for _, prediction in scored),
        "unfinished": sum("unfinished" in prediction.notes for _, prediction in pairs),
    }


def _slices(table: Table, side: TrainingSide, *, by_template: bool) -> dict[str, list[dict[str, Any]]]:
    parts: dict[str, Callable[[Instruction], str]] = {"language": lambda one: one.language}
    if by_template:
        parts["template"] = lambda one: f"{one.language}/{one.template}"
    found = {kind: _sliced(table, kind, name) for kind, name in parts.items()}
    if side.n:
        seen = _sliced(table, "seen", lambda one: "seen" if side.has_seen(one.example) else "unseen")
        found |= {"seen": seen} if len(seen) > 1 or (seen and seen[0]["name"] == "seen") else {}
    return found


def _sliced(table: Table, kind: str, name_of: Callable[[Instruction], str]) -> list[dict[str, Any]]:
    names = sorted({name_of(instruction) for instruction, _ in table.pairs})
    slices = []
    for name in names:
        rows = table.rows_where(lambda one, name=name: name_of(one) == name)  # type: ignore[misc]
        slices.append({"name": name, "n": len(rows), "metrics": table.figures(f"{kind}/{name}", rows)})
    return slices


def _inverted(pairs: Sequence[Pair], task: Task, forge: Forge, *, seed: int, resamples: int) -> dict[str, Any]:
    """Score inverted instructions as texts: what was asked for is a field of the example."""
    if not pairs:
        return {}
    asked = [
        (attrs.evolve(one, example=attrs.evolve(one.example, answers=(_asked_text(one),))), said) for one, said in pairs
    ]
    as_text = attrs.evolve(task, target=Text(), metrics=(), samples=())
    table = Table.of(asked, as_text, forge, seed=seed, resamples=resamples)
    return {"n": len(pairs), "metrics": table.figures("inverted", table.all_rows)}
