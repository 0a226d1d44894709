"""What can be told of a template from its source alone, once it compiles."""

from __future__ import annotations

import re
from collections.abc import Iterator

from instructforge.linting.findings import Finding
from instructforge.tasks import Task
from instructforge.templates import Template

__all__ = ["source_findings"]

_BLOCK_END = re.compile(r"(\S)([ \t\u3000]+)(?:\{%-?\s*endblock[^%]*%\})")


def source_findings(template: Template, task: Task) -> Iterator[Finding]:
    """Yield what the source shows: fields that are left out, spaces that are dropped."""
    yield from _unused_fields(template, task)
    if _BLOCK_END.search(template.source):
        yield Finding(
            template=template.key,
            rule="trailing-space",
            level="warning",
            message="a space stands before the end of a block; it is dropped, since no prompt ends in one. Take it out",
        )


def _unused_fields(template: Template, task: Task) -> Iterator[Finding]:
    listed = getattr(task.target, "from_field", None)  # what is chosen from; a template may list it, or not
    for name, part in task.fields.items():
        if name in template.fields_used or name == template.inverted:
            continue
        if name == listed and template.lists_choices:
            continue
        yield Finding(
            template=template.key,
            rule="field-unused",
            level="note" if part.optional or name == listed else "warning",
            message=f'the field "{name}" ({part.summary}) stands nowhere in it, so the model never sees it',
        )
