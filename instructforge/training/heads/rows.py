"""Which rows an encoder trains on, and which it is judged by while it trains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from attrs import field, frozen

from instructforge.data import Instruction
from instructforge.errors import TrainingError
from instructforge.files import seed_of
from instructforge.training.job import TrainingJob

__all__ = ["RowSplit", "labelled_rows", "split_rows"]

_LEAST_VALIDATION = 8
"""Fewer rows than this choose by chance; then everything is trained on."""


@frozen(kw_only=True)
class RowSplit:
    """The rows of a job.

    Attributes:
        train: Rows to train on.
        validation: Rows to choose by; may be empty.
        own: Whether ``validation`` was set apart from the training rows here.
        left_out: Rows not used, by reason.
        notes: What the user should know.
    """

    train: tuple[Instruction, ...]
    validation: tuple[Instruction, ...]
    own: bool
    left_out: Mapping[str, int] = field(factory=dict)
    notes: tuple[str, ...] = ()


def labelled_rows(rows: Sequence[Instruction]) -> tuple[list[Instruction], Counter[str]]:
    """Return the rows an encoder can learn from, and the number of the others by reason.

    An encoder reads no template, so an example that several templates render counts once.
    """
    kept: list[Instruction] = []
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    for row in rows:
        if not row.example.answers:
            left_out["unlabelled"] += 1
        elif row.id and _example_id(row) in seen:
            left_out["same-example"] += 1
        else:
            seen.add(_example_id(row))
            kept.append(row)
    return kept, left_out


def _example_id(row: Instruction) -> str:
    """Return the id that an example's instructions share: a build marks them with ``#`` and the template."""
    return row.id.removesuffix(f"#{row.template}")


def split_rows(job: TrainingJob, *, share: float, most: int) -> RowSplit:
    """Return the job's labelled rows; without validation rows, some of the training rows are set apart.

    The rows set apart depend on the seed and on ids alone, and rows of one group stay together.

    Args:
        job: The job.
        share: Share of the training rows to set apart.
        most: Validation rows that are used at most; of more, a seeded choice.

    Raises:
        TrainingError: No row is labelled.
    """
    train, left_out = labelled_rows(job.train)
    if not train:
        raise TrainingError(
            f"None of the {len(job.train)} rows has an answer.\nTraining needs rows with their answers.\n"
            "Check the column that holds the answer, and the ledger of the build."
        )
    if len(job.validation):
        validation, others = labelled_rows(job.validation)
        left_out.update({f"validation-{reason}": count for reason, count in others.items()})
        chosen, notes = _at_most(validation, most, job.seed)
        return RowSplit(train=tuple(train), validation=chosen, own=False, left_out=left_out, notes=notes)
    apart = _groups_apart(train, job.seed, min(share, most / len(train)))
    validation = [row for row in train if _group(row) in apart]
    if len(validation) < _LEAST_VALIDATION:
        note = f"{len(train)} rows are too few to set some apart for validation; nothing was chosen by it"
        return RowSplit(train=tuple(train), validation=(), own=True, left_out=left_out, notes=(note,))
    rest = tuple(row for row in train if _group(row) not in apart)
    note = f"{len(validation)} of {len(train)} training rows were set apart for validation"
    return RowSplit(train=rest, validation=tuple(validation), own=True, left_out=left_out, notes=(note,))


def _at_most(rows: Sequence[Instruction], most: int, seed: int) -> tuple[tuple[Instruction, ...], tuple[str, ...]]:
    if len(rows) <= most:
        return tuple(rows), ()
    order = sorted(range(len(rows)), key=lambda place: seed_of(seed, "judged", rows[place].id))
    chosen = tuple(rows[place] for place in sorted(order[:most]))
    return chosen, (f"of {len(rows)} validation rows, {most} were used to choose the best weights",)


def _group(row: Instruction) -> str:
    return row.example.group if row.example.group is not None else _example_id(row)


def _groups_apart(rows: Sequence[Instruction], seed: int, share: float) -> set[str]:
    """Take whole groups in the order of their seeds until ``share`` of the rows is reached, never more than half."""
    sizes = Counter(map(_group, rows))
    apart: set[str] = set()
    wanted, taken = share * len(rows), 0
    for group in sorted(sizes, key=lambda group: (seed_of(seed, "validation", group), group)):
        if taken >= wanted:
            break
        if taken + sizes[group] <= max(wanted, len(rows) / 2):
            apart.add(group)
            taken += sizes[group]
    return apart
