"""What training rows tell of the test rows: which of these they hold, and what their commonest answer is.

How two rows are compared is defined in ``instructforge.duplicates.overlap``, for the ledger of a build as for this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from instructforge.data import Example, Instruction
from instructforge.duplicates.examples import Compared
from instructforge.duplicates.overlap import HeldOut, Keys, Overlap, keys_of, training_hashes
from instructforge.evaluation.baseline import guesses
from instructforge.tasks import Task

if TYPE_CHECKING:
    from typing import Self

__all__ = ["TrainingSide", "measure_overlap"]

_AT_ONCE = 1000


@frozen(kw_only=True)
class TrainingSide:
    """What has to be known of the training rows.

    Attributes:
        n: How many there are; one under several templates counts once.
        answers: How often each answer occurs.
        overlap: How many test rows occur among them; None where there are no training rows.
        seen: Ids of the test rows that occur among them, regardless of case, width, spaces and punctuation.
    """

    n: int = 0
    answers: Counter[str] = field(factory=Counter)
    overlap: Mapping[str, Any] | None = None
    seen: frozenset[str] = frozenset()

    @classmethod
    def of(cls, train: Iterable[Instruction], test: Iterable[Instruction], task: Task) -> Self:
        """Read the training rows once, a portion at a time; only the test rows' hashes are held."""
        compared = Compared.of(task)
        rows = list(_rows(test, compared))
        parts = (b"".join(part) for part in zip(*(row.keys for row in rows), strict=True))
        held = HeldOut(next(parts, b""), next(parts, b""), len(compared.names))
        n, answers = 0, Counter[str]()
        training = _rows(train, compared)
        while portion := list(islice(training, _AT_ONCE)):
            n += len(portion)
            answers.update(guesses([row.example for row in portion], task))
            held.look_at(training_hashes([row.keys for row in portion], len(compared.names)))
        if not n:
            return cls()
        held.settle()
        counts = Overlap(compared.names)
        counts.add(held, [row.example.id for row in rows])
        known = [row for row, seen in zip(rows, held.row_seen[:, 1].tolist(), strict=True) if seen]
        ids = frozenset(id for row in known for id in row.ids)
        return cls(n=n, answers=answers, overlap=counts.to_json(n), seen=ids)

    def has_seen(self, example: Example) -> bool:
        """Tell whether a training row has the same inputs, regardless of case, width, spaces and punctuation."""
        return example.id in self.seen


def measure_overlap(train: Iterable[Instruction], test: Iterable[Instruction], task: Task) -> Mapping[str, Any] | None:
    """Return how many test rows occur among the training rows; None where there are no training rows."""
    return TrainingSide.of(train, test, task).overlap


@define
class _Row:
    """One example, with the ids of its instructions."""

    example: Example
    keys: Keys
    ids: list[str]


def _rows(instructions: Iterable[Instruction], compared: Compared) -> Iterator[_Row]:
    """Yield each example; neighbours with the same inputs (one row under several templates) are one."""
    row: _Row | None = None
    source = iter(instructions)
    while portion := [instruction.example for instruction in islice(source, _AT_ONCE)]:
        for example, keys in zip(portion, keys_of(compared, compared.read(portion)), strict=True):
            if row is not None and row.keys.exact == keys.exact:
                row.ids.append(example.id)
                continue
            if row is not None:
                yield row
            row = _Row(example, keys, [example.id])
    if row is not None:
        yield row
