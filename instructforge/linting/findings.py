"""What a lint says."""

from __future__ import annotations

from typing import Any

from attrs import asdict, frozen

__all__ = ["LEVELS", "Finding", "LintReport"]

LEVELS = ("error", "warning", "note")


@frozen(kw_only=True)
class Finding:
    """One thing that is wrong with a template, or may be.

    Attributes:
        template: Its key.
        rule: A short name of what was found, the same in every version.
        level: ``error`` (rows would be wrong or lost), ``warning`` (probably not meant) or ``note``.
        message: What was found, what was expected, what to do.
        rows: How many rows it was found on; 0 where it is of the source.
        of: How many rows were looked at.
        example: Id of the first of these rows.
    """

    template: str
    rule: str
    level: str
    message: str
    rows: int = 0
    of: int = 0
    example: str = ""

    def order(self) -> tuple[int, str, str]:
        return LEVELS.index(self.level), self.template, self.rule

    def __str__(self) -> str:
        where = f" ({self.rows} of {self.of} rows, first {self.example})" if self.rows else ""
        return f"{self.level}: {self.template}: {self.rule}: {self.message}{where}"


@frozen(kw_only=True)
class LintReport:
    """What a lint of one task's templates found.

    Attributes:
        task: Name of the task.
        templates: Keys of the templates that compile.
        rows: Rows that were rendered.
        findings: The worst first.
        lengths: For each template: least, median, 95th percentile and most of the tokens of prompt and completion,
            words of spaced scripts and single characters of the others.
    """

    task: str
    templates: tuple[str, ...]
    rows: int
    findings: tuple[Finding, ...]
    lengths: tuple[dict[str, Any], ...]

    def count(self, level: str) -> int:
        return sum(finding.level == level for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "templates": list(self.templates),
            "rows": self.rows,
            "findings": [asdict(finding) for finding in self.findings],
            "lengths": [dict(entry) for entry in self.lengths],
        }
