"""What encoding did to the rows, counted: nothing is cut, altered or left out without a figure here."""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import define, field

__all__ = ["EncodingStats"]


@define
class EncodingStats:
    """Counts over all rows that an encoder was given.

    Attributes:
        rows: Rows given.
        encoded: Rows that became features.
        errors: Rows that did not, by the rule that was broken; ``too-long`` among them.
        tokens: Tokens of the encoded rows.
        trained_tokens: Those among them that are trained.
        longest: Tokens of the longest encoded row.
        cut_tokens: Tokens cut, by field.
        cut_rows: Rows in which something was cut.
        evidence_cut: Rows whose answer stood in a field, and does no longer since the field was cut.
        altered: Trained turns that the chat template altered, by how: ``trimmed``, ``reasoning-dropped``. And rows
            whose prompt lacks something since the chat template knows no tools: ``tools-dropped``, ``calls-dropped``.
        headings: Earlier trained turns that stand under another heading than a generated turn would.
        diverging: Rows whose prompt the chat template renders otherwise once the answer follows.
        control_texts: Control tokens that stood in the data as text, and were kept text.
    """

    rows: int = 0
    encoded: int = 0
    errors: Counter[str] = field(factory=Counter)
    tokens: int = 0
    trained_tokens: int = 0
    longest: int = 0
    cut_tokens: Counter[str] = field(factory=Counter)
    cut_rows: int = 0
    evidence_cut: int = 0
    altered: Counter[str] = field(factory=Counter)
    headings: int = 0
    diverging: int = 0
    control_texts: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "encoded": self.encoded,
            "errors": dict(sorted(self.errors.items())),
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "longest": self.longest,
            "cut_tokens": dict(sorted(self.cut_tokens.items())),
            "cut_rows": self.cut_rows,
            "evidence_cut": self.evidence_cut,
            "altered": dict(sorted(self.altered.items())),
            "headings": self.headings,
            "diverging": self.diverging,
            "control_texts": self.control_texts,
        }
