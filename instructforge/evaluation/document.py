"""What an evaluation found, as one document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from attrs import field, frozen

from instructforge.errors import ConfigError, printable

if TYPE_CHECKING:
    from typing import Self

__all__ = ["SCHEMA", "Figures", "Report"]

SCHEMA = "instructforge.report/1"

Figures: TypeAlias = dict[str, dict[str, Any]]
"""Figure of each metric: ``value``, ``n``, ``groups``, ``low``, ``high``, ``method``, ``higher_is_better``."""


@frozen(kw_only=True)
class Report:
    """What an evaluation found, as JSON values; ``docs/schemas/report.json`` describes them.

    Attributes:
        task: Name, summary, kind of answers.
        counts: Predictions, scored, unlabelled, inverted, undecoded, unfinished.
        metrics: Each metric's figure: ``value``, ``n``, ``low``, ``high``, ``method``.
        left_out: Metrics that would mean nothing here, with the reason.
        baseline: What the commonest answer scores, and what a uniform guess does.
        undecoded: The share that could not be decoded, and the commonest reasons.
        by: Figures by template, by language, and, where rows were seen in training, by that.
        labels: Support, precision, recall and F1 of each label.
        confusion: The matrix where it fits a page, and the pairs most often confused.
        inverted: Figures of instructions from inverted templates, which ask for a field.
        overlap: How many test rows occur in the training rows.
        ledger: Where every row of the raw data went.
        lengths: Of prompts, gold answers and outputs, in characters.
        samples: Some right, wrong and undecoded predictions with their instructions.
        training: Steps, settings, counts and the log of losses.
        provenance: Seed, resampling, versions, fingerprints, templates with their hashes.
    """

    task: dict[str, Any]
    counts: dict[str, int]
    metrics: Figures
    left_out: dict[str, str] = field(factory=dict)
    baseline: dict[str, Any] = field(factory=dict)
    undecoded: dict[str, Any] = field(factory=dict)
    by: dict[str, list[dict[str, Any]]] = field(factory=dict)
    labels: list[dict[str, Any]] = field(factory=list)
    confusion: dict[str, Any] = field(factory=dict)
    inverted: dict[str, Any] = field(factory=dict)
    overlap: dict[str, Any] | None = None
    ledger: dict[str, Any] = field(factory=dict)
    lengths: dict[str, Any] = field(factory=dict)
    samples: dict[str, list[dict[str, Any]]] = field(factory=dict)
    training: dict[str, Any] = field(factory=dict)
    provenance: dict[str, Any] = field(factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values, with the name of its schema."""
        return {"schema": SCHEMA} | {part.name: getattr(self, part.name) for part in attrs.fields(Report)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the report that ``to_json`` wrote.

        Raises:
            ConfigError: The value is of another schema.
        """
        if value.get("schema") != SCHEMA:
            raise ConfigError(f'the report is of schema "{printable(value.get("schema"), 80)}", not "{SCHEMA}"')
        return cls(**{part.name: value[part.name] for part in attrs.fields(cls)})
