"""Overlap of test rows with training rows: hashes of the inputs, as they are and normalised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from instructforge.data import Example, Instruction
from instructforge.evaluation.baseline import guesses
from instructforge.files import canonical_json, sha256_of
from instructforge.matching import without_marks
from instructforge.tasks import Task

if TYPE_CHECKING:
    from typing import Self

__all__ = ["TrainingSide", "measure_overlap"]


@frozen(kw_only=True)
class TrainingSide:
    """What has to be known of the training rows: hashes of their inputs, their sources, their answers."""

    n: int = 0
    exact: frozenset[bytes] = frozenset()
    normalised: frozenset[bytes] = frozenset()
    groups: frozenset[str] = frozenset()
    answers: Counter[str] = field(factory=Counter)

    @classmethod
    def of(cls, train: Iterable[Instruction], task: Task) -> Self:
        """Read the training rows once, and keep hashes only."""
        exact: set[bytes] = set()
        normalised: set[bytes] = set()
        groups: set[str] = set()
        answers = Counter[str]()
        for instruction in train:
            example = instruction.example
            one = _exact_hash(example)
            if one in exact:
                continue
            exact.add(one)
            normalised.add(_normalised_hash(example))
            if example.group:
                groups.add(example.group)
            answers.update(guesses([example], task))
        return cls(
            n=len(exact),
            exact=frozenset(exact),
            normalised=frozenset(normalised),
            groups=frozenset(groups),
            answers=answers,
        )

    def has_seen(self, example: Example) -> bool:
        """Tell whether a training row has the same inputs, regardless of case, width, spaces and punctuation."""
        return _normalised_hash(example) in self.normalised


def measure_overlap(side: TrainingSide, test: Iterable[Instruction]) -> dict[str, Any] | None:
    """Return how many test examples occur among the training rows; None where there are no training rows.

    ``exact``: the same inputs. ``normalised``: the same but for case, width, spaces and punctuation, in any
    script. ``same_source``: a training row comes from the same source, such as the same passage.
    """
    if not side.n:
        return None
    examples = list({_exact_hash(one.example): one.example for one in test}.values())
    seen = [example for example in examples if side.has_seen(example)]
    return {
        "train": side.n,
        "test": len(examples),
        "exact": sum(_exact_hash(example) in side.exact for example in examples),
        "normalised": len(seen),
        "same_source": sum(example.group in side.groups for example in examples if example.group),
        "examples": [example.id for example in seen[:5]],
    }


def _exact_hash(example: Example) -> bytes:
    return bytes.fromhex(sha256_of(canonical_json(dict(example.inputs)))[:32])


def _normalised_hash(example: Example) -> bytes:
    inputs = {name: without_marks(_all_text(value)) for name, value in example.inputs.items()}
    return bytes.fromhex(sha256_of(canonical_json(inputs))[:32])


def _all_text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)
