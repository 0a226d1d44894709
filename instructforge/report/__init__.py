"""Showing a report: ``report.json`` for machines, a table in the terminal, one page for people.

``page.py`` fills ``page.html``; ``plots.py`` draws what a page cannot draw itself; ``wording.py`` holds the
page's words in English and Chinese; ``table.py`` speaks to a terminal. Only the page needs matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from instructforge.files import write_atomically, write_json
from instructforge.report.table import show

if TYPE_CHECKING:
    from instructforge.evaluation import Report

__all__ = ["show", "write"]


def write(report: Report, folder: Path, *, language: str | None = "en") -> None:
    """Write ``report.json`` and ``report.html`` into ``folder``.

    Args:
        language: Language of the page's own words: ``en`` or ``zh``; others read English.

    Raises:
        MissingDependencyError: matplotlib is not installed; ``report.json`` has been written all the same.
    """
    from instructforge.report.page import page  # jinja2, and matplotlib with it

    write_json(Path(folder) / "report.json", report.to_json())
    text = page(report, language=language or "en")
    with write_atomically(Path(folder) / "report.html") as handle:
        handle.write(text)
