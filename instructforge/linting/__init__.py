"""Linting: what is wrong, or may be, with templates; by their source, on samples, and on real rows.

``findings`` is what a lint says; ``source`` looks at a template by itself, ``rendered`` at what it makes of rows,
``alike`` at templates that say the same; ``lengths`` counts. ``lint`` puts them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from instructforge.errors import InstructForgeError
from instructforge.linting.alike import alike_findings
from instructforge.linting.findings import Finding, LintReport
from instructforge.linting.lengths import length_table
from instructforge.linting.rendered import Renderings, rendered_findings
from instructforge.linting.source import source_findings

if TYPE_CHECKING:
    from instructforge.data import Example
    from instructforge.plugins import Forge
    from instructforge.tasks import Task
    from instructforge.templates import Template

__all__ = ["Finding", "LintReport", "lint"]


def lint(
    forge: Forge, task: Task, templates: Iterable[str | Template], rows: Sequence[Example] | None = None
) -> LintReport:
    """Look at templates of one task.

    Args:
        forge: Where templates, decoders and metrics are found.
        task: The task that they are of.
        templates: Their keys, or templates themselves.
        rows: Rows to render; the task's samples where left out. A row is given to the templates of its language.

    Returns:
        What was found, the worst first, with the lengths of what was rendered.
    """
    findings: list[Finding] = []
    good: list[Template] = []
    for given in templates:
        try:
            template = forge.template(given) if isinstance(given, str) else given
        except InstructForgeError as error:
            name = given if isinstance(given, str) else given.key
            rule = getattr(error, "rule", "") or "refused"
            findings.append(Finding(template=name, rule=rule, level="error", message=str(error)))
            continue
        good.append(template)
        findings += source_findings(template, task)
    examples = [sample.to_example(number) for number, sample in enumerate(task.samples)] if rows is None else list(rows)
    made = [Renderings.of(template, task, examples) for template in good]
    for renderings in made:
        findings += rendered_findings(forge, task, renderings)
    findings += alike_findings(made)
    return LintReport(
        task=task.name,
        templates=tuple(template.key for template in good),
        rows=len(examples),
        findings=tuple(sorted(findings, key=Finding.order)),
        lengths=tuple(length_table(renderings) for renderings in made),
    )
